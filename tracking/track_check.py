"""Real tracking while a training runs: what tracking/train.py passes to the trainer (training and testing do not import
each other)."""

from collections.abc import Sequence as AbstractSequence
from pathlib import Path

import numpy as np
from easydict import EasyDict

from lib.config.paths import load_paths
from lib.models.seqtrack import SeqTrack
from lib.test.analysis.metrics import score_sequence, summarise
from lib.test.evaluation import get_dataset
from lib.test.evaluation.data import Sequence
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker.seqtrack import SeqTrackEngine
from lib.utils.errors import InputError


class TrackCheck:
    """Tracks a few sequences of a benchmark with the weights of the moment.

    Args:
        dataset: name of the benchmark, which needs truth boxes for all frames.
        max_sequences: how many are tracked, spread evenly over the benchmark.
        data_dir: where benchmarks lie, by default as the path settings say.

    Raises:
        ConfigError: if there is no such benchmark.
        DataError: if its data is missing or malformed.
        InputError: if the truth of the benchmark is not public.
    """

    def __init__(self, dataset: str, max_sequences: int = 20, data_dir: str | Path | None = None) -> None:
        sequences = get_dataset(dataset, paths=load_paths("test", data_dir=data_dir))
        count = min(max_sequences, len(sequences))
        self.dataset = dataset
        self.sequences = [sequences[index * len(sequences) // count] for index in range(count)]
        if not all(sequence.has_truth for sequence in self.sequences):
            raise InputError(f"--track_dataset {dataset}: its truth is not public, nothing can be scored")

    def __call__(self, cfg: EasyDict, network: SeqTrack) -> dict[str, float]:
        """Scores of the network, which lies on its device in evaluation mode: ``AUC``, ``OP50``, ... in percent."""
        params = parameters_from_config(cfg, checkpoint=None, dataset=self.dataset)
        engine = SeqTrackEngine(params, network=network)
        return summarise(
            [
                score_sequence(
                    boxes,
                    sequence.ground_truth_rect,
                    dataset=sequence.dataset,
                    target_visible=sequence.target_visible,
                )
                for sequence, boxes in zip(self.sequences, track_all(engine, self.sequences), strict=True)
            ]
        )


def track_all(engine: SeqTrackEngine, sequences: AbstractSequence[Sequence]) -> list[np.ndarray]:
    """Boxes (F, 4) of each sequence, all of them tracked in lock-step."""
    boxes = [[sequence.init_box_xywh] for sequence in sequences]
    states = [engine.start(sequence.read_frame(0), sequence.init_box_xywh) for sequence in sequences]
    for frame in range(1, max(len(sequence.frames) for sequence in sequences)):
        live = [index for index, sequence in enumerate(sequences) if frame < len(sequence.frames)]
        images = [sequences[index].read_frame(frame) for index in live]
        for index, result in zip(live, engine.step([states[index] for index in live], images), strict=True):
            boxes[index].append(result.box_xywh)
    return [np.array(rows, dtype=np.float64) for rows in boxes]
