"""The annotation service: its contracts with annotation tools, its limits, and requests whose clients go."""

import base64
import contextlib
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

import seqtrack
from lib.config.paths import PROJECT_ROOT
from lib.test.serving import app, limits, worker
from lib.test.serving.cvat import States
from lib.utils.image_io import encode_image
from tests.cli.serving import TOKEN, Client, Standing, image_file, read, serving
from tests.library.conftest import Clip, overlap
from tests.processes import wait_for
from tests.threads import one_thread  # noqa: F401 - a fixture
from tracking.serve_annotation import load_follower, main, parse_args

CONFIG = """<View><Labels name="lab" toName="vid"><Label value="ball"/></Labels>
<Video name="vid" value="$clip" framerate="25"/><VideoRectangle name="box" toName="vid"/></View>"""
FRAMES = 6
BOX = [8, 8, 16, 16]


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(3, FRAMES)


@pytest.fixture(scope="module")
def root(clip, tmp_path_factory):
    """A folder with the clip as a video ``upload/1/clip.avi`` and as images ``frames``."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "upload/1").mkdir(parents=True)
    clip.write(folder / "upload/1/clip.avi")
    (folder / "frames").mkdir()
    for index, frame in enumerate(clip.frames):
        (folder / f"frames/{index}.png").write_bytes(encode_image(frame, ".png"))
    return folder


@pytest.fixture(scope="module")
def follower():
    """The bundled weights."""
    return load_follower(parse_args(["--device", "cpu"]))[0]


@pytest.fixture(scope="module")
def client(follower, root):
    with serving(follower, root) as client:
        yield client


@pytest.fixture
def standing():
    """A client of a service that needs no network."""
    with serving(Standing()) as client:
        yield client


@pytest.fixture(scope="module")
def expected(clip):
    """Boxes of the library for the frames of the clip, its first one included."""
    tracker = seqtrack.load(device="cpu")
    tracker.init(clip.frames[0], clip.boxes[0])
    return [list(clip.boxes[0]), *(list(tracker.update(frame).box) for frame in clip.frames[1:])]


def track_request(clip, **changes):
    frames = [text(encode_image(frame, ".png")) for frame in clip.frames]
    return {"frames": frames, "boxes": [clip.boxes[0].tolist()]} | changes


# The service's own contract -------------------------------------------------------------------------------------------


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


# Label Studio ---------------------------------------------------------------------------------------------------------


def percent(box, clip):
    height, width = clip.frames[0].shape[:2]
    return {"x": 100 * box[0] / width, "y": 100 * box[1] / height} | {
        "width": 100 * box[2] / width,
        "height": 100 * box[3] / height,
    }


def region(clip, frames=(1,), **changes):
    keys = [
        {"frame": frame, "time": frame / 25, "rotation": 0, "enabled": True} | percent(clip.boxes[frame - 1], clip)
        for frame in frames
    ]
    value = {"framesCount": FRAMES, "duration": FRAMES / 25, "labels": ["ball"], "sequence": keys}
    names = {"id": "r1", "type": "videorectangle", "from_name": "box", "to_name": "vid", "origin": "manual"}
    return names | {"value": value | changes}


def predict_request(*regions, video="/data/upload/1/clip.avi", config=CONFIG):
    params = {"login": None, "password": None, "context": {"result": list(regions)}}
    return {
        "tasks": [{"id": 7, "data": {"clip": video}}],
        "project": "3.17",
        "label_config": config,
        "params": params,
    }


def test_label_studio_health_and_setup(client) -> None:
    for path in ("/health", "/"):
        status, answer, _ = client.ask("GET", path)
        assert status == 200 and answer["status"] == "UP" and answer["model_class"] == "SeqTrack"
    request = {"project": "3.17", "schema": CONFIG, "hostname": "", "access_token": "", "extra_params": None}
    assert client.post("/setup", request) == {"model_version": "tests"}
    assert client.post("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": 3}}) == {"status": "ok"}


@pytest.mark.parametrize(
    "video", ["/data/upload/1/clip.avi", "http://localhost:8080/data/local-files/?d=upload/1/clip.avi"]
)
def test_label_studio_gets_keys_in_percent(client, clip, video) -> None:
    answer = client.post("/predict", predict_request(region(clip), video=video))
    (prediction,) = answer["results"]
    assert prediction["model_version"] == "tests" and 0.5 < prediction["score"] <= 1
    (found,) = prediction["result"]
    assert {name: found[name] for name in ("id", "type", "from_name", "to_name")} == {
        "id": "r1",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "vid",
    }
    value = found["value"]
    assert value["framesCount"] == FRAMES and value["labels"] == ["ball"] and value["duration"] == FRAMES / 25
    assert [key["frame"] for key in value["sequence"]] == list(range(1, FRAMES + 1))
    for key, true in zip(value["sequence"], clip.boxes, strict=True):
        assert set(key) == {"frame", "time", "x", "y", "width", "height", "rotation", "enabled"}
        assert key["enabled"] is True and key["rotation"] == 0 and key["time"] == pytest.approx(key["frame"] / 25)
        scale = [clip.frames[0].shape[1] / 100, clip.frames[0].shape[0] / 100] * 2
        box = [key[name] * factor for name, factor in zip(("x", "y", "width", "height"), scale, strict=True)]
        assert overlap(box, true) > 0.6


def test_label_studio_goes_on_from_the_last_key_and_keeps_the_others(client, clip) -> None:
    given = region(clip, (3, 1))
    (found,) = client.post("/predict", predict_request(given))["results"][0]["result"]
    sequence = found["value"]["sequence"]
    assert [key["frame"] for key in sequence] == [1, 3, 4, 5, 6]
    assert sequence[0] == given["value"]["sequence"][1]
    assert sequence[1]["x"] == pytest.approx(given["value"]["sequence"][0]["x"])


def test_label_studio_track_ends_where_the_limit_of_frames_is(follower, root, clip) -> None:
    with serving(follower, root, frames=3) as client:
        (found,) = client.post("/predict", predict_request(region(clip)))["results"][0]["result"]
        assert [(key["frame"], key["enabled"]) for key in found["value"]["sequence"]] == [
            (1, True),
            (2, True),
            (3, False),
        ]
        assert client.post("/track", {"video": "frames", "boxes": [clip.boxes[0].tolist()]})["complete"] is False


def test_label_studio_counts_of_frames_that_cannot_be_are_counted_anew(client, clip) -> None:
    for count in (10**400, 0, "6", None, True):
        request = predict_request(region(clip, framesCount=count, duration=None))
        value = client.post("/predict", request)["results"][0]["result"][0]["value"]
        assert value["framesCount"] == FRAMES and value["duration"] == FRAMES / 25


def test_label_studio_without_a_region_gets_an_empty_prediction_for_each_task(client) -> None:
    request = predict_request() | {"params": {"context": None}}
    request["tasks"] *= 3
    empty = {"result": [], "score": 0.0, "model_version": "tests"}
    assert client.post("/predict", request) == {"results": [empty] * 3}


def test_label_studio_requests_that_are_wrong_are_refused_by_key(client, clip) -> None:
    key = region(clip)["value"]["sequence"][0]
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>'
    where = "params.context.result[0].value.sequence"
    for request, message in [
        (predict_request(region(clip), config=bomb), "label_config: not XML"),
        (predict_request(region(clip), config="<View>"), "label_config: not XML"),
        (predict_request(region(clip), config="<View/>"), "label_config: has no tag VideoRectangle"),
        (predict_request(region(clip), config=CONFIG.replace("$clip", "clip")), "label_config: VideoRectangle has no"),
        (predict_request(region(clip)) | {"label_config": None}, "label_config: expected"),
        (predict_request(region(clip)) | {"tasks": None}, "tasks: expected a list, got nothing"),
        (predict_request(region(clip)) | {"tasks": [{}, {}]}, "tasks: drawn regions belong to one task, got 2"),
        (predict_request(region(clip)) | {"tasks": [3]}, "tasks[0].data.clip: expected the path"),
        (predict_request(region(clip), video="gone.mp4"), "tasks[0].data.clip: no such video"),
        (predict_request(region(clip), video="http://example.org/a.mp4"), "tasks[0].data.clip: nothing is fetched"),
        (predict_request(region(clip), video="s3://bucket/a.mp4"), "tasks[0].data.clip: nothing is fetched"),
        (predict_request(region(clip, sequence=[])), f"{where}: has no key"),
        (predict_request(region(clip, sequence=None)), f"{where}: expected a list"),
        (predict_request(region(clip, sequence=[key | {"frame": 0}])), f"{where}[0].frame: expected"),
        (predict_request(region(clip, sequence=[key | {"frame": 99}])), f"{where}[0]: begins in frame 98"),
        (predict_request(region(clip, sequence=[key | {"rotation": 5}])), f"{where}[0].rotation: a turned box"),
        (predict_request(region(clip, sequence=[key | {"x": "1"}])), f"{where}[0]: x, y, width, height: expected"),
        (predict_request(region(clip, sequence=[key | {"width": 0}])), f"{where}[0]: the initial box must have"),
        (predict_request(region(clip) | {"id": float("inf")}), "the request holds a number that is not finite"),
        (predict_request(region(clip) | {"id": "\ud800"}), "the request holds a number that is not finite"),
        (predict_request() | {"params": {"context": {"event": "track"}}}, "params.context.event: only predict"),
        (predict_request() | {"params": {"context": [1]}}, "params.context: expected an object"),
    ]:
        assert client.refused("/predict", request).startswith(message)


# CVAT -----------------------------------------------------------------------------------------------------------------


def test_cvat_tracks_frame_by_frame(client, clip, expected) -> None:
    x, y, w, h = expected[0]
    shape = [x, y, x + w, y + h]
    images = [text(encode_image(frame, ".png")) for frame in clip.frames]
    answer = client.post("/", {"image": images[0], "shapes": [shape, shape], "states": []})
    assert answer["shapes"] == [pytest.approx(shape)] * 2 and len(set(answer["states"])) == 2
    states = answer["states"]
    for image, (x, y, w, h) in zip(images[1:], expected[1:], strict=True):
        answer = client.post("/", {"image": image, **answer})
        np.testing.assert_allclose(answer["shapes"], [[x, y, x + w, y + h]] * 2, atol=1e-2)
        assert answer["states"] == states
    mixed = {"image": images[0], "shapes": [shape, answer["shapes"][0]], "states": [None, states[0]]}
    assert client.post("/", mixed)["states"][1] == states[0]


def test_the_nuclio_function_of_the_docs_passes_calls_on(client, monkeypatch) -> None:
    page = (PROJECT_ROOT / "docs/finetune.md").read_text()
    function = {}
    exec(page.partition("```python\n")[2].partition("```")[0], function)
    monkeypatch.setenv("SEQTRACK_TOKEN", TOKEN)
    monkeypatch.setenv("SEQTRACK_URL", f"http://127.0.0.1:{client.port}/")
    event = SimpleNamespace(body={"image": text(image_file()), "shapes": [[8, 8, 24, 24]], "states": []})
    answer = function["handler"](SimpleNamespace(Response=lambda **fields: fields), event)
    assert answer["status_code"] == 200 and json.loads(answer["body"])["shapes"] == [[8, 8, 24, 24]]


def test_cvat_states_are_not_taken_from_clients_and_not_shared_by_size(client) -> None:
    request = {"image": text(image_file()), "shapes": [[8, 8, 24, 24]]}
    state = client.post("/", request)["states"][0]
    for forged in ("x", 1, {"py/object": "os.system"}, [state]):
        assert client.refused("/", request | {"states": [forged]}, 410).startswith("states[0]: unknown or expired")
    error = client.refused("/", request | {"image": text(image_file(50)), "states": [state]})
    assert error == "image: 64x50 pixels, that of states[0] had 64x48"


def test_a_request_that_fails_leaves_the_state_as_it_was(follower, clip) -> None:
    states = States(10, 10)
    states.put("a", follower.start(clip.frames[0], clip.boxes[0]), clip.frames[0].shape[:2])
    first, second = (follower.step([states.copy("a", image, "")], [image])[0] for image in [clip.frames[1]] * 2)
    assert first == second


def test_cvat_states_expire_and_the_longest_unused_goes_first() -> None:
    now = 0.0
    states, image = States(2, 60, lambda: now), np.zeros((48, 64, 3), np.uint8)
    target = Standing().start(image, BOX)
    for id in ("a", "b"):
        states.put(id, target, image.shape[:2])
    states.put("a", target, image.shape[:2])
    states.put("c", target, image.shape[:2])
    assert len(states) == 2 and states.copy("a", image, "") and states.copy("c", image, "")
    with pytest.raises(limits.Refused, match="unknown or expired"):
        states.copy("b", image, "")
    now, reference = 61.0, weakref.ref(target)
    del target
    with pytest.raises(limits.Refused, match="unknown or expired"):
        states.copy("a", image, "")
    assert len(states) == 0 and reference() is None


# What is refused ------------------------------------------------------------------------------------------------------


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


def png_header(width, height):
    """A PNG that says how large it is, and has no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(4) + b"IDAT"
    )


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


