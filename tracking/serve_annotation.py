"""Serve the tracker to annotation tools: Label Studio (as an ML back-end), CVAT (as a tracker function), and programs.

    python tracking/serve_annotation.py --root videos

Routes: /health, /setup, /predict (Label Studio), / (CVAT), /track (frames or the name of a video, and boxes; the answer
is a track for each box). docs/finetune.md says how to connect the tools.

It listens on this machine only unless --host says otherwise. Every request needs the token: that of --token_file, of
the variable SEQTRACK_TOKEN, or one that is made and printed. Videos are files below --root; nothing is ever fetched. A
request whose client has gone is cancelled. Needs: pip install "seqtrack[serve]".
"""

import argparse
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.models.seqtrack.precision import PRECISIONS
from lib.test.parameter.seqtrack import BACKENDS, parameters
from lib.test.serving.limits import Limits
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.lost import LostAndFound, LostOptions
from lib.test.tracker.presence import load_score
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.errors import InputError, printable
from lib.utils.files import read_text
from lib.utils.log import setup_logging
from seqtrack.tracking import find_files

logger = logging.getLogger(__name__)

SHORTEST_TOKEN = 8


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", default="seqtrack_demo", help="experiment, or path of its YAML file (default: seqtrack_demo)"
    )
    parser.add_argument("--checkpoint", type=user_path, help="file with the weights (default: the bundled ones)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: torch; docs/deployment.md compares")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=9090, help="port to listen on, 0 for a free one (default: 9090)")
    parser.add_argument("--token_file", type=user_path, help="file with the token that clients must show")
    parser.add_argument(
        "--root", type=user_path, action="append", default=[], help="folder whose videos may be named; again for others"
    )
    for limit in fields(Limits):
        text = f"{limit.metadata['help']} (default: {limit.default})"
        parser.add_argument(f"--max_{limit.name}", type=int, default=limit.default, metavar="N", help=text)
    args = parser.parse_args(argv)
    check_ranges(
        args, {f"max_{limit.name}": limit.metadata["range"] for limit in fields(Limits)} | {"port": (0, 65535)}
    )
    for root in args.root:
        if not root.is_dir():
            raise InputError(f"--root {root}: no such folder")
    return args


def read_token(file: Path | None) -> str | None:
    """The token that the user has chosen, or None. Raises InputError if it cannot be one."""
    name = "SEQTRACK_TOKEN" if file is None else str(file)
    token = os.environ.get("SEQTRACK_TOKEN") if file is None else read_text(file).strip()
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable()):
        raise InputError(f"{name}: a token has at least {SHORTEST_TOKEN} printable ASCII characters")
    return token


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises InputError if it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--host {printable(host, 100)} --port {port}: cannot listen there: {reason}") from None


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def load_follower(args: argparse.Namespace) -> tuple[LostAndFound, str]:
    """The tracker, and what it is called. Raises SeqTrackError if it cannot be loaded."""
    name, checkpoint = find_files(args.config, args.checkpoint)
    given = {"device": args.device, "dtype": args.dtype, "backend": args.backend}
    params = parameters(name, checkpoint=checkpoint, **given)
    score = load_score(params.checkpoint, params.update_threshold)
    return LostAndFound(SeqTrackEngine(params), score, LostOptions()), Path(params.checkpoint).name.partition(".")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal."""
    args = parse_args(argv)
    setup_logging()
    try:
        from lib.test.serving.app import Server, Service
        from lib.test.serving.worker import Worker
    except ImportError as error:
        raise InputError(f'serving needs the package {error.name}: pip install "seqtrack[serve]"') from error
    chosen = read_token(args.token_file)
    token = chosen or secrets.token_urlsafe(24)
    limits = Limits(**{limit.name: getattr(args, f"max_{limit.name}") for limit in fields(Limits)})
    with listen(args.host, args.port) as place:
        follower, version = load_follower(args)
        if not is_loopback(args.host):
            logger.warning("other machines can reach this service, and read what is sent: put a TLS proxy before it")
        address, port = place.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        print(f"{version} listens on http://{shown}:{port}", flush=True)
        print("token: as given" if chosen else f"token: {token}", flush=True)
        # The server raises it again when it has ended.
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        worker = Worker(follower)
        try:
            Server(Service(worker, token, version, tuple(args.root), limits)).run(sockets=[place])
        finally:
            worker.stop()
            worker.join(10)
            signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
