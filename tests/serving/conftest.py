"""A clip, the bundled weights, and services that track in it."""

import pytest

import seqtrack
from lib.utils.image_io import encode_image
from tests.library.conftest import Clip
from tests.serving.world import FRAMES, Standing, serving
from tests.threads import one_thread  # noqa: F401 - a fixture
from tracking.serve_annotation import load_follower, parse_args


@pytest.fixture(scope="package")
def clip() -> Clip:
    return Clip(3, FRAMES)


@pytest.fixture(scope="package")
def root(clip, tmp_path_factory):
    """A folder with the clip as a video ``upload/1/clip.avi`` and as images ``frames``."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "upload/1").mkdir(parents=True)
    clip.write(folder / "upload/1/clip.avi")
    (folder / "frames").mkdir()
    for index, frame in enumerate(clip.frames):
        (folder / f"frames/{index}.png").write_bytes(encode_image(frame, ".png"))
    return folder


@pytest.fixture(scope="package")
def follower():
    """The bundled weights."""
    return load_follower(parse_args(["--device", "cpu"]))[0]


@pytest.fixture(scope="package")
def client(follower, root):
    with serving(follower, root) as client:
        yield client


@pytest.fixture
def standing():
    """A client of a service that needs no network."""
    with serving(Standing()) as client:
        yield client


@pytest.fixture(scope="package")
def expected(clip):
    """Boxes of the library for the frames of the clip, its first one included."""
    tracker = seqtrack.load(device="cpu")
    tracker.init(clip.frames[0], clip.boxes[0])
    return [list(clip.boxes[0]), *(list(tracker.update(frame).box) for frame in clip.frames[1:])]
