"""What workspaces say, and that the shipped one is up to date."""

import configparser
import shlex
from pathlib import Path

import pytest
import yaml

from external.vot20 import run_tracker, workspace
from external.vot20.toolkit import Toolkit
from external.vot20.workspace import (
    TrackerEntry,
    config_text,
    published_entries,
    registry_text,
    sequences_folder,
    write_workspace,
)
from lib.config.paths import EXPERIMENTS_DIR, PROJECT_ROOT
from lib.utils.errors import ConfigError, InputError

SHIPPED = PROJECT_ROOT / "external" / "vot20" / "seqtrack"
NAMES = [f"seqtrack_{size}{masks}" for masks in ("", "_ar") for size in ("b256", "b384", "l256", "l384")]


def parse(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()  # as the toolkit does
    parser.read_string(text)
    return parser


def arguments(command: str) -> tuple[tuple, dict]:
    """What the command calls ``run`` with; ``python -c`` gets it after one round of shell rules."""
    quoted = shlex.split('python -c "{}"'.format(command.replace('"', '\\"')))[2]
    source = quoted.split("; ", 1)[1]
    called = []
    exec(source, {"run": lambda *args, **options: called.append((args, options))})
    return called[0]


def test_the_shipped_workspace_is_what_the_script_writes() -> None:
    registry = registry_text(published_entries(), python=None, root="../../..")
    assert (SHIPPED / "trackers.ini").read_text() == workspace.signed(registry)
    assert (SHIPPED / "config.yaml").read_text() == workspace.signed(workspace.config_text("vot2020/shortterm"))
    assert (SHIPPED / "../../..").resolve() == PROJECT_ROOT
    assert parse(registry).sections() == NAMES


def test_every_entry_calls_run_with_arguments_that_exist() -> None:
    options = {"save_dir": Path("/data/50 % off/it"), "device": "cuda:1", "ar_checkpoint": Path("/ar.pth.tar")}
    parser = parse(
        registry_text(published_entries(options), python="/opt/my env/bin/python", root="/home/me/Seq Track")
    )
    for name in NAMES:
        entry = parser[name]
        assert entry["protocol"] == "traxpython" and entry["paths"] == "/home/me/Seq Track"
        assert shlex.split(entry["python"]) == ["/opt/my env/bin/python"]
        assert int(entry["timeout"]) == 300
        (config,), given = arguments(entry["command"])
        assert (EXPERIMENTS_DIR / f"{config}.yaml").is_file() and name.startswith(config)
        assert given["save_dir"] == "/data/50 % off/it" and given["device"] == "cuda:1"
        assert given.get("masks", False) == name.endswith("_ar") == ("ar_checkpoint" in given)
        assert set(given) <= set(run_tracker.load.__kwdefaults__)


@pytest.mark.parametrize("path", ["/a'b", "/a:b", "/a;b", '/a"b', "/a\\b"])
def test_paths_that_the_toolkit_would_break(path: str) -> None:
    with pytest.raises(InputError, match="toolkit"):
        registry_text(published_entries(), python=None, root=path)


def test_names_that_the_toolkit_would_break() -> None:
    for name in ('a"b', "a$b", "a\\b", "a\nb", "a`b"):
        with pytest.raises(InputError, match="cannot pass on"):
            _ = TrackerEntry("x", "x", name).command


def test_edited_files_are_kept(tmp_path: Path) -> None:
    write_workspace(tmp_path, {"a.yaml": "one: 1\n", "b.ini": "[x]\n"})
    write_workspace(tmp_path, {"a.yaml": "one: 2\n", "b.ini": "[x]\n"})  # nobody touched it
    (tmp_path / "b.ini").write_text((tmp_path / "b.ini").read_text() + "timeout = 5\n")
    with pytest.raises(InputError, match=r"b\.ini: .*--force"):
        write_workspace(tmp_path, {"a.yaml": "one: 3\n", "b.ini": "[x]\n"})
    assert "one: 2" in (tmp_path / "a.yaml").read_text()
    write_workspace(tmp_path, {"a.yaml": "one: 3\n", "b.ini": "[x]\n"}, force=True)
    assert "timeout" not in (tmp_path / "b.ini").read_text()


def test_stacks_for_newer_toolkits(tmp_path: Path) -> None:
    stack = tmp_path / "stack" / "vot2020" / "shortterm.yaml"
    stack.parent.mkdir(parents=True)
    stack.write_text(
        "experiments:\n  baseline:\n    type: multistart\n    analyses:\n    - type: multistart_eao_score\n"
    )
    toolkit = Toolkit(Path("python"), "0.9.0", tmp_path)
    text = workspace.compat_stack_text(toolkit, "vot2020/shortterm")
    assert text.count("external.vot20.multistart.MultiStart") == 1 and "type: multistart_eao_score" in text
    with pytest.raises(ConfigError, match=r"did you mean vot2020/shortterm\?"):
        workspace.compat_stack_text(toolkit, "vot2020/shortern")
    versions = ("0.7.3", "0.7.4", "0.8.0", "0.9.0", "0.10.1", "1.0")
    assert [Toolkit(Path(), version, Path()).needs_compat for version in versions] == [False] * 2 + [True] * 4


def test_stacks_with_several_targets(tmp_path: Path) -> None:
    toolkit = Toolkit(Path("python"), "0.7.4", tmp_path)
    with pytest.raises(
        ConfigError, match=r"the stack vots2026/main needs vot-toolkit 0\.8\.0 or newer; python has 0\.7\.4"
    ):
        workspace.stack_file(toolkit, "vots2026/main")
    assert set(workspace.SINCE) <= set(workspace.STACKS)
    stack = tmp_path / "stack" / "vots2025"
    stack.mkdir(parents=True)
    main = "experiments:\n  baseline: {type: unsupervised, multiobject: True}\n"
    (stack / "main.yaml").write_text(main)
    (stack / "realtime.yaml").write_text(main + "  realtime: {type: unsupervised, realtime: {grace: 3}}\n")
    assert workspace.compat_stack_text(toolkit, "vots2025/main") == ""
    experiments = yaml.safe_load(workspace.compat_stack_text(toolkit, "vots2025/realtime"))["experiments"]
    assert experiments["realtime"] == {"type": "external.vot20.multistart.RealTime", "realtime": {"grace": 3}}
    assert experiments["baseline"] == {"type": "unsupervised", "multiobject": True}

    folder = tmp_path / "ws"
    write_workspace(folder, {"config.yaml": config_text("vots2025/main")})
    assert not workspace.is_scored(toolkit, folder)
    (folder / "own.yaml").write_text("experiments: {baseline: {type: unsupervised, analyses: [{type: longterm_ar}]}}")
    for name in ("own.yaml", "no/such"):
        write_workspace(folder, {"config.yaml": config_text(name)})
        assert workspace.is_scored(toolkit, folder)
    with pytest.raises(InputError, match="is a workspace of no/such; vots2023 needs one of its own"):
        workspace.check_own_workspace(folder, "vots2023")
    workspace.check_own_workspace(folder, "no/such")
    workspace.check_own_workspace(tmp_path / "new", "vots2023")

    files = {"config.yaml": config_text("./stack.yaml")}
    write_workspace(folder, files | {"stack.yaml": workspace.compat_stack_text(toolkit, "vots2025/realtime")})
    workspace.check_own_workspace(folder, "vots2025/realtime")  # whether this toolkit needs our experiments or not
    for stack in ("vots2025/main", "vot2020/shortterm"):
        with pytest.raises(InputError, match=f"is a workspace of vots2025/realtime; {stack} needs one of its own"):
            workspace.check_own_workspace(folder, stack)


@pytest.mark.parametrize("used", ["results", "sequences/list.txt"])
def test_stacks_of_one_target_are_not_mixed(used: str, tmp_path: Path) -> None:
    write_workspace(tmp_path, {"config.yaml": config_text("vot2020/shortterm")})
    workspace.check_own_workspace(tmp_path, "vot2021/shortterm")  # nothing is there yet
    (tmp_path / used).mkdir(parents=True)
    workspace.check_own_workspace(tmp_path, "vot2020/shortterm")
    with pytest.raises(InputError, match="is a workspace of vot2020/shortterm; vot2021/shortterm needs one"):
        workspace.check_own_workspace(tmp_path, "vot2021/shortterm")


def test_data_sets_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stack: x\nsequences: elsewhere\n")
    assert workspace.sequences_folder(tmp_path) == tmp_path / "elsewhere"
    with pytest.raises(InputError, match=r"no config\.yaml"):
        workspace.sequences_folder(tmp_path / "no")
    folder = tmp_path / "elsewhere"
    with pytest.raises(InputError, match="no such folder"):
        workspace.check_sequences(folder)
    folder.mkdir()
    with pytest.raises(InputError, match=r"no list\.txt"):
        workspace.check_sequences(folder)
    (folder / "list.txt").write_text("")
    with pytest.raises(InputError, match="it is empty"):
        workspace.check_sequences(folder)
    (folder / "list.txt").write_text("ants1\n\n")
    with pytest.raises(InputError, match="2 of 2 sequences are not there: ants1"):
        workspace.check_sequences(folder)
    (folder / "ants1").mkdir()
    (folder / "ants1" / "groundtruth.txt").touch()
    (folder / "list.txt").write_text("ants1\n")
    workspace.check_sequences(folder)
    (folder / "ants1" / "groundtruth.txt").rename(folder / "ants1" / "groundtruth_1.txt")
    workspace.check_sequences(folder)


@pytest.mark.parametrize("name", ["", "a]\ncommand = import os", "a[b", "a\rb"])
def test_a_name_that_would_change_the_registry_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a tracker"):
        registry_text([TrackerEntry(name, "label", "seqtrack_b256")], python=None)
    with pytest.raises(InputError, match="cannot start a tracker"):
        registry_text([TrackerEntry("a", "a", "seqtrack_b256")], python="x\ny")


@pytest.mark.parametrize(
    "place", ["/data/a: b", "/data/#1", "/data/[x]", "/data/new\nline", "/data/plain", "/data/'q'"]
)
def test_any_folder_of_sequences_is_read_back(tmp_path: Path, place: str) -> None:
    (tmp_path / "config.yaml").write_text(config_text("vot2020/shortterm", place))
    assert str(sequences_folder(tmp_path)) == place
