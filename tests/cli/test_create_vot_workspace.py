"""``tracking/create_vot_workspace.py`` writes a workspace and says what to type."""

import configparser
import sys
from pathlib import Path

import pytest
import yaml

from lib.config.paths import PROJECT_ROOT
from lib.utils.errors import ConfigError, InputError
from tracking import create_vot_workspace


def test_writes_absolute_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--workspace_dir", str(tmp_path / "ws"), "--stack", "vot2022/shorttermbox", "--save_dir", str(tmp_path)]
    assert create_vot_workspace.main([*flags, "--config", "seqtrack_demo"]) == 0
    assert yaml.safe_load((tmp_path / "ws/config.yaml").read_text())["registry"] == ["./trackers.ini"]
    parser = configparser.ConfigParser()
    parser.read(tmp_path / "ws/trackers.ini")
    assert len(parser.sections()) == 10
    for name in ("seqtrack_l384_ar", "seqtrack_demo"):
        assert parser[name]["python"] == sys.executable
        assert parser[name]["paths"] == str(PROJECT_ROOT)
        assert str(tmp_path) in parser[name]["command"]
    printed = capsys.readouterr().out
    assert f"cd {tmp_path / 'ws'}\nvot evaluate --workspace . seqtrack_b256_ar\n" in printed
    assert create_vot_workspace.main(flags) == 0  # untouched files may be written again


def test_mistakes(tmp_path: Path) -> None:
    workspace = ["--workspace_dir", str(tmp_path / "ws")]
    with pytest.raises(ConfigError, match="did you mean vot2020/shortterm"):
        create_vot_workspace.main([*workspace, "--stack", "vot2020/shorterm"])
    for flag in ("--save_dir", "--ar_checkpoint", "--python", "--sequences"):
        with pytest.raises(InputError, match="no such"):
            create_vot_workspace.main([*workspace, flag, str(tmp_path / "missing")])
    with pytest.raises(InputError, match="no Python interpreter"):
        create_vot_workspace.main([*workspace, "--vot", str(tmp_path / "missing")])
    assert not (tmp_path / "ws").exists()
