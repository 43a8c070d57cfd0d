"""One target: ``load`` a tracker, ``init`` it with a box, ``update`` it with every further frame."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from lib.test.tracker.lost import LostOptions
from lib.utils.errors import ConfigError, InputError
from seqtrack.frames import Color, Frame, Image, check_color, check_size, to_rgb

if TYPE_CHECKING:
    from lib.models.seqtrack import SeqTrack
    from lib.test.tracker.lost import LostAndFound, Target

Box: TypeAlias = Sequence[float] | npt.NDArray[Any]
"""x, y, width, height in pixels; x and y are those of the top-left corner."""

State = Literal["tracking", "uncertain", "lost"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""Files of a network in the layout of the Hub."""


@dataclass(frozen=True)
class Result:
    """Where a target is in a frame.

    Attributes:
        box: x, y, width, height in pixels of the frame; floats, not rounded.
        score: how likely it is that the box is on the target, 0 to 1.
        confidence: the published confidence, 0 to 40: ten times the sum of the likelihoods of the four tokens.
        state: ``tracking``, ``uncertain`` (the score has fallen), or ``lost``.
    """

    box: tuple[float, float, float, float]
    score: float
    confidence: float
    state: State = "tracking"

    @property
    def lost(self) -> bool:
        """Whether the target is taken to be lost; the box is then a guess."""
        return self.state == "lost"

    def corners(self) -> tuple[float, float, float, float]:
        """Top-left and bottom-right corner: x1, y1, x2, y2 in pixels."""
        x, y, w, h = self.box
        return x, y, x + w, y + h

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain lists and numbers, for JSON."""
        facts = {"box": list(self.box), "score": self.score, "confidence": self.confidence}
        return {**facts, "state": self.state, "lost": self.lost}


class Model:
    """A network with its settings, which any number of targets share."""

    def __init__(self, follower: "LostAndFound", color: Color) -> None:
        self.follower = follower
        self.color = color

    def start(self, image: Image, box: Box) -> "Target":
        """Begin with a target."""
        return self.follower.start(image, cast(Sequence[float], box))

    def step(self, targets: "Sequence[Target]", images: Sequence[Image]) -> list[Result]:
        """Follow each target into its next frame; all of them are one batch."""
        results = []
        for seen in self.follower.step(targets, images):
            x, y, w, h = seen.box_xywh
            results.append(Result((x, y, w, h), seen.score, seen.confidence, seen.status))
        return results


class Tracker:
    """Follows one target. :func:`load` makes one.

    Attributes:
        on_lost: called with the result when the target becomes lost, once for each time; None calls nothing.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._target: Target | None = None
        self._size = (0, 0)
        self.on_lost: Callable[[Result], object] | None = None

    @property
    def device(self) -> str:
        """Device that the network is on, such as ``cpu`` or ``cuda:0``."""
        return str(self._model.follower.engine.device)

    @property
    def network(self) -> "SeqTrack":
        """The network, a ``torch.nn.Module``. Raises InputError where another backend computes it."""
        engine = self._model.follower.engine
        if engine.network is None:
            raise InputError(f"a tracker of the backend {engine.params.backend} has no network of PyTorch")
        return engine.network

    @property
    def color(self) -> Color:
        """Order of the channels that frames have: ``rgb`` or ``bgr``."""
        return self._model.color

    def share(self) -> "Tracker":
        """Another tracker with the same network and settings, for another target; takes no more memory for weights."""
        return Tracker(self._model)

    def init(self, frame: Frame, box: Box) -> None:
        """Begin with the target's box in a frame; also again, for another target or another video.

        Args:
            frame: (H, W, 3) uint8 NumPy array or torch tensor, or a PIL image.
            box: x, y, width, height in pixels; it may stick out of the frame.

        Raises:
            InputError: if the frame or the box cannot be used; a target that was followed still is.
        """
        image = to_rgb(frame, self.color)
        self._target = self._model.start(image, box)
        self._size = image.shape[:2]

    def update(self, frame: Frame) -> Result:
        """Follow the target into the next frame.

        Args:
            frame: as for :meth:`init`, of the same size as the first one.

        Raises:
            InputError: if the frame cannot be used, or :meth:`init` was not called; the tracker is unchanged then.
        """
        image, target = self._checked(frame, "update")
        was_lost = target.status == "lost"
        result = self._model.step([target], [image])[0]
        if result.lost and not was_lost and self.on_lost is not None:
            self.on_lost(result)
        return result

    def reinit(self, frame: Frame, box: Box) -> None:
        """Say where the target is in a frame that :meth:`update` has seen, such as a detector found it.

        Unlike :meth:`init` it keeps the templates: what is looked for stays the target of the first frame.

        Args:
            frame: as for :meth:`update`.
            box: x, y, width, height in pixels.

        Raises:
            InputError: as :meth:`init` and :meth:`update`.
        """
        image, target = self._checked(frame, "reinit")
        place_target(target, image, box)

    def _checked(self, frame: Frame, verb: str) -> "tuple[Image, Target]":
        if self._target is None:
            raise InputError(f"{verb} was called before init")
        image = to_rgb(frame, self.color)
        check_size(image, self._size, "call init")
        return image, self._target