# Many requests, and those whose clients go ----------------------------------------------------------------------------


def test_more_requests_than_the_limit_are_told_to_come_again() -> None:
    follower = Standing(goes=False)
    body = {"frames": [text(image_file())] * 3, "boxes": [BOX]}
    with serving(follower, jobs=3) as client:
        waiting = [client.send("POST", "/track", body) for _ in range(3)]
        wait_for(lambda: len(client.service.worker.jobs) == 3, seconds=20)
        status, answer, headers = client.ask("POST", "/track", body)
        assert (status, answer, headers["Retry-After"]) == (503, {"error": "3 requests are under way"}, "2")
        assert client.ask("GET", "/health")[0] == 200
        follower.may_go.set()
        assert [read(connection)[0] for connection in waiting] == [200] * 3
        assert client.ask("POST", "/track", body)[0] == 200


def test_a_cancelled_request_frees_its_memory(monkeypatch) -> None:
    """One that runs, at its next frame; one that waits, at once."""
    monkeypatch.setattr(worker, "MOST_IN_BATCH", 1)
    follower, images, jobs = Standing(goes=False), [], []
    follower.seen = lambda seen: images.extend(map(weakref.ref, seen))
    body = {"frames": [text(image_file())] * 100, "boxes": [BOX]}
    with serving(follower) as client:
        service = client.service
        running = client.send("POST", "/track", body)
        wait_for(lambda: images, seconds=20)
        waiting = client.send("POST", "/track", body)
        wait_for(lambda: len(service.worker.jobs) == 2, seconds=20)
        jobs += [weakref.ref(job) for job in service.worker.jobs]
        steps = [weakref.ref(job._steps) for job in service.worker.jobs]  # which hold the frames
        waiting.close()
        wait_for(lambda: len(service.worker.jobs) == 1 and service.requests == 1, seconds=20)
        gc.collect()
        assert sum(step() is None for step in steps) == 1
        running.close()
        wait_for(lambda: service.requests == 0, seconds=20)
        follower.may_go.set()
        wait_for(lambda: not service.worker.jobs, seconds=20)
        assert follower.steps < 5
        assert client.ask("POST", "/track", body)[0] == 200  # the worker has let go of what it last held
        gc.collect()
        assert [kept() for kept in jobs + steps] == [None] * 4
        assert images[0]() is None


