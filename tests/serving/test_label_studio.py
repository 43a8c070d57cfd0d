"""The contract with Label Studio, by requests written from its public description."""

import pytest

from tests.library.conftest import overlap
from tests.serving.world import FRAMES, serving

CONFIG = """<View><Labels name="lab" toName="vid"><Label value="ball"/></Labels>
<Video name="vid" value="$clip" framerate="25"/><VideoRectangle name="box" toName="vid"/></View>"""


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
