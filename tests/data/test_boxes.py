import numpy as np
import pytest

from lib.data.boxes import image_size, looks_like_corners
from lib.utils.image_io import encode_image


def test_looks_like_corners() -> None:
    inside = np.array([[20.0, 20, 60, 60], [20, 20, 70, 70]])
    assert not looks_like_corners(inside, 200, 200)  # both readings fit: it stays as it is
    assert looks_like_corners(inside, 75, 75)
    assert not looks_like_corners(np.array([[50.0, 50, 40, 40]]), 75, 75)  # no corners either
    assert not looks_like_corners(np.zeros((3, 4)), 75, 75)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_size_from_the_header(suffix: str) -> None:
    assert image_size(encode_image(np.zeros((33, 57, 3), dtype=np.uint8), suffix)) == (57, 33)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_image_size_of_something_else(data: bytes) -> None:
    assert image_size(data) is None
