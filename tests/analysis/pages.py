"""A small benchmark of one's own videos with results of three trackers, and what is in a page about it."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lib.test.evaluation.results import ResultFolder
from lib.utils.image_io import write_image

HOSTILE = "<img src=x onerror=hacked()>\"'&amp;"
LABEL = "</script><script>hacked()</script><!--\u2028"
FRAMES, WIDTH, HEIGHT = 60, 160, 120
NAMES = ("bird-1", "bird-2", "car-1", HOSTILE, "car-10", "zebra")


def truth(seed: int) -> np.ndarray:
    """(FRAMES, 4) boxes that wander, with fractions."""
    steps = np.random.RandomState(seed).uniform(-1, 1, (FRAMES, 2)).cumsum(axis=0)
    return np.column_stack([60 + steps, np.tile([30.5, 24.25], (FRAMES, 1))]).round(2)


def write_world(root: Path) -> list[str]:
    """Write frames and results; return the flags that select them."""
    results = [ResultFolder(root, "seqtrack", name, "mine") for name in ("exact", "jumpy")]
    theirs = root / "theirs"
    theirs.mkdir()
    for seed, name in enumerate(NAMES):
        folder, boxes = root / "mine" / name, truth(seed)
        for index in range(FRAMES):
            image = np.full((HEIGHT, WIDTH, 3), (40, 90, 140), dtype=np.uint8)
            x, y, w, h = boxes[index].astype(int)
            image[y : y + h, x : x + w] = (230, 180, 40)
            write_image(folder / "img" / f"{index + 1:04d}.jpg", image)
        (folder / "groundtruth.txt").write_text("".join(",".join(map(str, box)) + "\n" for box in boxes.tolist()))
        jumpy = np.add(boxes, [2, 1, 0, 0])
        jumpy[0] = boxes[0]
        jumpy[20 : 60 if seed % 2 else 45, 0] -= 60
        results[0].write(name, boxes, np.full(FRAMES, 0.01))
        results[1].write(name, jumpy, np.full(FRAMES, 0.02))
        rows = [boxes[0].tolist(), *np.add(boxes, [0, 0, seed * 2 - 3, -4])[1:].round(1).tolist()]
        (theirs / f"{name}.txt").write_text("".join(",".join(map(str, box)) + "\n" for box in rows))
        scores = np.where(np.arange(FRAMES) < 30, 0.9, 0.1)
        (theirs / f"{name}_score.txt").write_text("".join(f"{score}\n" for score in scores))
    facts = {"checkpoint": str(root / "secret" / "x.pth.tar"), "sha256": "ab" * 32, "dtype": "bfloat16"}
    content = {
        **facts,
        "backend": "openvino",
        "device": "cpu (x86_64)",
        "versions": {"torch": "2.9.1"},
        "settings": {"a": [1]},
    }
    results[0].manifest_path.write_text(json.dumps(content))
    flags = ["--dataset", f"folder:{root / 'mine'}", "--save_dir", str(root), "--data_dir", str(root)]
    return [*flags, "--tracker", "seqtrack", "--results", f"{LABEL}={theirs}", "--static_box"]


def content_of(path: Path) -> dict[str, Any]:
    """The data of a page, taken from it as a browser would."""
    text = path.read_text(encoding="utf-8")
    (block,) = re.findall(
        r'<script type="application/json" id="content">(.*?)</script', text, re.DOTALL | re.IGNORECASE
    )
    return json.loads(block)


def frames_of(sequence: dict[str, Any]) -> dict[str, Any]:
    """Undo the packing of a sequence: boxes (1 + K, F, 4), the ground truth first; overlaps (K, F), NaN: none."""
    data = np.frombuffer(zlib.decompress(base64.b64decode(sequence["data"])), dtype=np.uint8)
    count, trackers = sequence["length"], len(sequence["has_score"])
    size = (trackers + 1) * 4 * count
    folded = np.ascontiguousarray(data[: 4 * size].reshape(4, size).T).view("<u4").reshape(-1, count).astype(np.int64)
    steps = np.where(folded % 2, -(folded + 1) // 2, folded // 2).cumsum(axis=1)
    levels = data[4 * size :][: (trackers + sum(sequence["has_score"])) * count].reshape(-1, count).astype(float)
    levels = np.where(levels == 255, np.nan, levels / 250)
    boxes = (steps / sequence["scale"]).reshape(trackers + 1, 4, count).transpose(0, 2, 1)
    return {"boxes": boxes, "overlaps": levels[:trackers], "scores": levels[trackers:]}
