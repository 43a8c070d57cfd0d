"""The script for a day with a GPU, without one."""

import json
import subprocess
import sys

import pytest
import torch

from benchmarks import gpu, gpu_report
from lib.config.paths import PROJECT_ROOT
from lib.test.tracker import reader

QUICK = ["parity", "graphs", "latency", "training", "kernels", "compile"]


def test_a_dry_run_gives_facts_of_every_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(reader, "compile_step", lambda step: step)  # no C++ compiler for half a minute
    facts, docs = tmp_path / "facts.json", tmp_path / "performance.md"
    docs.write_text(f"before\n{gpu_report.BEGIN}\nestimates\n{gpu_report.END}\nafter\n")
    assert gpu.main(["--dry", *QUICK[:1], "--json", str(facts)]) == 0
    assert gpu.main(["--dry", *QUICK[1:], "--json", str(facts), "--write_docs", "--docs", str(docs)]) == 0
    content = json.loads(facts.read_text())
    assert {fact["section"] for fact in content["facts"]} == set(QUICK)
    assert content["about"]["torch"] == torch.__version__
    printed = capsys.readouterr().out
    assert "parity | bundled weights, float32: share of equal tokens | 1 | at least 0.99 | ok" in printed
    text = docs.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "estimates" not in text
    assert "| parity | bundled weights, float32: share of equal tokens | 1 | at least 0.99 |" in text


def test_what_is_not_as_expected_is_to_look_at(capsys, monkeypatch):
    read = gpu.read_tokens
    calls = iter(range(100))
    monkeypatch.setattr(gpu, "read_tokens", lambda *arguments: read(*arguments) + next(calls) % 2)
    assert gpu.main(["--dry", "graphs"]) == 1
    assert "LOOK graphs: float32, batch 1: tokens equal to eager ones: 0" in capsys.readouterr().out


def test_a_part_that_fails_lets_the_next_one_run(capsys, monkeypatch):
    def fail(report):
        raise RuntimeError("CUDA error: something\nlong")

    monkeypatch.setitem(gpu.PARTS, "parity", fail)
    assert gpu.main(["--dry", "parity", "kernels"]) == 1
    printed = capsys.readouterr().out
    assert "parity | ended by RuntimeError | CUDA error: something long | no error | LOOK" in printed
    assert "kernels | float32, batch 1: kernels | 0" in printed


@pytest.mark.endurance
def test_the_script_and_the_parts_that_start_other_commands():
    command = [sys.executable, "benchmarks/gpu.py", "--dry", "overlap", "evaluation"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mean size of 48 JPEG files of 160 x 120, KiB" in done.stdout
    assert "samples/s" in done.stdout and "frames/s" in done.stdout
