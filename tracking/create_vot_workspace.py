"""Write a workspace of the VOT toolkit: which experiments, and how to start SeqTrack and SeqTrack+AR."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from external.vot20.toolkit import Toolkit, find_toolkit
from external.vot20.workspace import (
    OWN_STACK,
    SINCE,
    STACKS,
    TIMEOUT,
    TrackerEntry,
    check_own_workspace,
    check_sequences,
    compat_stack_text,
    config_text,
    published_entries,
    registry_text,
    sequences_folder,
    stack_file,
    write_workspace,
)
from lib.config.paths import PROJECT_ROOT, load_paths
from lib.config.seqtrack.config import experiment_name
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError, lookup

DEFAULT_WORKSPACE = PROJECT_ROOT / "external" / "vot20" / "seqtrack"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description="Write config.yaml and trackers.ini of a workspace, with absolute paths. The trackers: "
        "seqtrack_b256, _b384, _l256, _l384 (boxes) and the same with _ar (masks). Edited files are kept.",
        epilog="Then: cd <workspace_dir>; vot evaluate --workspace . seqtrack_b256_ar; vot analysis --workspace .",
    )
    parser.add_argument(
        "--workspace_dir",
        type=user_path,
        help="default: external/vot20/seqtrack; stacks with several targets need another",
    )
    parser.add_argument("--stack", default="vot2020/shortterm", help=f"one of {', '.join(STACKS)}")
    parser.add_argument(
        "--sequences", type=user_path, help="folder of the dataset; default: sequences in the workspace"
    )
    parser.add_argument("--python", type=user_path, default=Path(sys.executable), help="interpreter that runs SeqTrack")
    parser.add_argument("--save_dir", type=user_path, help="folder that holds checkpoints/ (default: as for testing)")
    parser.add_argument(
        "--ar_checkpoint", type=user_path, help="weights of Alpha-Refine; default: where its README says"
    )
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--config", nargs="*", default=[], help="more experiments to make trackers of, boxes and _ar")
    parser.add_argument("--timeout", type=int, default=TIMEOUT, help=f"seconds for an answer (default: {TIMEOUT})")
    parser.add_argument("--vot", help="environment that has the toolkit (default: $SEQTRACK_VOT, else this one)")
    parser.add_argument("--force", action="store_true", help="replace files that were edited")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the workspace and say what to type."""
    args = parse_args(argv)
    lookup(STACKS, args.stack, "stack")
    if args.stack in SINCE and args.workspace_dir is None:
        raise InputError(f"--stack {args.stack}: its sequences need a workspace of their own: --workspace_dir DIR")
    workspace = args.workspace_dir or DEFAULT_WORKSPACE
    if args.timeout < 1:
        raise InputError(f"--timeout {args.timeout}: expected seconds, at least 1")
    if not args.python.is_file():
        raise InputError(f"--python {args.python}: no such file")
    for path in (args.save_dir, args.ar_checkpoint):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder")
    if args.sequences is not None:
        check_sequences(args.sequences)
    toolkit, problem = find_toolkit_or_reason(args.vot)
    ours = ""
    if toolkit is not None:
        stack_file(toolkit, args.stack)
        ours = compat_stack_text(toolkit, args.stack) if toolkit.needs_compat else ""
    stack = OWN_STACK if ours else args.stack
    if not args.force:
        check_own_workspace(workspace, args.stack)
    files = {
        "config.yaml": config_text(stack, args.sequences and args.sequences.resolve()),
        "trackers.ini": registry_text(entries(args), python=args.python.absolute(), timeout=args.timeout),
    }
    if ours:
        files["stack.yaml"] = ours
    for path in write_workspace(workspace, files, force=args.force):
        print(f"wrote {path}")
    last = "pack" if args.stack.startswith("vots") else "analysis"  # their labels are hidden
    print_next_steps(workspace, toolkit, problem, ours=bool(ours), last=last)
    return 0


def find_toolkit_or_reason(place: str | None) -> tuple[Toolkit | None, str]:
    """The toolkit, or why there is none; a workspace can be written before it is installed.

    Raises:
        InputError: if ``place`` is given and has none.
    """
    try:
        return find_toolkit(place), ""
    except InputError as error:
        if place is not None:
            raise
        return None, str(error)


def entries(args: argparse.Namespace) -> list[TrackerEntry]:
    """The published trackers, and those of ``--config``."""
    save_dir = (args.save_dir or load_paths("test").save_dir).resolve()
    options = {"save_dir": save_dir, "device": args.device}
    ar_checkpoint = None if args.ar_checkpoint is None else args.ar_checkpoint.resolve()
    trackers = published_entries({**options, "ar_checkpoint": ar_checkpoint})
    for config in args.config:
        name = experiment_name(config)
        where = config if name == config else str(Path(config).resolve())
        trackers.append(TrackerEntry(name, name, where, options=options))
        trackers.append(
            TrackerEntry(f"{name}_ar", f"{name}+AR", where, True, {**options, "ar_checkpoint": ar_checkpoint})
        )
    return trackers


def print_next_steps(workspace: Path, toolkit: Toolkit | None, problem: str, *, ours: bool, last: str) -> None:
    """Say what to type; ``last`` comes after ``evaluate``, ``ours``: it needs experiments of this checkout."""
    if toolkit is None:
        print(f"\nStill missing: {problem}")
    else:
        print(f"\nVOT toolkit {toolkit.version}: {toolkit.program}")
    if ours:
        print(f"This version needs our experiments. First: export PYTHONPATH={PROJECT_ROOT}")
    if not (sequences_folder(workspace) / "list.txt").is_file():
        print("The first command downloads the dataset. To rehearse without: python tracking/vot_selftest.py")
    print(f"cd {workspace}\nvot evaluate --workspace . seqtrack_b256_ar\nvot {last} --workspace . seqtrack_b256_ar")
    if last == "analysis":
        print("After a second evaluation: VOT_PERSISTENT_CACHE=0 vot analysis ..., or it gives the scores of the first")
    else:
        print("The labels are hidden: the server computes the scores from the zip file that `vot pack` writes.")


if __name__ == "__main__":
    sys.exit(run_script(main))
