"""What our small trainings add to the published loss; all of it is off in the published experiments."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.train.actors.seqtrack import SeqTrackActor, StepOutput
from lib.train.data.batch import TrainingBatch
from lib.utils.box_ops import box_xywh_to_xyxy, box_xyxy_to_cxcywh

GUIDE_SCALE = 4.0
"""Features are about 1 in size, scores should reach 4, and boxes 1/4."""


class ExtrasActor(SeqTrackActor):
    """As ``SeqTrackActor``, with soft targets, a loss that guides the encoder, or both.

    Args:
        arguments: those of ``SeqTrackActor``.
        label_sigma: standard deviation, in tokens, of the curve that targets are spread over; 0 for one-hot targets.
        guide_weight: factor of ``guide_loss``; 0 leaves it out.
    """

    def __init__(self, *arguments: Any, label_sigma: float = 0.0, guide_weight: float = 0.0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.label_sigma = label_sigma
        self.guide_weight = guide_weight

    def forward(self, batch: TrainingBatch) -> StepOutput:
        """Loss and IoU of a batch on the actor's device."""
        boxes, tokens = batch.search_boxes_xywh, self.vocabulary.encode(batch.search_boxes_xywh)  # (B, S, 4) both
        inputs = *self.images(batch), self.vocabulary.input_sequence(tokens)
        if self.guide_weight > 0:
            logits, features = self.network(*inputs, with_features=True)  # (B, 5 * S, V), (B, S * Ns, C)
            guide = guide_loss(features, boxes) * self.guide_weight
        else:
            logits, guide = self.network(*inputs), 0.0
        if self.label_sigma > 0:
            soft = self.vocabulary.soft_targets(self.vocabulary.positions(boxes), self.label_sigma)
            loss, iou = self.soft_loss(logits, soft) * self.ce_weight, self.overlap(logits.detach(), tokens)
        else:
            loss, iou = self.score(logits, tokens)
        return StepOutput(loss + guide, iou)

    def soft_loss(self, logits: Tensor, soft: Tensor) -> Tensor:
        """Cross entropy of logits (B, 5 * S, V) and targets (B, S, 4, bins); END has the weight it has in ``score``."""
        scores = logits.unflatten(1, (-1, self.vocabulary.tokens_per_frame)).float().log_softmax(dim=-1)  # (B, S, 5, V)
        coordinates = -(soft * scores[..., : self.vocabulary.tokens_per_box, : self.vocabulary.bins]).sum(dim=-1)
        weight = self.token_weights[self.vocabulary.end]
        end = -scores[..., -1, self.vocabulary.end] * weight
        return (coordinates.sum(dim=-1) + end).mean() / (self.vocabulary.tokens_per_box + weight)


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
    centers, sizes = box_xyxy_to_cxcywh(corners).split(2, dim=-1)
    wanted = torch.cat((centers - 0.5, sizes - 0.25), dim=-1)
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
