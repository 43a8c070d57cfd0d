"""What importing the tracker costs."""

import subprocess
import sys

from lib.config.paths import PROJECT_ROOT


def test_the_tracker_imports_no_training_code():
    code = (
        "import sys, lib.test.tracker.seqtrack; print([name for name in sys.modules if name.startswith('lib.train')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
