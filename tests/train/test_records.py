"""What a run leaves behind can be read back and compared: manifest, log, curves, an image."""

import errno
import json
import logging
import math
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from lib.train.admin.manifest import git_revision, write_manifest
from lib.train.admin.tensorboard import TensorboardWriter, draw_batch, draw_generated
from lib.train.trainers.checkpoints import plain_config
from lib.utils.errors import DataError, InputError
from lib.utils.log import logging_to
from tests.train.world import CPU, make_loader, make_trainer, tiny_config
from tracking import compare_runs
from tracking.curves import compare, newest_manifest, parse_log, read_curves


def record_run(folder, **changes):
    """Train with a log, a manifest and curves; returns the log's path."""
    log = folder / "logs" / "seqtrack-tiny.log"
    log.parent.mkdir(parents=True)
    handler = logging.FileHandler(log)
    logger = logging.getLogger("lib.train")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    cfg = tiny_config(TRAIN__EPOCH=2, **changes)
    trainer = make_trainer(
        cfg,
        folder / "checkpoints",
        val_loader=make_loader(cfg),
        start_records=lambda trainer, first_step: TensorboardWriter(folder / "events", first_step),
    )
    write_manifest(
        folder / "logs" / "seqtrack-tiny-20240101-120000-000001.json",
        config=plain_config(cfg),
        device=CPU,
        world_size=1,
        revision="abc",
        resumed_from="",
    )
    trainer.train()
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    return log


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)
    return record_run(folder / "first"), record_run(folder / "second", TRAIN__LR=1e-3)


def test_log_and_events_say_the_same(two_runs):
    log, events = read_curves(two_runs[0]), read_curves(two_runs[0].parents[1] / "events")
    assert set(log) < set(events) and {"train/GradNorm", "train/Speed/io_wait"} <= set(events)
    assert sorted(log["train/Loss/total"]) == [2, 4, 6, 8] and sorted(log["val/IoU"]) == [4, 8]
    for name in ("train/Loss/total", "train/IoU", "val/Loss/total", "val/IoU", "train/LearningRate/encoder"):
        assert log[name] == pytest.approx(events[name], abs=1e-3), name
    (file,) = (two_runs[0].parents[1] / "events").iterdir()
    assert read_curves(file) == events and compare_runs.run_labels([file, two_runs[0]]) == ["events", "tiny"]


