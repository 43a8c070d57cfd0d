"""Sample i of epoch e is a function of (seed, e, i); what cannot be drawn is an error, never a loop."""

import itertools
import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from lib.data.base import SequenceInfo
from lib.train.data import frame_choice
from lib.train.data.batch import TrainingBatch, collate
from lib.train.data.frame_choice import FRAME_MODES, FramePolicy, draw_frames, frame_mode
from lib.train.data.loader import EpochKeys, TrainingLoader
from lib.train.data.sampler import DamageBudget, SampleKey
from lib.utils.errors import ConfigError, DataError
from lib.utils.seed import SampleRng
from tests.train.world import Squares, make_loader, make_sampler, tiny_config


def assert_equal(first: TrainingBatch, second: TrainingBatch):
    for name, value in vars(first).items():
        other = getattr(second, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_sample_depends_on_its_key_alone():
    cfg = tiny_config()
    sampler, other = make_sampler(cfg), make_sampler(cfg)
    forwards = [sampler.sample(SampleKey(3, index)) for index in range(6)]
    torch.manual_seed(99)
    np.random.seed(99)
    backwards = [other.sample(SampleKey(3, index)) for index in reversed(range(6))][::-1]
    assert_equal(collate(forwards), collate(backwards))


def test_global_generators_are_not_touched():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for _ in make_loader(tiny_config()).epoch(1):
        pass
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_seed_epoch_and_index_all_matter():
    sampler = make_sampler(tiny_config())
    crops = [sampler.sample(key).views.search.crops for key in (SampleKey(1, 0), SampleKey(2, 0), SampleKey(1, 1))]
    crops.append(make_sampler(tiny_config(TRAIN__SEED=7)).sample(SampleKey(1, 0)).views.search.crops)
    assert len({crop.tobytes() for crop in crops}) == 4


def test_epoch_3_is_the_same_for_any_number_of_workers_and_ranks():
    """1 or 2 ranks with 0, 1, 2 or 4 workers each: identical samples, every index once, in the order of the indices."""
    cfg = tiny_config(DATA__TRAIN__SAMPLE_PER_EPOCH=16)
    expected = list(make_loader(cfg).epoch(3))
    assert [key.index for batch in expected for key in batch.keys] == list(range(16))
    expected = collate_parts(expected)
    for num_workers, ranks in itertools.product((0, 1, 2, 4), (1, 2)):
        loaders = [
            TrainingLoader(make_sampler(cfg), EpochKeys(16, 4 // ranks, rank, ranks), num_workers=num_workers)
            for rank in range(ranks)
        ]
        steps = zip(*(loader.epoch(3) for loader in loaders), strict=True)
        assert_equal(collate_parts([batch for step in steps for batch in step]), expected)


def collate_parts(batches):
    """Batches one after the other, as one."""
    tensors = {
        field.name: torch.cat([getattr(batch, field.name) for batch in batches])
        for field in fields(TrainingBatch)
        if field.name not in ("keys", "sources")
    }
    names = {name: sum((getattr(batch, name) for batch in batches), ()) for name in ("keys", "sources")}
    return TrainingBatch(**tensors, **names)


def test_workers_outlive_an_epoch():
    cfg = tiny_config()
    expected, loader = make_loader(cfg), make_loader(cfg, num_workers=1)
    for epoch in (1, 3):
        pairs = list(zip(expected.epoch(epoch), loader.epoch(epoch), strict=True))
        assert len(pairs) == 18 // 4
        for first, second in pairs:
            assert_equal(first, second)


def test_epoch_can_start_at_a_step():
    loader = make_loader(tiny_config())
    whole = list(loader.epoch(2))
    rest = list(loader.epoch(2, first_step=2))
    assert len(rest) == len(whole) - 2
    for first, second in zip(whole[2:], rest, strict=True):
        assert_equal(first, second)


def test_ranks_share_out_a_step():
    """Two ranks see together, in each step, what one process with twice the batch sees; every index once."""
    ranks = [EpochKeys(24, 4, rank, 2) for rank in (0, 1)]
    single = EpochKeys(24, 8)
    for keys in (*ranks, single):
        keys.start_at(5)
    for first, second, both in zip(*ranks, single, strict=True):
        assert first + second == both
    assert [key.index for step in single for key in step] == list(range(24))


def test_epoch_smaller_than_a_step_is_refused():
    with pytest.raises(ConfigError, match="does not fill one step"):
        EpochKeys(3, 4)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_frame_stops_the_epoch_with_one_line(num_workers):
    loader = make_loader(tiny_config(), num_workers=num_workers, datasets=[Squares(broken_from=12)])
    with pytest.raises(DataError, match=r"sample \d+ of epoch 1: squares/\d/\d+.jpg: damaged image") as caught:
        list(loader.epoch(1))
    loader.close()
    assert "\n" not in str(caught.value)


def test_a_damaged_sample_is_replaced_and_named(caplog):
    """The replacement, too, is a function of the sample's key."""
    cfg = tiny_config()
    good, bad = Squares(name="GOOD"), Squares(name="BAD", broken_from=0)
    first, second = (make_sampler(cfg, datasets=[good, bad], ratios=[3, 1]) for _ in range(2))
    samples = [first.sample(SampleKey(1, index)) for index in range(20)]
    assert {sample.source.split("/")[0] for sample in samples} == {"GOOD"}
    messages = [record.message for record in caplog.records]
    assert messages and all(text.startswith("damaged sample, another takes its place: squares/") for text in messages)
    assert second.sample(SampleKey(1, 7)).source == samples[7].source


def test_damage_is_bounded():
    cfg = tiny_config()
    sampler = make_sampler(cfg, datasets=[Squares(broken_from=0)])
    with pytest.raises(DataError, match=r"damaged image; 3 others in its place are damaged as well"):
        sampler.sample(SampleKey(1, 0))
    sampler.damage = DamageBudget("skip", 5)
    with pytest.raises(DataError, match=r"more damaged samples in an epoch than DATA\.MAX_BAD_SAMPLES allows"):
        sampler.sample(SampleKey(1, 0))


def test_damage_is_counted_by_epoch_and_by_validation():
    """Two damaged samples in each of many epochs or validations are within a limit of two; three in one are not."""
    for keys in ([SampleKey(epoch, index) for epoch in range(1, 9) for index in (3, 7)], [SampleKey(0, 3)] * 8):
        budget = DamageBudget("skip", 2)
        for key in keys:
            budget.spend(DataError("x"), 1, key)
    budget.spend(DataError("x"), 2, keys[-1])
    with pytest.raises(DataError, match="more damaged samples in an epoch"):
        budget.spend(DataError("x"), 3, keys[-1])


class Wrong(Squares):
    """Every second sequence has a wrong number in its boxes."""

    def __init__(self, column, value):
        super().__init__()
        self.column, self.value = column, value

    def sequence_info(self, sequence):
        info = super().sequence_info(sequence)
        if sequence % 2:
            info.boxes_xywh[:, self.column] = self.value
        return info

    def frames(self, sequence, frame_ids):
        return Squares().frames(sequence, frame_ids)


@pytest.mark.parametrize("value", [1e9, -1e9, 3e38, math.inf, math.nan])
@pytest.mark.parametrize("column", range(4))
def test_absurd_boxes_are_never_cropped(column, value):
    sampler = make_sampler(tiny_config(), datasets=[Wrong(column, value)])
    samples = [sampler.sample(SampleKey(1, index)) for index in range(12)]
    assert all(torch.isfinite(sample.views.search.boxes_xywh).all() for sample in samples)
    assert {sample.source for sample in samples} == {"SQUARES/0", "SQUARES/2"}


def test_a_sequence_without_a_pair_of_frames_is_replaced_or_named(caplog, monkeypatch):
    monkeypatch.setattr("lib.train.data.frame_choice.MAX_FRAME_DRAWS", 20)

    def never(rng, info, policy):
        return frame_choice.causal_frames(rng, SequenceInfo(info.boxes_xywh, info.valid, info.visible & False), policy)

    sampler = make_sampler(tiny_config(), mode="causal")
    sampler.choose_frames = never
    with pytest.raises(DataError, match=r"SQUARES/\d: sampler mode 'causal': no frames in 20 draws.*3 others"):
        sampler.sample(SampleKey(1, 0))
    assert caplog.text.count("another takes its place: SQUARES/") == 3


class Invisible(Squares):
    def sequence_info(self, sequence):
        info = super().sequence_info(sequence)
        return SequenceInfo(info.boxes_xywh, info.valid, np.zeros(len(info), dtype=bool))


class Empty(Squares):
    def sequence_info(self, sequence):
        info = super().sequence_info(sequence)
        return SequenceInfo(info.boxes_xywh * [1, 1, 0, 1], info.valid, info.visible)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Invisible(), "SQUARES: none of .* sequences drawn has 20 frames"),
        (Squares(num_frames=19), "SQUARES: none of .* sequences drawn has 20 frames"),
        (Empty(), "too small to crop"),
    ],
)
def test_unusable_data_is_an_error(dataset, message, monkeypatch):
    monkeypatch.setattr("lib.train.data.sampler.MAX_SEQUENCE_DRAWS", 50)
    with pytest.raises(DataError, match=message):
        make_sampler(tiny_config(), datasets=[dataset]).sample(SampleKey(1, 0))


