"""Devices by name, with the functions of ``torch.cuda`` that ask the driver replaced."""

from unittest import mock

import pytest
import torch

from lib.train.distributed import choose_device, process_group
from lib.utils.device import device_errors, resolve_device, upload, warn_of_shared_gpus
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


OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which ..."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.cuda.OutOfMemoryError(OUT_OF_MEMORY),
            "cuda:0: not enough memory: 2.50 GiB more was needed, 1.0 GiB of 79.0 GiB are free; use a smaller batch",
        ),
        (
            RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nmore"),
            "cuda:0: another process has it for itself; end that one, or choose another",
        ),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore"),
            "cuda:0: this PyTorch has no kernels for Tesla K80, only for sm_80, sm_90",
        ),
    ],
)
def test_what_keeps_a_gpu_from_working_is_one_line(monkeypatch, error, message):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 79 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla K80")
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    with pytest.raises(InputError) as caught, device_errors(torch.device("cuda", 0), "a smaller batch"):
        raise error
    assert str(caught.value) == message


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="illegal memory access"), device_errors(torch.device("cuda", 0), "nothing"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_processes_that_share_a_gpu_are_told(monkeypatch, caplog, tmp_path):
    pretend(monkeypatch, 2)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "absent"))
    warn_of_shared_gpus(["cuda:0", "cuda:1", "auto", "cpu", "cpu"])
    assert [record.getMessage() for record in caplog.records] == [
        "2 processes share cuda:0 without MPS: they take turns on it"
    ]
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    warn_of_shared_gpus(["cuda:1", "cuda:1"])
    assert len(caplog.records) == 1


def test_pageable_memory_is_copied_to_mps_at_once():
    """A copy that runs on would read memory that is freed as soon as it is issued."""
    crops = mock.Mock()
    upload(crops, torch.device("mps"))
    crops.to.assert_called_once_with(torch.device("mps"), non_blocking=False)
    crops.pin_memory.assert_not_called()