def test_a_step_that_fails_ends_its_requests_and_not_the_service(caplog) -> None:
    follower = Standing()
    body = {"frames": [text(image_file())] * 2, "boxes": [BOX]}
    with serving(follower) as client:
        follower.fails = RuntimeError("out of memory")
        assert client.refused("/track", body, 500) == "tracking failed: RuntimeError"
        follower.fails = None
        assert client.post("/track", body)["num_frames"] == 2
        follower.start = None
        assert client.refused("/track", body, 500).startswith("an internal error")
    assert "out of memory" in caplog.text and "'NoneType' object is not callable" in caplog.text


def test_the_time_limit_answers_with_what_there_is(monkeypatch) -> None:
    follower = Standing()
    with serving(follower, seconds=1) as client:
        ticks, start = iter(range(1000)), time.monotonic()
        monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: start + 1000 * (next(ticks) > 2)))
        answer = client.post("/track", {"frames": [text(image_file())] * 100, "boxes": [BOX]})
    assert answer["complete"] is False and answer["num_frames"] == 3


# The script -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_service_and_its_requests(number, code, root, tmp_path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    flags = ["--port", "0", "--root", str(root), "--token_file", str(tmp_path / "token"), "--device", "cpu"]
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
    from lib.utils.cli import run_script

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
