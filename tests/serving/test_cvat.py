"""The contract with CVAT's tracker functions, by requests written from their public description."""

import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from lib.test.serving import limits
from lib.test.serving.cvat import States
from lib.utils.image_io import encode_image
from tests.serving.world import BOX, TOKEN, Standing, image_file, text


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


def test_a_request_that_fails_leaves_the_state_as_it_was(follower, clip) -> None:
    states = States(10, 10)
    states.put("a", follower.start(clip.frames[0], clip.boxes[0]), clip.frames[0].shape[:2])
    first, second = (follower.step([states.copy("a", image, "")], [image])[0] for image in [clip.frames[1]] * 2)
    assert first == second
