"""Reading datasets in full and comparing; a module of its own, since spawned workers import it and nothing heavy."""

import numpy as np

from lib.data.base import DiskDataset


def read_all(dataset: DiskDataset) -> list[tuple]:
    rows = []
    for sequence in range(len(dataset)):
        info = dataset.sequence_info(sequence)
        frames = dataset.frames(sequence, list(range(len(info))))
        rows.append((dataset.sequence_name(sequence), info.boxes_xywh, info.valid, info.visible, np.stack(frames)))
    return rows


def assert_same(first: list[tuple], second: list[tuple]) -> None:
    assert len(first) == len(second) > 0
    for a, b in zip(first, second, strict=True):
        assert a[0] == b[0]
        for x, y in zip(a[1:], b[1:], strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