class Sparse(Empty):
    """Every second sequence has boxes that cannot be cropped."""

    def sequence_info(self, sequence):
        return super().sequence_info(sequence) if sequence % 2 else Squares.sequence_info(self, sequence)


def test_sample_with_an_empty_crop_is_drawn_again():
    sampler = make_sampler(tiny_config(), datasets=[Sparse()])
    sources = {sampler.sample(SampleKey(1, index)).source for index in range(20)}
    assert sources == {"SQUARES/0", "SQUARES/2"}


def test_data_sets_are_drawn_by_ratio():
    cfg = tiny_config()
    sampler = make_sampler(cfg, datasets=[Squares(name="A"), Squares(name="B")], ratios=[3, 1])
    sources = [sampler.sample(SampleKey(1, index)).source[0] for index in range(400)]
    assert sources.count("A") / 400 == pytest.approx(0.75, abs=0.06)


def test_image_data_set_shows_one_picture():
    dataset = Squares(num_frames=1)
    dataset.is_video = False
    sample = make_sampler(tiny_config(), datasets=[dataset]).sample(SampleKey(1, 0))
    assert sample.views.template.crops.shape == (1, 32, 32, 3)


@pytest.mark.parametrize("mode", FRAME_MODES)
def test_modes_draw_what_they_promise(mode):
    visible = np.arange(60) % 3 > 0
    info = SequenceInfo(np.ones((60, 4), np.float32), np.arange(60) % 3 != 1, visible)
    policy = FramePolicy(2, 1, (8,))
    for seed in range(200):
        choice = frame_mode(mode, policy)(SampleRng.from_seed(seed), info, policy)
        assert (len(choice.template), len(choice.search)) == (2, 1)
        assert visible[choice.search[0]] and visible[choice.template[0]]
        if mode == "causal":
            assert choice.template[1] < choice.template[0] < choice.search[0]
        elif mode == "order":
            assert choice.template + choice.search in (
                sorted(choice.template + choice.search),
                sorted(choice.template + choice.search, reverse=True),
            )
            assert visible[choice.template[1]]
        else:
            assert abs(choice.template[1] - choice.search[0]) <= 8
            allowed = {"trident": visible, "stark": info.valid, "trident_pro": visible | True}[mode]
            assert allowed[choice.template[1]]


