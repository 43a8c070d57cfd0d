"""The script of the annotation service: signals and flags."""

import contextlib
import signal
import socket
import subprocess
import sys

import pytest

from lib.config.paths import PROJECT_ROOT
from lib.utils.cli import run_script
from tests.serving.world import BOX, TOKEN, Client, image_file, read, text
from tracking.serve_annotation import main


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_service_and_its_requests(number, code, tmp_path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    flags = ["--port", "0", "--root", str(tmp_path), "--token_file", str(tmp_path / "token"), "--device", "cpu"]
    command = [sys.executable, str(PROJECT_ROOT / "tracking/serve_annotation.py"), *flags]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        try:
            port = int(process.stdout.readline().rpartition(":")[2])
            assert process.stdout.readline() == "token: as given\n"
            client = Client(port, None)
            body = {"frames": [text(image_file())] * 900, "boxes": [BOX]}
            assert client.ask("GET", "/health")[0] == 200
            connection = client.send("POST", "/track", body)
            with contextlib.suppress(TimeoutError):
                connection.sock.settimeout(0.7)
                connection.sock.recv(1)
            connection.sock.settimeout(30)
            process.send_signal(number)
            status, answer, _ = read(connection)
            assert status == 503, answer
            _, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == code and "Traceback" not in error, error


def test_flags_that_are_wrong_are_refused(refused, monkeypatch, tmp_path) -> None:
    def run(*flags):
        return run_script(lambda: main(flags))

    assert "--max_body must be from 1 to 4096" in refused(run, "--max_body", "0")
    assert "--port must be from 0 to 65535" in refused(run, "--port", "70000")
    assert "no such folder" in refused(run, "--root", str(tmp_path / "gone"))
    (tmp_path / "short").write_text("1234567")
    assert "at least 8" in refused(run, "--token_file", str(tmp_path / "short"))
    monkeypatch.setenv("SEQTRACK_TOKEN", "")
    assert "SEQTRACK_TOKEN: a token has at least 8" in refused(run)
    monkeypatch.delenv("SEQTRACK_TOKEN")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen there" in refused(run, "--port", str(taken.getsockname()[1]))
    assert "cannot listen there" in refused(run, "--host", "no such host")
    monkeypatch.setitem(sys.modules, "lib.test.serving.app", None)
    assert 'pip install "seqtrack[serve]"' in refused(run)
