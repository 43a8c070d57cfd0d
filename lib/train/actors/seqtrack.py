"""The published loss of one batch: cross entropy over tokens. What small trainings add to it is in ``extras``."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.train.data.batch import TrainingBatch
from lib.train.data.transforms import normalize_crops
from lib.utils.box_ops import box_iou


class StepOutput(NamedTuple):
    """Result of the actor for a batch; both values are means over the samples.

    Attributes:
        loss: (), what is minimized.
        iou: (), IoU of the boxes generated under teacher forcing with the ground truth, 0 to 1, without a gradient.
    """

    loss: Tensor
    iou: Tensor


class SeqTrackActor(nn.Module):
    """Runs the network on a batch and computes the loss.

    Every loss is a mean over samples, so a step does not depend on how its samples are split into batches and ranks.

    Source: SeqTrack, section 3.3 (cross entropy over tokens, teacher forcing).

    Args:
        network: called as ``network(template, search, tokens) -> logits``; may be wrapped for distributed training.
        vocabulary: turns boxes into tokens.
        mean: (3,) of pixels in [0, 1].
        std: (3,) of pixels in [0, 1].
        ce_weight: factor of the cross entropy.
    """

    def __init__(
        self,
        network: nn.Module,
        vocabulary: CoordinateVocabulary,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        ce_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.ce_weight = ce_weight
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.register_buffer("token_weights", vocabulary.loss_weights(), persistent=False)

    def forward(self, batch: TrainingBatch) -> StepOutput:
        """Loss and IoU of a batch on the actor's device."""
        template, search = self.images(batch)
        tokens = self.vocabulary.encode(batch.search_boxes_xywh)  # (B, S, 4)
        logits = self.network(template, search, self.vocabulary.input_sequence(tokens))  # (B, 5 * S, V)
        return self.score(logits, tokens)

    def images(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """Template (B, T, 3, Ht, Wt) and search crops (B, S, 3, Hs, Ws), normalized."""
        template = normalize_crops(batch.template, batch.template_gain, self.mean, self.std)
        return template, normalize_crops(batch.search, batch.search_gain, self.mean, self.std)

    def score(self, logits: Tensor, tokens: Tensor) -> StepOutput:
        """Compare logits with the tokens of the ground-truth boxes.

        Args:
            logits: (B, 5 * S, V).
            tokens: (B, S, 4) int64, from ``CoordinateVocabulary.encode``.
        """
        target = self.vocabulary.target_sequence(tokens)  # (B, 5 * S)
        # Faithful: a weighted mean, so END counts 0.01 in the sum of weights as well. That sum is 4.01 for each box,
        # which makes this a mean over samples too.
        scores = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, self.token_weights.dtype))
        loss = F.cross_entropy(scores, target.flatten(), weight=self.token_weights)
        return StepOutput(loss * self.ce_weight, self.overlap(logits.detach(), tokens))

    def overlap(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Mean IoU of the most likely coordinate tokens with the target tokens, () in [0, 1].

        Two empty boxes, for which the quotient is 0 / 0, count 0; so do predicted corners in the wrong order.
        """
        generated = logits[..., : self.vocabulary.bins].argmax(dim=-1)  # (B, 5 * S)
        predicted = self.vocabulary.decode_to_xyxy(self.vocabulary.coordinate_tokens(generated))  # (B, S, 4)
        predicted = torch.cat((predicted[..., :2], torch.maximum(predicted[..., 2:], predicted[..., :2])), dim=-1)
        ground_truth = self.vocabulary.decode_to_xyxy(tokens)
        return box_iou(predicted.flatten(0, 1), ground_truth.flatten(0, 1))[0].nan_to_num(0.0).mean()
