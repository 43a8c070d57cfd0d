"""Tracking many sequences with one network: the state of each is apart, a step is one batch.

Source: SeqTrack, sections 3.3 (inference) and 3.4 (online template update and window penalty).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lib.models.seqtrack import SeqTrack
from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.network import load_network
from lib.test.tracker.preprocess import Preprocessor, check_image, check_init_box
from lib.test.tracker.presence import PresenceScore, load_score
from lib.test.tracker.reader import BoxReader
from lib.utils.box_ops import clip_box
from lib.utils.crop import map_box_back, sample_target
from lib.utils.errors import InputError

CLIP_MARGIN = 10  # pixels: a box stays at least this large and this far inside the image
CONFIDENCE_SCALE = 10.0  # four likelihoods in [0, 1] give a confidence in [0, 40]; the thresholds are tuned to that


@dataclass
class TrackState:
    """All that is remembered of one sequence.

    Attributes:
        box_xywh: the last box, in image pixels.
        templates: (T * N, C) embedded templates; the first N rows never change, the rest is first in, first out.
        frame: how many frames were tracked; 0 right after the start.
    """

    box_xywh: list[float]
    templates: Tensor
    frame: int = 0


@dataclass(frozen=True)
class TrackResult:
    """What one step says about one sequence.

    Attributes:
        box_xywh: the new box, in image pixels.
        confidence: 0 to 40.
        tokens: (4,) int64, the tokens that the decoder wrote.
        likelihoods: (4,) their likelihoods after the window.
        updated: whether this frame gave a new template.
    """

    box_xywh: list[float]
    confidence: float
    tokens: np.ndarray
    likelihoods: np.ndarray
    updated: bool


class SeqTrackEngine:
    """Starts sequences and steps any number of them at once.

    Args:
        params: settings; ``params.device``, ``dtype`` and ``backend`` are ignored where ``network`` is given.
        network: a network to share with other engines; by default one is built and loaded.

    Attributes:
        network: None where a runtime takes the place of PyTorch.
        device: where templates are kept; of a runtime the CPU, wherever it computes.
    """

    def __init__(self, params: TrackerParams, network: SeqTrack | None = None) -> None:
        self.params = params
        self.vocabulary = CoordinateVocabulary(params.config.MODEL.BINS, params.config.DATA.SEQ_FORMAT)
        if network is None and params.backend != "torch":
            from lib.test.tracker.backends import RuntimeReader  # with what exporting takes

            self.network, self.device, self.dtype = None, torch.device("cpu"), torch.float32
            self.reader = RuntimeReader(params)
            return
        self.network = load_network(params) if network is None else network
        weight = self.network.encoder.body.pos_embed
        self.device, self.dtype = weight.device, weight.dtype
        self.preprocess = Preprocessor(params.mean, params.std).to(self.device)
        self.window = self._make_window() if params.window else None
        self.reader = BoxReader(
            self.network, self.preprocess, self.window, compile=params.compile, cuda_graphs=params.cuda_graphs
        )

    def _make_window(self) -> Tensor:
        # Faithful: the product with the likelihoods is float64. Apple's MPS has no such type.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        return self.vocabulary.window(dtype=dtype).to(self.device)

    @torch.inference_mode()
    def start(self, image: np.ndarray, box_xywh: Sequence[float]) -> TrackState:
        """Begin a sequence.

        Args:
            image: (H, W, 3) uint8 RGB, the first frame.
            box_xywh: the target in it, in pixels.

        Raises:
            InputError: if the image or the box cannot be used.
        """
        check_image(image)
        box = check_init_box(box_xywh, *image.shape[:2])
        template = self.reader.embed([self._crop_template(image, box)])[0]
        return TrackState(box_xywh=box, templates=template.repeat(self.params.num_templates, 1))

    @torch.inference_mode()
    def step(
        self,
        states: Sequence[TrackState],
        images: Sequence[np.ndarray],
        crops: tuple[list[np.ndarray], list[float]] | None = None,
    ) -> list[TrackResult]:
        """Track one frame of each sequence; the states move on in place.

        Args:
            states: B states, all of this engine; they may be of different frames.
            images: B next frames, (H, W, 3) uint8 RGB, of any sizes.
            crops: what ``crop`` returned for them, if it was called before.

        Returns:
            B results.

        Raises:
            InputError: if an image cannot be used; then no state has changed.
        """
        if len(states) != len(images):
            raise InputError(f"got {len(states)} states but {len(images)} images")
        if not states:
            return []
        patches, factors = self.crop(states, images) if crops is None else crops
        tokens, likelihoods = self._read_boxes(torch.stack([state.templates for state in states]), patches)
        boxes = self._boxes_in_images(tokens, factors, states, images)
        confidences = (CONFIDENCE_SCALE * likelihoods.sum(dim=-1)).tolist()
        for state, box in zip(states, boxes, strict=True):
            state.box_xywh = box
            state.frame += 1
        updated = self._update_templates(states, images, confidences)
        return [
            TrackResult(list(boxes[i]), confidences[i], tokens[i].numpy(), likelihoods[i].numpy(), updated[i])
            for i in range(len(states))
        ]

    def presence(self, results: Sequence[TrackResult]) -> np.ndarray:
        """How likely it is that each box is on its target, (B,) in [0, 1], by the score of the checkpoint."""
        return self._score(np.stack([result.likelihoods for result in results]))

    @cached_property
    def _score(self) -> PresenceScore:
        return load_score(self.params.checkpoint, self.params.update_threshold)

    def crop(self, states: Sequence[TrackState], images: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
        """Cut the search crops, (S, S, 3) uint8 each, around the last boxes; also their resize factors.

        The part of a step that needs no device: it may run while the device works on another batch.

        Raises:
            InputError: if an image cannot be used.
        """
        for image in images:
            check_image(image)
        params = self.params
        pairs = [
            sample_target(image, state.box_xywh, params.search_factor, params.search_size)
            for state, image in zip(states, images, strict=True)
        ]
        return [crop for crop, _ in pairs], [factor for _, factor in pairs]

    def _crop_template(self, image: np.ndarray, box_xywh: Sequence[float]) -> np.ndarray:
        """Cut a template crop, (S, S, 3) uint8."""
        return sample_target(image, box_xywh, self.params.template_factor, self.params.template_size)[0]

    def _read_boxes(self, templates: Tensor, crops: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Run the network.

        Args:
            templates: (B, T * N, C) embedded templates.
            crops: B search crops.

        Returns:
            ``(tokens, likelihoods)`` on the CPU: (B, 4) int64, and (B, 4) float64 with a window, else float32.
        """
        return self.reader(templates, torch.from_numpy(np.stack(crops)))

    def _boxes_in_images(
        self, tokens: Tensor, factors: Sequence[float], states: Sequence[TrackState], images: Sequence[np.ndarray]
    ) -> list[list[float]]:
        """Turn tokens (B, 4) into boxes xywh in image pixels."""
        size = self.params.search_size
        # Faithful: float32 up to here, Python floats (float64) from the map-back on.
        relative = self.vocabulary.decode(tokens) * size / torch.tensor(factors).unsqueeze(1)
        boxes = []
        for box, factor, state, image in zip(relative.tolist(), factors, states, images, strict=True):
            height, width = image.shape[:2]
            moved = map_box_back(box, state.box_xywh, factor, size)
            boxes.append(clip_box(moved, height, width, margin=CLIP_MARGIN))
        return boxes

    def _update_templates(
        self, states: Sequence[TrackState], images: Sequence[np.ndarray], confidences: Sequence[float]
    ) -> list[bool]:
        """Give the sequences that are due and sure a new template; returns which ones were."""
        params = self.params
        due = [
            params.num_templates > 1
            and state.frame % params.update_interval == 0
            and confidence > params.update_threshold
            for state, confidence in zip(states, confidences, strict=True)
        ]
        chosen = [index for index, is_due in enumerate(due) if is_due]
        if chosen:
            # Faithful: cut around the box that was found in this very frame.
            embedded = self.reader.embed([self._crop_template(images[i], states[i].box_xywh) for i in chosen])
            for index, new in zip(chosen, embedded, strict=True):
                old = states[index].templates
                states[index].templates = torch.cat((old[: len(new)], old[2 * len(new) :], new))
        return due
