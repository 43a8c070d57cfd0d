"""What ``varied`` adds: turns out of the plane, limbs, crowds of look-alikes, poor video, partial exits."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic import SyntheticSequence
from lib.synthetic.sprite import Actor, Sprite, Track
from lib.synthetic.stable import Draws, cosine, sine
from lib.synthetic.variety import look_alike, swinging

ANGLE = 790  # foreshortens to 35 %


def varied(seed: int, **options: object) -> SyntheticSequence:
    return SyntheticSequence(seed, **{"num_frames": 40, "difficulty": "varied", **options})


def cutout() -> np.ndarray:
    image = np.zeros((60, 40, 4), dtype=np.uint8)
    image[:] = (200, 100, 50, 255)
    return image


def square(shear: float = 0.0, yaw: int = 0) -> Actor:
    image = np.full((64, 64, 4), 255, dtype=np.uint8)
    ones, zeros = np.ones(1), np.zeros(1, dtype=np.int64)
    bend = np.array([[shear, 0.2 / 32 * float(sine(yaw)), 0.0]])
    track = Track(ones * 100, ones * 80, ones * float(cosine(yaw)), ones, zeros, zeros, bend)
    return Actor(Sprite([image[:, :, 3]], lambda phase: image), track)


def test_a_thing_that_turns_away_is_narrower_and_its_near_side_taller() -> None:
    actor = square(yaw=ANGLE)
    x0, y0, x1, y1 = actor.corners[0]
    assert x1 - x0 == pytest.approx(64 * 0.35, rel=0.06)
    assert y1 - y0 > 70
    left, top, alpha = actor.render(0, 200, 160, alpha_only=True)
    solid = alpha > 127
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    mask = (left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1)
    assert np.abs(np.subtract(mask, actor.corners[0])).max() <= 0.6
    heights = solid.sum(axis=0)[columns]
    assert heights[1] > 1.3 * heights[-2]
    assert (actor.render(0, 200, 160)[2][:, :, 3] == alpha).all()


def test_a_thing_that_leans_keeps_its_height() -> None:
    x0, y0, x1, y1 = square(shear=0.4).corners[0]
    assert (x1 - x0, y1 - y0) == (pytest.approx(64 * 1.4), pytest.approx(64))


def test_without_bend_the_pixels_are_those_of_no_bend() -> None:
    flat = square()
    plain = Actor(flat.sprite, replace(flat.track, bend=None))
    assert np.array_equal(flat.render(0, 200, 160)[2], plain.render(0, 200, 160)[2])


def test_what_covers_a_point_is_what_is_painted_there() -> None:
    actor = square(shear=0.3, yaw=-ANGLE)
    left, top, alpha = actor.render(0, 200, 160, alpha_only=True)
    y, x = np.mgrid[: alpha.shape[0], : alpha.shape[1]] + 0.5
    covered = actor.covers(np.array([0]), left + x.reshape(1, -1), top + y.reshape(1, -1))
    assert (covered[0] != (alpha > 127).ravel()).mean() < 0.05


@pytest.mark.parametrize("seed", range(8))
def test_limbs_swing_and_the_body_stays(seed: int) -> None:
    sprite = swinging(Draws("limbs", seed), cutout())
    images = [sprite.image(phase, 0) for phase in range(sprite.phases)]
    assert not np.array_equal(images[0], images[3])
    for phase, image in enumerate(images):
        assert np.array_equal(image[:, :, 3], sprite.alpha[phase])
        assert (image[:, :, :3] <= image[:, :, 3:]).all()
        assert (image[:, :, 3] > 127).sum() > 0.75 * 60 * 40
    column = sprite.alpha.shape[2] // 2
    tops = [np.flatnonzero(alpha[:, column] > 127)[0] for alpha in sprite.alpha]
    assert len(set(tops)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_a_look_alike_has_the_same_silhouette(seed: int) -> None:
    sprite = swinging(Draws("limbs", seed), cutout())
    other = look_alike(Draws("look-alike", seed), sprite)
    assert np.array_equal(other.alpha, sprite.alpha)
    assert np.array_equal(other.image(2, 0)[:, :, 3], sprite.alpha[2])
    assert not np.array_equal(other.image(2, 0), sprite.image(2, 0))


def test_varied_worlds_have_all_of_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "thing.png"), cutout())
    videos = [varied(seed, cutouts=tmp_path) for seed in range(40)]
    sizes = np.array([np.sqrt(video.boxes_xywh[0, 2:].prod()) for video in videos])
    crowds = [len(video._world.behind) + len(video._world.front) >= 5 for video in videos]
    assert (sizes < 30).sum() >= 5 and sizes.min() > 4
    assert sum(crowd for crowd, size in zip(crowds, sizes, strict=True) if size < 60) >= 5
    assert sum(video._world.target.sprite.phases > 1 for video in videos) >= 10
    shapes = [video.boxes_xywh[~video.cut_by_image & ~video.absent, 2:] for video in videos]
    aspects = [boxes[:, 0] / boxes[:, 1] for boxes in shapes]
    assert sum(aspect.max() > 1.8 * aspect.min() for aspect in aspects if aspect.size) >= 10
    for video in videos[:10]:
        for index in np.flatnonzero(~video.absent)[::8]:
            rows, columns = np.nonzero(video.mask(index) > 127)
            x, y, w, h = video.boxes_xywh[index]
            bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.subtract((x, y, x + w, y + h), bounds)).max() <= 0.5


def test_targets_that_peek_are_cut_but_do_not_vanish() -> None:
    videos = [video for video in map(varied, range(60)) if video._world.variety.peeks]
    cut, gone = (
        sum(flags(video).sum() for video in videos) for flags in (lambda v: v.cut_by_image, lambda v: v.out_of_view)
    )
    assert cut > 10 * gone


def test_poor_video() -> None:
    videos = list(map(varied, range(60)))
    compressed = next(video for video in videos if video._world.variety.quality and not video._world.variety.coarse)
    clean = compressed._shown(5)
    assert 0.5 < np.abs(compressed.frame(5).astype(float) - clean).mean() < 20
    combed = next(v for v in videos if v._world.variety.interlaced and not v._world.variety.quality)
    index = next(i for i in range(1, 40) if max(map(abs, combed._world.target.smear(i, 1.0, 99.0))) < 4)
    assert np.array_equal(combed.frame(index)[::2], combed._shown(index)[::2])
    assert np.array_equal(combed.frame(index)[1::2], combed._shown(index - 1)[1::2])


@pytest.mark.parametrize("opacity", [255, 100])
def test_a_thread_that_the_grid_of_samples_misses_is_seen(opacity):
    alpha = np.zeros((200, 200), dtype=np.uint8)
    alpha[:, 97] = opacity
    image = np.repeat(alpha[:, :, None], 4, axis=2)
    (points,) = Sprite([alpha], lambda phase: image).samples
    assert len(points) == 200 and set(points[:, 0]) == {points[0, 0]}
