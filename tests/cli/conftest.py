"""What the tests of scripts share."""

from pathlib import Path

import pytest
import yaml

from tests.models.tiny import nested
from tests.train.world import TINY


@pytest.fixture
def refused(capsys):
    """``refused(run, *arguments)`` checks that a run ends with exit code 2 and one line, and returns the line."""

    def check(run, *arguments, **options) -> str:
        capsys.readouterr()
        code = run(*arguments, **options)
        out, error = capsys.readouterr()
        assert code == 2 and out == "" and error.count("\n") == 1, (code, out, error)
        return error

    return check


@pytest.fixture
def experiment(tmp_path):
    """Path of a YAML file that trains for two short epochs; ``experiment(KEY=value)`` rewrites it with changes."""

    def write(**changes):
        options = TINY | {
            "DATA.TRAIN.DATASETS_NAME": ["SYNTHETIC"],
            "DATA.TRAIN.DATASETS_RATIO": [1],
            "DATA.VAL.DATASETS_NAME": ["SYNTHETIC_val"],
            "DATA.VAL.DATASETS_RATIO": [1],
            "DATA.VAL.SAMPLE_PER_EPOCH": 4,
            "DATA.SYNTHETIC.SEQUENCES": 4,
            "DATA.SYNTHETIC.FRAMES": 30,
            "DATA.SYNTHETIC.WIDTH": 160,
            "DATA.SYNTHETIC.HEIGHT": 120,
            "DATA.SYNTHETIC.DIFFICULTY": "easy",
            "DATA.TRAIN.SAMPLE_PER_EPOCH": 8,
            "TRAIN.EPOCH": 2,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(nested(options | {key.replace("__", "."): changes[key] for key in changes})))
        return path

    return write


@pytest.fixture
def unwritable(tmp_path):
    """``unwritable(kind)`` is a path at which no folder can be made."""

    def place(kind) -> Path:
        path = tmp_path / ("x" * 300 if kind == "long" else kind)
        if kind in ("file", "below"):
            path.write_text("keep")
        elif kind in ("loop", "nowhere"):
            path.symlink_to(path if kind == "loop" else tmp_path / "missing")
        return {"below": path / "below", "device": Path("/dev/null"), "proc": Path("/proc/1/x")}.get(kind, path)

    return place
