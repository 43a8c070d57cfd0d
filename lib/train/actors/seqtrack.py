"""Loss and statistics of one batch."""

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
    """What the actor says about a batch.

    Attributes:
        loss: (), what is minimised.
        iou: (), mean overlap of the boxes said under teacher forcing with the targets, 0 to 1, without a gradient.
    """

    loss: Tensor
    iou: Tensor


class SeqTrackActor(nn.Module):
    """Runs the network on a batch and scores what it says.

    Source: SeqTrack, section 3.3 (cross entropy over words, teacher forcing).

    Args:
        network: called as ``network(template, search, tokens) -> logits``; may be wrapped for distributed training.
        vocabulary: turns boxes into words.
        mean: (3,) of pixels in [0, 1].
        std: (3,) likewise.
        ce_weight: factor of the loss.
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
        self.register_buffer("word_weights", vocabulary.loss_weights(), persistent=False)

    def forward(self, batch: TrainingBatch) -> StepOutput:
        """Loss and overlap of a batch that lies on the actor's device."""
        template = normalize_crops(batch.template, batch.template_gain, self.mean, self.std)
        search = normalize_crops(batch.search, batch.search_gain, self.mean, self.std)
        tokens = self.vocabulary.encode(batch.search_boxes_xywh)  # (B, S, 4)
        logits = self.network(template, search, self.vocabulary.input_sequence(tokens))  # (B, L, V)
        return self.score(logits, tokens)

    def score(self, logits: Tensor, tokens: Tensor) -> StepOutput:
        """Compare logits with the words of the target boxes.

        Args:
            logits: (B, 5 * S, V).
            tokens: (B, S, 4) int64, from ``CoordinateVocabulary.encode``.
        """
        target = self.vocabulary.target_sequence(tokens)  # (B, 5 * S)
        # Faithful: a weighted mean, so END counts 0.01 in the sum of weights as well (4.01 for each box).
        scores = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, self.word_weights.dtype))
        loss = F.cross_entropy(scores, target.flatten(), weight=self.word_weights)
        return StepOutput(loss * self.ce_weight, self.overlap(logits.detach(), tokens))

    def overlap(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """Mean IoU of the likeliest coordinate words with the target words, () in [0, 1].

        Two empty boxes, for which the quotient is 0 / 0, count 0; so do predicted corners in the wrong order.
        """
        words = logits[..., : self.vocabulary.bins].argmax(dim=-1)  # (B, 5 * S)
        predicted = self.vocabulary.decode_to_xyxy(self.vocabulary.coordinate_tokens(words))  # (B, S, 4)
        predicted = torch.cat((predicted[..., :2], torch.maximum(predicted[..., 2:], predicted[..., :2])), dim=-1)
        truth = self.vocabulary.decode_to_xyxy(tokens)
        return box_iou(predicted.flatten(0, 1), truth.flatten(0, 1))[0].nan_to_num(0.0).mean()