def place_target(target: "Target", image: Image, box: Box) -> None:
    """Go on tracking a target from a box that the caller knows."""
    from lib.test.tracker.lost import place
    from lib.test.tracker.preprocess import check_init_box

    place(target, check_init_box(box, *image.shape[:2]))


def load(
    name: str | Path = "seqtrack_demo",
    checkpoint: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    color: Color = "rgb",
    compile: bool = False,
    update_interval: int | None = None,
    update_threshold: float | None = None,
    lost: LostOptions | None = None,
    backend: str = "auto",
) -> Tracker:
    """Load a network and return a tracker for it.

    Args:
        name: an experiment of :func:`available`, the path of a YAML file, or a folder in the layout of the Hub, as
            ``SeqTrack.save_pretrained`` writes it. Nothing is ever downloaded.
        checkpoint: file with the weights. By default the folder's, or the bundled ones, which ``seqtrack_demo`` has;
            else those that training has written to ``checkpoints`` in the current folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``; ``auto`` takes the fastest one present.
        dtype: ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``int8`` (CPU only).
        color: order of the channels in the frames that will be given: ``rgb``, or ``bgr`` as OpenCV reads them.
        compile: compile the network, and capture it as a CUDA graph on CUDA; the first frame takes long.
        update_interval: every so many frames a new template may be taken, where the network has more than one;
            by default as for a benchmark without a setting of its own.
        update_threshold: it is taken if the confidence (0 to 40) is above this.
        lost: when the target is lost and found (``seqtrack.LostOptions``); default: its default values.
        backend: what computes the network: ``torch`` (also ``auto``), ``onnxruntime`` or ``openvino``. The last two
            need an extra of the same name or ``onnx``, export the network once, and keep it in a cache;
            docs/deployment.md says what each of them is good for. With them ``checkpoint`` may be a file ``step`` of
            ``tracking/export.py``, and precisions are ``float32``, ``int8``, and with OpenVINO ``bfloat16``.

    Raises:
        SeqTrackError: a ``ConfigError`` if the experiment is unknown or a setting does not fit, a ``CheckpointError``
            if there are no weights or they are not those of this experiment, an ``InputError`` if this machine has no
            such device.
    """
    color = check_color(color)
    from lib.test.parameter.seqtrack import parameters
    from lib.test.tracker.engine import SeqTrackEngine
    from lib.test.tracker.lost import LostAndFound
    from lib.test.tracker.presence import load_score

    name, checkpoint = find_files(name, checkpoint)
    settings = {"update_interval": update_interval, "update_threshold": update_threshold}
    given: dict[str, Any] = {key: value for key, value in settings.items() if value is not None}
    given |= {"device": device, "dtype": dtype, "compile": compile, "backend": backend}
    params = parameters(name, checkpoint=checkpoint, **given)
    score = load_score(params.checkpoint, params.update_threshold)
    return Tracker(Model(LostAndFound(SeqTrackEngine(params), score, lost or LostOptions()), color))


def find_files(name: str | Path, checkpoint: str | Path | None) -> tuple[str | Path, str | Path | None]:
    """The experiment and the weights that :func:`load` means; None leaves the search to ``lib.config.paths``.

    Raises:
        ConfigError: if ``name`` is a folder without a configuration.
    """
    from lib.config.paths import bundled_checkpoint
    from lib.config.seqtrack.config import experiment_name

    if str(name) not in available() and Path(name).is_dir():
        folder = Path(name)
        if not (folder / CONFIG_FILE).is_file():
            raise ConfigError(f"{folder}: a folder without {CONFIG_FILE}")
        return folder / CONFIG_FILE, folder / WEIGHTS_FILE if checkpoint is None else checkpoint
    bundled = bundled_checkpoint(experiment_name(name))
    return name, bundled if checkpoint is None and bundled.is_file() else checkpoint


def available() -> list[str]:
    """Names of the experiments that :func:`load` knows; those but ``seqtrack_demo`` need a ``checkpoint``."""
    from lib.config.seqtrack.config import known_experiments

    return known_experiments()


def track_video(video: str | Path | int, box: Box, tracker: Tracker | None = None) -> Iterator[tuple[Image, Result]]:
    """Follow a target through a video and yield every frame with the result for it, the first one included.

    Args:
        video: a video file, a folder of images, the address of a stream (``http://``, ``rtsp://``, ...), or the number
            of a camera.
        box: the target in the first frame: x, y, width, height in pixels.
        tracker: whose network and settings to use; its own target is left alone. By default the bundled one.

    Yields:
        ``(frame, result)``: the frame is (H, W, 3) uint8 in the tracker's order of channels.

    Raises:
        InputError: if the video cannot be opened, it holds no frame, or the box cannot be used.
        DataError: if a video or image is damaged, or a stream stops in the middle.
    """
    from lib.test.tracker.preprocess import check_init_box
    from lib.test.video.streams import open_video

    source = open_video(str(video))
    tracker = load() if tracker is None else tracker.share()
    reverse = tracker.color == "bgr"
    for index, frame in enumerate(source.frames()):
        shown = np.ascontiguousarray(frame[..., ::-1]) if reverse else frame
        if index:
            yield shown, tracker.update(shown)
            continue
        x, y, w, h = check_init_box(box, *frame.shape[:2])
        tracker.init(shown, (x, y, w, h))
        yield shown, Result((x, y, w, h), 1.0, 40.0)
