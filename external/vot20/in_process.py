"""Both ends of the TraX protocol in one process: a tracker's errors appear as they are, and a debugger works."""

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.test.vot20.seqtrack_vot20 import VotTracker
from lib.test.vot20.trax_client import TraxSession, import_trax
from lib.utils.errors import SeqTrackError

Region = Sequence[float] | np.ndarray


@dataclass
class Conversation:
    """What the toolkit's end heard.

    Attributes:
        answers: for each start the answers to the frames after it: ``[x, y, w, h]``, or a mask (H, W) uint8.
        seconds: how long each answer took.
        problem: why it broke off; empty if it did not.
    """

    answers: list[list[Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    problem: str = ""


def converse(tracker: VotTracker, frames: Sequence[Path], starts: Sequence[tuple[int, Region]]) -> Conversation:
    """Let a tracker serve some starts on one video, over a socket of this machine.

    Args:
        tracker: serves in this thread; what it raises is raised here.
        frames: image files, absolute.
        starts: frames to start from, and the target there: a box or a mask (H, W). Each runs to the last frame.

    Raises:
        SeqTrackError: if the conversation broke off though the tracker reported no error.
    """
    talk = Conversation()
    with socket.create_server(("127.0.0.1", 0)) as listener, _environment("TRAX_SOCKET", listener.getsockname()[1]):
        client = threading.Thread(target=_ask, args=(listener, frames, starts, talk), daemon=True)
        client.start()
        session = TraxSession(tracker.region_format)
        try:
            tracker.serve(session)
            reason = None
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise
        finally:
            session.close(reason)
        client.join(timeout=10)
    if talk.problem:
        raise SeqTrackError(f"the TraX conversation broke off: {talk.problem}")
    return talk


@contextmanager
def _environment(name: str, value: object) -> Iterator[None]:
    """Set an environment variable for a while; the TraX library reads it when a session opens."""
    before = os.environ.get(name)
    os.environ[name] = str(value)
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


def _ask(
    listener: socket.socket, frames: Sequence[Path], starts: Sequence[tuple[int, Region]], talk: Conversation
) -> None:
    """Play the toolkit's part."""
    trax = import_trax()
    from trax.client import Client
    from trax.image import FileImage

    def picture(index: int) -> dict[str, Any]:
        return {"color": FileImage.create(str(frames[index]))}

    client = None
    try:
        client = Client(stream=listener.fileno(), timeout=30, log=lambda text: None)  # 4.0 cannot do without a log
        for first, region in starts:
            client.initialize(picture(first), [(_to_trax(trax, region), {})], {})
            talk.answers.append([])
            for index in range(first + 1, len(frames)):
                objects, elapsed = client.frame(picture(index), {}, [])
                talk.answers[-1].append(_from_trax(trax, objects[0][0]))
                talk.seconds.append(elapsed)
    except Exception as error:  # this is a thread: what goes wrong is told by the other one
        talk.problem = f"{type(error).__name__}: {error}"
    finally:
        if client is not None:
            with suppress(trax.TraxException):
                client.quit()  # a client that is dropped without this may crash
        listener.close()  # the tracker must not wait for somebody who has left


def _to_trax(trax: Any, region: Region) -> Any:
    if isinstance(region, np.ndarray):
        return trax.region.Mask.create(np.ascontiguousarray(region, dtype=np.uint8))
    return trax.region.Rectangle.create(*(float(value) for value in region))


def _from_trax(trax: Any, region: Any) -> Any:
    return region.array(True) if isinstance(region, trax.region.Mask) else list(region.bounds())