def test_drawing_frames_at_the_edges():
    flags = np.array([True, False, True])
    rng = SampleRng.from_seed(0)
    assert draw_frames(rng, flags, 0) == []
    assert draw_frames(rng, flags, 2, 1, 2) is None
    assert draw_frames(rng, flags, 1, 7, 9) is None
    assert set(draw_frames(rng, flags, 50, -5, 99)) == {0, 2}


@pytest.mark.parametrize(
    ("mode", "policy", "message"),
    [
        ("order", FramePolicy(1, 1, (0,)), "MAX_SAMPLE_INTERVAL"),
        ("order", FramePolicy(1, 1, (5, 6)), "takes one number"),
        ("stark", FramePolicy(1, 1, (5,)), "2 templates"),
        ("trident", FramePolicy(2, 2, (5,)), "1 search frame"),
        ("ordr", FramePolicy(1, 1, (5,)), "did you mean order"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(mode, policy, message):
    with pytest.raises(ConfigError, match=message):
        frame_mode(mode, policy)


@pytest.mark.parametrize(("ratios", "error"), [([1.0, 1.0], ConfigError), ([0.0], ConfigError), ([-1.0], ConfigError)])
def test_ratios_are_checked(ratios, error):
    with pytest.raises(error):
        make_sampler(tiny_config(), datasets=[Squares()], ratios=ratios)
    with pytest.raises(DataError, match="no sequences"):
        make_sampler(tiny_config(), datasets=[Squares(num_sequences=0)])
