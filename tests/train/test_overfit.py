"""The demo model learns eight rendered sequences by heart."""

import pytest
import torch

from lib.config.seqtrack.config import load_config
from lib.data.synthetic import Synthetic
from lib.models.seqtrack import build_seqtrack
from lib.train.data.batch import collate
from lib.train.data.sampler import SampleKey
from lib.train.train_script import build_trainer
from lib.train.trainers.checkpoints import CheckpointStore
from tests.train.world import CPU, make_loader, make_sampler

STEPS = 64
FROM_NOTHING = {
    "MODEL.ENCODER.PRETRAIN_TYPE": "sincos",
    "TRAIN.LR": 1e-3,
    "TRAIN.ENCODER_MULTIPLIER": 0.3,
    "TRAIN.LABEL_SIGMA": 1.0,
    "TRAIN.NUM_WORKER": 0,
}


@pytest.mark.endurance
def test_eight_sequences_by_heart(tmp_path):
    """Two samples of each of eight sequences, jittered and augmented as in training, are said right."""
    torch.manual_seed(0)
    cfg = load_config("seqtrack_demo", FROM_NOTHING)
    worlds = Synthetic(num_sequences=8, num_frames=30, size=(160, 120), difficulty="easy")
    sampler = make_sampler(cfg, datasets=[worlds])
    by_sequence = {}
    for index in range(200):
        sample = sampler.sample(SampleKey(1, index))
        by_sequence.setdefault(sample.source, [])
        if len(by_sequence[sample.source]) < 2:
            by_sequence[sample.source].append(sample)
        if len(by_sequence) == 8 and all(len(samples) == 2 for samples in by_sequence.values()):
            break
    batch = collate([sample for samples in by_sequence.values() for sample in samples])
    assert len(batch) == 16

    store = CheckpointStore(tmp_path)
    loader = make_loader(cfg, datasets=[worlds])
    trainer = build_trainer(cfg, build_seqtrack(cfg, pretrained=True), loader, None, store, "demo", CPU)
    for _ in range(STEPS):
        trainer.step.train(batch)
    trainer.step.actor.eval()
    assert trainer.step.evaluate(batch).iou > 0.9
