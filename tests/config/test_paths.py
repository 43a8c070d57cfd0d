"""Path settings: flag over environment over path file over default, and nothing is ever overwritten."""

import itertools
import re
from pathlib import Path

import pytest

from lib.config import paths
from lib.utils.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for setting in paths.SETTINGS:
        monkeypatch.delenv(f"SEQTRACK_{setting.upper()}", raising=False)
    local = tmp_path / "local.py"
    monkeypatch.setitem(paths.LOCAL_FILES, "test", local)
    return local


def test_defaults() -> None:
    settings = paths.load_paths("test")
    assert (settings.save_dir, settings.data_dir) == (Path("."), Path("data"))
    assert settings.dataset_dir("got10k") == Path("data/got10k")
    assert "default of data_dir" in settings.origin("got10k")


# Highest first: what a dataset's folder comes from, and what it then is.
DATASET_SOURCES = (
    ("flag got10k_dir", "/flag/own", "the flag --got10k_dir"),
    ("flag data_dir", "/flag/data/got10k", "the flag --data_dir"),
    ("environment got10k_dir", "/env/own", "the environment variable SEQTRACK_GOT10K_DIR"),
    ("environment data_dir", "/env/data/got10k", "the environment variable SEQTRACK_DATA_DIR"),
    ("file got10k_dir", "/file/own", "got10k_dir in "),
    ("file data_dir", "/file/data/got10k", "data_dir in "),
    ("default", "data/got10k", "the default of data_dir"),
)


