"""Rehearsing VOT in one process: both ends of TraX, and stand-ins for what has to be downloaded (weights, a dataset).

The stand-in tracker is a tiny network that runs like a real one but always says "where it was": its last layer prefers
the tokens for the middle and for the size of the last box. Random weights would lose the target in every frame, and the
toolkit's analysis divides by zero for a tracker that never succeeds.
"""

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from external.vot20.dataset import AnnotatedVideo, write_vot
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.synthetic import SyntheticSequence
from lib.test.vot20.seqtrack_vot20 import VotTracker
from lib.test.vot20.session import TraxSession, import_trax
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import SeqTrackError
from lib.utils.files import write_text_atomic

MIDDLE = 32  # of 65 tokens: exactly 0.5
CONFIG = f"""# A tracker that leaves the box where it is; for rehearsals of the VOT toolkit.
MODEL:
  HIDDEN_DIM: 32
  BINS: {2 * MIDDLE + 1}
  ENCODER: {{TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch}}
  DECODER: {{NHEADS: 2, DIM_FEEDFORWARD: 32, DEC_LAYERS: 1}}
DATA:
  SEARCH: {{SIZE: 64, FACTOR: 2.0}}  # half of the crop's side is then the side of the box
  TEMPLATE: {{SIZE: 32, NUMBER: 2}}
TEST:
  SEARCH_SIZE: 64
  SEARCH_FACTOR: 2.0
  TEMPLATE_SIZE: 32
  NUM_TEMPLATES: 2
  WINDOW: true
"""


def hold_still(network: SeqTrack) -> None:
    """Change the weights of a network so that it writes the middle token four times."""
    last = network.vocab_embed.layers[-1]
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.zero_()
        last.bias[MIDDLE] = 10.0


def write_stand_in_tracker(folder: Path) -> tuple[Path, Path]:
    """Write configuration and checkpoint of the stand-in tracker; return their paths."""
    config, checkpoint = folder / "stand_in.yaml", folder / "stand_in.pth.tar"
    write_text_atomic(config, CONFIG)
    torch.manual_seed(0)
    network = build_seqtrack(load_config(config))
    hold_still(network)
    save_checkpoint({"net": network.state_dict()}, checkpoint)
    return config, checkpoint


def write_stand_in_masks(folder: Path) -> Path:
    """Write a checkpoint of Alpha-Refine that fills the whole region that it looks at; return its path (120 MB)."""
    from external.AR.network import AlphaRefineNetwork

    torch.manual_seed(0)
    network = AlphaRefineNetwork()
    last = network.refiner.project.conv2
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(3.0)
    path = folder / "stand_in_masks.pth.tar"
    save_checkpoint({"net": network.state_dict()}, path)
    return path


class SideBySide:
    """Videos of one target each, one beside the other, as one video of several targets.

    Args:
        videos: of one number of frames and one height.
    """

    def __init__(self, videos: Sequence[SyntheticSequence]) -> None:
        self.num_frames = videos[0].num_frames
        self._videos = videos
        edges = np.cumsum([0, *(video.size[0] for video in videos)]).tolist()
        self.targets = {
            str(index): _Part(video, edges[index - 1], edges[-1]) for index, video in enumerate(videos, start=1)
        }

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return np.hstack([video.frame(index) for video in self._videos])


class _Part:
    """Ground truth of a video that is a part of a wider one."""

    def __init__(self, video: SyntheticSequence, left: int, width: int) -> None:
        self._video, self._pad = video, ((0, 0), (left, width - left - video.size[0]))
        self.boxes_xywh = np.where(video.boxes_xywh[:, 2:3] > 0, video.boxes_xywh + np.array([left, 0, 0, 0]), 0)

    def visible_mask(self, index: int) -> np.ndarray:
        """Alpha (H, W) uint8."""
        return np.pad(self._video.visible_mask(index), self._pad)


def write_rehearsal_data(
    folder: Path, *, sequences: int, frames: int, masks: bool = True, targets: int = 1, hidden: bool = False
) -> list[Path]:
    """Render sequences in the toolkit's format; return their folders. Each has a start at either end.

    Args:
        folder: the folder ``sequences`` of a workspace.
        sequences: how many.
        frames: of each.
        masks: masks as ground truth, else boxes.
        targets: in each sequence.
        hidden: label the first frame only.
    """

    def render(seed: int) -> SyntheticSequence:
        return SyntheticSequence(seed, num_frames=frames, size=(160, 120), difficulty="easy", split="vot")

    def video(k: int) -> AnnotatedVideo:
        return render(k) if targets == 1 else SideBySide([render(k + 100 * t) for t in range(targets)])

    videos = ((f"rehearsal{k}", video(k)) for k in range(1, sequences + 1))
    return write_vot(folder, videos, masks=masks, anchor_step=frames, hidden=hidden)


