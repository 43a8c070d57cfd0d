"""Drives a headless Chromium over its DevTools protocol: two pipes, JSON messages that end with a NUL byte.

Nothing but Python and the browser is needed. Protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
    "--force-prefers-reduced-motion",  # nothing moves away from a click
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)
SECONDS = 60.0
"""Longest wait for an answer."""


class Page:
    """One page of a browser; ``errors`` collects uncaught exceptions, ``console.error`` and failed requests."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd, self._write_fd = read_fd, write_fd
        self._buffer, self._number, self._session = b"", 0, ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result. Raises RuntimeError if it fails or takes too long."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while (answer := self._receive(method)).get("id") != self._number:
            self._notice(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read_fd], [], [], SECONDS)
            data = os.read(self._read_fd, 1 << 20) if ready else b""
            if not data:
                raise RuntimeError(f"{what}: no answer from the browser in {SECONDS:g} s, or it has ended")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _notice(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, url: str | Path, ready: str = "document.readyState === 'complete'") -> float:
        """Open a file or an address; return the seconds until the JavaScript expression ``ready`` holds."""
        self.call("Page.navigate", url="about:blank")  # or the page before would be asked whether it is ready
        self.wait_for("location.href === 'about:blank'")
        start = time.perf_counter()
        self.call("Page.navigate", url=url.absolute().as_uri() if isinstance(url, Path) else url)
        self.wait_for(f"location.href !== 'about:blank' && ({ready})")
        return time.perf_counter() - start

    def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression (of a promise: what it resolves to) as plain data."""
        params = {"expression": script, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.call("Runtime.evaluate", **params)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(f"{script}: {details.get('exception', {}).get('description') or details['text']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = SECONDS) -> Any:
        """Evaluate an expression until it is true; return its value. Raises RuntimeError after some time."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            with contextlib.suppress(RuntimeError):  # the page is being replaced
                if value := self.evaluate(script):
                    return value
            time.sleep(0.02)
        raise RuntimeError(f"not true within {seconds:g} s: {script}; errors: {self.errors}")

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Give the page a size in CSS pixels."""
        params = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **params)

    def prefer(self, scheme: str) -> None:
        """Say what the user prefers: ``dark`` or ``light``."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def press(self, key: str, modifiers: int = 0) -> None:
        """Press a key, such as ``ArrowRight`` or ``n``; modifiers: 1 Alt, 2 Ctrl, 4 Meta, 8 Shift."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=modifiers, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=modifiers)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse from one point of the page to another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.mouse(kind, x, y, buttons=1)

    def mouse(self, kind: str, x: float, y: float, **more: int) -> None:
        """``mouseMoved``, ``mousePressed`` or ``mouseReleased`` at a point of the page, in CSS pixels."""
        button = more if kind == "mouseMoved" else {"button": "left", "clickCount": 1, **more}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def click(self, selector: str) -> None:
        """Click the middle of the first element of a CSS selector with the mouse."""
        middle = """(element => {
            element.scrollIntoView({block: "center"});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })"""
        x, y = self.evaluate(f"{middle}(document.querySelector({json.dumps(selector)}))")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files, or one folder, in an ``<input type=file>``."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path.absolute()) for path in paths])

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write a PNG of what is seen, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self, path: Path) -> None:
        """Print the page as PDF."""
        answer = self.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
        path.write_bytes(base64.b64decode(answer["data"]))


def find_browser() -> str:
    """Path of the browser; skips the test if there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    return path or pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")


@contextlib.contextmanager
def open_page(width: int = 1280, height: int = 900, flags: tuple[str, ...] = ()) -> Iterator[Page]:
    """A page in a browser of its own, with an empty profile; both end with the block."""
    browser = find_browser()
    pipes = [*os.pipe(), *os.pipe()]
    child_reads, writes, reads, child_writes = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in pipes)
    for fd in pipes:
        os.close(fd)
    # The browser wants its pipes as descriptors 3 and 4, which may be in use here: the shell moves them.
    command = ["bash", "-c", f'exec "$@" 3<&{child_reads} 4>&{child_writes}', "bash", browser, *FLAGS, *flags]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, pass_fds=(child_reads, child_writes), start_new_session=True, **quiet)
        os.close(child_reads)
        os.close(child_writes)
        try:
            page = Page(reads, writes)
            page.resize(width, height)
            yield page
        finally:
            os.close(writes)  # the browser ends when its pipe does
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            os.close(reads)
