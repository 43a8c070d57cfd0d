"""Images come out as RGB uint8 whatever the file holds; damaged ones are named."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.errors import DataError, InputError
from lib.utils.image_io import read_image, to_rgb, write_image
from lib.utils.storage import DirectoryStorage, open_storage

RED = np.full((8, 12, 3), (250, 10, 30), dtype=np.uint8)


def test_png_round_trip_keeps_the_channel_order(tmp_path: Path) -> None:
    write_image(tmp_path / "a" / "red.png", RED)
    np.testing.assert_array_equal(read_image(tmp_path / "a" / "red.png"), RED)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["red.png"]


def test_jpeg_is_rgb(tmp_path: Path) -> None:
    write_image(tmp_path / "red.jpg", RED)
    assert np.abs(read_image(tmp_path / "red.jpg").astype(int) - RED).max() < 8


def test_grey_and_rgba_files(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), RED[:, :, 0])
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(RED[:, :, :1], 3, axis=2))
    rgba = np.dstack([RED[:, :, ::-1], np.full(RED.shape[:2], 128, np.uint8)])
    cv2.imwrite(str(tmp_path / "rgba.png"), rgba)
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RED)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_empty_and_truncated_files_are_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    write_image(path, np.random.RandomState(0).randint(0, 255, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=f"cut{suffix}: .*(empty|truncated)"):
        read_image(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg: cannot read the image: No such file"):
        read_image(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.jpg: cannot decode"):
        read_image(tmp_path / "text.jpg")


def test_to_rgb() -> None:
    grey = RED[:, :, 0]
    for image in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(to_rgb(image), np.repeat(RED[:, :, :1], 3, axis=2))
    np.testing.assert_array_equal(to_rgb(np.dstack([RED, grey])), RED)
    assert to_rgb(RED).base is RED  # no copy
    for bad in (RED.astype(np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros((0, 3, 3), np.uint8), [1, 2]):
        with pytest.raises(InputError, match="expected an RGB uint8 image"):
            to_rgb(bad)


def test_directory_storage(tmp_path: Path) -> None:
    write_image(tmp_path / "seq" / "2.JPG", RED)
    write_image(tmp_path / "seq" / "1.jpg", RED)
    (tmp_path / "seq" / "notes.txt").write_text("hello")
    storage = open_storage(tmp_path)
    assert storage.list_dirs() == ["seq"]
    assert storage.list_files("seq", {".jpg"}) == ["1.jpg", "2.JPG"]
    assert storage.read_text("seq/notes.txt") == "hello"
    assert storage.exists("seq/1.jpg") and not storage.exists("seq")
    assert storage.read_image("seq/1.jpg").shape == RED.shape
    with pytest.raises(DataError, match=r"seq/none\.txt: cannot read"):
        storage.read_text("seq/none.txt")
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        DirectoryStorage(tmp_path / "nowhere")
