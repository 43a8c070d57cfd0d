"""Devices by name, with the functions of ``torch.cuda`` that ask the driver replaced."""

import pytest
import torch

from lib.train.distributed import choose_device, process_group
from lib.utils.device import resolve_device
from lib.utils.errors import InputError
from lib.utils.launch import Launch


def pretend(monkeypatch, count: int, available: bool | None = None, failure: str | None = None) -> None:
    """``count`` GPUs; ``failure`` is what the driver says when PyTorch calls it."""

    def init():
        if failure:
            raise RuntimeError(failure)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0 if available is None else available)
    monkeypatch.setattr(torch.cuda, "init", init)


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_always_has_its_index(monkeypatch, name, index):
    pretend(monkeypatch, 2)
    assert resolve_device(name) == torch.device("cuda", index)
    assert choose_device(name, Launch()) == torch.device("cuda", index)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_lone_process_can_set_its_device(monkeypatch, name):
    """``torch.cuda.set_device`` refuses a device without an index before it asks the driver."""
    pretend(monkeypatch, 1)
    chosen = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    with process_group(Launch(), choose_device(name, Launch())):
        pass
    assert chosen == [0]


OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version.\nmore"
)


@pytest.mark.parametrize(
    ("name", "count", "available", "failure", "visible", "message"),
    [
        ("cuda", 0, False, "Found no NVIDIA driver on your system.", None, "0 CUDA devices .*: Found no NVIDIA driver"),
        ("cuda:0", 0, False, None, "", "device 'cuda:0': CUDA_VISIBLE_DEVICES is empty, which hides all CUDA devices"),
        ("cuda", 0, False, "No CUDA GPUs are available", "7", "CUDA_VISIBLE_DEVICES is '7'.*: No CUDA GPUs"),
        ("cuda:2", 2, True, None, None, "device 'cuda:2': this machine has 2 CUDA devices, cuda:0 to cuda:1"),
        ("cuda", 1, False, OLD_DRIVER, None, r"driver on your system is too old \(found version 11040\)"),
        ("cuda:-1", 1, True, None, None, "unknown device 'cuda:-1'; known: auto, cpu, cuda"),
    ],
)
def test_a_gpu_that_cannot_be_had_is_one_line(monkeypatch, name, count, available, failure, visible, message):
    pretend(monkeypatch, count, available, failure)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match=message) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


def test_auto_without_a_working_driver_is_another_device(monkeypatch):
    pretend(monkeypatch, 1, available=False, failure=OLD_DRIVER)
    assert resolve_device("auto").type in ("cpu", "mps")
