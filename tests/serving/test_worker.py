"""Many requests at a time, those whose clients go, and those that fail."""

import gc
import time
import weakref
from types import SimpleNamespace

from lib.test.serving import worker
from tests.processes import wait_for
from tests.serving.world import BOX, Standing, image_file, read, serving, text


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
