"""Write the two path files: where datasets are and where results go."""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.paths import LOCAL_FILES, local_file_text
from lib.utils.cli import ScriptParser, describe_os_error, run_script, user_path
from lib.utils.errors import InputError
from lib.utils.files import atomic_path, folder_lock


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description="Write lib/train/admin/local.py and lib/test/evaluation/local.py with absolute paths. "
        "Existing files are kept unless --force is given."
    )
    parser.add_argument("--workspace_dir", type=user_path, default=Path("."), help="the project's folder (default: .)")
    parser.add_argument(
        "--data_dir", type=user_path, default=Path("data"), help="folder of the datasets (default: ./data)"
    )
    parser.add_argument(
        "--save_dir", type=user_path, default=Path("."), help="folder for checkpoints, logs and results"
    )
    parser.add_argument("--force", action="store_true", help="replace path files that exist")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write both files or none."""
    args = parse_args(argv)
    texts = {
        path: local_file_text(kind, args.workspace_dir, args.data_dir, args.save_dir)
        for kind, path in LOCAL_FILES.items()
    }
    try:
        # Both files are moved into place at the end, and no other run writes one of them in between.
        with folder_lock(LOCAL_FILES["test"].parent, "settings"), ExitStack() as files:
            kept = [path for path, text in texts.items() if path.exists() and path.read_bytes() != text.encode()]
            if kept and not args.force:
                raise InputError(f"{' and '.join(map(str, kept))}: exists with other contents; --force replaces it")
            for path, text in texts.items():
                files.enter_context(atomic_path(path)).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write the path files: {describe_os_error(error)}") from error
    for path in texts:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
