"""Datasets in the toolkit's format."""

from pathlib import Path

import numpy as np
import pytest

from external.vot20.dataset import EMPTY_MASK, choose_anchors, encode_mask, label_files, read_region, write_vot
from lib.utils.errors import DataError, InputError


class Video:
    """A square that moves right and is absent in one frame."""

    num_frames = 6
    boxes_xywh = np.array([[4.0 * k, 3, 8, 6] if k != 2 else [0, 0, 0, 0] for k in range(6)])

    def frame(self, index: int) -> np.ndarray:
        return np.full((24, 40, 3), 40 * index, np.uint8)


class MaskedVideo(Video):
    """The same with masks."""

    def mask(self, index: int) -> np.ndarray:
        x, y, w, h = self.boxes_xywh[index].astype(int)
        alpha = np.zeros((24, 40), np.uint8)
        alpha[y : y + h, x : x + w] = 255
        alpha[23, 39] = 90  # a faint pixel does not count
        return alpha


@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_masks_survive_their_text(density: float) -> None:
    rng = np.random.default_rng(int(100 * density))
    for _ in range(20):
        mask = (rng.random((rng.integers(2, 12), rng.integers(2, 12))) < density).astype(np.uint8)
        line = encode_mask(mask)
        back = np.zeros_like(mask)
        part = read_region(line)
        back[: part.shape[0], : part.shape[1]] = part
        thin = np.flatnonzero(mask.any(axis=0))
        assert np.array_equal(back, mask) or (line == EMPTY_MASK and thin[0] == thin[-1])


def test_known_lines() -> None:
    mask = np.zeros((5, 6), np.uint8)
    mask[1:3, 2:5] = 1
    assert encode_mask(mask) == "m2,1,3,2,0,6"
    mask[1, 2] = 0
    assert encode_mask(mask) == "m2,1,3,2,1,5"
    assert read_region("1.5,2,3,4\n") == [1.5, 2, 3, 4]
    for wrong in ("", "1,2,3", "m1,2", "m0,0,2,2,9"):
        with pytest.raises(DataError, match="neither"):
            read_region(wrong)


def test_anchors() -> None:
    assert choose_anchors([True] * 6, 2) == [1, 0, 1, 0, -1, -1]
    assert choose_anchors([False, False, True, True, True, False], 10) == [0, 0, 1, 0, -1, 0]
    assert choose_anchors([False] * 3) == [0, 0, 0]
    assert choose_anchors([True]) == [1]


def test_layout_with_masks_and_with_boxes(tmp_path: Path) -> None:
    for masks in (True, False):
        root = tmp_path / str(masks)
        folders = write_vot(root, [("one", MaskedVideo()), ("two", Video())], masks=masks, anchor_step=3)
        assert (root / "list.txt").read_text() == "one\ntwo\n"
        first = folders[0]
        assert [path.name for path in sorted((first / "color").iterdir())][:2] == ["00000001.jpg", "00000002.jpg"]
        ground_truth = (first / "groundtruth.txt").read_text().splitlines()
        assert ground_truth[1:3] == (["m4,3,8,6,0,48", EMPTY_MASK] if masks else ["4,3,8,6", "0,0,0,0"])
        assert (folders[1] / "groundtruth.txt").read_text().splitlines()[1] == "4,3,8,6"
        assert (first / "anchor.value").read_text().split() == ["1", "0", "0", "-1", "0", "-1"]
        settings = dict(line.split("=") for line in (first / "sequence").read_text().splitlines())
        assert settings == {
            **{"channels.color": "color/%08d.jpg", "fps": "30", "format": "default"},
            **{"width": "40", "height": "24", "length": "6", "name": "one"},
        }


class Several(Video):
    """Two targets: one moves, one is seen from the fourth frame on."""

    def __init__(self, ids: tuple[str, str] = ("b", "a2")) -> None:
        late = MaskedVideo()
        late.boxes_xywh = np.where(np.arange(6)[:, None] < 3, 0.0, [[20, 4, 8, 6]])
        self.targets = dict(zip(ids, (Video(), late), strict=True))


def test_layout_with_several_targets(tmp_path: Path) -> None:
    whole, hidden = (write_vot(tmp_path / str(h), [("one", Several())], hidden=h)[0] for h in (False, True))
    assert [path.name for path in label_files(whole)] == ["groundtruth_a2.txt", "groundtruth_b.txt"]
    assert not (whole / "groundtruth.txt").exists() and not (whole / "anchor.value").exists()
    lines = [path.read_text().splitlines() for path in label_files(whole)]
    assert lines[0] == ["0", "0", "0", *["m20,4,8,6,0,48"] * 3]
    assert lines[1][:4] == ["0,3,8,6", "4,3,8,6", "0,0,0,0", "12,3,8,6"]
    assert [path.read_text().splitlines() for path in label_files(hidden)] == [["0"], ["0,3,8,6"]]
    assert len(list((hidden / "color").iterdir())) == 6
    (whole / "groundtruth__ignore.txt").touch()
    assert len(label_files(whole)) == 2


@pytest.mark.parametrize("name", ["", "_ignore", "../a", "a b", "a\nb"])
def test_ids_that_are_no_part_of_a_file_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the id of a target"):
        write_vot(tmp_path, [("one", Several((name, "a")))])


def test_what_cannot_be_written(tmp_path: Path) -> None:
    class Never(Video):
        boxes_xywh = np.zeros((6, 4))

    with pytest.raises(InputError, match="never visible"):
        write_vot(tmp_path, [("never", Never())])
    both = Several()
    both.targets["b"] = Never()
    with pytest.raises(InputError, match="several: target b is never visible"):
        write_vot(tmp_path, [("several", both)])
    with pytest.raises(InputError, match="two sequences are called one"):
        write_vot(tmp_path, [("one", Video()), ("one", Video())])
    with pytest.raises(InputError, match="at least one"):
        write_vot(tmp_path, [])
    assert not (tmp_path / "list.txt").exists()
