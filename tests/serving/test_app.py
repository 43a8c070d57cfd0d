"""The annotation service: what it answers programs, what it refuses, its limits."""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lib.test.serving import app
from lib.utils.image_io import encode_image
from tests.library.conftest import overlap
from tests.processes import wait_for
from tests.serving.world import BOX, FRAMES, TOKEN, Standing, image_file, png_header, serving, text, track_request


def test_frames_and_a_box_give_the_boxes_of_the_library(client, clip, expected) -> None:
    answer = client.post("/track", track_request(clip))
    assert answer["num_frames"] == FRAMES and answer["complete"] is True
    (track,) = answer["tracks"]
    np.testing.assert_allclose(track["boxes"], expected, atol=1e-3)
    assert track["first"] == 0 and len(track["scores"]) == FRAMES and set(track["states"]) <= {"tracking", "uncertain"}


def test_a_folder_and_uploaded_files_give_the_same(client, clip, expected) -> None:
    box = clip.boxes[0].tolist()
    named = client.post("/track", {"video": "frames", "boxes": [box, box]})
    np.testing.assert_allclose([track["boxes"] for track in named["tracks"]], [expected, expected], atol=1e-3)
    parts = [b'--x\r\nContent-Disposition: form-data; name="request"\r\n\r\n{"boxes": [%s]}\r\n' % str(box).encode()]
    for frame in clip.frames:
        head = b'--x\r\nContent-Disposition: form-data; name="frames"; filename="f.png"\r\n\r\n'
        parts.append(head + encode_image(frame, ".png") + b"\r\n")
    body = b"".join(parts) + b"--x--\r\n"
    status, answer, _ = client.ask("POST", "/track", body, Content_Type="multipart/form-data; boundary=x")
    assert status == 200, answer
    np.testing.assert_allclose(answer["tracks"][0]["boxes"], expected, atol=1e-3)


def test_fifty_requests_at_once_each_get_their_answer(client, clip, expected) -> None:
    def ask(index):
        begin = index % 3
        box = [float(number) for number in clip.boxes[begin]]
        return begin, client.post("/track", {"frames": frames[begin : begin + 2], "boxes": [box]})["tracks"][0]["boxes"]

    frames = track_request(clip)["frames"]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    assert len(answers) == 50
    for begin, boxes in answers:
        true = clip.boxes[begin : begin + 2]
        assert min(overlap(box, true) for box, true in zip(boxes, true, strict=True)) > 0.5
        if begin == 0:
            np.testing.assert_allclose(boxes, expected[:2], atol=1e-2)  # in batches of changing size
    assert not client.service.worker.jobs and client.service.requests == 0


def test_every_route_needs_the_token(standing) -> None:
    def basic(given):
        return f"Basic {text(given.encode())}"

    for header in (f"Token {TOKEN}", f"bearer {TOKEN}", basic(f"anyone:{TOKEN}")):
        assert standing.ask("GET", "/health", Authorization=header)[0] == 200
    for header in (
        "",
        TOKEN,
        "Bearer",
        "Bearer x",
        f"Digest {TOKEN}",
        basic(TOKEN),
        basic("a:b"),
        "Basic ?",
        "Bearer ä",
    ):
        for method, path in (("GET", "/health"), ("POST", "/track"), ("GET", "/nothing")):
            status, answer, headers = standing.ask(method, path, Authorization=header)
            assert (status, answer) == (401, {"error": "the token is missing or wrong"})
            assert headers["WWW-Authenticate"].startswith("Basic")


def test_videos_outside_the_root_do_not_exist(client, root, tmp_path) -> None:
    (tmp_path / "secret.avi").write_bytes((root / "upload/1/clip.avi").read_bytes())
    link = root / "link.avi"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(tmp_path / "secret.avi")
    os.mkfifo(root / "pipe.avi")
    outside = str(tmp_path / "secret.avi")
    up = "../" * 30 + outside
    names = [outside, up, "link.avi", "gone.avi", "pipe.avi", "a\0b", "x" * 5000, f"/data/{up}", f"/data//{outside}"]
    names += [f"/data/local-files/?d={outside}", "/data/%2e%2e/%2e%2e/etc", "http://h/data/..%2f..%2fetc/passwd", "0"]
    for name in names:
        error = client.refused("/track", {"video": name, "boxes": [BOX]})
        assert error.startswith("video: no such video below an allowed folder: "), (name, error)
    for name in ("file:///etc/passwd", "rtsp://h/data/x", "https://h/x.mp4", "http://[/data/"):
        assert client.refused("/track", {"video": name, "boxes": [BOX]}).startswith("video: n")
    assert client.post("/track", {"video": str(root / "frames"), "boxes": [BOX]})["num_frames"] == FRAMES
    with serving(Standing()) as other:
        assert "--root" in other.refused("/track", {"video": "frames", "boxes": [BOX]})


