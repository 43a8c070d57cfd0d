"""Follow several objects of a video at once and write a video with their boxes and ids.

python examples/many_targets.py clip.mp4 out.mp4 295,12,300,227 40,50,60,70
"""

import sys

import cv2

import seqtrack


def main(video: str, output: str, *boxes: str) -> None:
    """All targets are one batch of the network."""
    capture = cv2.VideoCapture(video)
    done, frame = capture.read()
    if not done:
        sys.exit(f"{video}: no frame")
    targets = seqtrack.MultiTracker("seqtrack_demo", color="bgr")  # OpenCV reads BGR
    for box in boxes:
        targets.add(frame, [float(number) for number in box.split(",")])
    height, width = frame.shape[:2]
    writer = cv2.VideoWriter(output, cv2.VideoWriter.fourcc(*"mp4v"), 25, (width, height))
    done, frame = capture.read()
    while done:
        for id, result in targets.update(frame).items():
            x1, y1, x2, y2 = (round(value) for value in result.corners())
            color = (0, 0, 255) if result.lost else (0, 255, 0)
            cv2.rectangle(frame, (x1, y1), (x2, y2), color, 2)
            cv2.putText(frame, f"{id} {result.score:.2f}", (x1, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color)
        writer.write(frame)
        done, frame = capture.read()
    writer.release()


if __name__ == "__main__":
    main(*sys.argv[1:])
