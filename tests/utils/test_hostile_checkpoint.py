"""Checkpoints made to run code, write files or change the process are refused."""

import collections
import io
import pickle
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.errors import CheckpointError

BUILD_TARGETS = [
    ("collections", "Counter"),
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch", "Size"),
    ("builtins", "set"),
]


def replace_pickle(path: Path, stream: bytes) -> None:
    torch.save({"net": {}}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, stream if name.endswith("data.pkl") else content)


class Writer(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.path, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path = state[0]
        self.training = state[1]
        torch.from_file(self.path, True, 4, dtype=torch.uint8).fill_(65)


def test_torchscript_archive_runs_nothing(tmp_path):
    path, canary = tmp_path / "evil.pth.tar", tmp_path / "canary"
    torch.jit.save(torch.jit.script(Writer(str(canary))), str(path))
    canary.unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(path)
    assert not canary.exists()


@pytest.mark.parametrize("start", ["sys_info", "\x80\x02"])
def test_tar_layout_is_refused(tmp_path, start):
    path = tmp_path / "evil.pth.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(start), io.BytesIO())
    with pytest.raises(CheckpointError, match="neither"):
        load_checkpoint(path)


@pytest.mark.parametrize(("module", "name"), BUILD_TARGETS)
def test_build_changes_no_allowed_global(tmp_path, module, name):
    path = tmp_path / "evil.pth.tar"
    state = b"(N}X\x04\x00\x00\x00evilK\x01st"  # (None, {"evil": 1}): a slot state
    replace_pickle(path, b"\x80\x02" + f"c{module}\n{name}\n".encode() + state + b"b.")
    with pytest.raises(CheckpointError, match="changes an allowed"):
        load_checkpoint(path)
    assert not hasattr(collections.Counter, "evil")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "evil")


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("os", "path.join")]
)
def test_reduce_calls_only_a_stub(tmp_path, module, name):
    path, canary = tmp_path / "evil.pth.tar", tmp_path / "canary"
    argument = pickle.dumps((f"touch {canary}",), protocol=2)[2:-1]
    replace_pickle(path, b"\x80\x02" + f"c{module}\n{name}\n".encode() + argument + b"R.")
    with pytest.raises(CheckpointError, match="expected a dictionary"):
        load_checkpoint(path)
    assert not canary.exists()


def test_compressed_records_are_refused(tmp_path):
    path = tmp_path / "bomb.pth.tar"
    torch.save({"net": {"a": torch.zeros(100_000)}}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(path)


def test_a_flipped_bit_of_a_weight_is_found(tmp_path):
    path = tmp_path / "flipped.pth.tar"
    torch.save({"net": {"a": torch.full((1000,), 1.5)}}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((4,), 1.5).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"wrong checksum|Bad CRC"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    network = torch.nn.Linear(2, 1)
    weights = {"weight": torch.tensor([[1.0, value]]), "bias": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"NaN or infinite values: weight$"):
        load_model_weights(network, {"net": weights}, "file")


def test_flipped_bits_are_found_or_change_no_weight(tmp_path):
    path = tmp_path / "flipped.pth.tar"
    torch.save({"net": {"a": torch.arange(500.0)}}, path)
    original, generator, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(200):
        content = bytearray(original)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        try:
            state = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(state["net"]["a"], torch.arange(500.0))
    assert refused > 100


def test_a_file_named_code_is_no_torchscript_archive(tmp_path):
    torch.save({"net": {}}, tmp_path / "code.pt")  # the records are below code/
    assert load_checkpoint(tmp_path / "code.pt") == {"net": {}}
