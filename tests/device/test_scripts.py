"""Scripts on a simulated GPU."""

import json

import pytest
import torch
import yaml

from lib.utils.errors import InputError
from tests.device.simulated import simulated_cuda
from tests.models.tiny import OVERRIDES
from tracking import profile_model


@pytest.fixture
def config(tmp_path) -> str:
    sections: dict = {}
    for name, value in OVERRIDES.items():
        *path, key = name.split(".")
        section = sections
        for part in path:
            section = section.setdefault(part, {})
        section[key] = value
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections))
    return str(path)


@pytest.mark.parametrize(("flags", "captured"), [([], True), (["--no_cuda_graphs"], False)])
def test_a_profile_captures_unless_told_otherwise(config, tmp_path, capsys, flags, captured):
    report = tmp_path / "report.json"
    command = ["--config", config, "--device", "cuda", "--dtype", "tf32", "--frames", "1", "--warm_up", "1"]
    with simulated_cuda() as device:
        assert profile_model.main([*command, "--json", str(report), *flags]) == 0
        assert (device.launches > 0) == captured
    latency = json.loads(report.read_text())["latency"]
    assert (latency["cuda_graphs"], latency["dtype"]) == (captured, "tf32")
    assert set(latency["milliseconds"]) == (
        {"crop", "network", "post", "total"} if captured else {"crop", "encode", "decode", "post", "total"}
    )
    assert ("Simulated, torch tf32, captured, batch 1" in capsys.readouterr().out) == captured


def test_a_batch_too_large_for_the_gpu_is_one_line(config, monkeypatch):
    def full(*arguments, **options):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. ...")

    monkeypatch.setattr(profile_model, "measure_latency", full)
    with simulated_cuda(), pytest.raises(InputError, match=r"9.00 GiB more was needed.*use a smaller --batch_size"):
        profile_model.main(["--config", config, "--device", "cuda", "--batch_size", "512"])
