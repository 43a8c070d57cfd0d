"""Scripts as a user starts them."""

import subprocess
import sys

from lib.config.paths import PROJECT_ROOT


def run_python(script: str, *arguments: object, **options) -> subprocess.CompletedProcess[str]:
    """Run a script of the project, by default in its root; ``options`` are those of ``subprocess.run``."""
    command = [sys.executable, str(PROJECT_ROOT / script), *map(str, arguments)]
    options = {"cwd": PROJECT_ROOT, "timeout": 240} | options
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)
