"""Sample *i* of epoch *e*: which dataset, which sequence, which frames, and the crops cut from them.

A sample is a pure function of ``(seed, epoch, index)``. Workers and ranks therefore need no state and no agreement, and
a run that starts again in the middle of an epoch meets the samples it would have met.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.data.base import SequenceInfo, TrainingDataset
from lib.train.data.frame_choice import FrameChoice, FramePolicy, frame_mode
from lib.train.data.processing import ProcessedSample, SeqTrackProcessing
from lib.utils.errors import ConfigError, DataError
from lib.utils.seed import SampleRng, sample_rng

logger = logging.getLogger(__name__)

MIN_SEQUENCE_LENGTH = 20
"""Shorter videos are never drawn."""
MAX_SEQUENCE_DRAWS = 10_000
"""Sequences drawn in vain before a dataset counts as unusable."""
MAX_SAMPLE_DRAWS = 100
"""Samples drawn in a row that are damaged or cannot be cropped before the data counts as unusable."""
MAX_RETRIES = 3
"""Other samples tried in place of a damaged one under the policy ``raise``."""


@dataclass(frozen=True)
class SampleKey:
    """Names one sample of a run."""

    epoch: int
    index: int


@dataclass(frozen=True)
class TrainingSample:
    """One sample and where it came from."""

    key: SampleKey
    source: str
    views: ProcessedSample


@dataclass
class DamageBudget:
    """How many damaged samples are replaced by others before the data counts as unusable; every one is logged.

    Attributes:
        policy: ``raise`` gives up when ``MAX_RETRIES`` others in place of one sample are damaged as well; ``skip`` goes
            on until there are more than ``limit`` in an epoch.
        limit: damaged samples that this process may meet in one epoch, or one validation, under the policy ``skip``.
        spent: how many it has met.
        last: where it met the last one.
    """

    policy: str = "raise"
    limit: int = 1000
    spent: int = 0
    last: SampleKey = SampleKey(-1, -1)

    def spend(self, error: DataError, failures: int, key: SampleKey) -> None:
        """Count a damaged sample.

        Args:
            error: what is wrong with it.
            failures: damaged ones in place of the same sample so far, this one included.
            key: of the sample; indices rise during an epoch, and every validation repeats those of the one before.

        Raises:
            DataError: if it was one too many.
        """
        if self.policy == "raise" and failures > MAX_RETRIES:
            raise DataError(f"{error}; {MAX_RETRIES} others in its place are damaged as well") from error
        if key.epoch != self.last.epoch or (failures == 1 and key.index <= self.last.index):
            self.spent = 0
        self.spent, self.last = self.spent + 1, key
        if self.policy == "skip" and self.spent > self.limit:
            raise DataError(f"{error}; more damaged samples in an epoch than DATA.MAX_BAD_SAMPLES allows") from error
        logger.warning("damaged sample, another takes its place: %s", error)


class TrackingSampler:
    """Draws training samples.

    Args:
        datasets: the datasets to draw from.
        ratios: their weights, any positive scale.
        mode: sampler mode, a key of ``FRAME_MODES``.
        policy: how many frames a sample has and how far apart.
        processing: turns frames into crops.
        seed: of the run.
        damage: what is done about samples that cannot be read.

    Raises:
        ConfigError: if the numbers do not fit each other, or the mode is unknown.
    """

    def __init__(
        self,
        *,
        datasets: Sequence[TrainingDataset],
        ratios: Sequence[float],
        mode: str,
        policy: FramePolicy,
        processing: SeqTrackProcessing,
        seed: int,
        damage: DamageBudget | None = None,
    ) -> None:
        if not datasets or len(datasets) != len(ratios):
            raise ConfigError(f"DATASETS_NAME and DATASETS_RATIO: {len(datasets)} names but {len(ratios)} ratios")
        if min(ratios) < 0 or sum(ratios) <= 0:
            raise ConfigError(f"DATASETS_RATIO: expected weights above 0, got {list(ratios)}")
        empty = [dataset.name for dataset in datasets if len(dataset) == 0]
        if empty:
            raise DataError(f"dataset {empty[0]} has no sequences")
        self.datasets = list(datasets)
        self.weights = [ratio / sum(ratios) for ratio in ratios]
        self.choose_frames = frame_mode(mode, policy)
        self.policy = policy
        self.processing = processing
        self.seed = seed
        self.damage = damage or DamageBudget()

    def sample(self, key: SampleKey) -> TrainingSample:
        """Make one sample.

        Raises:
            DataError: if frames or annotations cannot be read more often than ``damage`` allows, or nothing usable can
                be drawn.
        """
        return self.draw(key, sample_rng(self.seed, key.epoch, key.index))

    def draw(self, key: SampleKey, rng: SampleRng) -> TrainingSample:
        """As ``sample``, with the generators given by the caller."""
        source, failures = "", 0
        for _ in range(MAX_SAMPLE_DRAWS):
            dataset = rng.python.choices(self.datasets, self.weights)[0]
            sequence, info = self._draw_sequence(dataset, rng)
            source = dataset.sequence_name(sequence)
            try:
                choice = self._draw_frames(dataset, info, source, rng)
                views = self._process(dataset, sequence, info, choice, rng)
            except DataError as error:  # of this sequence; what is drawn next follows from the same generators
                failures += 1
                self.damage.spend(error, failures, key)
                continue
            if views is not None:
                return TrainingSample(key, source, views)
        raise DataError(
            f"{MAX_SAMPLE_DRAWS} samples in a row are damaged or have boxes too small to crop or absurdly large, the "
            f"last one in {source}"
        )

    def _draw_sequence(self, dataset: TrainingDataset, rng: SampleRng) -> tuple[int, SequenceInfo]:
        needed = 2 * (self.policy.num_template + self.policy.num_search)
        for _ in range(MAX_SEQUENCE_DRAWS):
            sequence = rng.python.randint(0, len(dataset) - 1)
            info = dataset.sequence_info(sequence)
            # Faithful: strictly more than twice the frames of a sample have to be visible.
            if not dataset.is_video or (info.visible.sum() > needed and len(info) >= MIN_SEQUENCE_LENGTH):
                return sequence, info
        raise DataError(
            f"dataset {dataset.name}: none of {MAX_SEQUENCE_DRAWS} sequences drawn has {MIN_SEQUENCE_LENGTH} frames "
            f"with the target visible in more than {needed}"
        )

    def _draw_frames(self, dataset: TrainingDataset, info: SequenceInfo, source: str, rng: SampleRng) -> FrameChoice:
        if dataset.is_video:
            try:
                return self.choose_frames(rng, info, self.policy)
            except DataError as error:
                raise DataError(f"{source}: {error}") from error
        return FrameChoice([0] * self.policy.num_template, [0] * self.policy.num_search)

    def _process(
        self, dataset: TrainingDataset, sequence: int, info: SequenceInfo, choice: FrameChoice, rng: SampleRng
    ) -> ProcessedSample | None:
        ids = choice.template + choice.search
        frames = dataset.lazy_frames(sequence, ids)
        boxes: Tensor = torch.from_numpy(info.boxes_xywh[ids])
        split = len(choice.template)
        return self.processing(frames[:split], boxes[:split], frames[split:], boxes[split:], rng)
