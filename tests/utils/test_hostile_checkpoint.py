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
from safetensors.torch import save_file

from lib.utils.checkpoint import find_weights, load_checkpoint, load_model_weights
from lib.utils.cli import run_script
from lib.utils.errors import CheckpointError
from tracking import verify_zoo

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


def stream(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def tensor_stream(storage: bytes, size: int, elements: int) -> bytes:
    """A dictionary with one tensor of ``size`` elements with stride 0 on a storage of ``elements``."""
    identifier = b"(X\x07\x00\x00\x00storagectorch\n" + storage + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    identifier += b"\x8a\x08" + elements.to_bytes(8, "little") + b"tQ"
    shape = b"(\x8a\x08" + size.to_bytes(8, "little") + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + identifier + b"K\x00" + shape + b"(K\x00t\x89NtR"
    return stream(b"}X\x03\x00\x00\x00net}X\x01\x00\x00\x00a" + tensor + b"ss")


DOUBLED = b"K\x01" + b"q\x00h\x00h\x00\x86" * 60  # (x, x) sixty times: hashing it takes 2 ** 60 steps
STREAMS = {
    "numel of 1 TB": tensor_stream(b"FloatStorage", 1, 1 << 38),
    "shape of 1 TB": tensor_stream(b"FloatStorage", 1 << 38, 1),
    "storage without a record": tensor_stream(b"FloatStorage", 1, 1),
    "bytearray of 1 TB": stream(b"}X\x01\x00\x00\x00ac__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85Rs"),
    "BYTEARRAY8 of 1 TB": b"\x80\x05}K\x01\x96" + (1 << 40).to_bytes(8, "little") + b"s.",
    "text of 1 TB": b"\x80\x04}K\x01\x8d" + (1 << 40).to_bytes(8, "little") + b"s.",
    "integer of 100 000 bytes": stream(b"}K\x01\x8b" + (100_000).to_bytes(4, "little") + b"\x01" * 100_000 + b"s"),
    "key that takes 2 ** 60 steps": stream(b"}" + DOUBLED + b"K\x01s"),
    "set that takes 2 ** 60 steps": stream(b"c__builtin__\nset\n(" + b"](" + DOUBLED + b"etR"),
    "memo index of 4 GB then the end": stream(b"K\x01r\xff\xff\xff\xff"),
    "lists nested 100 000 deep": stream(b"]" * 100_000 + b"a" * 99_999),
    "BUILD of the dtype of a storage": stream(b"ctorch\nFloatStorage\n}X\x05\x00\x00\x00dtypeK\x01sb"),
    "BUILD of the defaults of a function": stream(
        b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__Nstb"
    ),
    "items of a tensor type": stream(b"ctorch\nSize\nK\x01K\x01s"),
    "stack underflow": stream(b"b"),
    "extension": stream(b"\x82\x01"),
    "os.system": stream(b"cos\nsystem\nX\x01\x00\x00\x00a\x85R"),
    "dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0eeval.__class__\x93.",
}


@pytest.fixture
def verify(tmp_path, capsys):
    """Run verify_zoo on a file: exit code 2, one short line, nothing written. Returns the line."""

    def run(path: Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        arguments = ["seqtrack_demo", "--checkpoint", str(path), "--save_dir", str(tmp_path)]
        assert run_script(lambda: verify_zoo.main(arguments)) == 2
        assert sorted(tmp_path.rglob("*")) == before
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "holds no checksums" not in line]
        assert len(line) < 1000
        return line

    return run


@pytest.mark.parametrize("name", STREAMS)
def test_hostile_stream_in_a_zip(tmp_path, verify, name):
    replace_pickle(tmp_path / "evil.pth.tar", STREAMS[name])
    assert "evil.pth.tar: " in verify(tmp_path / "evil.pth.tar")


@pytest.mark.parametrize("name", STREAMS)
def test_hostile_stream_in_the_older_layout(tmp_path, verify, name):
    path = tmp_path / "evil.pth.tar"
    torch.save({}, path, _use_new_zipfile_serialization=False)
    parts = io.BytesIO(path.read_bytes())
    for _ in range(3):
        pickle.load(parts)
    path.write_bytes(parts.getvalue()[: parts.tell()] + STREAMS[name] + pickle.dumps(["0"], protocol=2) + bytes(12))
    assert "evil.pth.tar: " in verify(path)


def write_records(path: Path, change) -> None:
    torch.save({"net": {"a": torch.ones(3)}}, path)
    with zipfile.ZipFile(path) as archive:
        records = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(records):
            archive.writestr(name, content)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "change",
    [
        lambda records: [("evil/inner.zip", b"PK\x03\x04")],
        lambda records: [*records, records[0]],
        lambda records: [*records, ("other/data.pkl", records[0][1])],
        lambda records: [(name, content[:4] if name.endswith("data/0") else content) for name, content in records],
        lambda records: [(name, b"big" if name.endswith("byteorder") else content) for name, content in records],
        lambda records: [record for record in records if not record[0].endswith("data/0")],
        lambda records: [*records, ("evil/code/constants.pkl", b"")],
    ],
    ids=["nested zip", "record twice", "two pickles", "short record", "big endian", "missing record", "TorchScript"],
)
def test_hostile_zip(tmp_path, verify, change):
    write_records(tmp_path / "evil.pth.tar", change)
    assert "evil.pth.tar: " in verify(tmp_path / "evil.pth.tar")


