"""Tracking of real sequences during training: what tracking/train.py passes to the trainer (training and testing do not
import each other)."""

from collections.abc import Sequence as AbstractSequence

import numpy as np
from easydict import EasyDict

from lib.config.paths import Paths, load_paths
from lib.data.registry import find_benchmark
from lib.data.sequence import Sequence
from lib.models.seqtrack import SeqTrack
from lib.test.analysis.metrics import summarise
from lib.test.analysis.scoring import Scoring
from lib.test.evaluation.results import to_integers
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker.seqtrack import SeqTrackEngine
from lib.utils.errors import DataError, InputError


class TrackCheck:
    """Tracks a few sequences of a benchmark with the current weights.

    Scores are those that tracking/test.py and tracking/analysis_results.py give for the same sequences.

    Args:
        dataset: name of the benchmark, which needs ground truth for all frames.
        max_sequences: how many are tracked, spread evenly over the benchmark.
        paths: path settings; by default those of the environment and the path file.

    Raises:
        ConfigError: if there is no such benchmark.
        DataError: if its data is missing or malformed.
        InputError: if the ground truth of the benchmark is not public.
    """

    def __init__(self, dataset: str, max_sequences: int = 20, *, paths: Paths | None = None) -> None:
        paths = load_paths("test") if paths is None else paths
        benchmark = find_benchmark(dataset, paths)
        sequences = benchmark.load(paths, strict=True)
        if not sequences:
            raise DataError(f"--track_dataset {dataset}: no sequences")
        count = min(max_sequences, len(sequences))
        self.benchmark = benchmark.name
        self.sequences = [sequences[index * len(sequences) // count] for index in range(count)]
        if not all(sequence.has_ground_truth for sequence in self.sequences):
            raise InputError(f"--track_dataset {dataset}: its ground truth is not public, nothing can be scored")

    def __call__(self, cfg: EasyDict, network: SeqTrack) -> dict[str, float]:
        """Scores of a network in evaluation mode, on whatever device it is: ``AUC``, ``OP50``, ... in percent."""
        params = parameters_from_config(cfg, checkpoint=None, dataset=self.benchmark)
        engine, scoring = SeqTrackEngine(params, network=network), Scoring()
        tracked = zip(self.sequences, track_all(engine, self.sequences), strict=True)
        return summarise([scoring.score(sequence, to_integers(boxes)) for sequence, boxes in tracked])


def track_all(engine: SeqTrackEngine, sequences: AbstractSequence[Sequence]) -> list[np.ndarray]:
    """Boxes (F, 4) xywh in pixels of each sequence, all of them tracked in lock-step."""
    boxes = [[sequence.init_box_xywh] for sequence in sequences]
    states = [engine.start(sequence.read_frame(0), sequence.init_box_xywh) for sequence in sequences]
    for frame in range(1, max(len(sequence.frames) for sequence in sequences)):
        live = [index for index, sequence in enumerate(sequences) if frame < len(sequence.frames)]
        images = [sequences[index].read_frame(frame) for index in live]
        for index, result in zip(live, engine.step([states[index] for index in live], images), strict=True):
            boxes[index].append(result.box_xywh)
    return [np.array(rows, dtype=np.float64) for rows in boxes]
