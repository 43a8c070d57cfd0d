"""A tiny world for training tests: a bright square on a dark ground, and a network of a few thousand weights."""

from pathlib import Path

import numpy as np
import torch

from lib.config.seqtrack.config import default_config
from lib.data.base import SequenceInfo, TrainingDataset
from lib.models.seqtrack import build_seqtrack
from lib.train.data.frame_choice import FramePolicy
from lib.train.data.loader import EpochKeys, TrainingLoader, batches_per_step
from lib.train.data.processing import Augmentation
from lib.train.data.sampler import TrackingSampler
from lib.train.train_script import build_processing, build_trainer
from lib.train.trainers.checkpoints import CheckpointStore
from lib.utils.errors import DataError
from lib.utils.launch import get_rank, get_world_size

CPU = torch.device("cpu")

TINY = {
    "MODEL.ENCODER.TYPE": "vit_test_patch16",
    "MODEL.ENCODER.PRETRAIN_TYPE": "scratch",
    "MODEL.HIDDEN_DIM": 32,
    "MODEL.BINS": 50,
    "MODEL.DECODER.NHEADS": 2,
    "MODEL.DECODER.DIM_FEEDFORWARD": 64,
    "MODEL.DECODER.DEC_LAYERS": 1,
    "TRAIN.LR": 2e-3,
    "TRAIN.ENCODER_MULTIPLIER": 1.0,
    "TRAIN.EPOCH": 3,
    "TRAIN.LR_DROP_EPOCH": 2,
    "TRAIN.BATCH_SIZE": 4,
    "TRAIN.NUM_WORKER": 0,
    "TRAIN.PRINT_INTERVAL": 2,
    "DATA.TRAIN.SAMPLE_PER_EPOCH": 18,
    "DATA.MAX_SAMPLE_INTERVAL": 10,
    "DATA.SEARCH.SIZE": 64,
    "DATA.SEARCH.CENTER_JITTER": 1.0,
    "DATA.SEARCH.SCALE_JITTER": 0.1,
    "DATA.TEMPLATE.SIZE": 32,
    "DATA.TEMPLATE.FACTOR": 2.0,
    "TEST.SEARCH_SIZE": 64,
    "TEST.TEMPLATE_SIZE": 32,
}


class Squares(TrainingDataset):
    """Sequences of a square that moves; every frame is a function of its numbers."""

    def __init__(self, num_sequences=4, num_frames=24, name="SQUARES", broken_from=999):
        self.name, self.num_sequences, self.num_frames, self.broken_from = name, num_sequences, num_frames, broken_from

    def __len__(self):
        return self.num_sequences

    def sequence_info(self, sequence):
        steps = np.arange(self.num_frames)
        boxes = np.stack((20 + 2 * steps, 30 + steps + 3 * sequence, 0 * steps + 16 + sequence, 0 * steps + 16), axis=1)
        flags = np.ones(self.num_frames, dtype=bool)
        return SequenceInfo(boxes.astype(np.float32), flags, flags)

    def frames(self, sequence, frame_ids):
        for frame in frame_ids:
            if frame >= self.broken_from:
                raise DataError(f"squares/{sequence}/{frame}.jpg: damaged image")
        boxes = self.sequence_info(sequence).boxes_xywh
        return [self._draw(sequence, boxes[frame].astype(int)) for frame in frame_ids]

    @staticmethod
    def _draw(sequence, box):
        image = np.random.RandomState(sequence).randint(0, 60, size=(96, 128, 3)).astype(np.uint8)
        x, y, w, h = box
        image[y : y + h, x : x + w] = (250, 200, 40 * sequence)
        return image


def tiny_config(**overrides):
    return default_config(TINY | {key.replace("__", "."): value for key, value in overrides.items()})


def make_sampler(cfg, datasets=None, ratios=None, augmentation=None, mode="order"):
    datasets = datasets or [Squares()]
    gaps = (cfg.DATA.MAX_SAMPLE_INTERVAL,)
    return TrackingSampler(
        datasets=datasets,
        ratios=ratios or [1.0] * len(datasets),
        mode=mode,
        policy=FramePolicy(cfg.DATA.TEMPLATE.NUMBER, cfg.DATA.SEARCH.NUMBER, gaps),
        processing=build_processing(cfg, augmentation or Augmentation()),
        seed=cfg.TRAIN.SEED,
    )


def make_loader(cfg, num_workers=0, **arguments):
    world_size = get_world_size()
    accumulate = batches_per_step(cfg.TRAIN.GLOBAL_BATCH, cfg.TRAIN.BATCH_SIZE, world_size)
    keys = EpochKeys(cfg.DATA.TRAIN.SAMPLE_PER_EPOCH, cfg.TRAIN.BATCH_SIZE, get_rank(), world_size, accumulate)
    return TrainingLoader(make_sampler(cfg, **arguments), keys, num_workers=num_workers)


def make_trainer(cfg, folder: Path, *, seed=0, loader=None, val_loader=None, **hooks):
    torch.manual_seed(seed)
    network = build_seqtrack(cfg)
    store = CheckpointStore(folder, cfg.TRAIN.KEEP_CHECKPOINTS, cfg.TRAIN.KEEP_EVERY)
    return build_trainer(cfg, network, loader or make_loader(cfg), val_loader, store, "tiny", CPU, **hooks)


def record_points(points):
    """``start_records`` of a trainer, whose writer appends what it gets: split, step, scalars."""
    return lambda trainer, first_step: Points(points)


class Points:
    """A writer of curves into a list."""

    def __init__(self, points):
        self.points = points

    def write(self, prefix, scalars, step):
        self.points.append((prefix, step, dict(scalars)))

    def image(self, name, image, step):
        pass
