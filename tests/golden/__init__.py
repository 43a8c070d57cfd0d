"""Reference numbers of the published SeqTrack, and the recipes that regenerate their inputs."""

import json
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN_DIR = Path(__file__).parent


def load_npz(name: str) -> dict[str, np.ndarray]:
    """Read every array of ``tests/golden/<name>``."""
    with np.load(GOLDEN_DIR / name) as archive:
        return {key: archive[key] for key in archive.files}


def load_json(name: str) -> Any:
    """Read ``tests/golden/<name>``."""
    return json.loads((GOLDEN_DIR / name).read_text())
