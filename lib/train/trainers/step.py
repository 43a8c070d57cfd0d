"""One optimization step: forward, backward, clip, check, step."""

import math
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lib.train.actors.seqtrack import StepOutput
from lib.train.data.batch import TrainingBatch
from lib.train.distributed import reduce_mean
from lib.utils.errors import SeqTrackError

MAX_BAD_STEPS = 3
"""Steps with a non-finite loss or gradient in a row before a run gives up."""
MAX_OVERFLOWS = 30
"""As above for float16 overflows, which are ordinary while the loss scale is being found."""


class TrainingDiverged(SeqTrackError):
    """The loss or the gradients have stayed non-finite."""


@dataclass(frozen=True)
class StepReport:
    """Result of a step, the same on all ranks.

    Attributes:
        loss: mean over the samples of all ranks.
        iou: mean IoU over the same samples.
        grad_norm: total norm of the gradients before clipping; 0 without a backward pass.
        taken: whether the weights were changed (training), or the loss is finite (evaluation).
        stop: whether a rank wants to end after this step.
    """

    loss: float
    iou: float
    grad_norm: float
    taken: bool
    stop: bool = False


class OptimizationStep:
    """Updates the weights from one batch, which may come in parts and from several ranks.

    Args:
        actor: computes loss and IoU of a batch; its ``network`` may be wrapped for distributed training.
        optimizer: over the parameters that are trained.
        device: of the actor.
        clip_norm: largest total gradient norm; 0 does not clip.
        amp_dtype: precision of the forward pass, ``None`` for float32.
        accumulate: parts of equal size that make up one batch.
        evaluation_actor: what ``evaluate`` runs; by default ``actor``.
    """

    def __init__(
        self,
        actor: nn.Module,
        optimizer: Optimizer,
        *,
        device: torch.device,
        clip_norm: float,
        amp_dtype: torch.dtype | None = None,
        accumulate: int = 1,
        evaluation_actor: nn.Module | None = None,
    ) -> None:
        self.actor = actor
        self.evaluation_actor = actor if evaluation_actor is None else evaluation_actor
        self.optimizer = optimizer
        self.device = device
        self.clip_norm = clip_norm
        self.amp_dtype = amp_dtype
        self.accumulate = accumulate
        # Gradients of bfloat16 have the range of float32 and need no scaling.
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._bad_in_a_row = 0
        self._parts: list[Tensor] = []

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def _without_exchange(self) -> AbstractContextManager[None]:
        """Gradients are exchanged between ranks once in a step, with its last part."""
        network = getattr(self.actor, "network", None)
        return network.no_sync() if isinstance(network, nn.parallel.DistributedDataParallel) else nullcontext()

    def train(self, batch: TrainingBatch, *, stop: bool = False) -> StepReport | None:
        """Add the gradients of one part, and step after the last one unless loss or gradients are not finite.

        Args:
            batch: the part.
            stop: whether this rank wants to end after the step; all ranks are told.

        Returns:
            The report, ``None`` before the last part.

        Raises:
            TrainingDiverged: if several steps in a row are not taken.
        """
        if not self._parts:
            self.optimizer.zero_grad(set_to_none=True)
        is_last = len(self._parts) + 1 == self.accumulate
        with nullcontext() if is_last else self._without_exchange():
            with self._autocast():
                output = self.actor(batch.to(self.device))
            self.scaler.scale(output.loss / self.accumulate).backward()
        self._parts.append(_summary(output))
        return self._finish(stop) if is_last else None

    def _finish(self, stop: bool) -> StepReport:
        self.scaler.unscale_(self.optimizer)  # clipping acts on the true gradients
        norm = nn.utils.clip_grad_norm_(self._parameters, self.clip_norm or math.inf)
        means = torch.stack(self._parts).mean(dim=0)
        self._parts = []
        loss, iou, grad_norm, stop = self._read(means, norm, stop)
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self._count(finite, overflow=self.scaler.is_enabled() and math.isfinite(loss))
        return StepReport(loss, iou, grad_norm, finite, stop)

    @torch.no_grad()
    def evaluate(self, batch: TrainingBatch, *, stop: bool = False) -> StepReport:
        """Loss and IoU of a batch; nothing is changed."""
        with self._autocast():
            output = self.evaluation_actor(batch.to(self.device))
        summary = _summary(output)
        loss, iou, _, stop = self._read(summary, summary.new_zeros(()), stop)
        return StepReport(loss, iou, 0.0, math.isfinite(loss), stop)

    def _read(self, means: Tensor, norm: Tensor, stop: bool) -> tuple[float, float, float, bool]:
        """Mean over the ranks, in one exchange, and the only values read back from the device in a step."""
        flag = torch.full_like(means[:1], float(stop))  # a kernel; ``new_tensor`` would wait for an upload
        values = reduce_mean(torch.cat((means, norm.float().reshape(1), flag)))
        loss, iou, grad_norm, stopping = values.tolist()
        return loss, iou, grad_norm, stopping > 0

    def _count(self, finite: bool, overflow: bool) -> None:
        self._bad_in_a_row = 0 if finite else self._bad_in_a_row + 1
        limit = MAX_OVERFLOWS if overflow else MAX_BAD_STEPS
        if self._bad_in_a_row >= limit:
            raise TrainingDiverged(
                f"the loss or its gradients were not finite in {self._bad_in_a_row} steps in a row; "
                "a lower TRAIN.LR, or TRAIN.AMP off, may help"
            )


def _summary(output: StepOutput) -> Tensor:
    """(2,) float32: loss and IoU, without a gradient."""
    return torch.stack((output.loss.detach().float(), output.iou.float()))


def out_of_memory(error: Exception, samples: int, device: torch.device) -> SeqTrackError:
    """What a batch of ``samples`` needed, and what makes it smaller."""
    free, total = torch.cuda.mem_get_info(device)
    used, asked = torch.cuda.max_memory_allocated(device), re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
    return SeqTrackError(
        f"out of memory on {device} with {samples} samples at once: {used / 2**30:.1f} GiB in use"
        f"{f', {asked[1]} more needed' if asked else ''}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB are free; set "
        "a smaller TRAIN.BATCH_SIZE (TRAIN.GLOBAL_BATCH keeps the samples of a step), TRAIN.AMP: true or "
        "MODEL.ENCODER.USE_CHECKPOINT: true"
    )