@pytest.mark.parametrize("clock", [lambda start: 2e9 - 5000 * start, lambda start: 2e9, lambda start: 1e9 * start])
def test_curves_do_not_depend_on_the_clock(tmp_path, monkeypatch, clock):
    """Each start resumes two steps before the end of the one before; the clock goes back, stands still, or leaps."""
    for start in range(3):
        monkeypatch.setattr(time, "time", lambda start=start: clock(start))
        writer = TensorboardWriter(tmp_path, first_step=4 * start + 1)
        for step in range(4 * start + 1, 4 * start + 7):
            writer.write("train", {"Loss/total": 100 * start + step}, step)
    events = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    events.Reload()
    expected = [(step, 100 * min((step - 1) // 4, 2) + step) for step in range(1, 15)]
    assert [(point.step, point.value) for point in events.Scalars("train/Loss/total")] == expected


def test_events_that_cannot_be_written_end_the_run(tmp_path):
    cfg = tiny_config()
    writer = TensorboardWriter(tmp_path / "events")
    writer.path = Path("/dev/full")
    trainer = make_trainer(cfg, tmp_path / "checkpoints", start_records=lambda trainer, first_step: writer)
    with pytest.raises(DataError, match="/dev/full: cannot be written: No space left on device"):
        trainer.train()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*: TensorBoard events cannot be written"):
        TensorboardWriter(tmp_path / "file" / "events")


def test_a_full_disk_names_the_manifest(tmp_path, monkeypatch):
    def fill(path, text, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fill)
    config = plain_config(tiny_config())
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.json'"):
        write_manifest(tmp_path / "run.json", config=config, device=CPU, world_size=1, revision="", resumed_from="")
    assert not list(tmp_path.iterdir())


def test_a_log_that_cannot_be_written_ends_the_run(capfd):
    with pytest.raises(DataError, match="/dev/full: cannot be written: No space left"), logging_to("/dev/full"):
        logging.getLogger("lib").error("message")
    assert "Traceback" not in capfd.readouterr().err


def test_two_runs_compared(two_runs, tmp_path, capsys):
    first, second = map(str, two_runs)
    assert compare_runs.main([first, first, "--tolerance", "0"]) == 0
    assert "equal throughout" in capsys.readouterr().out
    plot = tmp_path / "plot.png"
    assert compare_runs.main([first, second, "--tolerance", "1e-3", "--plot", str(plot)]) == 1
    out = capsys.readouterr().out
    assert "TRAIN.LR was 0.002, is 0.001" in out and "train/Loss/total" in out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_numbers_of_a_comparison():
    nan = float("nan")
    (row,) = compare({"a": {1: 1.0, 2: 2.0, 3: nan, 9: 7.0}, "b": {1: 0.0}}, {"a": {1: 1.0, 2: 2.5, 3: nan}, "c": {}})
    assert row == ("a", 3, row.last, pytest.approx(0.5 / 3), 0.5, 2, 2)


def test_of_a_run_that_starts_again_earlier_starts_leave_nothing_behind(tmp_path):
    steps = ((2, 3.0), (5, 3.0), (8, 3.0), (9, 3.0), (5, 2.0), (6, 1.0))
    text = "\n".join(
        f"[train: 2, {step}/10] loss {loss}, IoU 0.5, lr 1e-4/1e-5, 9.0 samples/s, io" for step, loss in steps
    )
    expected = {12: 3.0, 15: 2.0, 16: 1.0}
    assert parse_log(text)["train/Loss/total"] == expected
    for part in (steps[:4], steps[4:]):  # a file of events for each start
        with SummaryWriter(str(tmp_path), filename_suffix=str(len(part))) as writer:
            for step, loss in part:
                writer.add_scalar("train/Loss/total", loss, 10 + step)
        time.sleep(1.1)  # their names hold seconds
    assert read_curves(tmp_path)["train/Loss/total"] == expected


def test_three_runs_are_named_and_drawn(two_runs, tmp_path, capsys):
    first, second = two_runs
    third = tmp_path / "seqtrack-$x^{$.log"
    third.write_text(second.read_text())
    plot = tmp_path / "plot.PNG"
    runs = [str(first), str(second), str(third), str(first.parents[1] / "events")]
    assert compare_runs.main([*runs, "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "group0" not in out and "LearningRate/decoder" in out
    labels = ["tiny (first)", "tiny (second)", "$x^{$", "events"]
    assert compare_runs.run_labels(list(map(Path, runs))) == labels
    assert compare_runs.run_labels([first, first, third, first]) == ["tiny", "tiny #2", "$x^{$", "tiny #3"]
    rows = out.splitlines()
    start = next(index for index, line in enumerate(rows) if line.startswith("train/Loss/total"))
    for label, line in zip(labels, rows[start : start + 4], strict=True):
        assert f" {label}  " in line and " 4 " in line
    assert "tiny (second): TRAIN.LR was 0.002, is 0.001" in out


def test_what_is_no_run(tmp_path):
    line = "[train: 1, 2/4] loss 1.0, IoU 0.5, lr 1e-4/1e-5, 9.0 samples/s, io_wait 0 %\n"
    (tmp_path / "empty.log").write_text("nothing\n")
    (tmp_path / "damaged.log").write_text(line.replace("1.0", "1.0.0") + line.replace("1,", f"{'9' * 5000},"))
    (tmp_path / "good.log").write_text(line + "[val: 1] loss nan, IoU inf\n")
    (tmp_path / "good-20240101-120000-000001.json").write_text("{}")
    (tmp_path / "file").write_text("")
    good = str(tmp_path / "good.log")
    for arguments, message in (
        ([good, str(tmp_path / "none.log")], r"none\.log: no such log"),
        ([good, str(tmp_path / "empty.log")], r"empty\.log: holds no curves.*before step TRAIN"),
        ([good, str(tmp_path / "damaged.log")], r"damaged\.log: holds no curves"),
        ([good], "give two runs or more"),
        ([good, good, "--plot", "x.gif"], "expected a name that ends in"),
        ([good, good, "--tolerance", "nan"], "--tolerance nan: expected a number"),
        ([good, good], r"good-2024.*damaged manifest.*KeyError\('versions'\)"),
    ):
        with pytest.raises(InputError, match=message):
            compare_runs.main(arguments)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[]", b'{"versions": 1, "config": {}}', b"[" * 100_000, b"9" * 6000])
def test_damaged_manifests(tmp_path, content):
    (tmp_path / "run.log").write_text("")
    (tmp_path / "run-20240101-120000-000001.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run-2024.*\.json: damaged manifest"):
        newest_manifest(tmp_path / "run.log")


def test_the_last_start_counts_whatever_the_clock_said(tmp_path):
    log, later, earlier = (tmp_path / f"run{end}" for end in (".log", "-20240101-1-1.json", "-20230101-1-1.json"))
    for path, revision in ((later, "old"), (earlier, "new")):
        path.write_text(json.dumps({"revision": revision, "versions": {}, "config": {}}))
    log.write_text("")
    assert newest_manifest(log)["revision"] == "old"
    log.write_text(f"10:00:00 INFO manifest: {later}\n09:00:00 INFO manifest: elsewhere/{earlier.name}\n")
    assert newest_manifest(log)["revision"] == "new"


def test_plot_of_values_that_cannot_be_drawn(tmp_path):
    values = {1: math.nan, 2: math.inf, 3: 1e300, 4: 1.0, 10**18: -1e300}
    compare_runs.plot({"_a": {"x": values, "\x1b$": {1: 2.0}}, "b": {"x": values, "\x1b$": {}}}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    with pytest.raises(OSError, match=r"plot\.png"):
        compare_runs.plot({"a": {"x": values}, "b": {"x": values}}, tmp_path / "plot.png" / "plot.png")


def test_manifest(two_runs):
    manifest = newest_manifest(two_runs[0])
    assert manifest["config"]["MODEL"]["BINS"] == 50 and manifest["seed"] == 42 and manifest["revision"] == "abc"
    assert "torch" in manifest["versions"] and manifest["versions"]["cuda"]
    assert json.dumps(manifest)


def test_revision(tmp_path):
    assert git_revision(tmp_path) == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / "file").write_text("1")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    clean = git_revision(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("2")
    assert git_revision(tmp_path) == f"{clean}-dirty"


def test_image_of_a_batch():
    batch = next(make_loader(tiny_config()).epoch(1))
    image = draw_batch(batch, max_samples=3)
    assert image.shape == (32 + 64, 3 * 64, 3) and image.dtype == np.uint8
    x, y, w, _ = (round(value * 64) for value in batch.search_boxes_xywh[1, 0].tolist())
    line = image[32:, 64:128][min(max(y, 0), 63), max(x, 0) + 1 : min(x + w, 63)]
    assert (line == (80, 255, 80)).all()


@pytest.mark.parametrize("changes", [{}, {"MODEL__FEATURE_TYPE": "token"}], ids=["crop", "token"])
def test_images_of_a_validation_change_nothing(changes, tmp_path):
    runs = {}
    for every in (0, 2):
        cfg = tiny_config(TRAIN__VAL_IMAGE_INTERVAL=every, TRAIN__EPOCH=3, DATA__TRAIN__SAMPLE_PER_EPOCH=8, **changes)
        folder = tmp_path / str(every)
        hooks = {"start_records": lambda trainer, first_step, folder=folder: TensorboardWriter(folder, first_step)}
        trainer = make_trainer(cfg, tmp_path / f"checkpoints {every}", val_loader=make_loader(cfg), **hooks)
        trainer.train()
        runs[every] = trainer.network.state_dict(), torch.get_rng_state()
    assert torch.equal(runs[0][1], runs[2][1])
    for name, value in runs[0][0].items():
        assert torch.equal(value, runs[2][0][name]), name
    tags = {0: ["train/batch"], 2: ["train/batch", "val/boxes"] + ["val/attention"] * (not changes)}
    for every, expected in tags.items():
        events = EventAccumulator(str(tmp_path / str(every)))
        events.Reload()
        assert sorted(events.Tags()["images"]) == sorted(expected)
        for tag in expected[1:]:
            images = [event for event in events.Images(tag)]
            assert [image.step for image in images] == [4, 6]  # of epochs 2 and 3, the last one
            assert {(image.height, image.width) for image in images} == {(96, 256) if tag == "val/boxes" else (64, 320)}


def test_generated_boxes_are_drawn_beside_the_ground_truth():
    cfg = tiny_config()
    trainer, batch = make_trainer(cfg, None), next(make_loader(cfg).epoch(1))
    network = trainer.network.eval()
    template, search = trainer.step.actor.images(batch)
    images = draw_generated(network, template, search, batch)
    tokens, _ = network.generate(network.encode(template, search))
    x1, y1, x2, y2 = (
        round(value * 64) for value in network.vocabulary.decode_to_xyxy(tokens)[1].clamp(0, 0.98).tolist()
    )
    column = images["boxes"][32:, 64:128]
    assert (column[y1, x1 : x2 + 1] == (255, 160, 40)).all() and (column[y1 : y2 + 1, x1] == (255, 160, 40)).all()
    plain = draw_batch(batch)
    assert np.array_equal(images["boxes"][:32], plain[:32]) and not np.array_equal(images["boxes"], plain)
