"""Boxes of masks, and masks of boxes (the formats of boxes are compared with the published code in parity)."""

import numpy as np
import pytest

from lib.utils.box_ops import box_to_mask, mask_to_box
from lib.utils.errors import InputError


def test_tight_box_of_a_mask() -> None:
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[7:12, 20:33] = 1
    mask[9, 35] = 1
    assert mask_to_box(mask) == [20.0, 7.0, 16.0, 5.0]
    with pytest.raises(InputError, match="empty"):
        mask_to_box(np.zeros((4, 5), dtype=bool))


def test_mask_of_a_box_and_back() -> None:
    mask = box_to_mask([3, 4, 5, 2], 10, 12)
    assert mask.sum() == 10 and mask_to_box(mask) == [3, 4, 5, 2]
    assert mask_to_box(box_to_mask([-3, -2, 5, 4], 10, 12)) == [0, 0, 2, 2]
