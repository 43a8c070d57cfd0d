"""Tracking while training: real scores, and a training that does not notice."""

from functools import partial

import numpy as np
import pytest
import torch

from lib.test.evaluation.data import Sequence
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.utils.errors import InputError
from lib.utils.image_io import write_image
from tests.train.world import Squares, make_trainer, tiny_config
from tracking import track_check, train
from tracking.track_check import TrackCheck, track_all


@pytest.fixture
def sequences(tmp_path, monkeypatch):
    """Three sequences of squares, of 5, 6 and 7 frames, as a benchmark."""
    torch.set_num_threads(1)
    made = []
    for number in range(3):
        count = 5 + number
        frames = Squares().frames(number, range(count))
        paths = [str(tmp_path / f"{number}_{index}.png") for index in range(count)]
        for path, frame in zip(paths, frames, strict=True):
            write_image(path, frame)
        made.append(Sequence(f"s{number}", paths, "squares", Squares().sequence_info(number).boxes_xywh[:count]))
    monkeypatch.setattr(track_check, "get_dataset", lambda name, paths: made)
    return made


def test_training_does_not_notice(sequences, tmp_path):
    cfg = tiny_config(TRAIN__EPOCH=2)
    plain = make_trainer(cfg, tmp_path / "plain")
    plain.train()
    trainer = make_trainer(cfg, tmp_path / "tracked")
    points = []
    trainer.writer.write = lambda prefix, scalars, step: points.append((prefix, step, dict(scalars)))
    trainer.track = partial(TrackCheck("squares"), cfg, trainer.network)
    trainer.train()
    tracked = [(step, set(scores)) for prefix, step, scores in points if prefix == "track"]
    assert tracked == [(4, {"AUC", "OP50", "OP75", "P", "NP"}), (8, {"AUC", "OP50", "OP75", "P", "NP"})]
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, trainer.network.state_dict()[name]), name


def test_boxes_are_those_of_the_tracker(sequences):
    cfg = tiny_config()
    check = TrackCheck("squares", 2)
    assert check.sequences == [sequences[0], sequences[1]]
    network = make_trainer(cfg, None).network.eval()
    params = track_check.parameters_from_config(cfg, checkpoint=None, dataset="squares")
    engine = track_check.SeqTrackEngine(params, network=network)
    for sequence, boxes in zip(sequences, track_all(engine, sequences), strict=True):
        tracker = SeqTrackTracker(params, engine)
        tracker.initialize(sequence.read_frame(0), {"init_bbox": sequence.init_box_xywh})
        expected = [tracker.track(sequence.read_frame(index))["target_bbox"] for index in range(1, len(boxes))]
        np.testing.assert_allclose(boxes[1:], expected, atol=1e-3)


def test_the_flag_says_where_the_benchmark_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(track_check, "get_dataset", lambda name, paths: pytest.fail(str(paths.data_dir)))
    with pytest.raises(pytest.fail.Exception, match=str(tmp_path)):
        TrackCheck("got10k_val", 2, tmp_path)


def test_hidden_truth_is_refused(sequences, monkeypatch):
    hidden = Sequence("h", sequences[0].frames, "squares", sequences[0].ground_truth_rect[:1])
    monkeypatch.setattr(track_check, "get_dataset", lambda name, paths: [hidden])
    with pytest.raises(InputError, match="--track_dataset got10k_test: its truth is not public"):
        TrackCheck("got10k_test")


def test_every_process_gets_the_flags():
    flags = [
        "--config",
        "seqtrack_b256",
        "--mode",
        "multiple",
        "--nproc_per_node",
        "2",
        "--track_dataset",
        "got10k_val",
    ]
    command = train.launcher_command(train.parse_args(flags))
    script = command.index(train.__file__)
    assert command[script + 1 : script + 3] == ["--script", "seqtrack"]
    assert command[-3:] == ["--track_dataset=got10k_val", "--track_every=10", "--track_sequences=20"]
