"""The renderer is a pure function of its arguments, and its ground truth is what it painted."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from lib.synthetic import SyntheticSequence
from lib.synthetic.figures import KINDS, Figure
from lib.synthetic.sprite import Sprite
from lib.utils.errors import DataError, InputError
from lib.utils.image_io import decode_image, encode_image, write_image

SMALL = {"num_frames": 20, "size": (160, 120)}
PROBE = """
import sys, zlib, cv2
from lib.synthetic import SyntheticSequence
cv2.setNumThreads(int(sys.argv[1]))
total = 0
for seed in range(6):
    video = SyntheticSequence(seed, num_frames=20, size=(160, 120), difficulty="hard")
    for index in (19, 0, 7):
        total = zlib.crc32(video.frame(index).tobytes(), total)
    total = zlib.crc32(video.boxes_xywh.tobytes() + video.visible_fraction.tobytes(), total)
print(total)
"""
# What PROBE prints. A change of the renderer that moves a pixel changes it: then raise layouts.RENDERER_VERSION too.
PROBE_CRC = 1764313112


def hard(seed: int, **options: object) -> SyntheticSequence:
    return SyntheticSequence(seed, **{**SMALL, "difficulty": "hard", **options})


@pytest.mark.parametrize(
    ("threads", "environment"),
    [("1", {}), ("4", {"OPENCV_IPP": "disabled", "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX2,FMA3,AVX,SSE4.2,SSE4.1"})],
    ids=["as it is", "no SIMD, 4 threads"],
)
def test_same_pixels_in_another_process_and_on_another_machine(threads: str, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, threads],
        env=os.environ | environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == PROBE_CRC


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_random_access_equals_sequential(difficulty: str) -> None:
    forward = SyntheticSequence(5, **SMALL, difficulty=difficulty)
    frames = [forward.frame(index) for index in range(len(forward))]
    for index in (13, 2, 19, 2):
        other = SyntheticSequence(5, **SMALL, difficulty=difficulty)
        assert np.array_equal(other.frame(index), frames[index])
        assert np.array_equal(forward.frame(index), frames[index])
    assert frames[0].shape == (120, 160, 3)
    assert frames[0].dtype == np.uint8


def test_a_frame_belongs_to_the_caller() -> None:
    video = hard(3)
    before = video.frame(4).copy()
    video.frame(4)[:] = 0
    assert np.array_equal(video.frame(4), before)


def test_worlds_differ_by_seed_and_by_split() -> None:
    worlds = [(0, "train"), (1, "train"), (0, "val"), (0, "test")]
    crcs = {zlib.crc32(hard(seed, split=split).frame(0).tobytes()) for seed, split in worlds}
    assert len(crcs) == len(worlds)


def test_truth_does_not_depend_on_what_was_rendered_before() -> None:
    late, early = hard(8), hard(8)
    late.frame(11)
    assert np.array_equal(late.boxes_xywh, early.boxes_xywh)
    assert np.array_equal(late.visible_fraction, early.visible_fraction)


@pytest.mark.parametrize("seed", range(12))
def test_box_is_tight_around_the_rendered_mask(seed: int) -> None:
    video = hard(seed, size=(320, 240))
    seen = 0
    for index, (x, y, w, h) in enumerate(video.boxes_xywh):
        if video.absent[index]:
            assert (x, y, w, h) == (0, 0, 0, 0)
            continue
        seen += 1
        rows, columns = np.nonzero(video.mask(index) > 127)
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract((x, y, x + w, y + h), bounds)).max() <= 0.5
        assert x >= 0 and y >= 0 and x + w <= 320 and y + h <= 240
    assert seen >= 5


@pytest.mark.parametrize("seed", range(12))
def test_visible_fraction_is_that_of_the_masks(seed: int) -> None:
    """Away from the border the share of visible alpha agrees with the share of visible sample points."""
    video = hard(seed, size=(320, 240))
    for index in range(0, 20, 3):
        whole = video.mask(index).sum(dtype=np.int64)
        fraction = video.visible_fraction[index]
        assert 0 <= fraction <= 1
        if whole and not video.cut_by_image[index] and not video.absent[index]:
            shown = video.visible_mask(index).sum(dtype=np.int64) / whole
            assert fraction == pytest.approx(shown, abs=0.12)


def test_first_frame_shows_the_target_whole_or_nearly() -> None:
    for seed in range(30):
        video = hard(seed)
        assert video.visible_fraction[0] > 0.5
        assert min(video.boxes_xywh[0, 2:]) >= 2


def test_targets_leave_come_back_and_get_hidden() -> None:
    videos = [hard(seed, num_frames=60) for seed in range(25)]
    away = [video.out_of_view for video in videos]
    returned = [flags.any() and not flags[np.flatnonzero(flags)[0] :].all() for flags in away]
    hidden = [(video.visible_fraction < 0.5) & (video.visible_fraction > 0) for video in videos]
    assert sum(returned) >= 3
    assert sum(flags.any() for flags in hidden) >= 5
    for video in videos:
        assert (video.visible_fraction[video.absent] == 0).all()
        assert (video.boxes_xywh[~video.absent, 2:] >= 1).all()


def test_easy_targets_stay_in_sight_and_harder_ones_move_more() -> None:
    def speed(difficulty: str) -> float:
        steps = []
        for seed in range(10):
            boxes = SyntheticSequence(seed, num_frames=40, size=(160, 120), difficulty=difficulty).boxes_xywh
            seen = boxes[:, 2] > 0
            centers = (boxes[:, :2] + boxes[:, 2:] / 2)[seen]
            steps.append(np.abs(np.diff(centers, axis=0)).mean())
        return float(np.mean(steps))

    for seed in range(10):
        assert not SyntheticSequence(seed, **SMALL, difficulty="easy").absent.any()
    assert speed("easy") < speed("medium") < speed("hard")


def test_mixed_draws_every_preset() -> None:
    assert {SyntheticSequence(seed, difficulty="mixed").difficulty for seed in range(30)} == {"easy", "medium", "hard"}


@pytest.mark.parametrize("kind", list(KINDS))
def test_silhouette_is_the_alpha_of_the_image(kind: str) -> None:
    figure = Figure(kind, ("test", kind), 60)
    for phase in range(figure.phases):
        image = figure.image(phase)
        assert np.array_equal(figure.silhouette(phase), image[:, :, 3])
        assert (image[:, :, :3] <= image[:, :, 3:]).all()  # RGB is multiplied by alpha
        assert (image[:, :, 3] > 127).mean() > 0.05


def test_jpeg_is_what_storing_the_frame_would_do() -> None:
    clean, stored = hard(2), hard(2, jpeg=True)
    expected = decode_image(encode_image(clean.frame(6), ".jpg", clean.quality), "frame")
    assert np.array_equal(stored.frame(6), expected)
    assert not np.array_equal(stored.frame(6), clean.frame(6))


def test_photos_as_background(tmp_path: Path) -> None:
    color = np.array([200, 120, 40], dtype=np.uint8)
    write_image(tmp_path / "photo.png", np.broadcast_to(color, (90, 70, 3)))
    video = SyntheticSequence(1, **SMALL, difficulty="easy", backgrounds=tmp_path)
    assert np.array_equal(np.unique(video._world.background.reshape(-1, 3), axis=0), color[None])
    assert not np.array_equal(video.frame(0), SyntheticSequence(1, **SMALL, difficulty="easy").frame(0))


def test_cutouts_as_target(tmp_path: Path) -> None:
    cutout = np.zeros((50, 80, 4), dtype=np.uint8)
    cutout[10:40, 10:70] = (10, 20, 250, 255)  # BGRA
    cv2.imwrite(str(tmp_path / "red.png"), cutout)
    video = SyntheticSequence(0, **SMALL, difficulty="easy", cutouts=tmp_path)
    assert video.object_class == "cutout"
    x, y, w, h = video.boxes_xywh[0]
    red, green, blue = video.frame(0)[int(y + h / 2), int(x + w / 2)].tolist()
    assert red > 2 * green and red > 2 * blue


def test_folders_that_hold_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing: no such folder"):
        SyntheticSequence(0, backgrounds=tmp_path / "missing").frame(0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no images"):
        SyntheticSequence(0, backgrounds=tmp_path / "empty").frame(0)
    write_image(tmp_path / "opaque" / "a.png", np.zeros((20, 20, 3), dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.png: a cut-out needs an alpha channel"):
        SyntheticSequence(0, cutouts=tmp_path / "opaque").frame(0)
    cv2.imwrite(str(tmp_path / "opaque" / "a.png"), np.zeros((20, 20, 4), dtype=np.uint8))
    with pytest.raises(DataError, match=r"a\.png: the cut-out is transparent"):
        SyntheticSequence(1, cutouts=tmp_path / "opaque").frame(0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "b.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"b\.jpg"):
        SyntheticSequence(0, backgrounds=tmp_path / "broken").frame(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"difficulty": "insane"}, "unknown difficulty 'insane'; known: easy, medium, hard, mixed"),
        ({"num_frames": 0}, "at least one frame"),
        ({"size": (8, 240)}, "not 8x240"),
        ({"seed": -1}, "not negative"),
    ],
)
def test_bad_values(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SyntheticSequence(**({"seed": 0} | options))


def test_no_such_frame() -> None:
    with pytest.raises(IndexError, match="frame 20 of a sequence of 20"):
        hard(0).frame(20)
    with pytest.raises(IndexError):
        hard(0).frame(-1)


@pytest.mark.parametrize("size", [(33, 32), (64, 200), (500, 90)])
@pytest.mark.parametrize("num_frames", [1, 2, 7])
def test_odd_sizes_and_lengths(size: tuple[int, int], num_frames: int) -> None:
    video = SyntheticSequence(4, num_frames=num_frames, size=size, difficulty="hard")
    assert video.frame(num_frames - 1).shape == (size[1], size[0], 3)
    assert video.boxes_xywh.shape == (num_frames, 4)


@pytest.mark.parametrize("opacity", [255, 100])
def test_a_thread_that_the_grid_of_samples_misses_is_seen(opacity: int) -> None:
    alpha = np.zeros((200, 200), dtype=np.uint8)
    alpha[:, 97] = opacity
    image = np.repeat(alpha[:, :, None], 4, axis=2)
    (points,) = Sprite([alpha], lambda phase: image).samples
    assert len(points) == 200 and set(points[:, 0]) == {points[0, 0]}
