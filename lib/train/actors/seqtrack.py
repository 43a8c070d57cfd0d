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
        label_sigma: width in words of the curve that the targets are spread over; 0 wants one word, as published.
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
        """Loss and overlap of a batch that lies on the actor's device."""
        template = normalize_crops(batch.template, batch.template_gain, self.mean, self.std)
        search = normalize_crops(batch.search, batch.search_gain, self.mean, self.std)
        tokens = self.vocabulary.encode(batch.search_boxes_xywh)  # (B, S, 4)
        words = self.vocabulary.input_sequence(tokens)
        if self.guide_weight > 0:
            logits, features = self.network(template, search, words, with_features=True)  # (B, L, V), (B, S * Ns, C)
            guide = guide_loss(features, batch.search_boxes_xywh) * self.guide_weight
        else:
            logits, guide = self.network(template, search, words), 0.0
        if self.label_sigma > 0:
            soft = self.vocabulary.soft_targets(self.vocabulary.positions(batch.search_boxes_xywh), self.label_sigma)
            loss, iou = self._soft_loss(logits, soft) * self.ce_weight, self.overlap(logits.detach(), tokens)
        else:
            loss, iou = self.score(logits, tokens)
        return StepOutput(loss + guide, iou)

    def _soft_loss(self, logits: Tensor, soft: Tensor) -> Tensor:
        """Cross entropy of logits (B, 5 * S, V) with targets (B, S, 4, bins); END weighs as it does in ``score``."""
        scores = logits.unflatten(1, (-1, self.vocabulary.words_per_frame)).float().log_softmax(dim=-1)  # (B, S, 5, V)
        coordinates = -(soft * scores[..., : self.vocabulary.words_per_box, : self.vocabulary.bins]).sum(dim=-1)
        weight = self.word_weights[self.vocabulary.end]
        end = -scores[..., -1, self.vocabulary.end] * weight
        return (coordinates.sum(dim=-1) + end).mean() / (self.vocabulary.words_per_box + weight)

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


def guide_loss(features: Tensor, boxes_xywh: Tensor) -> Tensor:
    """Tell the encoder itself where the target is, through the first five channels of its search tokens.

    Channel 0 has to say whether a token lies on the target, the next four say its box from there. Words alone teach
    that too, but slowly: a short training would be over before the network has found out that it has to search. It
    adds no weights, and tracking does not know of it. Ours; not in the paper.

    Args:
        features: (B, S * Ns, C) search tokens as the encoder gives them.
        boxes_xywh: (B, S, 4) boxes of the targets, normalised to the crops.

    Returns:
        (), the sum of a cross entropy (tokens on and off the target weigh the same) and of the distance of boxes.
    """
    corners = box_xywh_to_xyxy(boxes_xywh.float()).clamp(0, 1)  # (B, S, 4)
    tokens = features.float().unflatten(1, (boxes_xywh.shape[1], -1))  # (B, S, Ns, C)
    inside = _tokens_inside(corners, math.isqrt(tokens.shape[2]))  # (B, S, Ns)
    scores = tokens[..., 0] * GUIDE_SCALE
    found = F.softplus(-scores)[inside].mean() + F.softplus(scores)[~inside].mean()
    wanted = box_xyxy_to_cxcywh(corners) - corners.new_tensor([0.5, 0.5, 0.25, 0.25])
    said = tokens[..., 1:5] / GUIDE_SCALE
    distance = (said - wanted.unsqueeze(2)).abs().sum(dim=-1)[inside].mean()
    return 0.5 * found + GUIDE_SCALE * distance


def _tokens_inside(corners: Tensor, side: int) -> Tensor:
    """Which of ``side * side`` tokens have their middle in a box, or the middle of the box in them.

    Args:
        corners: (B, S, 4) boxes, normalised to the crop.
        side: tokens in a row of the crop.

    Returns:
        (B, S, side * side) bool; each box has a token at least.
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
