"""Damaged results, time files, manifests, labels and flags: a score or one line, never a traceback."""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tracking.analysis_results as script
from lib.utils.cli import run_script
from tests.evaluation import fakes

CASES = 80
LENGTHS = {"one": 5, "two": 8}
TOKENS = [
    b"nan", b"inf", b"-inf", b"1e400", b"-1", b"1e300", b"", b"\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf",
    b"1_0", b"0x10", b"=1+1", b"{", b"[" * 3000, b"9" * 5000, b"\x1b[31m", b"\xe2\x80\xae", b"NaN,NaN,NaN,NaN",
    b"1 2 3 4 5", b"\t\t", b",", b"9" * 30, b"\xd9\xa1", b"null", b'"', b"\x85", b"\x0c", b"\xe2\x80\xa8", b"None",
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    for seed, (name, frames) in enumerate(LENGTHS.items()):
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        for index in range(frames):
            (folder / f"{index:03d}.jpg").touch()
        np.savetxt(folder / "groundtruth.txt", fakes.truth_boxes(frames, seed), delimiter=",", fmt="%.2f")
        (folder / "absence.label").write_text("0\n" * frames)
        boxes = np.add(fakes.truth_boxes(frames, seed), [2, 0, 0, 0])
        for config in ("good", "bad"):
            results = tmp_path / "test" / "tracking_results" / "seqtrack" / config / "videos"
            fakes.write_results(results, [(name, boxes)])
            (results / "manifest.json").write_text(json.dumps({"checkpoint": "/x/y.pth", "sha256": "a" * 64}))
    return tmp_path


def damaged(rng: random.Random, content: bytes) -> bytes:
    """The content with one to three changes."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randint(0, len(content))
        end = min(len(content), start + rng.choice([0, 0, 1, 5, 100]))
        kind = rng.randrange(4)
        if kind == 0:
            content = content[:start] + rng.choice(TOKENS) + content[end:]
        elif kind == 1:
            content = content[:start]
        elif kind == 2:
            content = content[:start] + rng.randbytes(rng.randint(1, 4)) + content[end:]
        else:
            lines = content.splitlines(keepends=True) or [b""]
            index = rng.randrange(len(lines))
            lines[index] = rng.choice([b"", lines[index] * 2, rng.choice(TOKENS) + b"\n"])
            content = b"".join(lines)
    return content


def test_a_damaged_file_is_a_score_or_one_line(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, outcomes, seen = random.Random(5), Counter(), Counter()
    files = sorted(path for path in world.rglob("*") if path.suffix in (".txt", ".json", ".label"))
    assert len(files) == 2 * 2 + 2 * (2 * 2 + 1)
    command = ["--dataset", f"folder:{world / 'videos'}", "--no_plots", "--per_sequence"]
    command += ["--data_dir", str(world), "--save_dir", str(world)]
    for case in range(CASES):
        victim = files[case % len(files)]
        before = victim.read_bytes()
        victim.write_bytes(damaged(rng, before))
        flags = rng.choice([[], ["--allow-missing"], ["--no-cache"], ["--static_box"]])
        flags = [*flags, "--protocol", *rng.choice([["seqtrack"], ["got10k", "pytracking"]])]
        code = run_script(lambda flags=flags: script.main([*command, *flags]))
        printed = capsys.readouterr()
        assert code in (0, 2), (case, victim)
        errors = [line for line in printed.err.splitlines() if ": error: " in line]
        assert len(errors) == (code == 2), (case, printed.err)
        assert max(map(len, printed.err.splitlines()), default=0) < 4200
        assert not set(printed.err + printed.out) & set("\x00\x1b\u202e\x85\u2028"), (case, victim)
        if code == 2:
            assert "nan" not in printed.out
        else:
            assert "AUC" in printed.out or "AO" in printed.out
            assert " nan" not in printed.out, (case, victim)
        outcomes[code], seen[victim.suffix] = outcomes[code] + 1, seen[victim.suffix] + 1
        victim.write_bytes(before)
        shutil.rmtree(world / "test" / "result_plots", ignore_errors=True)
    print(f"{CASES} damaged files: {dict(outcomes)}, by kind {dict(seen)}")
    assert outcomes[0] >= 20 and outcomes[2] >= 20


ODD = ["", ".", "..", "../x", "/", "/dev/null", "x" * 300, "a\nb", "\x1b[2J", "\udcff", "-1", "0"]
ODD += ["folder:", "folder:..", "~nobody/x", "="]
FLAGS = ["tracker", "config", "dataset", "results", "protocol", "playback", "output_dir", "data_dir", "save_dir"]


def test_odd_flags_are_a_score_or_one_line(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, outcomes = random.Random(6), Counter()
    for case in range(120):
        flags = ["--no_plots", "--data_dir", str(world), "--save_dir", str(world)]
        if rng.random() < 0.6:
            flags += ["--dataset", f"folder:{world / 'videos'}"]
        option = FLAGS[case % len(FLAGS)]
        # Where a folder would be written to, only values that are no folder.
        values = ["/dev/null", "/dev/null/x", "x" * 300] if option in ("output_dir", "save_dir") else ODD
        flags += [f"--{option}={rng.choice(values)}"]
        try:
            code = run_script(lambda flags=flags: script.main(flags))
        except SystemExit as error:  # argparse
            code = error.code
        printed = capsys.readouterr()
        assert code in (0, 2), (case, flags)
        if code == 2:
            assert len([line for line in printed.err.splitlines() if "error: " in line]) == 1, (flags, printed.err)
        assert "\x1b" not in printed.err + printed.out
        outcomes[code] += 1
    print(f"120 command lines: {dict(outcomes)}")
    assert outcomes[2] >= 60
