"""examples/browser in a headless Chromium, with the bundled tracker."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from lib.synthetic import SyntheticSequence
from tests.chromium import Page, find_browser, open_page
from tests.deploy.test_onnx_tracker import onnx_tracker

pytestmark = pytest.mark.endurance
WIDTH, HEIGHT, FRAMES = 320, 240, 31
BOX = [133, 124, 64, 54]  # of the target in the first frame of the clip
SOURCE = PROJECT_ROOT / "examples" / "browser"
FAKE_CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
KEEP_DOWNLOADS = """
    window.saved = {};
    URL.createObjectURL = (blob) => { window.blob = blob; return "data:,"; };
    HTMLAnchorElement.prototype.click = function () { window.blob.text().then((text) => saved[this.download] = text); };
"""


@pytest.fixture(scope="module")
def site(exported_half: Path, node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page, complete."""
    find_browser()
    folder = tmp_path_factory.mktemp("site") / "browser"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "model"))
    if not (folder / "vendor").is_dir():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"npm is missing, and {SOURCE}/vendor: see docs/browser.md")
        done = subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"npm cannot install onnxruntime-web and mediabunny: {done.stderr[-500:]}")
    shutil.copytree(exported_half, folder / "model")
    return folder


class Silent(SimpleHTTPRequestHandler):
    """As `python -m http.server`, without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    """The page, ready."""
    with open_page(1280, 860, FAKE_CAMERA) as page:
        page.open(f"{address}/", "document.documentElement.dataset.state === 'ready'")
        page.evaluate(KEEP_DOWNLOADS)
        yield page


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered video in VP8."""
    sequence = SyntheticSequence(39, num_frames=FRAMES, size=(WIDTH, HEIGHT), difficulty="easy", split="library")
    path = tmp_path_factory.mktemp("clip") / "clip.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), 25, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(cv2.cvtColor(sequence.frame(index), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (got := capture.read())[0]:
        frames.append(cv2.cvtColor(got[1], cv2.COLOR_BGR2RGB))
    return frames


def follow(model: Path, clip: Path, box: list[float]) -> tuple[list[list[float]], list[float]]:
    """Boxes and scores of the Python program, the first frame included."""
    tracker, (first, *frames) = onnx_tracker.OnnxTracker(model, 1), frames_of(clip)
    tracker.init(first, box)
    found = [tracker.update(frame) for frame in frames]
    return [box, *(box for box, _ in found)], [score for _, score in found]


def draw_box(page: Page, box: list[float]) -> None:
    """Drag the mouse over the frame."""
    rectangle = page.evaluate("document.querySelector('#overlay').getBoundingClientRect().toJSON()")
    left, top, width, height = (rectangle[key] for key in ("left", "top", "width", "height"))
    scale = min(width / WIDTH, height / HEIGHT)
    left, top = left + (width - scale * WIDTH) / 2, top + (height - scale * HEIGHT) / 2
    x, y, w, h = box
    page.drag((left + scale * x, top + scale * y), (left + scale * (x + w), top + scale * (y + h)))


def type_box(page: Page, box: list[float]) -> None:
    """Fill in the form."""
    for name, value in zip("xywh", box, strict=True):
        page.evaluate(f"document.querySelector('#numbers').elements.{name}.value = {value}")
    page.evaluate("document.querySelector('#numbers').requestSubmit()")


def status(page: Page, text: str) -> None:
    """Wait for a text in the status line."""
    page.wait_for(f"document.querySelector('#status').textContent.includes({json.dumps(text)})")


def saved(page: Page, button: str) -> tuple[str, str]:
    """Name and content of the file that a button saves."""
    page.evaluate(f"saved = {{}}; document.querySelector('#{button}').click()")
    ((name, text),) = page.wait_for("Object.keys(saved).length && Object.entries(saved)")
    return name, text


def boxes_of(document: dict[str, Any], target: int) -> np.ndarray:
    return np.array([t["box"] for frame in document["frames"] for t in frame["targets"] if t["id"] == target])


