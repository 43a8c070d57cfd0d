"""Follow one object through a video with an exported network: ONNX Runtime, NumPy and OpenCV, nothing else.

python tracking/export.py --config seqtrack_demo --format onnx --output model     (once, where PyTorch is installed)
python examples/deploy/onnx_tracker.py model clip.mp4 295,12,300,227 boxes.txt

This file can be copied into another project: it imports nothing of this one. Boxes are those of the Python tracker.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

Array = npt.NDArray[Any]
FORMAT = 1  # of the metadata
CLIP_MARGIN = 10  # pixels: a box stays at least this large and this far inside the image
MOST_TIMES = 10  # a first box is at most so many times as wide and as high as the image
SHIFTS = {"xywh": 0, "whxy": 2, "corner": 0}  # by how many places the four tokens are rolled


def check(image: Array) -> Array:
    """Refuse what is no (H, W, 3) uint8 image: floats would be cut to 0 without a word."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB uint8 image (H, W, 3), got {image.dtype} {image.shape}")
    return image


def crop(image: Array, box: Sequence[float], factor: float, size: int) -> tuple[Array, float]:
    """Cut a square around a box and resize it; what is outside the image is black.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: x, y, width, height in pixels.
        factor: side of the square over ``sqrt(width * height)``.
        size: side of the result.

    Returns:
        (3, size, size) uint8, and pixels of the crop per pixel of the image.
    """
    x, y, w, h = box
    side = math.ceil(math.sqrt(w * h) * factor)
    left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
    height, width = image.shape[:2]
    # The published tracker pads one pixel too much on the right and at the bottom; its weights expect it.
    x0, x1 = max(left, 0), min(left + side, width) - (left + side >= width)
    y0, y1 = max(top, 0), min(top + side, height) - (top + side >= height)
    square = np.zeros((side, side, 3), np.uint8)
    if x0 < x1 and y0 < y1:
        square[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return cv2.resize(square, (size, size)).transpose(2, 0, 1), size / side


class OnnxTracker:
    """Follows one target.

    Args:
        folder: with ``embed_template.onnx`` and ``step.onnx``.
        threads: of the processor; 0 leaves it to ONNX Runtime.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # int8 on processors without VNNI: slower kernels, whose sums do not overflow.
        options.add_session_config_entry("session.x64quantprecision", "1")
        self.embed, self.network = (
            onnxruntime.InferenceSession(str(Path(folder, name)), options, providers=["CPUExecutionProvider"])
            for name in ("embed_template.onnx", "step.onnx")
        )
        embed, step = (
            session.get_modelmeta().custom_metadata_map.get("seqtrack", "{}") for session in (self.embed, self.network)
        )
        self.meta = json.loads(step)
        if embed != step:
            raise ValueError("embed_template.onnx and step.onnx are of two exports")
        if self.meta.get("format_version") != FORMAT:
            raise ValueError(f"its metadata is not of format {FORMAT}")
        self.box = [0.0] * 4
        self.templates = np.empty((1, 0, 0), np.float32)
        self.frame = 0

    def init(self, image: Array, box: Sequence[float]) -> None:
        """Begin with the target's box (x, y, width, height in pixels) in an image (H, W, 3) uint8 RGB."""
        (x, y, w, h), (height, width) = box, check(image).shape[:2]
        inside = -w < x < width and -h < y < height  # not so if one is not a number
        if not (inside and 0 < w <= MOST_TIMES * width and 0 < h <= MOST_TIMES * height):
            raise ValueError(f"box {x:g},{y:g},{w:g},{h:g}: outside the {width}x{height} image, empty or far too large")
        self.box, self.frame = [float(value) for value in box], 0
        self.templates = np.tile(self._template(image), (1, self.meta["template"]["number"], 1))

    def update(self, image: Array) -> tuple[list[float], float]:
        """Follow the target into the next image: its box, and how likely it is that the box is on it (0 to 1)."""
        meta = self.meta
        patch, scale = crop(check(image), self.box, meta["search"]["factor"], meta["search"]["size"])
        tokens, likelihoods = self.network.run(
            ["tokens", "likelihoods"], {"templates": self.templates, "image": patch[None]}
        )
        self.box = self._box_in_image(tokens[0], scale, image.shape)
        self.frame += 1
        confidence = 10 * likelihoods[0].sum()
        due = meta["template"]["number"] > 1 and self.frame % meta["update"]["interval"] == 0
        if due and confidence > meta["update"]["threshold"]:  # the first template stays, the oldest of the others goes
            new = self._template(image)
            count = new.shape[1]
            self.templates = np.concatenate((self.templates[:, :count], self.templates[:, 2 * count :], new), axis=1)
        return self.box, self._score(likelihoods[0])

    def _template(self, image: Array) -> Array:
        patch = crop(image, self.box, self.meta["template"]["factor"], self.meta["template"]["size"])[0]
        template: Array = self.embed.run(["template"], {"image": patch[None]})[0]
        return template

    def _box_in_image(self, tokens: Array, scale: float, shape: tuple[int, ...]) -> list[float]:
        """Turn tokens into x, y, width, height in pixels; float32 until they are relative to the crop's center."""
        meta = self.meta
        values = np.roll(tokens, SHIFTS[meta["sequence_format"]]).astype(np.float32) / np.float32(meta["bins"] - 1)
        if meta["sequence_format"] == "corner":
            x0, y0, x1, y1 = values
            values = np.array(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), np.float32)
        cx, cy, w, h = (values * np.float32(meta["search"]["size"]) / np.float32(scale)).tolist()
        x, y, old_w, old_h = self.box
        half = 0.5 * meta["search"]["size"] / scale
        x0, y0 = cx + (x + 0.5 * old_w - half) - 0.5 * w, cy + (y + 0.5 * old_h - half) - 0.5 * h
        x1, y1 = x0 + w, y0 + h
        x0, x1 = min(max(0, x0), shape[1] - CLIP_MARGIN), min(max(CLIP_MARGIN, x1), shape[1])
        y0, y1 = min(max(0, y0), shape[0] - CLIP_MARGIN), min(max(CLIP_MARGIN, y1), shape[0])
        return [x0, y0, max(CLIP_MARGIN, x1 - x0), max(CLIP_MARGIN, y1 - y0)]

    def _score(self, likelihoods: Array) -> float:
        """Logistic regression on logarithms of the likelihoods, or a curve behind it."""
        score, values = self.meta["score"], np.maximum(likelihoods.astype(np.float64), 1e-6)
        value = np.log([values.mean(), *values]) @ np.array(score["weights"]) + score["bias"]
        if np.isnan(value):
            return 0.0
        if score["points"]:
            return float(np.interp(value, *np.array(score["points"]).T))
        return float(1 / (1 + np.exp(-np.clip(value, -500, 500))))


