import json

import pytest
import torch

from lib.utils.cli import run_script
from lib.utils.errors import ConfigError
from tracking import profile_model as script
from tracking.profile_model import main


def test_counts_are_printed_in_both_conventions(capsys):
    assert main(["--script", "seqtrack", "--config", "seqtrack_b256", "--count_only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == ["65.8", "89.1"]
    assert lines[2].split()[-2:] == ["76.9", "90.6"]
    assert lines[3].split()[-2:] == ["73.1", "90.6"]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_latency_table_and_json(experiment, tmp_path, capsys, monkeypatch, dtype):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)  # the setting would outlive the test
    target = tmp_path / "profile.json"
    command = ["--config", str(experiment()), "--device", "cpu", "--frames", "3", "--warm_up", "1", "--batch_size", "2"]
    assert main([*command, "--dtype", dtype, "--json", str(target), "--threads", "1"]) == 0
    assert chosen == [1]
    printed = capsys.readouterr().out
    report = json.loads(target.read_text())
    latency = report["latency"]
    assert list(latency["milliseconds"]) == ["crop", "encode", "decode", "post", "total"]
    assert all(0 < stage["median"] <= stage["p90"] for stage in latency["milliseconds"].values())
    assert latency["frames_per_second"] == pytest.approx(2000 / latency["milliseconds"]["total"]["median"])
    assert latency["peak_memory_bytes"] > 1e7
    assert f"{latency['milliseconds']['encode']['median']:.2f}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch_size", "0"], "--batch_size must be from 1"),
        (["--batch_size", "1000000000"], "--batch_size must be from 1 to 1024"),
        (["--frames", "9" * 1000], "--frames must be from 1 to 100000"),
        (["--warm_up", "-1"], "--warm_up must be from 0"),
        (["--threads", "1000000000"], "--threads must be from 1"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--json", "."], "."),
    ],
)
def test_mistakes_are_refused_before_the_measuring(experiment, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "measure", lambda *_: pytest.fail("it measures"))
    assert run_script(lambda: main(["--config", str(experiment()), *arguments])) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and len(error) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_an_unknown_tracker_is_refused():
    with pytest.raises(ConfigError, match="unknown tracker 'seqtrak'"):
        main(["--script", "seqtrak"])


def test_a_long_measurement_is_announced(capsys):
    script.announce(0.5, 100)
    assert capsys.readouterr().out == ""
    script.announce(0.5, 1000)
    assert capsys.readouterr().out == "measuring 1000 steps: about 8 min by the first one\n"
