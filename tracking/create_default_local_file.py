"""Write the two path files: where data sets lie and where results go."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

from lib.config.paths import LOCAL_FILES, local_file_text
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomic


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Write lib/train/admin/local.py and lib/test/evaluation/local.py with absolute paths. "
        "Existing files are kept unless --force is given."
    )
    parser.add_argument("--workspace_dir", type=Path, default=Path("."), help="the project's folder (default: .)")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets (default: ./data)")
    parser.add_argument("--save_dir", type=Path, default=Path("."), help="folder for checkpoints, logs and results")
    parser.add_argument("--force", action="store_true", help="replace path files that exist")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files or none."""
    args = parse_args(argv)
    texts = {
        path: local_file_text(kind, args.workspace_dir, args.data_dir, args.save_dir)
        for kind, path in LOCAL_FILES.items()
    }
    kept = [path for path, text in texts.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if kept and not args.force:
        raise InputError(f"{' and '.join(map(str, kept))}: exists with other contents; use --force to replace it")
    for path, text in texts.items():
        write_text_atomic(path, text)
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