def test_requests_that_are_malformed_are_refused_by_key(standing) -> None:
    good = {"frames": [text(image_file())], "boxes": [BOX]}
    cut = image_file()[:-30]
    for body, message in [
        (b"{", "the request is not JSON: line 1"),
        (b"\xff\xfe", "the request is not JSON"),
        (b"[" * 100000, "the request is not JSON"),
        (b'{"first": ' + b"9" * 5000 + b"}", "the request is not JSON"),
        ([1], "the request must be a JSON object, got list"),
        (good | {"boxes": []}, "boxes: expected at least one box"),
        (good | {"boxes": "x"}, "boxes: expected a list, got str"),
        (good | {"boxes": [[1, 2, 3]]}, "boxes[0]: expected four finite numbers"),
        (good | {"boxes": [BOX, [1, 2, 3, True]]}, "boxes[1]: expected four finite numbers"),
        (good | {"boxes": [[1, 2, 3, float("nan")]]}, "boxes[0]: expected four finite numbers"),
        (good | {"boxes": [[1, 2, 3, 10**400]]}, "boxes[0]: expected four finite numbers"),
        (good | {"first": -1}, "first: expected the number of a frame"),
        (good | {"first": 1}, "boxes[0]: begins in frame 1, the video ends before frame 1"),
        (good | {"frames": []}, "frames: expected at least one image"),
        (good | {"frames": [1]}, "frames[0]: expected an image as base64, got int"),
        (good | {"frames": ["%%%"]}, "frames[0]: not base64"),
        (good | {"frames": ["ä"]}, "frames[0]: not base64"),
        (good | {"frames": [text(b"no image")]}, "frames[0]: not an image"),
        (good | {"frames": [text(cut)]}, "frames[0]: "),
        (good | {"frames": good["frames"] + [text(image_file(50))]}, "frame 1: 64x50 pixels, the first one has 64x48"),
        (good | {"video": "x"}, "the request must have either frames or video"),
        ({"boxes": [BOX]}, "the request must have either frames or video"),
    ]:
        assert standing.refused("/track", body).startswith(message), message
    for change, message in [
        ({"image": None}, "image: expected an image as base64, got nothing"),
        ({"shapes": None}, "shapes: expected a list, got nothing"),
        ({"shapes": [[1, 2, 3, 4, 5, 6]]}, "shapes[0]: expected four finite numbers"),
        ({"states": ["a", "b"]}, "states: 2 for 1 shapes"),
        ({"states": "a"}, "states: expected a list, got str"),
    ]:
        body = {"image": text(image_file()), "shapes": [[8, 8, 24, 24]]} | change
        assert standing.refused("/", body).startswith(message)
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    assert standing.refused("/track", b"--x--\r\n", **form).startswith("request: expected a field")
    assert standing.refused("/track", b"no form at all", **form)
    assert standing.refused("/nothing", {}, 404) and standing.refused("/health", {}, 405)


def test_a_box_without_an_area_is_refused_by_key(client, clip) -> None:
    assert client.refused("/track", track_request(clip, boxes=[[5, 5, 0, 5]])).startswith("boxes[0]: the initial box")
    image = track_request(clip)["frames"][0]
    assert client.refused("/", {"image": image, "shapes": [[9, 9, 9, 9]]}).startswith("shapes[0]: the initial box")


def test_limits() -> None:
    with serving(Standing(), body=1, pixels=1, frames=2, targets=2) as client:
        image = text(image_file())
        for frame, message in [((2000, 600), "2000x600 pixels"), ((60000, 60000), "too many pixels")]:
            body = {"frames": [text(png_header(*frame))], "boxes": [BOX]}
            assert client.refused("/track", body, 413).startswith(f"frames[0]: {message}")
        assert (
            client.refused("/track", {"frames": [image] * 3, "boxes": [BOX]}, 413) == "frames: 3, at most 2 are taken"
        )
        assert client.refused("/track", {"frames": [image], "boxes": [BOX] * 3}, 413).startswith("boxes: 3")
        assert client.refused("/", {"image": image, "shapes": [BOX] * 3}, 413).startswith("shapes: 3")
        chunks = (b"x" * 65536 for _ in range(17))
        assert client.refused("/track", chunks, 413) == "the request is larger than 1 MiB"
        status, answer, _ = client.ask("POST", "/track", None, Content_Length=str(10**12))
        assert (status, answer) == (413, {"error": "the request is larger than 1 MiB"})


def test_a_request_that_does_not_arrive_is_given_up(standing, monkeypatch, caplog) -> None:
    connection = standing.send("POST", "/track", None, Content_Length="5")
    wait_for(lambda: standing.service.requests == 1, seconds=20)
    connection.close()
    wait_for(lambda: standing.service.requests == 0, seconds=20)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)
    assert standing.ask("POST", "/track", None, Content_Length="5")[0] == 408
    assert not [record for record in caplog.records if record.exc_info]