def rehearsal_stack_text(frames: int, kind: str = "multistart") -> str:
    """Text of a stack with one multi-start experiment whose EAO window suits short sequences.

    The official window, 115 to 755 frames, gives EAO near 0 for any tracker on sequences shorter than that.
    """
    low, high = max(frames // 3, 1), max(5 * frames // 6, 2)
    return f"""title: Rehearsal on rendered sequences
experiments:
  baseline:
    type: {kind}
    analyses:
    - {{type: multistart_eao_score, name: eaoscore, low: {low}, high: {high}}}
    - {{type: multistart_eao_curve, name: eaocurve, high: {high}}}
    - {{type: multistart_average_ar, name: ar}}
"""


def targets_stack_text(kind: str = "unsupervised") -> str:
    """Text of a stack for several targets: the experiments of VOTS2025 and the measures of its server.

    Args:
        kind: type of the real-time experiment.
    """
    return f"""title: Rehearsal on rendered sequences with several targets
experiments:
  baseline:
    type: unsupervised
    multiobject: True
    analyses: &measures
    - {{type: average_accuracy, name: Quality, burnin: 0, ignore_unknown: False, weighted: False}}
    - {{type: longterm_ar, name: AR}}
    - {{type: average_quality_auxiliary, name: Auxiliary}}
  realtime:
    type: {kind}
    multiobject: True
    realtime: {{grace: 3}}
    analyses: *measures
"""


Region = Sequence[float] | np.ndarray


@dataclass
class Conversation:
    """What the toolkit's end heard.

    Attributes:
        answers: for each start the answers to the frames after it: ``[x, y, w, h]``, or a mask (H, W) uint8; with
            several targets a list of these.
        seconds: how long each answer took.
        problem: why it broke off; empty if it did not.
    """

    answers: list[list[Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    problem: str = ""


def converse(
    tracker: VotTracker,
    frames: Sequence[Path],
    starts: Sequence[tuple[Any, ...]],
    later: Mapping[int, Sequence[Region]] | None = None,
) -> Conversation:
    """Let a tracker serve some starts on one video, over a socket of this machine.

    Args:
        tracker: serves in this thread; what it raises is raised here.
        frames: image files, absolute.
        starts: frames to start from, and the targets there: ``(frame, region, ...)``, each a box or
            a mask (H, W). Each runs to the last frame.
        later: targets that begin in later frames, by the number of the frame.

    Raises:
        SeqTrackError: if the conversation broke off though the tracker reported no error.
    """
    talk = Conversation()
    with socket.create_server(("127.0.0.1", 0)) as listener, _environment("TRAX_SOCKET", listener.getsockname()[1]):
        client = threading.Thread(target=_ask, args=(listener, frames, starts, later or {}, talk), daemon=True)
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
    listener: socket.socket,
    frames: Sequence[Path],
    starts: Sequence[tuple[Any, ...]],
    later: Mapping[int, Sequence[Region]],
    talk: Conversation,
) -> None:
    """Play the toolkit's part."""
    trax = import_trax()
    from trax.client import Client
    from trax.image import FileImage

    def picture(index: int) -> dict[str, Any]:
        return {"color": FileImage.create(str(frames[index]))}

    def objects(regions: Sequence[Region]) -> list[tuple[Any, dict[str, Any]]]:
        return [(_to_trax(trax, region), {}) for region in regions]

    client = None
    try:
        client = Client(stream=listener.fileno(), timeout=30, log=lambda text: None)  # 4.0 cannot do without a log
        for first, *regions in starts:
            client.initialize(picture(first), objects(regions), {})
            talk.answers.append([])
            for index in range(first + 1, len(frames)):
                given, elapsed = client.frame(picture(index), {}, objects(later.get(index, ())))
                answers = [_from_trax(trax, region) for region, _ in given]
                talk.answers[-1].append(answers if len(regions) > 1 or later else answers[0])
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
