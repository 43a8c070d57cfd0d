"""Tracks one target as always, keeping what the network attended to in chosen frames: behind tracking/visualize.py."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure

from lib.models.seqtrack.maps import MapRecorder, NetworkMaps
from lib.test.analysis.attention import (
    Panel,
    Template,
    TemplateHistory,
    draw_attention,
    draw_likelihoods,
    draw_templates,
    draw_tokens,
    select_maps,
)
from lib.test.analysis.style import PAPER, save_figure
from lib.test.analysis.token_view import TokenView
from lib.test.tracker.engine import SeqTrackEngine, TrackResult
from lib.test.video.encoders import VideoWriter
from lib.utils.crop import sample_target, transform_image_to_crop
from lib.utils.errors import InputError, printable
from lib.utils.files import atomic_path

KINDS = ("attention", "likelihood", "tokens", "templates")
FORMATS = ("png", "pdf", "svg", "mp4", "npz")
DPI = 220
MOST_ROWS = 48


def parse_numbers(text: str, flag: str) -> list[int]:
    """Numbers in a text such as ``1,50,100-200:10``, ascending, each once.

    Raises:
        InputError: naming the flag, if the text is something else.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:-(\d{1,6})(?::(\d{1,6}))?)?\s*", part, re.ASCII)
        if match is None or match[3] == "0":
            raise InputError(f"--{flag}: expected numbers such as 1,50,100-200:10, got {printable(repr(text), 60)}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"--{flag}: {printable(part, 40)}: the range ends before it begins")
        numbers.update(range(first, last + 1, int(match[3] or 1)))
    return sorted(numbers)


def choose(text: str, count: int, flag: str, what: str) -> list[int] | None:
    """Which of ``count`` layers or heads a text names: ``all``, numbers from 0, or ``mean``, which gives None.

    Raises:
        InputError: naming the flag, if there is no such one.
    """
    if text in ("mean", "all"):
        return None if text == "mean" else list(range(count))
    numbers = parse_numbers(text, flag)
    if numbers[-1] >= count:
        raise InputError(f"--{flag}: there is no {numbers[-1]}: {what} 0 to {count - 1}")
    return numbers


@dataclass(frozen=True)
class Observation:
    """What was seen in one frame.

    Attributes:
        frame: its number, from 0.
        crop: (S, S, 3) uint8, the search crop.
        result: the tracker's answer.
        maps: what the network attended to, without the batch dimension.
        templates: what it compared with, T of them.
        ground_truth: (4,) tokens of the ground truth, or None where that is unknown.
    """

    frame: int
    crop: np.ndarray
    result: TrackResult
    maps: NetworkMaps
    templates: list[Template]
    ground_truth: np.ndarray | None


class Observer:
    """Tracks one target, and looks into the network in chosen frames.

    Args:
        engine: neither compiled nor captured as a CUDA graph, where no hook would run.

    Attributes:
        history: confidences and templates of all frames so far.
    """

    def __init__(self, engine: SeqTrackEngine) -> None:
        if engine.reader.is_whole:
            raise InputError("a compiled or captured network cannot be looked into")
        self.engine = engine
        params = engine.params
        self._recorder = MapRecorder(engine.network, params.template_factor)
        self.history = TemplateHistory(params.num_templates, params.update_interval, params.update_threshold)

    def run(
        self,
        images: Iterable[np.ndarray],
        init_box_xywh: Sequence[float],
        frames: Sequence[int],
        ground_truth: np.ndarray | None = None,
    ) -> Iterator[Observation]:
        """Track up to the last of the chosen frames, and give what was seen in each of them.

        Args:
            images: (H, W, 3) uint8 RGB, the first one with the box.
            init_box_xywh: the target in it, in pixels.
            frames: their numbers, ascending, from 1.
            ground_truth: (F, 4) xywh in pixels, NaN where it is unknown.

        Raises:
            InputError: if the images end before the last of the frames.
        """
        engine, chosen, last = self.engine, set(frames), 0
        for number, image in enumerate(images):
            last = number
            if number == 0:
                state = engine.start(image, init_box_xywh)
                self.history.start(self._template(0, image, state.box_xywh))
                continue
            around, crops = state.box_xywh, engine.crop([state], [image])
            templates = list(self.history.current)
            with ExitStack() as recording:
                if number in chosen:
                    recording.enter_context(self._recorder)
                result = engine.step([state], [image], crops)[0]
            new = self._template(number, image, result.box_xywh) if result.updated else None
            self.history.add(number, result.confidence, result.likelihoods, new)
            if number in chosen:
                maps = NetworkMaps(*(values[0] for values in self._recorder.read()))
                target = None if ground_truth is None else self._tokens_of(ground_truth[number], around, crops[1][0])
                yield Observation(number, crops[0][0], result, maps, templates, target)
            if number == frames[-1]:
                return
        raise InputError(f"--frames: there is no frame {frames[-1]}: the last one is {last}")

    def _tokens_of(self, box_xywh: np.ndarray, around_xywh: list[float], factor: float) -> np.ndarray | None:
        """(4,) tokens of a box in image pixels on a search crop; None for NaN and empty ones."""
        if not box_xywh[2:].min() > 0:
            return None
        boxes = (torch.tensor(box, dtype=torch.float32) for box in (box_xywh, around_xywh))
        box = transform_image_to_crop(*boxes, factor, self.engine.params.search_size)
        return self.engine.network.vocabulary.encode(box).numpy()

    def _template(self, frame: int, image: np.ndarray, box_xywh: Sequence[float]) -> Template:
        params = self.engine.params
        return Template(frame, sample_target(image, box_xywh, params.template_factor, params.template_size)[0])


class Layers(NamedTuple):
    """Layers and heads to show, numbers from 0; None for the mean over them."""

    layers: list[int] | None = None
    heads: list[int] | None = None

    @property
    def rows(self) -> int:
        """Rows of maps that they make."""
        return len(self.layers or [0]) * len(self.heads or [0])


class Gallery:
    """Draws observations and writes them to a folder, each file whole or not at all.

    Args:
        observer: that makes them.
        folder: where files go: ``00050_attention.png``, ``00050.npz``, ``attention.mp4``, ``templates.png``.
        kinds: what to draw, of ``KINDS``.
        formats: of ``FORMATS``.
        decoder: layers and heads of the cross-attention.
        encoder: of the attention from templates to the search crop.
        fps: of the videos.

    Raises:
        InputError: if there are too many layers and heads for a figure.
    """

    def __init__(
        self,
        observer: Observer,
        folder: Path,
        kinds: Sequence[str],
        formats: Sequence[str],
        *,
        decoder: Layers = Layers(),  # noqa: B008 - immutable
        encoder: Layers = Layers(),  # noqa: B008
        fps: float = 5.0,
    ) -> None:
        if decoder.rows + encoder.rows > MOST_ROWS:
            raise InputError(
                f"{decoder.rows + encoder.rows} layers and heads in a figure: at most {MOST_ROWS}, choose fewer"
            )
        self.observer, self.folder, self.kinds, self.formats = observer, folder, kinds, formats
        self._decoder, self._encoder, self._fps = decoder, encoder, fps
        window = observer.engine.window
        self._window = None if window is None else window.cpu().numpy()
        self._factor = observer.engine.params.template_factor
        self._views = TokenView(observer.engine.network.vocabulary)
        self._videos: dict[str, VideoWriter] = {}
        self._open = ExitStack()
        self.written: list[Path] = []

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def add(self, seen: Observation) -> None:
        """Draw and write a frame."""
        with rc_context(dict(PAPER.rc)):
            for kind in self.kinds if set(self.formats) - {"npz"} else ():
                if kind != "templates":
                    self._write(self._draw(kind, seen), kind, f"{seen.frame:05d}_")
        if "npz" in self.formats:
            path = self.folder / f"{seen.frame:05d}.npz"
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **self._arrays(seen))
            self.written.append(path)

    def finish(self) -> None:
        """Write what is about the whole video."""
        if "templates" in self.kinds:
            with rc_context(dict(PAPER.rc)):
                figure = draw_templates(self.observer.history, self._views.names)
            for form in self.formats:
                if form not in ("mp4", "npz"):
                    self.written.append(save_figure(figure, self.folder / f"templates.{form}", PAPER, dpi=DPI))

    def _draw(self, kind: str, seen: Observation) -> Figure:
        tokens, likelihoods = seen.result.tokens, seen.result.likelihoods
        if kind == "attention":
            cross = select_maps(seen.maps.cross.numpy(), *self._decoder)
            encoder = select_maps(seen.maps.encoder.numpy(), *self._encoder)
            box = self._views.box(tokens)
            named = zip(self._views.names, tokens, likelihoods, strict=True)
            labels = [f"{name} = {token} ({likelihood:.2g})" for name, token, likelihood in named]
            crop = Panel(seen.crop, f"frame {seen.frame}", box)
            return draw_attention(crop, labels, cross, seen.templates, self._factor, encoder)
        title, probabilities = f"frame {seen.frame}", seen.maps.probabilities.numpy()
        if kind == "likelihood":
            return draw_likelihoods(self._views, probabilities, self._window, tokens, seen.ground_truth, title)
        return draw_tokens(self._views, title, seen.crop, tokens, self._views.weigh(probabilities, self._window))

    def _write(self, figure: Figure, kind: str, prefix: str) -> None:
        for form in self.formats:
            if form == "mp4":
                self._write_video(figure, kind)
            elif form != "npz":
                self.written.append(save_figure(figure, self.folder / f"{prefix}{kind}.{form}", PAPER, dpi=DPI))

    def _write_video(self, figure: Figure, kind: str) -> None:
        figure.set_dpi(DPI)
        figure.canvas.draw()
        image = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        if kind not in self._videos:
            path = self.folder / f"{kind}.mp4"
            temporary = self._open.enter_context(atomic_path(path))
            video = self._videos[kind] = VideoWriter(temporary, self._fps, image.shape[1], image.shape[0])
            self._open.push(lambda kind, *_: video.close() if kind is None else video.release())
            self.written.append(path)
        self._videos[kind].write(image)

    def _arrays(self, seen: Observation) -> dict[str, np.ndarray]:
        arrays = {
            "frame": np.array(seen.frame),
            "box_xywh": np.array(seen.result.box_xywh),
            "confidence": np.array(seen.result.confidence),
            "tokens": seen.result.tokens,
            "likelihoods": seen.result.likelihoods,
            **{name: values.numpy() for name, values in seen.maps._asdict().items()},
            "search_crop": seen.crop,
            "template_crops": np.stack([template.crop for template in seen.templates]),
            "template_frames": np.array([template.frame for template in seen.templates]),
        }
        optional = {"window": self._window, "ground_truth_tokens": seen.ground_truth}
        return arrays | {name: values for name, values in optional.items() if values is not None}