def test_overlapping_entries_and_a_wrong_directory(tmp_path, verify):
    path = tmp_path / "evil.pth.tar"
    write_records(path, lambda records: records)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    for offset in (42, 24, 20):  # place of the record, its size, its packed size
        changed = bytearray(content)
        changed[entry + offset : entry + offset + 4] = b"\xf0\xff\xff\x7f"
        path.write_bytes(changed)
        verify(path)


def test_tar_that_starts_like_the_older_layout(tmp_path, verify):
    path = tmp_path / "evil.pth.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO())
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    start = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)
    path.write_bytes(start + path.read_bytes()[len(start) :])
    verify(path)


@pytest.mark.parametrize("start", [(1 << 40).to_bytes(8, "little"), bytes(8), b""])
def test_hostile_safetensors(tmp_path, verify, start):
    (tmp_path / "evil.safetensors").write_bytes(start + b"{}" * 10)
    verify(tmp_path / "evil.safetensors")


@pytest.mark.parametrize("layout", ["zip without checksums", "older"])
def test_a_file_without_checksums_is_read_with_a_warning(tmp_path, caplog, layout):
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this PyTorch always writes checksums")
    path = tmp_path / "a.pth.tar"
    torch.serialization.set_crc32_options(layout == "older")
    try:
        torch.save({"net": {"a": torch.ones(3)}}, path, _use_new_zipfile_serialization=layout != "older")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(load_checkpoint(path)["net"]["a"], torch.ones(3))
    assert "holds no checksums" in caplog.text


WEIGHTS = {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}
FORMS = [
    WEIGHTS,
    *({key: WEIGHTS, "epoch": 3, "optimizer": {}} for key in ("net", "network", "model", "state_dict")),
    {"model": {f"module.{key}": value for key, value in WEIGHTS.items()}},
    {f"_orig_mod.module.{key}": value for key, value in WEIGHTS.items()},
]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_weights(tmp_path, form):
    torch.save(form, tmp_path / "a.pth")
    network = torch.nn.Linear(2, 1)
    load_model_weights(network, load_checkpoint(tmp_path / "a.pth"), "a.pth")
    assert torch.equal(network.weight, torch.ones(1, 2))


def test_weights_in_safetensors(tmp_path):
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    weights = find_weights(load_checkpoint(tmp_path / "a.safetensors"), "a")
    assert torch.equal(weights["weight"], torch.ones(1, 2))


def test_weights_under_two_keys_are_refused():
    with pytest.raises(CheckpointError, match=r"several keys \(net, model\)"):
        find_weights({"net": WEIGHTS, "model": WEIGHTS}, "a.pth")


def test_older_layout_with_flipped_or_missing_bytes_ends_in_one_error(tmp_path, capsys):
    path = tmp_path / "older.pth.tar"
    torch.save({"net": {"a": torch.arange(5.0)}, "lr": 0.5}, path, _use_new_zipfile_serialization=False)
    original, generator, refused = path.read_bytes(), random.Random(0), 0
    cuts = [original[:length] for length in range(len(original))]
    for content in map(bytearray, cuts + [original] * 500):
        if len(content) == len(original):
            content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        try:
            load_checkpoint(path)
        except CheckpointError:
            refused += 1
    with capsys.disabled():
        print(f"\nolder checkpoints, cut or flipped: {len(cuts) + 500}, {refused} refused")
    assert refused > len(cuts)
