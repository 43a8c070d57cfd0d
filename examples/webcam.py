"""Follow an object before a camera (or in a video file) in a window: draw its box, press Enter; q ends.

python examples/webcam.py 0
python examples/webcam.py clip.mp4 295,12,300,227     with the box given and without a window
"""

import sys

import cv2

import seqtrack


def main(source: str, box: str = "") -> list[seqtrack.Result]:
    """Return what was seen."""
    tracker = seqtrack.load("seqtrack_demo", color="bgr")
    tracker.on_lost = lambda result: print(f"lost, last seen near {[round(value) for value in result.box]}")
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    done, frame = capture.read()
    if not done:
        sys.exit(f"{source}: no frame")
    tracker.init(frame, [float(v) for v in box.split(",")] if box else cv2.selectROI("target", frame))
    results = []
    done, frame = capture.read()
    while done:
        results.append(tracker.update(frame))
        if not box:
            x1, y1, x2, y2 = (round(value) for value in results[-1].corners())
            cv2.rectangle(frame, (x1, y1), (x2, y2), (0, 0, 255) if results[-1].lost else (0, 255, 0), 2)
            cv2.imshow("target", frame)
            if cv2.waitKey(1) == ord("q"):
                break
        done, frame = capture.read()
    return results


if __name__ == "__main__":
    main(*sys.argv[1:])