def stop(message: str) -> NoReturn:
    """End the program."""
    print(message, file=sys.stderr)
    raise SystemExit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Write one line for each frame: x, y, width, height, score; return the number of frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder that tracking/export.py has written")
    parser.add_argument("video", help="video file")
    parser.add_argument("box", help="the target in the first frame: x,y,width,height in pixels")
    parser.add_argument("output", type=Path, help="file for the boxes: x,y,width,height,score of every frame")
    parser.add_argument("--threads", type=int, default=0, help="threads of the processor (default: as many as cores)")
    args = parser.parse_args(argv)
    try:
        box = [float(number) for number in args.box.split(",")]
    except ValueError:
        box = []
    if len(box) != 4 or not min(box[2:]) > 0 or not all(map(math.isfinite, box)):
        stop(f"{args.box}: expected x,y,width,height in pixels, width and height above 0")
    try:
        tracker = OnnxTracker(args.model, args.threads)
    except Exception as error:  # ONNX Runtime has a class of its own for each kind of damage, without a common one
        stop(f"{args.model}: no exported tracker: {str(error).splitlines()[0]}")
    capture = cv2.VideoCapture(args.video)
    done, frame = capture.read()
    if not done:
        stop(f"{args.video}: no frame")
    try:
        tracker.init(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), box)
    except ValueError as error:
        stop(str(error))
    score, lines = 1.0, []
    while done:
        lines.append(",".join(f"{value:.4f}" for value in (*box, score)))
        done, frame = capture.read()
        if done:
            box, score = tracker.update(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
    announced = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    if len(lines) < announced - 1:  # a guess where frames are not evenly spaced, and often one too many
        print(f"{args.video}: only {len(lines)} of {announced} frames could be decoded: damaged?", file=sys.stderr)
    args.output.write_text("\n".join(lines) + "\n")
    return len(lines)


if __name__ == "__main__":
    print(f"{main()} frames")
