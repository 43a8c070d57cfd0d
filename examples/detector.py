"""Let a detector of your own say where the target is when the tracker has lost it.

The detector here finds the place that looks most like the first box (template matching); put yours in its stead.

python examples/detector.py clip.mp4 295,12,300,227
"""

import sys

import cv2

import seqtrack


class Detector:
    """Finds a patch in an image."""

    def __init__(self, image: cv2.typing.MatLike, box: list[float]) -> None:
        x, y, w, h = (round(value) for value in box)
        self.patch = image[y : y + h, x : x + w]

    def find(self, image: cv2.typing.MatLike) -> tuple[list[float], float]:
        """Box and how sure it is, up to 1."""
        _, best, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(image, self.patch, cv2.TM_CCOEFF_NORMED))
        return [float(x), float(y), float(self.patch.shape[1]), float(self.patch.shape[0])], best


def main(video: str, box: str, patience: str = "3") -> int:
    """Return how often the detector has helped."""
    options = seqtrack.LostOptions(search=False, patience=int(patience))  # the detector searches
    tracker = seqtrack.load("seqtrack_demo", color="bgr", lost=options)
    capture = cv2.VideoCapture(video)
    done, frame = capture.read()
    if not done:
        sys.exit(f"{video}: no frame")
    init_box = [float(number) for number in box.split(",")]
    tracker.init(frame, init_box)
    detector, helped = Detector(frame, init_box), 0
    done, frame = capture.read()
    while done:
        if tracker.update(frame).lost:
            found, sure = detector.find(frame)
            if sure > 0.6:
                tracker.reinit(frame, found)
                helped += 1
                print(f"the detector has found it at {found}")
        done, frame = capture.read()
    return helped


if __name__ == "__main__":
    main(*sys.argv[1:])
