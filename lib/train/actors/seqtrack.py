"""Loss and statistics of one batch."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.train.data.batch import TrainingBatch
from lib.train.data.transforms import normalize_crops
from lib.utils.box_ops import box_iou, box_xywh_to_xyxy, box_xyxy_to_cxcywh

GUIDE_SCALE = 4.0
"""Features are about 1 in size, scores should reach 4, and boxes 1/4."""


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
        label_sigma: standard deviation, in tokens, of the curve that the targets are spread over; 0 for one-hot
            targets, as published.
        guide_weight: factor of ``guide_loss``; 0 leaves it out, as published.
    """

    def __init__(
        self,
        network: nn.Module,
        vocabulary: CoordinateVocabulary,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        ce_weight: float = 1.0,
        label_sigma: float = 0.0,
        guide_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.vocabulary = vocabulary
        self.ce_weight = ce_weight
        self.label_sigma = label_sigma
        self.guide_weight = guide_weight
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.register_buffer("word_weights", vocabulary.loss_weights(), persistent=False)

    def forward(self, batch: TrainingBatch) -> StepOutput:
        """Loss and IoU of a batch on the actor's device."""
        template = normalize_crops(batch.template, batch.template_gain, self.mean, self.std)
        search = normalize_crops(batch.search, batch.search_gain, self.mean, self.std)
        tokens = self.vocabulary.encode(batch.search_boxes_xywh)  # (B, S, 4)
        inputs = self.vocabulary.input_sequence(tokens)
        if self.guide_weight > 0:
            logits, features = self.network(template, search, inputs, with_features=True)  # (B, L, V), (B, S * Ns, C)
            guide = guide_loss(features, batch.search_boxes_xywh) * self.guide_weight
        else:
            logits, guide = self.network(template, search, inputs), 0.0
        if self.label_sigma > 0:
            soft = self.vocabulary.soft_targets(self.vocabulary.positions(batch.search_boxes_xywh), self.label_sigma)
            loss, iou = self._soft_loss(logits, soft) * self.ce_weight, self.overlap(logits.detach(), tokens)
        else:
            loss, iou = self.score(logits, tokens)
        return StepOutput(loss + guide, iou)

    def _soft_loss(self, logits: Tensor, soft: Tensor) -> Tensor:
        """Cross entropy of logits (B, 5 * S, V) and targets (B, S, 4, bins); END has the weight it has in ``score``."""
        scores = logits.unflatten(1, (-1, self.vocabulary.tokens_per_frame)).float().log_softmax(dim=-1)  # (B, S, 5, V)
        coordinates = -(soft * scores[..., : self.vocabulary.tokens_per_box, : self.vocabulary.bins]).sum(dim=-1)
        weight = self.word_weights[self.vocabulary.end]
        end = -scores[..., -1, self.vocabulary.end] * weight
        return (coordinates.sum(dim=-1) + end).mean() / (self.vocabulary.tokens_per_box + weight)

    def score(self, logits: Tensor, tokens: Tensor) -> StepOutput:
        """Compare logits with the tokens of the ground-truth boxes.

        Args:
            logits: (B, 5 * S, V).
            tokens: (B, S, 4) int64, from ``CoordinateVocabulary.encode``.
        """
        target = self.vocabulary.target_sequence(tokens)  # (B, 5 * S)
        # Faithful: a weighted mean, so END counts 0.01 in the sum of weights as well. That sum is 4.01 for each box,
        # which makes this a mean over samples too.
        scores = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, self.word_weights.dtype))
        loss = F.cross_entropy(scores, target.flatten(), weight=self.word_weights)
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


def guide_loss(features: Tensor, boxes_xywh: Tensor) -> Tensor:
    """Auxiliary loss that shows the encoder where the target is, through the first five channels of its search tokens.

    Channel 0 classifies whether a token is on the target, the next four regress the box from there. The token loss
    teaches that too, but slowly: a short training would end before the network searches at all. It adds no weights and
    is not used in tracking. Ours; not in the paper.

    Args:
        features: (B, S * Ns, C) search tokens, the output of the encoder.
        boxes_xywh: (B, S, 4) boxes of the targets, normalized to the crops.

    Returns:
        (), the mean over crops of a cross entropy (tokens on and off the target weigh the same; a target that fills
        its crop has none off it) plus the distance of the boxes.
    """
    corners = box_xywh_to_xyxy(boxes_xywh.float()).clamp(0, 1)  # (B, S, 4)
    tokens = features.float().unflatten(1, (boxes_xywh.shape[1], -1))  # (B, S, Ns, C)
    inside = _tokens_inside(corners, math.isqrt(tokens.shape[2]))  # (B, S, Ns)
    # Each crop takes its own means: one over all tokens of a batch would depend on how the samples are shared out.
    on_target, off_target = _mean_weights(inside), _mean_weights(~inside)
    scores = tokens[..., 0] * GUIDE_SCALE
    found = (F.softplus(-scores) * on_target + F.softplus(scores) * off_target).sum(dim=-1)  # (B, S)
    wanted = box_xyxy_to_cxcywh(corners) - corners.new_tensor([0.5, 0.5, 0.25, 0.25])
    predicted = tokens[..., 1:5] / GUIDE_SCALE
    distance = ((predicted - wanted.unsqueeze(2)).abs().sum(dim=-1) * on_target).sum(dim=-1)  # (B, S)
    return (0.5 * found + GUIDE_SCALE * distance).mean()


def _mean_weights(mask: Tensor) -> Tensor:
    """Weights (B, S, Ns) of the mean over the tokens that ``mask`` selects in each crop; all 0 if it selects none."""
    return mask / mask.sum(dim=-1, keepdim=True).clamp(min=1)


def _tokens_inside(corners: Tensor, side: int) -> Tensor:
    """Which of ``side * side`` tokens have their center in a box, or the center of the box in them.

    Args:
        corners: (B, S, 4) boxes, normalized to the crop.
        side: tokens in a row of the crop.

    Returns:
        (B, S, side * side) bool; each box has at least one token.
    """
    cells = torch.arange(side, device=corners.device)
    middles = (cells + 0.5) / side
    parts = []
    for axis in (0, 1):
        low, high = corners[..., axis, None], corners[..., axis + 2, None]
        home = ((low + high) / 2 * side).long().clamp(max=side - 1) == cells
        parts.append((((low <= middles) & (middles < high)), home))  # (B, S, side) each
    (x_in, x_home), (y_in, y_home) = parts
    inside = (y_in.unsqueeze(-1) & x_in.unsqueeze(-2)) | (y_home.unsqueeze(-1) & x_home.unsqueeze(-2))
    return inside.flatten(-2)