def test_boxes_are_those_of_the_python_program(page: Page, clip: Path, exported_half: Path) -> None:
    page.choose_files("#file", clip)
    status(page, "320 × 240")
    draw_box(page, BOX)
    status(page, "Target 1")
    page.press(" ")
    status(page, "End of the video")

    name, text = saved(page, "save-json")
    document = json.loads(text)
    boxes, scores = follow(exported_half, clip, document["frames"][0]["targets"][0]["box"])
    assert (name, len(boxes)) == ("clip.json", FRAMES)
    assert np.ptp(boxes, axis=0)[:2].max() > 20  # pixels: it moves
    np.testing.assert_allclose(boxes_of(document, 1), boxes, atol=1.0)
    np.testing.assert_allclose([f["targets"][0]["score"] for f in document["frames"][1:]], scores, atol=0.02)
    name, text = saved(page, "save-txt")
    assert name == "clip.txt"
    np.testing.assert_allclose(np.loadtxt(text.splitlines(), delimiter="\t"), boxes, atol=1.0)
    assert page.errors == []


def test_several_targets_and_keys(page: Page, clip: Path, exported_half: Path) -> None:
    page.press("Home")
    status(page, "320 × 240")
    draw_box(page, BOX)
    status(page, "Target 1")
    page.evaluate(
        "Object.entries({x: 10, y: 20, w: 60, h: 40}).forEach(([key, value]) => numbers.elements[key].value = value)"
    )
    page.evaluate("numbers.requestSubmit()")
    status(page, "Target 2")
    for index in range(1, 4):
        page.press("ArrowRight")
        page.wait_for(f"document.querySelector('#count').textContent === '{index}'")
    document = json.loads(saved(page, "save-json")[1])
    for target in (1, 2):
        boxes, _ = follow(exported_half, clip, document["frames"][0]["targets"][target - 1]["box"])
        np.testing.assert_allclose(boxes_of(document, target), boxes[:4], atol=1.0)
    name, text = saved(page, "save-txt")
    rows = np.loadtxt(text.splitlines(), delimiter=",")
    assert name == "clip.mot.txt"
    assert rows[:, :2].tolist() == [[frame, target] for frame in (1, 2, 3, 4) for target in (1, 2)]
    page.press("Delete")
    page.wait_for("document.querySelectorAll('#targets li').length === 0")


def test_bad_input_is_said_in_plain_words(page: Page, clip: Path, tmp_path: Path) -> None:
    for content, expected in (
        (b"no video at all" * 99, "is damaged, or no video"),
        (clip.read_bytes()[:400], "is damaged"),
    ):
        (tmp_path / "bad.webm").write_bytes(content)
        page.choose_files("#file", tmp_path / "bad.webm")
        page.wait_for("!document.querySelector('#alert').hidden")
        assert expected in page.evaluate("document.querySelector('#alert-text').textContent")
        page.evaluate("document.querySelector('#alert-close').click()")
    assert page.errors == []


def test_camera(page: Page) -> None:
    """Chromium's own test pattern."""
    page.evaluate("document.querySelector('#camera').click()")
    page.wait_for("Number(document.querySelector('#count').textContent) > 2")  # it plays by itself
    type_box(page, [100, 100, 90, 90])
    page.wait_for("document.querySelectorAll('#targets li').length === 1")
    count = page.evaluate("Number(document.querySelector('#count').textContent)")
    page.wait_for(f"Number(document.querySelector('#count').textContent) > {count + 2}")
    page.press(" ")
    status(page, "Paused")
    assert page.errors == []


def test_narrow_windows_need_no_sideways_scrolling(page: Page) -> None:
    page.resize(360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_missing_network(page: Page, address: str) -> None:
    page.open(f"{address}/?model=nowhere", "document.documentElement.dataset.state === 'failed'")
    assert "tracking/export.py" in page.evaluate("document.querySelector('#alert-text').textContent")
