"""Seeded hostile input: every case ends in an answer or in one line of error, never in a traceback.

Each campaign draws cases until its time is over (at least ``LEAST``) and prints how many ended how.
"""

import collections
import importlib
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from lib.config.paths import PROJECT_ROOT
from lib.config.seqtrack.config import load_config
from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.cli import run_script
from lib.utils.errors import SeqTrackError
from tests.models.tiny import tiny_model

SECONDS = 3.0
LEAST = 25
SCRIPTS = sorted(
    path.stem for path in (PROJECT_ROOT / "tracking").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
)
ALWAYS = {"profile_model": ["--count_only"]}  # a real network takes a minute to time
# These start by themselves what takes minutes, or write where the machine's user would not expect it.
NOT_FUZZED = {"check_install", "demo", "train_demo", "prepare_demo_data", "vot_selftest", "create_default_local_file"}

ODD_VALUES = "x nan 1e400 0x10 é☃ ${HOME} ~none/x"
ODD_NUMBERS = "1 20.5 -3 0 nan NaN inf 1e9 1e400 0x1 १ x 1.2.3"
ODD_FLAGS = """
-1 0 1 3 1e9 nan inf 99999999999999999999 ~nobody/x
../../.. /dev/null /proc/self/mem /proc/1/root/x loop empty file . / - -- = $(x)
[1,2 {} a,b,c,d 1,2,3,4 1,2,30,40 -1e9,0,1e9,1e9 nan,1,2,3 a=b TRAIN.LR=x
seqtrack seqtrack_b256 got10k_val folder:empty folder:file folder:nothing lasot file.yaml
"""
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, 2**70, -(2**70), 10**40),
    *(0.5, -0.5, 1e-300, 1e30, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x" * 10_000, "a\0b", "a\nb", "\x1b[31m", "\udcff", *ODD_VALUES.split()),
    *([], [0], [-1, 2], ["x"], [[1]], [None], [float("nan")] * 3, [1] * 5000, {}, {"x": 1}, {1: {2: {3: 4}}}),
)
TEXTS = ("", " ", "x" * 5000, "\udcff", "\n", "\x1b[31mred", *ODD_FLAGS.split())


class Campaign:
    """Runs cases for a bounded time and counts how they end."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.random = random.Random(f"{name}{seed}")
        self.counts: collections.Counter[str] = collections.Counter()

    def cases(self) -> Iterator[int]:
        """Numbers of the cases to draw."""
        start = time.monotonic()
        while self.counts.total() < LEAST or time.monotonic() - start < SECONDS:
            yield self.counts.total()

    def run(self, case: object, act: Callable[[], object]) -> None:
        """Run a case; what is neither an answer nor a refusal fails the test with the case."""
        try:
            act()
        except SeqTrackError as error:
            text = str(error)
            assert "\n" not in text and len(text) < 1500, (self.name, case, text)
            self.counts["refused"] += 1
        except (Exception, KeyboardInterrupt) as error:
            raise AssertionError(f"{self.name}: {case!r} ends in {type(error).__name__}: {error}") from error
        else:
            self.counts["answered"] += 1

    def report(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Print the counts."""
        with capsys.disabled():
            print(f"\nfuzz {self.name}: {self.counts.total()} cases, {dict(self.counts)}")


def flipped(data: bytes, draw: random.Random) -> bytes:
    """``data`` with a few bytes changed, cut off, or repeated."""
    changed = bytearray(data)
    kind = draw.randrange(4)
    if kind < 2:
        for _ in range(draw.choice((1, 1, 3, 20))):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        del changed[draw.randrange(len(changed)) :]
    else:
        place, length = draw.randrange(len(changed)), draw.randrange(1, 200)
        changed[place:place] = changed[place : place + length] or b"\0"
    return bytes(changed)


def hostile_text(draw: random.Random) -> bytes:
    """Lines of boxes, most of them right, in the ways that files go wrong."""
    numbers = ["", "9" * 30, "\0", *ODD_NUMBERS.split()]
    lines = []
    for _ in range(draw.choice((0, 1, 3, 6))):
        good = draw.random() < 0.6
        count = 4 if good else draw.randrange(7)
        fields = [str(draw.randrange(5, 40)) if good else draw.choice(numbers) for _ in range(count)]
        lines.append(draw.choice((",", "\t", " ", ", ", ";")).join(fields))
    text = draw.choice(("\n", "\r\n", "\r", "\n\n")).join(lines) + draw.choice(("", "\n", "\n\n", "\x1a"))
    mark, encoding = draw.choice((b"", b"", b"\xef\xbb\xbf", b"\xff\xfe")), draw.choice(("utf-8", "utf-8", "utf-16"))
    return mark + text.encode(encoding)


@pytest.fixture()
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with a few things that are in the way."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "file.yaml").write_text("TRAIN: [")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture()
def video(place: Path) -> Path:
    """Three frames with ground truth, in the dataset ``folder:videos``."""
    folder = place / "videos" / "one"
    folder.mkdir(parents=True)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    (folder / "groundtruth.txt").write_text("1,2,20,20\n" * 3)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", [name for name in SCRIPTS if name not in NOT_FUZZED])
def test_flags(script: str, place: Path, monkeypatch, capsys) -> None:
    module = importlib.import_module(f"tracking.{script}")
    monkeypatch.setattr(sys, "argv", [f"{script}.py"])
    monkeypatch.setattr("subprocess.Popen.__init__", refuse_to_start)
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: None)  # flags that are right would serve for ever
    if hasattr(module, "DEFAULT_WORKSPACE"):
        monkeypatch.setattr(module, "DEFAULT_WORKSPACE", place / "workspace")
    with pytest.raises(SystemExit) as asked:
        module.main(["--help"])
    assert asked.value.code == 0
    flags = sorted(set(re.findall(r"--[a-z_]+", capsys.readouterr().out)) - {"--help"})
    campaign = Campaign(script)
    start = time.monotonic()
    while time.monotonic() - start < SECONDS / 4:
        draw = campaign.random
        arguments = [*ALWAYS.get(script, [])]
        for _ in range(draw.randrange(7)):
            arguments += draw.sample([*flags, *TEXTS], 1)
        if draw.random() < 0.5 and flags:
            for flag in draw.sample(flags, min(len(flags), 2)):
                arguments += [flag, draw.choice(TEXTS)]
        campaign.run(arguments, lambda arguments=arguments: exit_code_is_known(module, arguments))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err and max(map(len, printed.err.splitlines()), default=0) < 6000, arguments
    campaign.report(capsys)


def refuse_to_start(*_: object, **__: object) -> None:
    """No case needs another program."""
    raise FileNotFoundError(2, "not started in this test")


def exit_code_is_known(module: object, arguments: list[str]) -> None:
    try:
        code = run_script(lambda: module.main(arguments))
    except SystemExit as error:  # argparse
        code = error.code
    assert code in (0, 1, 2), code
    if code == 2:
        raise SeqTrackError("refused")


def test_yaml_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def leaves(options: dict, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for key, value in options.items():
            yield from leaves(value, (*prefix, key)) if isinstance(value, dict) and value else [(*prefix, key)]

    keys = sorted(leaves(load_config("seqtrack_b256")))
    campaign, path = Campaign("YAML options"), tmp_path / "x.yaml"
    for _ in campaign.cases():
        key, value = campaign.random.choice(keys), campaign.random.choice(VALUES)
        options: object = value
        for part in reversed(key[: campaign.random.choice((1, 2, 9))]):
            options = {part: options}
        text = yaml.safe_dump(options, allow_unicode=campaign.random.random() < 0.5).encode("utf-8", "surrogateescape")
        path.write_bytes(flipped(text, campaign.random) if campaign.random.random() < 0.2 else text)
        campaign.run((key, value), lambda: load_config(path))
    campaign.report(capsys)
    assert campaign.counts["refused"] > campaign.counts["answered"] > 0


def test_ground_truth_text(video: Path, capsys, monkeypatch) -> None:
    from tracking import check_data

    monkeypatch.setattr(sys, "argv", ["check_data.py"])
    campaign = Campaign("ground-truth text")
    for _ in campaign.cases():
        text = hostile_text(campaign.random)
        name = campaign.random.choice(("groundtruth.txt", "groundtruth.txt", "absence.label"))
        (video / "groundtruth.txt").write_text("1,2,20,20\n" * 3)
        (video / name).write_bytes(text)
        campaign.run((name, text), lambda: exit_code_is_known(check_data, ["folder:videos"]))
        (video / "absence.label").unlink(missing_ok=True)
        assert "Traceback" not in capsys.readouterr().err
    campaign.report(capsys)
    assert campaign.counts["answered"] > 0


def test_result_files(place: Path, video: Path, capsys, monkeypatch) -> None:
    from tracking import analysis_results

    monkeypatch.setattr(sys, "argv", ["analysis_results.py"])
    results = place / "results" / "videos"
    results.mkdir(parents=True)
    campaign = Campaign("result files")
    for _ in campaign.cases():
        text = hostile_text(campaign.random)
        (results / "one.txt").write_text("1\t2\t20\t20\n" * 3)
        name = campaign.random.choice(("one.txt", "one.txt", "one_time.txt", "manifest.json"))
        (results / name).write_bytes(text)
        arguments = ["--results", "results", "--dataset", "folder:videos", "--save_dir", "out", "--no_plots"]
        campaign.run((name, text), lambda arguments=arguments: exit_code_is_known(analysis_results, arguments))
        for extra in ("one_time.txt", "manifest.json"):
            (results / extra).unlink(missing_ok=True)
        assert "Traceback" not in capsys.readouterr().err
    campaign.report(capsys)
    assert campaign.counts["refused"] > 0


def test_checkpoints_with_flipped_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = tiny_model()
    path = tmp_path / "SEQTRACK_ep0001.pth.tar"
    torch.save({"net": network.state_dict(), "epoch": 1}, path)
    data = path.read_bytes()
    campaign = Campaign("checkpoints with flipped bytes")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for _ in campaign.cases():
        changed = flipped(data, campaign.random)
        path.write_bytes(changed)
        campaign.run(len(changed), lambda: load_model_weights(network, load_checkpoint(path), path))
    campaign.report(capsys)
    # A flip that the format does not notice (a time stamp, padding) must leave the weights as they were.
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert campaign.counts["refused"] > campaign.counts["answered"]
