"""Running the network on a batch of crops as one fixed piece of work, which can be compiled or captured.

A captured or compiled piece is made for one batch size. Batches are therefore filled up to a few sizes (1, 2, 4, ...),
and longer ones are cut.
"""

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.models.seqtrack import SeqTrack
from lib.test.tracker.preprocess import Preprocessor

logger = logging.getLogger(__name__)
_numbers = itertools.count()

LARGEST_BATCH = 64  # of a compiled or captured step; eager steps take any size at once
WARM_UP_STEPS = 3  # before a capture, as PyTorch's notes on CUDA graphs ask for

Step = Callable[[Tensor, Tensor], Tensor]
"""(B, T * Nt, C) embedded templates and (B, S, S, 3) uint8 crops, both on the device -> (B, 8) tokens, likelihoods."""


def bucket(count: int) -> int:
    """Smallest power of two that holds ``count`` sequences, at most ``LARGEST_BATCH``."""
    return min(1 << (count - 1).bit_length(), LARGEST_BATCH)


class BoxReader:
    """From crops to tokens and likelihoods, with one transfer in each direction.

    Args:
        network: in eval mode; its weights may change until the first call.
        preprocess: normalizes the crops, on the network's device.
        window: (bins,) on the device, or None.
        compile: compile the step with ``torch.compile`` (the first step of each batch size takes long). On CUDA it is
            also captured.
        cuda_graphs: capture the step as a CUDA graph for each batch size; without effect on other devices.

    What a device or an installation cannot do is left out after the first failure, with one warning in the log: the
    tokens are the same.
    """

    def __init__(
        self,
        network: SeqTrack,
        preprocess: Preprocessor,
        window: Tensor | None,
        *,
        compile: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        self.network = network
        self.preprocess = preprocess
        self.window = window
        self.dtype = network.encoder.body.pos_embed.dtype
        on_cuda = preprocess.mean.device.type == "cuda"
        self._compile = compile
        self._capture = on_cuda and (compile or cuda_graphs)
        self._pool: Any = None  # memory that the graphs share: one runs at a time, and its result is copied at once
        self._fast: dict[int, Step] = {}  # by batch size

    def embed(self, crops: Sequence[np.ndarray]) -> Tensor:
        """Embed template crops, (T, T, 3) uint8 each, one per sequence: (B, Nt, C)."""
        return self.network.embed_template(self.preprocess(crops, self.dtype).unsqueeze(1))

    def __call__(self, templates: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Read boxes.

        Args:
            templates: (B, T * Nt, C) embedded templates, on the device.
            crops: (B, S, S, 3) uint8 search crops, on the CPU.

        Returns:
            ``(tokens, likelihoods)`` on the CPU: (B, 4) int64, and (B, 4) float64 with a float64 window, else float32.
        """
        crops = self.preprocess.upload(crops)
        packed = self._run(templates, crops) if self.is_whole else self.step(templates, crops)
        packed = packed.cpu()  # the one synchronization
        return packed[:, :4].long(), packed[:, 4:]

    @property
    def is_whole(self) -> bool:
        """Whether the step is compiled or captured, so that it cannot be taken apart."""
        return self._compile or self._capture

    @property
    def is_captured(self) -> bool:
        """Whether the step runs as CUDA graphs."""
        return self._capture

    def step(self, templates: Tensor, crops: Tensor) -> Tensor:
        """Do all the work on the device; see ``Step``."""
        return self.decode(self.encode(templates, crops))

    def encode(self, templates: Tensor, crops: Tensor) -> Tensor:
        """First half of the step: normalize the crops and give what the decoder looks at."""
        return self.network.encode_embedded(
            templates, self.preprocess.normalize(crops, self.dtype).unsqueeze(1), search_only=True
        )

    def decode(self, needed: Tensor) -> Tensor:
        """Second half: (B, 8) tokens, whole numbers that are exact in float32 below 2**24, and likelihoods."""
        tokens, likelihoods = self.network.generate(needed, self.window)
        likelihoods = likelihoods if likelihoods.dtype == torch.float64 else likelihoods.float()
        return torch.cat((tokens.to(likelihoods.dtype), likelihoods), dim=-1)

    def _run(self, templates: Tensor, crops: Tensor) -> Tensor:
        """Run the step in batches of the sizes it is made for."""
        parts = []
        for part_templates, part_crops in zip(templates.split(LARGEST_BATCH), crops.split(LARGEST_BATCH), strict=True):
            count = len(part_crops)
            size = bucket(count)
            if size > count:  # fill up with the last sequence
                rows = torch.arange(size, device=crops.device).clamp_(max=count - 1)
                part_templates, part_crops = part_templates[rows], part_crops[rows]
            if size not in self._fast:
                self._fast[size] = self._make(part_templates, part_crops)
            # A captured step writes every result to the same place, and two parts may share one.
            parts.append(self._fast[size](part_templates, part_crops)[:count].clone())
        return torch.cat(parts)

    def _make(self, templates: Tensor, crops: Tensor) -> Step:
        """Make the step for the batch size of the arguments, as fast as works here."""
        step: Step = self.step
        if self._compile:
            compiled = compile_step(step)
            if _works(compiled, templates, crops, "compile"):
                step = compiled
            else:  # it would fail for the next batch size as well, after as long
                self._compile = False
        if self._capture:
            try:
                self._pool = self._pool or torch.cuda.graph_pool_handle()
                return CapturedStep(step, templates, crops, self._pool)
            except Exception as error:  # whatever the driver, the allocator or a kernel says: eager steps do the work
                logger.warning("tracking without CUDA graphs: %s: %s", type(error).__name__, _first_line(error))
                self._capture = False
        return step


def compile_step(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile a step, or a part of one, for the shapes it is called with."""

    def run(*arguments: Tensor) -> Tensor:
        return step(*arguments)

    # PyTorch compiles one code object 8 times in a process, for all trackers and batch sizes together, and runs it
    # eagerly from then on. A copy of the code is another object.
    run.__code__ = run.__code__.replace(co_name=f"compiled_step_{next(_numbers)}")
    return torch.compile(run, dynamic=False)


def _works(step: Step, templates: Tensor, crops: Tensor, what: str) -> bool:
    """Try a step; if it fails, say so in the log."""
    try:
        step(templates, crops)
    except Exception as error:  # compilers fail in many ways; the eager step that follows shows any error of ours
        logger.warning("tracking without %s: %s: %s", what, type(error).__name__, _first_line(error))
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


class CapturedStep:
    """A step as a CUDA graph: hundreds of kernels in one launch.

    Args:
        step: reads nothing back from the device.
        templates: example argument, whose shape is kept.
        crops: example argument, whose shape is kept.
        pool: from ``torch.cuda.graph_pool_handle``; graphs that share one must not run at the same time.
    """

    def __init__(self, step: Step, templates: Tensor, crops: Tensor, pool: Any = None) -> None:
        self._templates, self._crops = templates.clone(), crops.clone()
        side_stream = torch.cuda.Stream(crops.device)
        side_stream.wait_stream(torch.cuda.current_stream(crops.device))
        with torch.cuda.stream(side_stream):
            for _ in range(WARM_UP_STEPS):
                step(self._templates, self._crops)
        torch.cuda.current_stream(crops.device).wait_stream(side_stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(crops.device), torch.cuda.graph(self._graph, pool=pool):
            self._packed = step(self._templates, self._crops)

    def __call__(self, templates: Tensor, crops: Tensor) -> Tensor:
        """Run the step; the next call overwrites what this one returns."""
        self._templates.copy_(templates)
        self._crops.copy_(crops)
        self._graph.replay()
        return self._packed
