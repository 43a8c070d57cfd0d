import hashlib
from pathlib import Path

import pytest
import torch

import tracking.verify_zoo as script
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script

TINY = """
MODEL: {HIDDEN_DIM: 32, BINS: 64, ENCODER: {TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch},
        DECODER: {NHEADS: 2, DIM_FEEDFORWARD: 32, DEC_LAYERS: 1}}
DATA: {SEARCH: {SIZE: 64}, TEMPLATE: {SIZE: 32, NUMBER: 2}}
TEST: {SEARCH_SIZE: 64, TEMPLATE_SIZE: 32, NUM_TEMPLATES: 2, EPOCH: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def weights(config: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_seqtrack(load_config(str(config))).state_dict()


def run(config: Path, *arguments: str) -> int:
    return run_script(lambda: script.main([str(config), *arguments]))


def test_a_good_checkpoint(config: Path, weights: dict, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "checkpoints/train/seqtrack/tiny/SEQTRACK.pth.tar"  # where the model zoo says
    save_checkpoint({"net": weights, "epoch": 2}, path)
    assert run(config, "--save_dir", str(config.parent)) == 0
    out = capsys.readouterr().out
    total = sum(value.numel() for value in weights.values())
    assert f"parameters  {total:,}" in out
    assert f"keys        {len(weights)}" in out
    assert "epoch       2" in out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda net: net.pop("pos_embed"), "missing: pos_embed"),
        (lambda net: net.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda net: net.update(pos_embed=torch.zeros(1, 2)), "pos_embed (1, 2) instead of"),
        (lambda net: net["pos_embed"].mul_(float("nan")), "weights with NaN or infinite values: pos_embed"),
    ],
)
def test_weights_that_do_not_fit(
    config: Path, weights: dict, capsys: pytest.CaptureFixture[str], damage, message: str
) -> None:
    damage(weights)
    path = config.parent / "x.pth.tar"
    save_checkpoint({"net": weights}, path)
    assert run(config, "--checkpoint", str(path)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_other_files_and_a_missing_one(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config.parent / "x.pth.tar"
    path.write_text("<html>quota exceeded</html>")
    assert run(config, "--checkpoint", str(path)) == 2
    assert "x.pth.tar: " in capsys.readouterr().err
    save_checkpoint({"model": {}}, path)
    assert run(config, "--checkpoint", str(path)) == 2
    assert "no weights under the key 'net' (found: model)" in capsys.readouterr().err
    assert run(config, "--save_dir", str(config.parent)) == 2
    assert "no checkpoint for tiny" in capsys.readouterr().err
