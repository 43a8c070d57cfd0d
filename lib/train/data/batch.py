"""What travels from the loader to the actor."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from lib.train.data.processing import CropSet
from lib.train.data.sampler import SampleKey, TrainingSample
from lib.utils.errors import SeqTrackError


@dataclass(frozen=True)
class TrainingBatch:
    """B samples with T templates and S search regions each; pixels are uint8 until they are on the device.

    Attributes:
        template: (B, T, Ht, Wt, 3) uint8 RGB.
        template_boxes_xywh: (B, T, 4) float32, the target in each crop, normalized.
        template_gain: (B, T) float32, brightness / 255 for each crop.
        search: (B, S, Hs, Ws, 3) uint8 RGB.
        search_boxes_xywh: (B, S, 4) float32, may reach outside [0, 1].
        search_gain: (B, S) float32.
        keys: epoch and index of each sample, for messages.
        sources: dataset and sequence of each sample, for messages.
    """

    template: Tensor
    template_boxes_xywh: Tensor
    template_gain: Tensor
    search: Tensor
    search_boxes_xywh: Tensor
    search_gain: Tensor
    keys: tuple[SampleKey, ...] = ()
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of samples B."""
        return len(self.search)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "TrainingBatch":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: function(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **tensors)

    def to(self, device: torch.device) -> "TrainingBatch":
        """The batch on a device; asynchronous from pinned memory only (other memory may be freed before it is read)."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> "TrainingBatch":
        """The batch in page-locked memory (called by the loader)."""
        return self._map(Tensor.pin_memory)

    def share_memory(self) -> "TrainingBatch":
        """The batch in memory that other processes can map (called by the loader's workers)."""
        return self._map(Tensor.share_memory_)


def upload_ahead(batches: Iterable[TrainingBatch], device: torch.device) -> Iterator[TrainingBatch]:
    """Batches on a device; to a CUDA device each is copied while the step of the one before it runs.

    An error of the next batch is raised once the batch before it has been given.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    stream, waiting = torch.cuda.Stream(device), None
    try:
        for batch in batches:
            with torch.cuda.stream(stream):
                uploaded = batch.to(device), torch.cuda.Event()
                uploaded[1].record(stream)
            if waiting is not None:
                yield _take_over(*waiting)
            waiting = uploaded
    except SeqTrackError:
        if waiting is not None:
            yield _take_over(*waiting)
        raise
    if waiting is not None:
        yield _take_over(*waiting)


def _take_over(batch: TrainingBatch, copied: torch.cuda.Event) -> TrainingBatch:
    """Use a batch in the current stream, once it is copied, and keep its memory until that stream is done with it."""
    current = torch.cuda.current_stream()
    current.wait_event(copied)
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            value.record_stream(current)
    return batch


def collate(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Stack samples into a batch."""
    template = _stack([sample.views.template for sample in samples])
    search = _stack([sample.views.search for sample in samples])
    keys = tuple(sample.key for sample in samples)
    return TrainingBatch(*template, *search, keys, tuple(sample.source for sample in samples))


def _stack(sets: Sequence[CropSet]) -> tuple[Tensor, Tensor, Tensor]:
    crops = torch.from_numpy(np.stack([one.crops for one in sets]))
    return crops, torch.stack([one.boxes_xywh for one in sets]), torch.stack([one.gain for one in sets])
