"""A tiny experiment and a short clip."""

import cv2
import pytest
import torch
import yaml

from lib.test.video.encoders import VideoWriter
from lib.utils.checkpoint import save_checkpoint
from tests.models.tiny import OVERRIDES, nested
from tests.tracker import fakes
from tests.video.world import FRAMES


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(VideoWriter, "ENCODERS", VideoWriter.ENCODERS[-1:])  # OpenCV's, which is everywhere
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A YAML file of a tiny experiment and a checkpoint for it."""
    root = tmp_path_factory.mktemp("experiment")
    options = OVERRIDES | {"MODEL.BINS": 200, "TEST.WINDOW": True}
    (root / "tiny.yaml").write_text(yaml.safe_dump(nested(options)))
    save_checkpoint({"net": fakes.make_engine().network.state_dict()}, root / "tiny.pth.tar")
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A short colored video."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "ENCODERS", VideoWriter.ENCODERS[-1:])
        writer = VideoWriter(path, 25.0, 160, 120)
    for image in fakes.frames(FRAMES):
        tinted = cv2.blur(image, (5, 5))
        tinted[..., 0] = 255 - tinted[..., 0] // 4  # reddish: swapped channels would show
        writer.write(tinted)
    writer.close()
    return path
