"""One optimisation step: forward, backward, clip, check, step."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from lib.train.data.batch import TrainingBatch
from lib.utils.errors import SeqTrackError

MAX_BAD_STEPS = 3
"""Steps with a non-finite loss or gradient in a row before a run gives up."""
MAX_OVERFLOWS = 30
"""As above for float16 overflows, which are ordinary while the loss scale is being found."""


class TrainingDiverged(SeqTrackError):
    """The loss or the gradients have stayed non-finite."""


@dataclass(frozen=True)
class StepReport:
    """What a step found.

    Attributes:
        loss: of the batch.
        iou: mean overlap of the batch.
        grad_norm: total norm of the gradients before clipping; 0 without a backward pass.
        taken: whether the weights were changed (training), or the loss is finite (evaluation).
    """

    loss: float
    iou: float
    grad_norm: float
    taken: bool


class OptimizationStep:
    """Changes the weights by one batch.

    Args:
        actor: gives loss and overlap of a batch.
        optimizer: over the parameters that are trained.
        device: where the actor lies.
        clip_norm: largest total gradient norm; 0 does not clip.
        amp_dtype: precision of the forward pass, ``None`` for float32.
    """

    def __init__(
        self,
        actor: nn.Module,
        optimizer: Optimizer,
        *,
        device: torch.device,
        clip_norm: float,
        amp_dtype: torch.dtype | None = None,
    ) -> None:
        self.actor = actor
        self.optimizer = optimizer
        self.device = device
        self.clip_norm = clip_norm
        self.amp_dtype = amp_dtype
        # Gradients of bfloat16 have the range of float32 and need no scaling.
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._bad_in_a_row = 0

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None)

    def train(self, batch: TrainingBatch) -> StepReport:
        """Take one step; it is left out if the loss or the gradients are not finite.

        Raises:
            TrainingDiverged: if that happens several times in a row.
        """
        batch = batch.to(self.device)
        with self._autocast():
            output = self.actor(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(output.loss).backward()
        self.scaler.unscale_(self.optimizer)  # clipping acts on the true gradients
        norm = nn.utils.clip_grad_norm_(self._parameters, self.clip_norm or math.inf)
        # The only value read back from the device in a step.
        loss, iou, grad_norm = torch.stack((output.loss.detach().float(), output.iou, norm.float())).tolist()
        finite = math.isfinite(loss) and math.isfinite(grad_norm)
        if finite:
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self._count(finite, overflow=self.scaler.is_enabled() and math.isfinite(loss))
        return StepReport(loss, iou, grad_norm, finite)

    @torch.no_grad()
    def evaluate(self, batch: TrainingBatch) -> StepReport:
        """Loss and overlap of a batch; nothing is changed."""
        with self._autocast():
            output = self.actor(batch.to(self.device))
        loss, iou = torch.stack((output.loss, output.iou)).tolist()
        return StepReport(loss, iou, 0.0, math.isfinite(loss))

    def _count(self, finite: bool, overflow: bool) -> None:
        self._bad_in_a_row = 0 if finite else self._bad_in_a_row + 1
        limit = MAX_OVERFLOWS if overflow else MAX_BAD_STEPS
        if self._bad_in_a_row >= limit:
            raise TrainingDiverged(
                f"the loss or its gradients were not finite in {self._bad_in_a_row} steps in a row; "
                "a lower TRAIN.LR, or TRAIN.AMP off, may help"
            )
