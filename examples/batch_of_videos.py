"""Follow one object in each of several videos, all of them in one batch, and write its boxes as <video>.txt.

python examples/batch_of_videos.py output left.mp4 295,12,300,227 right.mp4 40,50,60,70
"""

import sys
from pathlib import Path

import cv2

import seqtrack


def main(output: str, *videos_and_boxes: str) -> None:
    """Videos may be of different sizes and lengths."""
    targets = seqtrack.MultiTracker("seqtrack_demo", color="bgr")
    captures: dict[str, cv2.VideoCapture] = {}
    lines: dict[str, list[str]] = {}
    for video, box in zip(videos_and_boxes[::2], videos_and_boxes[1::2], strict=True):
        captures[video] = cv2.VideoCapture(video)
        done, frame = captures[video].read()
        if not done:
            sys.exit(f"{video}: no frame")
        targets.add(frame, [float(number) for number in box.split(",")], id=video, video=video)
        lines[video] = [box]
    while len(targets):
        frames = {}
        for id in targets:
            done, frame = captures[str(id)].read()
            if done:
                frames[id] = frame
            else:
                targets.remove(id)
        for id, result in targets.update(frames).items():
            lines[str(id)].append(",".join(f"{value:.2f}" for value in result.box))
    Path(output).mkdir(parents=True, exist_ok=True)
    for video, rows in lines.items():
        Path(output, f"{Path(video).stem}.txt").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
