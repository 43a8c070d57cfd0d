"""Pack a data set into LMDB. Training finds it as ``<data set>_lmdb`` beside the original, which may then go."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.config.paths import load_paths
from lib.train.dataset.packing import PACKABLE, pack_dataset
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.registry import lookup
from lib.utils.storage import DirectoryStorage
from lib.utils.storage_lmdb import PART_SUFFIX


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Pack a data set into LMDB, in the layout that STARK and its relatives read. What was written is "
        "read back and compared. A run that was cut off goes on where it stopped; the original is never touched."
    )
    parser.add_argument("dataset", help=f"one of {', '.join(PACKABLE)}")
    parser.add_argument("--source", type=Path, help="folder of the data set (default: as in the path settings)")
    parser.add_argument("--target", type=Path, help="folder to write (default: <source>_lmdb)")
    parser.add_argument("--data_dir", type=Path, help="folder of the data sets")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Pack one data set."""
    args = parse_args(argv)
    setting = lookup(PACKABLE, args.dataset, "data set to pack").setting
    if args.source is None and not setting:
        raise InputError(f"{args.dataset}: say where it lies with --source")
    source = args.source or load_paths("train", data_dir=args.data_dir).dataset_dir(setting)
    target = args.target or source.with_name(source.name + PART_SUFFIX)
    if target.resolve() == source.resolve() or source.resolve() in target.resolve().parents:
        raise InputError(f"--target {target} lies in the data set itself")
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
