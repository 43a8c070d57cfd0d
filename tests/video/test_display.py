"""What is drawn on a frame, and the window, with a pretended display."""

import cv2
import numpy as np
import pytest

from lib.test.video import display
from lib.test.video.display import draw_overlay, has_display, select_box
from lib.test.video.targets import Seen
from lib.utils.errors import InputError
from tests.video.world import FRAMES, record, refused, run


@pytest.mark.parametrize("size", [(48, 64), (120, 160), (1080, 1920)])
def test_overlay_draws_the_box_and_leaves_the_frame_alone(size):
    image = np.full((*size, 3), 128, np.uint8)
    height, width = size
    box = [width * 0.4, height * 0.4, width * 0.4, height * 0.4]
    annotated = draw_overlay(image, Seen(box, 12.3), 7)
    assert annotated.shape == image.shape
    assert (image == 128).all()
    x, y = round(box[0]), round(box[1] + box[3] / 2)
    assert (annotated[y, x] != 128).any()  # on the line
    assert (annotated[round(height * 0.9), round(width * 0.9)] == 128).all()  # far from it
    assert draw_overlay(image[:9, :7], Seen([2, 2, 4, 4]), 0).shape == (9, 7, 3)


def test_a_confidence_that_is_no_number_can_be_drawn():
    image = np.zeros((48, 64, 3), np.uint8)
    for confidence in (float("nan"), float("inf"), -1e30):
        assert draw_overlay(image, Seen([2, 2, 4, 4], confidence), 0).any()


def test_the_mask_tints_the_target_only():
    image = np.full((240, 320, 3), 90, np.uint8)
    mask = np.zeros((240, 320), np.uint8)
    mask[150:200, 200:260] = 1
    target = Seen([10, 60, 30, 30], 9.0)
    plain, tinted = (draw_overlay(image, target, 3, given) for given in (None, mask))
    changed = (plain != tinted).any(axis=2)
    assert changed[150:200, 200:260].all()
    assert not changed[:146].any() and not changed[:, :196].any()
    assert np.array_equal(draw_overlay(image, target, 3, np.zeros_like(mask)), plain)


def test_a_display_that_is_named_but_not_there(experiment, clip, tmp_path, monkeypatch, capsys):
    """Qt ends the process that asks for it."""
    has_display.cache_clear()
    monkeypatch.setenv("DISPLAY", ":97")
    try:
        assert run(experiment, clip, tmp_path / "out", "--show") == 2
    finally:
        has_display.cache_clear()
    assert "--show needs a display" in refused(capsys)


@pytest.fixture
def window(monkeypatch):
    """A display and its user: answers of ``selectROI`` and keys by name of the function; an error if there is none."""
    answers = {}

    def answer(name):
        if name not in answers:
            raise cv2.error("no GUI")
        return answers[name]

    has_display.cache_clear()
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(display.subprocess, "run", lambda *args, **kwargs: display.subprocess.CompletedProcess(args, 0))
    for name in ("selectROI", "destroyWindow", "imshow", "waitKey"):
        monkeypatch.setattr(cv2, name, lambda *args, name=name: answer(name))
    yield answers
    has_display.cache_clear()


def test_the_target_is_drawn_with_the_mouse(window, experiment, clip, tmp_path):
    window.update(selectROI=(40, 60, 36, 36), destroyWindow=None)
    assert run(experiment, clip, tmp_path, box=None) == 0
    assert record(tmp_path / "clip.json")["init_box"] == [40, 60, 36, 36]
    window["selectROI"] = (40, 60, 0, 0)
    with pytest.raises(InputError, match="no box was drawn"):
        select_box(np.zeros((48, 64, 3), np.uint8))
    del window["selectROI"]
    with pytest.raises(InputError, match="OpenCV cannot open a window here"):
        select_box(np.zeros((48, 64, 3), np.uint8))


def test_q_ends_a_run_that_is_watched(window, experiment, clip, tmp_path, capsys):
    window.update(imshow=None, waitKey=-1)
    assert run(experiment, clip, tmp_path, "--show") == 0
    assert record(tmp_path / "clip.json")["num_frames"] == FRAMES
    window["waitKey"] = ord("q")
    assert run(experiment, clip, tmp_path, "--show") == 0
    content = record(tmp_path / "clip.json")
    assert (content["num_frames"], content["interrupted"]) == (1, True)
    del window["imshow"]
    capsys.readouterr()
    assert run(experiment, clip, tmp_path, "--show") == 2
    assert "--show: OpenCV cannot open a window here; the boxes of 1 frames are in" in refused(capsys)
