"""Pack a dataset into LMDB. Training and testing find it as ``<dataset>_lmdb`` beside the original, which may go."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from tqdm import tqdm

from lib.config.paths import load_paths
from lib.data.packing import PACKABLE, pack_dataset
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError, lookup
from lib.utils.storage import DirectoryStorage, packed_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description="Pack a dataset into LMDB, in the layout that STARK and its relatives read. What was written is "
        "read back and compared. A run that was cut off goes on where it stopped; the original is never touched."
    )
    parser.add_argument("dataset", help=f"one of {', '.join(PACKABLE)}")
    parser.add_argument("--source", type=user_path, help="folder of the dataset (default: as in the path settings)")
    parser.add_argument("--target", type=user_path, help="folder to write (default: <source>_lmdb)")
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Pack one dataset."""
    args = parse_args(argv)
    packable = lookup(PACKABLE, args.dataset, "dataset to pack")
    if args.source is None and not packable.setting:
        raise InputError(f"{args.dataset}: say where it is with --source")
    source = args.source or load_paths(packable.kind, data_dir=args.data_dir).dataset_dir(packable.setting)
    target = args.target or packed_path(source)
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise InputError(f"--target {target} is in the dataset itself")
    report = pack_dataset(
        args.dataset,
        DirectoryStorage(source),
        target,
        progress=lambda title, total: tqdm(total=total, desc=title, unit="file", dynamic_ncols=True),
    )
    print(f"{target}: {report.written} files written, {report.kept} were there already; annotations read the same")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
