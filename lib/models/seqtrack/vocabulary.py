"""Boxes as tokens: the one owner of the token layout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lib.utils.box_ops import box_cxcywh_to_xyxy, box_xywh_to_xyxy, box_xyxy_to_cxcywh
from lib.utils.errors import ConfigError
from lib.utils.registry import lookup

# By how many places the tokens of a sequence are rolled against the canonical box (center x, center y, width, height),
# or (x1, y1, x2, y2) for `corner`; the same way back.
SHIFTS = {"xywh": 0, "whxy": 2, "corner": 0}

# Weight of the two special tokens in the loss. Source: the published training code.
SPECIAL_TOKEN_WEIGHT = 0.01


class CoordinateVocabulary:
    """Tokens ``0 .. bins - 1`` are coordinates, ``end`` and ``start`` follow.

    Source: SeqTrack, section 3.2.

    Args:
        bins: number of coordinate tokens, at least 2.
        seq_format: order of the four tokens, one of ``xywh`` (center, size), ``whxy`` (size, center) or
            ``corner`` (x1 y1 x2 y2).

    Attributes:
        tokens_per_box: 4.
        tokens_per_frame: 5, START (input) or END (target) and the four coordinates.

    Raises:
        ConfigError: if ``seq_format`` is not one of the three, or ``bins`` is smaller than 2.
    """

    tokens_per_box = 4
    tokens_per_frame = 5

    def __init__(self, bins: int, seq_format: str = "xywh") -> None:
        if bins < 2:
            raise ConfigError(f"MODEL.BINS: at least 2 coordinate tokens are needed, got {bins}")
        self.bins = bins
        self.seq_format = seq_format
        self._shift = lookup(SHIFTS, seq_format, "sequence format (DATA.SEQ_FORMAT)")

    def __repr__(self) -> str:
        return f"CoordinateVocabulary(bins={self.bins}, seq_format={self.seq_format!r})"

    @property
    def end(self) -> int:
        """The token that closes a target sequence."""
        return self.bins

    @property
    def start(self) -> int:
        """The token that opens an input sequence."""
        return self.bins + 1

    @property
    def size(self) -> int:
        """Number of tokens V, the two special ones included."""
        return self.bins + 2

    def encode(self, boxes_xywh: Tensor) -> Tensor:
        """Quantize boxes of a search crop.

        Args:
            boxes_xywh: (..., 4) float, top-left corner and size, normalized to the crop; parts outside [0, 1] are cut
                off.

        Returns:
            (..., 4) int64 tokens in the order of ``seq_format``.
        """
        tokens = self.positions(boxes_xywh).long()  # Faithful: truncates, as the published models were trained.
        # A box of negative size has swapped corners; it is read as an empty box.
        return tokens.clamp(0, self.bins - 1)

    def positions(self, boxes_xywh: Tensor) -> Tensor:
        """Where the coordinates of boxes are among the tokens, before they are rounded to one.

        Args:
            boxes_xywh: (..., 4) float, as for ``encode``.

        Returns:
            (..., 4) float in [0, bins - 1] in the order of ``seq_format``; negative for a size with swapped corners.
        """
        # Faithful: cut as corners, before the conversion: the target of a partly outside object is its visible part.
        corners = box_xywh_to_xyxy(boxes_xywh).clamp(0, 1)
        values = corners if self.seq_format == "corner" else box_xyxy_to_cxcywh(corners)
        return (values * (self.bins - 1)).roll(self._shift, dims=-1)

    def soft_targets(self, positions: Tensor, sigma: float) -> Tensor:
        """A normal curve over the coordinate tokens around each coordinate, for training that is told what is near.

        Args:
            positions: (..., 4), from ``positions``.
            sigma: its width in tokens, greater than 0.

        Returns:
            (..., 4, bins) probabilities.
        """
        indices = torch.arange(self.bins, device=positions.device, dtype=torch.float32)
        distance = (indices - positions.float().clamp(0, self.bins - 1).unsqueeze(-1)) / sigma
        return (-0.5 * distance**2).softmax(dim=-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Turn tokens back into boxes.

        Args:
            tokens: (..., 4) int64 coordinate tokens in the order of ``seq_format``.

        Returns:
            (..., 4) float32 boxes (center x, center y, width, height), normalized to the crop, whatever the format.
        """
        values = self._values(tokens)
        return box_xyxy_to_cxcywh(values) if self.seq_format == "corner" else values

    def decode_to_xyxy(self, tokens: Tensor) -> Tensor:
        """Turn tokens back into corners.

        Args:
            tokens: (..., 4) int64 coordinate tokens in the order of ``seq_format``.

        Returns:
            (..., 4) float32 boxes (x1, y1, x2, y2), normalized to the crop, whatever the format.
        """
        values = self._values(tokens)
        return values if self.seq_format == "corner" else box_cxcywh_to_xyxy(values)

    def _values(self, tokens: Tensor) -> Tensor:
        # Faithful: no half bin is added back, so a decoded value is half a bin low on average.
        # Rolled, not indexed with a list: a GPU would have to wait for the list.
        return tokens.roll(self._shift, dims=-1).to(torch.float32) / (self.bins - 1)

    def input_sequence(self, tokens: Tensor) -> Tensor:
        """Decoder input under teacher forcing: START and the four coordinates, once per search frame.

        Args:
            tokens: (B, 4) or (B, S, 4) int64, as ``encode`` returns them.

        Returns:
            (B, 5 * S) int64.
        """
        frames = tokens if tokens.dim() == 3 else tokens.unsqueeze(1)
        start = torch.full_like(frames[..., :1], self.start)
        return torch.cat((start, frames), dim=-1).flatten(1)

    def target_sequence(self, tokens: Tensor) -> Tensor:
        """What the decoder has to say: the four coordinates and END, once per search frame.

        Args:
            tokens: (B, 4) or (B, S, 4) int64, as ``encode`` returns them.

        Returns:
            (B, 5 * S) int64.
        """
        frames = tokens if tokens.dim() == 3 else tokens.unsqueeze(1)
        end = torch.full_like(frames[..., :1], self.end)
        return torch.cat((frames, end), dim=-1).flatten(1)

    def coordinate_tokens(self, sequence: Tensor) -> Tensor:
        """Take the coordinate tokens out of a target sequence, or of the arg-max of its logits.

        Args:
            sequence: (B, 5 * S) int64, laid out as ``target_sequence`` returns it.

        Returns:
            (B, S, 4) int64; a predicted START or END becomes the last coordinate token.
        """
        frames = sequence.unflatten(1, (-1, self.tokens_per_frame))[..., : self.tokens_per_box]
        return frames.clamp(max=self.bins - 1)

    def loss_weights(self) -> Tensor:
        """Weight of each token in the cross entropy.

        Returns:
            (V,) float32: 1 for coordinates, 0.01 for END and START.
        """
        weights = torch.ones(self.size)
        weights[self.bins :] = SPECIAL_TOKEN_WEIGHT
        return weights

    def window(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Hann window over the coordinate tokens, a prior that favors the middle of the crop.

        Source: SeqTrack, section 3.3 (window penalty). Published in float64.

        Returns:
            (bins,) of ``dtype``, on the CPU.
        """
        return torch.from_numpy(np.hanning(self.bins)).to(dtype)

    def window_steps(self) -> tuple[int, ...]:
        """Steps of generation whose probabilities the window multiplies: those of the center.

        Returns:
            Two step numbers. Faithful: for ``corner`` they are those of x1 and y1, as published.
        """
        return (2, 3) if self.seq_format == "whxy" else (0, 1)
