"""Tracking while training: real scores, and a training that does not notice."""

import numpy as np
import pytest
import torch
import yaml

from lib.config.paths import load_paths
from lib.data.registry import get_dataset
from lib.test.analysis.scoring import Scoring, score_results
from lib.test.analysis.selection import own_results
from lib.test.evaluation.results import ResultFolder
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import ConfigError, DataError, InputError
from lib.utils.image_io import write_image
from tests.models.tiny import nested
from tests.train.world import TINY, Squares, make_trainer, record_points, tiny_config
from tracking import test, track_check, train
from tracking.track_check import TrackCheck, track_all

NAME = "folder:squares"


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A data_dir with three sequences of squares, of 5, 6 and 7 frames."""
    torch.set_num_threads(1)
    monkeypatch.setenv("SEQTRACK_DATA_DIR", str(tmp_path / "elsewhere"))
    for number in range(3):
        folder = tmp_path / "data" / "squares" / f"s{number}"
        folder.mkdir(parents=True)
        count = 5 + number
        for index, frame in enumerate(Squares().frames(number, range(count))):
            write_image(folder / f"{index:04d}.png", frame)
        np.savetxt(folder / "groundtruth.txt", Squares().sequence_info(number).boxes_xywh[:count], delimiter=",")
    return load_paths("test", data_dir=tmp_path / "data", save_dir=tmp_path)


def test_training_does_not_notice(paths, tmp_path):
    cfg = tiny_config(TRAIN__EPOCH=2)
    plain = make_trainer(cfg, tmp_path / "plain")
    plain.train()
    points = []
    check = TrackCheck(NAME, paths=paths)
    hooks = {"track": lambda network: check(cfg, network), "start_records": record_points(points)}
    trainer = make_trainer(cfg, tmp_path / "tracked", **hooks)
    trainer.train()
    tracked = [(step, set(scores)) for prefix, step, scores in points if prefix == "track"]
    assert tracked == [(4, {"AUC", "OP50", "OP75", "P", "NP"}), (8, {"AUC", "OP50", "OP75", "P", "NP"})]
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, trainer.network.state_dict()[name]), name


def test_a_sequence_that_cannot_be_read_is_not_left_out(paths):
    (paths.data_dir / "squares" / "s1" / "0003.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 sequences cannot be read .*s1.groundtruth\.txt: 6 boxes for 5 frames"):
        TrackCheck(NAME, paths=paths)


def test_boxes_are_those_of_the_tracker(paths):
    cfg = tiny_config()
    check = TrackCheck(NAME, 2, paths=paths)
    sequences = get_dataset(NAME, paths=paths)
    assert [sequence.name for sequence in check.sequences] == ["s0", "s1"]
    network = make_trainer(cfg, None).network.eval()
    params = track_check.parameters_from_config(cfg, checkpoint=None, dataset="squares")
    engine = track_check.SeqTrackEngine(params, network=network)
    for sequence, boxes in zip(sequences, track_all(engine, sequences), strict=True):
        tracker = SeqTrackTracker(params, engine)
        tracker.initialize(sequence.read_frame(0), {"init_bbox": sequence.init_box_xywh})
        expected = [tracker.track(sequence.read_frame(index))["target_bbox"] for index in range(1, len(boxes))]
        np.testing.assert_allclose(boxes[1:], expected, atol=1e-3)


def test_scores_are_those_of_test_and_analysis(paths, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(nested(TINY)))
    trainer = make_trainer(tiny_config(), tmp_path)
    save_checkpoint({"net": trainer.network.state_dict()}, tmp_path / "weights.pth.tar")
    flags = ["--data_dir", str(paths.data_dir), "--save_dir", str(tmp_path), "--device", "cpu", "--dataset", NAME]
    checkpoint = ["--checkpoint", str(tmp_path / "weights.pth.tar")]
    assert test.main(["seqtrack", str(tmp_path / "tiny.yaml"), *flags, *checkpoint]) == 0
    folder = ResultFolder(tmp_path, "seqtrack", "tiny", "squares")
    sequences = get_dataset(NAME, paths=paths)
    expected = score_results([own_results(folder)], sequences, Scoring(), label="tiny").summary
    assert TrackCheck(NAME, paths=paths)(tiny_config(), trainer.network.eval()) == pytest.approx(expected, abs=1e-9)
    assert expected["AUC"] > 5


def test_data_dir_of_the_command_line_counts(paths, monkeypatch):
    checks = []
    monkeypatch.setattr(train, "train", lambda args, track, track_every: checks.append(track) or 0)
    flags = ["--config", "seqtrack_b256", "--track_dataset", NAME, "--track_sequences", "2"]
    assert train.main([*flags, "--data_dir", str(paths.data_dir)]) == 0
    assert [sequence.name for sequence in checks[0].sequences] == ["s0", "s1"]
    with pytest.raises(DataError, match="elsewhere"):
        train.main(flags)


def test_what_cannot_be_scored_is_refused_before_the_training(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", None)
    monkeypatch.setattr(train, "run_child", None)
    (tmp_path / "hidden.yaml").write_text("root: data/squares\nfirst_box_only: true\n")
    ground_truth = tmp_path / "data" / "squares" / "s0" / "groundtruth.txt"
    ground_truth.write_text(ground_truth.read_text().splitlines()[0])
    for name, error, message in (
        (str(tmp_path / "hidden.yaml"), InputError, "its ground truth is not public"),
        ("got10k_vall", ConfigError, "did you mean"),
        ("lasot", DataError, "lasot"),
    ):
        flags = ["--config", "seqtrack_b256", "--data_dir", str(paths.data_dir), "--track_dataset", name]
        for mode in ([], ["--mode", "multiple", "--device", "cpu"]):
            with pytest.raises(error, match=message):
                train.main([*flags, *mode])


def test_a_damaged_frame_costs_the_scores_and_not_the_epoch(paths, tmp_path, caplog):
    cfg = tiny_config(TRAIN__EPOCH=1)
    check = TrackCheck(NAME, paths=paths)
    trainer = make_trainer(cfg, tmp_path / "run", track=lambda network: check(cfg, network))
    (tmp_path / "data" / "squares" / "s1" / "0003.png").write_bytes(b"no image")
    assert trainer.train() == 0
    assert "[track: 1] no scores: " in caplog.text and "0003.png" in caplog.text
    assert trainer.store.latest().name == "SEQTRACK_ep0001.pth.tar"


def test_every_process_gets_the_flags():
    flags = "--config seqtrack_b256 --mode multiple --nproc_per_node 2 --track_dataset got10k_val"
    command = train.launcher_command(train.parse_args(flags.split()))
    script = command.index(train.__file__)
    assert command[script + 1 : script + 3] == ["--script", "seqtrack"]
    assert command[-3:] == ["--track_dataset=got10k_val", "--track_every=10", "--track_sequences=20"]