@pytest.mark.parametrize("given", list(itertools.product([False, True], repeat=6)))
def test_precedence_of_a_dataset_folder(
    given: tuple[bool, ...], no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 64 ways of giving a dataset's folder: the first row of the table that is given wins."""
    flags, lines = {}, []
    for (source, path, _), present in zip(DATASET_SOURCES, given, strict=False):
        kind, setting = source.split()
        value = path.removesuffix("/got10k")
        if present and kind == "flag":
            flags[setting] = value
        elif present and kind == "environment":
            monkeypatch.setenv(f"SEQTRACK_{setting.upper()}", value)
        elif present:
            lines.append(f'{setting} = "{value}"')
    no_settings.write_text("\n".join(lines))
    _, path, origin = next(row for row, present in zip(DATASET_SOURCES, (*given, True), strict=True) if present)
    settings = paths.load_paths("test", **flags)
    assert settings.dataset_dir("got10k") == Path(path)
    assert origin in settings.origin("got10k")


@pytest.mark.parametrize("given", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("setting", paths.BASE_DIRS)
def test_precedence_of_a_base_folder(
    setting: str, given: tuple[bool, ...], no_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, environment, file = given
    if environment:
        monkeypatch.setenv(f"SEQTRACK_{setting.upper()}", "/env")
    no_settings.write_text(f'{setting} = "/file"' if file else "")
    settings = paths.load_paths("test", **{setting: "/flag" if flag else None})
    expected = "/flag" if flag else "/env" if environment else "/file" if file else paths.BASE_DIRS[setting]
    assert getattr(settings, setting) == Path(expected)


def test_an_older_file_that_spells_out_every_folder_does_not_hide_a_flag(no_settings: Path) -> None:
    lines = [f'{name}_dir = "/old/data/{folder}"' for name, folder in paths.DATASET_DIRS.items()]
    no_settings.write_text("\n".join(['data_dir = "/old/data"', *lines]))
    assert paths.load_paths("test").dataset_dir("got10k") == Path("/old/data/got10k")
    assert paths.load_paths("test", data_dir="/new").dataset_dir("got10k") == Path("/new/got10k")


def test_home_folders_are_expanded_or_refused(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    no_settings.write_text('data_dir = "~/data"')
    assert paths.load_paths("test").dataset_dir("otb") == Path("/home/me/data/otb")
    no_settings.write_text('lasot_dir = "~nobody_of_that_name/data"')
    with pytest.raises(ConfigError, match=r"lasot_dir in .*local\.py: ~nobody_of_that_name/data: "):
        paths.load_paths("test")
    with pytest.raises(ConfigError, match="--data_dir: expected a path, got ''"):
        paths.load_paths("test", data_dir="")


def test_a_path_file_may_build_on_its_own_names(no_settings: Path) -> None:
    no_settings.write_bytes(
        b'\xef\xbb\xbf"""Mine."""\n_root = "/disk"\ndata_dir = save_dir = _root + "/d"\nlasot_dir = f"{data_dir}/L"\n'
    )
    settings = paths.load_paths("test")
    assert settings.dataset_dir("lasot") == Path("/disk/d/L")
    assert settings.save_dir == Path("/disk/d")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('lasto_dir = "/x"', "line 1: lasto_dir: no such path setting; did you mean lasot_dir?"),
        ("lasot_dir = 3", "lasot_dir: expected a path in quotes, got 3"),
        ("lasot_dir = ", "SyntaxError"),
        ("import sys\nsys.exit(0)", 'line 1: expected lines such as data_dir = "/data"'),
        ("lasot_dir = open('x').read()", "lasot_dir: expected a path in quotes, got open('x').read()"),
        ("lasot_dir = f'{1}'", "expected a path in quotes, got 1"),
        ("lasot_dir = otb_dir", "expected a path in quotes, got otb_dir"),
        ("lasot_dir = '\\0'", "expected a path in quotes"),
        ("lasot_dir = " + "+".join(["'a'"] * 50_000), "local.py"),
        ("lasot_dir = " + "(" * 5000, "local.py"),
        ("_a = 'x' * 10**10", "expected a path in quotes"),
        ("_a = 'aaaaaaaaaaaaaaaa'\n" + "_a = _a + _a\n" * 40, "line 10: _a: expected a path in quotes"),
        ("while True: pass", "line 1: expected lines such as"),
        ("a.b = 'x'", "line 1: expected lines such as"),
    ],
)
def test_bad_path_file(no_settings: Path, text: str, part: str) -> None:
    no_settings.write_text(text)
    with pytest.raises(ConfigError) as caught:
        paths.load_paths("test")
    assert str(no_settings) in str(caught.value)
    assert part in str(caught.value)
    assert len(str(caught.value)) < 1100
    assert no_settings.read_text() == text


def test_the_written_file_reads_back(no_settings: Path, tmp_path: Path) -> None:
    no_settings.write_text(paths.local_file_text("test", tmp_path, tmp_path / "d'a\"ta", tmp_path / "out"))
    settings = paths.load_paths("test")
    assert settings.dataset_dir("uav") == tmp_path / "d'a\"ta" / "uav"
    assert settings.save_dir == tmp_path / "out"


def make_checkpoints(save_dir: Path, config: str, *names: str) -> Path:
    folder = paths.checkpoint_dir(save_dir, config)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_checkpoint_by_epoch_or_by_model_zoo_name(tmp_path: Path) -> None:
    message = r"SEQTRACK_ep0500\.pth\.tar nor SEQTRACK\.pth\.tar beside it exists; MODEL_ZOO\.md says where"
    with pytest.raises(CheckpointError, match=message):
        paths.find_checkpoint(tmp_path, "seqtrack_b256", 500)
    zoo = make_checkpoints(tmp_path, "seqtrack_b256", "SEQTRACK.pth.tar") / "SEQTRACK.pth.tar"
    assert paths.find_checkpoint(tmp_path, "seqtrack_b256", 500) == zoo
    epoch = zoo.with_name("SEQTRACK_ep0500.pth.tar")
    epoch.touch()
    assert paths.find_checkpoint(tmp_path, "seqtrack_b256", 500) == epoch


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["SEQTRACK_ep0002.pth.tar"], r"holds epochs 2; .* --checkpoint (?P<file>.*SEQTRACK_ep0002\.pth\.tar)$"),
        (
            [f"SEQTRACK_ep{e:04d}.pth.tar" for e in range(1, 31)],
            r"30 epochs from 1 to 30; .* (?P<file>.*0030\.pth\.tar)$",
        ),
        (["SEQTRACK_ep0001_step000010.pth.tar"], r"holds SEQTRACK_ep0001_step000010\.pth\.tar; .* (?P<file>.*)$"),
        (
            ["earlier_01/SEQTRACK_ep0003.pth.tar"],
            r"holds earlier_01/SEQTRACK_ep0003\.pth\.tar; .* (?P<file>.*)$",
        ),
        (["mine.safetensors"], r"holds mine\.safetensors; .* (?P<file>.*)$"),
    ],
)
def test_other_checkpoints_are_named_and_bundled_weights_do_not_take_their_place(
    tmp_path: Path, names: list[str], found: str
) -> None:
    make_checkpoints(tmp_path, "seqtrack_demo", *names)
    with pytest.raises(
        CheckpointError, match=r"no checkpoint of epoch 64 of seqtrack_demo: .*set TEST\.EPOCH"
    ) as caught:
        paths.find_checkpoint(tmp_path, "seqtrack_demo", 64)
    match = re.search(found, str(caught.value))
    assert match, str(caught.value)
    assert Path(match["file"]).is_file()  # the advice can be followed


def test_bundled_weights_are_announced_every_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_checkpoints(tmp_path, "seqtrack_demo", ".SEQTRACK_ep0001.x1y2.pth.tar")  # a write that was cut off
    for _ in range(2):
        caplog.clear()
        path = paths.find_checkpoint(tmp_path, "seqtrack_demo", 64)
        assert path == paths.bundled_checkpoint("seqtrack_demo")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert str(path) in caplog.text


def test_a_dangling_link_is_not_replaced_by_bundled_weights(tmp_path: Path) -> None:
    folder = make_checkpoints(tmp_path, "seqtrack_demo", "x")
    (folder / "SEQTRACK_ep0064.pth.tar").symlink_to(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="holds epochs 64"):
        paths.find_checkpoint(tmp_path, "seqtrack_demo", 64)
