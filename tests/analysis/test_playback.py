"""Frames with the boxes of several trackers, as images and as a video."""

import time
from pathlib import Path

import cv2
import numpy as np

from lib.data.sequence import Sequence
from lib.test.analysis import plots


def test_the_target_is_seen_below_twelve_trackers_and_their_legend(tmp_path: Path) -> None:
    ground_truth = np.tile([60.0, 40.0, 40.0, 30.0], (3, 1))
    frames = [tmp_path / f"{index}.png" for index in range(3)]
    for path in frames:
        cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    sequence = Sequence("s", list(map(str, frames)), "mine", ground_truth)
    boxes = {f"tracker {index}": ground_truth[0] + [0, 0, index, index] for index in range(12)}
    drawn = plots.draw_frame(sequence.read_frame(0), sequence, boxes, 0)
    assert (drawn[45:65, 65:95] == 90).all()  # nothing but the boxes
    exact = plots.draw_frame(sequence.read_frame(0), sequence, {"tracker 0": ground_truth[0]}, 0)
    color = tuple(int(plots.COLORS[0][start : start + 2], 16) for start in (1, 3, 5))
    assert tuple(exact[40, 80]) == color  # the tracker above the ground truth ...
    assert (exact[38:43, 80] == 255).all(axis=1).any()  # ... which is still seen around it
    for color, _ in plots.line_styles(boxes).values():  # nothing dark on black, pale on white
        brightness = sum(int(color[start : start + 2], 16) for start in (1, 3, 5))
        assert 100 < brightness < 600
    plots.write_playback(sequence, {label: np.tile(box, (3, 1)) for label, box in boxes.items()}, tmp_path / "v.mp4")
    ok, frame = cv2.VideoCapture(str(tmp_path / "v.mp4")).read()
    assert ok and frame.shape[1] > 260 and frame.shape[0] > 12 * 12
    assert np.abs(frame[45:65, 65:95].astype(int) - 90).max() < 25


def test_huge_boxes_are_played_back_in_time(tmp_path: Path) -> None:
    image = np.full((48, 64, 3), 90, np.uint8)
    sequence = Sequence("s", ["a"], "mine", np.array([[1.0, 2, 3, 4]]))
    labels = [f"t{index}" for index in range(20)]  # some of them dashed
    boxes = {label: np.array([-9e8, -9e8, 1.8e9, 1.8e9]) for label in labels}
    start = time.monotonic()
    plots.draw_frame(image, sequence, boxes, 0)
    assert time.monotonic() - start < 1
