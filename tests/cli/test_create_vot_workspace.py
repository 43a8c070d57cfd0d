"""``tracking/create_vot_workspace.py`` writes a workspace and says what to type."""

import configparser
import sys
from pathlib import Path

import pytest
import yaml

from external.vot20.toolkit import Toolkit
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


def test_several_targets_have_a_workspace_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"--stack vots2023: .* --workspace_dir DIR"):
        create_vot_workspace.main(["--stack", "vots2023"])
    flags = ["--workspace_dir", str(tmp_path / "ws"), "--save_dir", str(tmp_path), "--stack"]
    assert create_vot_workspace.main([*flags, "vots2024/main"]) == 0
    assert yaml.safe_load((tmp_path / "ws/config.yaml").read_text())["stack"] == "vots2024/main"
    printed = capsys.readouterr().out
    assert "The first command downloads" in printed and "vot pack --workspace . seqtrack_b256_ar" in printed
    with pytest.raises(InputError, match="is a workspace of vots2024/main; vots2023 needs one of its own"):
        create_vot_workspace.main([*flags, "vots2023"])
    assert create_vot_workspace.main([*flags, "vots2023", "--force"]) == 0


def test_a_stack_that_the_toolkit_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toolkit = Toolkit(Path("python"), "0.7.1", tmp_path)
    monkeypatch.setattr(create_vot_workspace, "find_toolkit", lambda place: toolkit)
    with pytest.raises(ConfigError, match=r"vots2025/main needs vot-toolkit 0\.7\.2 or newer; python has 0\.7\.1"):
        create_vot_workspace.main(["--workspace_dir", str(tmp_path / "ws"), "--stack", "vots2025/main"])
    assert not (tmp_path / "ws").exists()


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
