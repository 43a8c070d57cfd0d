import hashlib
from pathlib import Path

import pytest
import torch

import tracking.verify_zoo as script
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script


@pytest.fixture
def config(experiment) -> Path:
    return experiment(TEST__EPOCH=2)


@pytest.fixture
def weights(config: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return build_seqtrack(load_config(str(config))).state_dict()


def run(config: Path, *arguments: str) -> int:
    return run_script(lambda: script.main([str(config), *arguments]))


def test_a_good_checkpoint(config: Path, weights: dict, capsys) -> None:
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
def test_weights_that_do_not_fit(config: Path, weights: dict, refused, damage, message: str) -> None:
    damage(weights)
    path = config.parent / "x.pth.tar"
    save_checkpoint({"net": weights}, path)
    assert message in refused(run, config, "--checkpoint", str(path))


def test_other_files_and_a_missing_one(config: Path, refused) -> None:
    path = config.parent / "x.pth.tar"
    path.write_text("<html>quota exceeded</html>")
    assert "x.pth.tar: " in refused(run, config, "--checkpoint", str(path))
    save_checkpoint({"model": {}}, path)
    error = refused(run, config, "--checkpoint", str(path))
    assert "no weights under the key 'net' (found: model)" in error
    assert "no checkpoint for tiny" in refused(run, config, "--save_dir", str(config.parent))
