"""Pack a dataset into LMDB. Training and testing find it as ``<dataset>_lmdb`` beside the original, which may go."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

from lib.config.paths import load_paths
from lib.data.packing import PACKABLE, pack_dataset
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.registry import lookup
from lib.utils.storage import DirectoryStorage, packed_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Pack a dataset into LMDB, in the layout that STARK and its relatives read. What was written is "
        "read back and compared. A run that was cut off goes on where it stopped; the original is never touched."
    )
    parser.add_argument("dataset", help=f"one of {', '.join(PACKABLE)}")
    parser.add_argument("--source", type=Path, help="folder of the dataset (default: as in the path settings)")
    parser.add_argument("--target", type=Path, help="folder to write (default: <source>_lmdb)")
    parser.add_argument("--data_dir", type=Path, help="folder of the datasets")
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
