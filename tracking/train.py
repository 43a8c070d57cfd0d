"""Train an experiment.

    python tracking/train.py --script seqtrack --config seqtrack_demo --save_dir . --mode single
    python tracking/train.py --script seqtrack --config seqtrack_b256 --save_dir . --mode multiple --nproc_per_node 8
    python tracking/train.py --script seqtrack --config seqtrack_b256 --save_dir /shared --mode multi_node \
        --nproc_per_node 8 --nnodes 2 --node_rank 0 --master_addr 10.0.0.1 --master_port 29500

Writes below save_dir: checkpoints/train/seqtrack/<config>/SEQTRACK_ep<epoch>.pth.tar,
tensorboard/train/seqtrack/<config> and logs/seqtrack-<config>.log. Run again, it goes on after the newest checkpoint.
Ctrl-C, SIGTERM and a closed terminal write a checkpoint after the step in hand; the exit code is then 130, 143 or 129.
"""

import argparse
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.train.distributed import check_processes_per_node, first_rank_speaks
from lib.train.run_training import add_run_arguments, read_run, train
from lib.utils.child import run_child
from lib.utils.cli import ScriptParser, run_script
from lib.utils.errors import InputError
from lib.utils.launch import read_launch

if TYPE_CHECKING:
    from tracking.track_check import TrackCheck

RUN_TRAINING = PROJECT_ROOT / "lib" / "train" / "run_training.py"
LAUNCHER = PROJECT_ROOT / "lib" / "train" / "launcher.py"
DEFAULT_PORT = 29500


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument(
        "--mode",
        default="single",
        choices=("single", "multiple", "multi_node"),
        help="single: this process (default); multiple: several on this machine; multi_node: on several machines",
    )
    parser.add_argument("--nproc_per_node", type=int, default=1, help="processes on this machine, one for each GPU")
    parser.add_argument(
        "--nnodes", "--world_size", "--world-size", default="1", help="machines; 2:4 lets the run go on with 2 of 4"
    )
    parser.add_argument("--node_rank", "--rank", type=int, help="number of this machine, from 0; give it or --rdzv_id")
    parser.add_argument("--master_addr", "--ip", default="127.0.0.1", help="address of machine 0")
    parser.add_argument(
        "--master_port",
        "--port",
        type=int,
        help=f"free port there (default: {DEFAULT_PORT}; one machine alone: any free one)",
    )
    parser.add_argument("--rdzv_id", help="name of the job: machines join by it, in any order, and may come and go")
    parser.add_argument("--track_dataset", help="benchmark to track on while training, such as got10k_val")
    parser.add_argument("--track_every", type=int, default=10, help="epochs between such checks (default: 10)")
    parser.add_argument("--track_sequences", type=int, default=20, help="sequences of a check (default: 20)")
    parser.add_argument("--max_restarts", type=int, default=0, help="how often to start again after a process died")
    return parser.parse_args(argv)


def launcher_command(args: argparse.Namespace) -> list[str]:
    """Command that starts the processes of this machine.

    Raises:
        InputError: if the numbers do not fit each other, or a port is in use.
    """
    command = [sys.executable, str(LAUNCHER), f"--nproc_per_node={args.nproc_per_node}"]
    command.append(f"--max_restarts={args.max_restarts}")
    port = DEFAULT_PORT if args.master_port is None else args.master_port
    if args.mode == "multiple":
        command += meeting_on_one_machine(args)
    elif args.rdzv_id:
        command += [f"--nnodes={args.nnodes}", "--rdzv_backend=c10d", f"--rdzv_id={args.rdzv_id}"]
        command.append(f"--rdzv_endpoint={args.master_addr}:{port}")
    else:
        if args.node_rank is None:
            raise InputError("--mode multi_node: --node_rank says which machine this is (0 to --nnodes - 1)")
        if args.node_rank == 0:
            check_port(port)
        command += [f"--nnodes={args.nnodes}", f"--node_rank={args.node_rank}"]
        command += [f"--master_addr={args.master_addr}", f"--master_port={port}"]
    if args.track_dataset:  # only this script knows how to track
        track = [f"--{name}={getattr(args, name)}" for name in ("track_dataset", "track_every", "track_sequences")]
        return [*command, str(Path(__file__).resolve()), *run_arguments(args), *track]
    return [*command, str(RUN_TRAINING), *run_arguments(args)]


def meeting_on_one_machine(args: argparse.Namespace) -> list[str]:
    """Where the processes of one machine meet: at the port that was asked for, or at any free one."""
    if args.nnodes != "1":
        raise InputError(f"--nnodes {args.nnodes}: use --mode multi_node")
    if args.master_port is None:
        return ["--standalone"]
    check_port(args.master_port)
    return [f"--master_addr={args.master_addr}", f"--master_port={args.master_port}"]


def check_port(port: int) -> None:
    """Refuse a port that another program uses.

    Raises:
        InputError: if it is in use, or no port.
    """
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except (OSError, OverflowError) as error:
        raise InputError(f"--master_port {port}: {error}; choose another, or leave the flag out") from error


def run_arguments(args: argparse.Namespace) -> list[str]:
    """The flags that every process gets."""
    names = ("script", "config", "name", "save_dir", "data_dir", "seed", "device", "init", "resume")
    values = {name: getattr(args, name) for name in names}
    flags = [part for name, value in values.items() if value is not None for part in (f"--{name}", str(value))]
    return [*flags, *(["--override", *args.override] if args.override else [])]


def train_here(args: argparse.Namespace) -> int:
    """Train in this process, which a launcher may have started."""
    if not args.track_dataset:
        return train(args)
    with first_rank_speaks(read_launch(os.environ)):
        check = open_track_check(args)
    return train(args, track=check, track_every=args.track_every)


def open_track_check(args: argparse.Namespace) -> "TrackCheck":
    """Load the sequences that are tracked during training. Raises SeqTrackError if they cannot be scored."""
    from tracking.track_check import TrackCheck  # knows all of testing; most trainings do not need it

    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    return TrackCheck(args.track_dataset, args.track_sequences, paths=paths)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    if args.nproc_per_node < 1:
        raise InputError(f"--nproc_per_node: expected a number from 1 on, got {args.nproc_per_node}")
    if min(args.track_every, args.track_sequences) < 1:
        raise InputError("--track_every and --track_sequences: expected numbers from 1 on")
    if args.mode == "single":
        if args.nproc_per_node != 1:
            raise InputError(f"--nproc_per_node {args.nproc_per_node}: use --mode multiple")
        return train_here(args)
    check_processes_per_node(args.device, args.nproc_per_node)
    read_run(args)  # what is wrong is reported once, and before processes are started
    if args.track_dataset:
        open_track_check(args)
    return run_child(launcher_command(args))


if __name__ == "__main__":
    sys.exit(run_script(main))
