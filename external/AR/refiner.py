"""Turns coarse score maps into a mask, adding finer backbone features level by level.

Source: Learning Fast and Robust Target Models for Video Object Segmentation (CVPR 2020), section 3.3, as used by
Alpha-Refine. Module names are those of the published weights.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)


class TargetSegmentationEncoder(nn.Module):
    """Joins the features of one level with the score maps (TSE)."""

    def __init__(self, in_channels: int, score_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)
        )
        joint = channels + score_channels
        self.transform = nn.Sequential(
            nn.Conv2d(joint, joint, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(joint, joint, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(joint, channels, 3, padding=1),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joint map and the reduced features, both (B, channels, H, W) of the level."""
        reduced = self.reduce(features)
        return self.transform(torch.cat((reduced, _resize(scores, reduced)), 1)), reduced


class ResidualBlock(nn.Module):
    """Refinement residual block (RRB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Conv2d(channels, channels, 1)
        self.bblock = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine (B, channels, H, W)."""
        h = self.conv1x1(x)
        return (h + self.bblock(h)).relu()


class ChannelAttentionBlock(nn.Module):
    """Adds a deeper map to the gated current one (CAB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convreluconv = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, current: Tensor, deeper: Tensor) -> Tensor:
        """Merge (B, channels, H, W) with a smaller (B, channels, h, w); the result has the size of ``current``."""
        gate = self.convreluconv(torch.cat((_mean(current), _mean(deeper)), 1)).sigmoid()
        return current * gate + _resize(deeper, current)


class Projection(nn.Module):
    """Enlarges the finest map fourfold and reduces it to one channel of logits."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(channels // 2, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, 1, 4 H, 4 W)."""
        x = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        x = F.interpolate(self.conv1(x).relu(), scale_factor=2, mode="bicubic", align_corners=False)
        return self.conv2(x)


class MaskRefiner(nn.Module):
    """From score maps and backbone features to mask logits, coarse to fine.

    Args:
        feature_channels: channels of each level, from the deepest to the finest.
        score_channels: channels of the score maps.
        channels: width of the refiner.
    """

    def __init__(self, feature_channels: Mapping[str, int], score_channels: int, channels: int = 64) -> None:
        super().__init__()
        self.TSE = nn.ModuleDict(
            {
                name: TargetSegmentationEncoder(width, score_channels, channels)
                for name, width in feature_channels.items()
            }
        )
        self.RRB1 = nn.ModuleDict({name: ResidualBlock(channels) for name in feature_channels})
        self.CAB = nn.ModuleDict({name: ChannelAttentionBlock(channels) for name in feature_channels})
        self.RRB2 = nn.ModuleDict({name: ResidualBlock(channels) for name in feature_channels})
        self.project = Projection(channels)

    def forward(self, scores: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """Predict the mask.

        Args:
            scores: (B, score_channels, h, w).
            features: backbone maps (B, C, H, W) by level.

        Returns:
            (B, 1, 4 H, 4 W) logits, H and W those of the finest level.
        """
        deeper = None
        for name in self.TSE:
            current, reduced = self.TSE[name](features[name], scores)
            # Nothing is deeper than the first level: the mean of its own features takes that place.
            deeper = self.CAB[name](self.RRB1[name](current), _mean(reduced) if deeper is None else deeper)
            deeper = self.RRB2[name](deeper)
        return self.project(deeper)
