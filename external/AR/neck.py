"""Compares the search patch with the reference, position by position, and reweights the result.

Source: Alpha-Refine, section 3.2 (pixel-wise correlation, non-local block); Squeeze-and-Excitation Networks; Non-local
Neural Networks, embedded Gaussian version. Module names are those of the published weights.
"""

from torch import Tensor, nn


def pixelwise_correlation(kernel: Tensor, features: Tensor) -> Tensor:
    """Use every position of the reference as a 1x1 filter.

    Args:
        kernel: (B, C, h, w) reference.
        features: (B, C, H, W) search patch.

    Returns:
        (B, h * w, H, W) similarities, unscaled; channels follow the rows of the kernel.
    """
    similarity = kernel.flatten(2).transpose(1, 2) @ features.flatten(2)  # (B, h w, H W)
    return similarity.unflatten(2, features.shape[-2:])


class ChannelAttention(nn.Module):
    """Squeeze and excitation: one factor in 0..1 per channel, from the mean of all channels."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (B, C, H, W)."""
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class NonLocalBlock(nn.Module):
    """Adds to every position a mix of all positions (keys and values at half resolution)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        """Attend within (B, C, H, W); the shape stays."""
        queries = self.theta(x).flatten(2).transpose(1, 2)  # (B, H W, C / 2)
        keys = self.phi(x).flatten(2)  # (B, C / 2, H W / 4)
        values = self.g(x).flatten(2).transpose(1, 2)  # (B, H W / 4, C / 2)
        # Faithful: the scores are not divided by the root of the dimension.
        mixed = (queries @ keys).softmax(-1) @ values
        return x + self.W(mixed.transpose(1, 2).unflatten(2, x.shape[-2:]))


class CorrelationNeck(nn.Module):
    """Correlation with the reference, then attention over channels and over positions.

    Args:
        pool_size: side of the reference kernel; the result has its square as channels.
    """

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(pool_size**2)
        self.spatial_attention = NonLocalBlock(pool_size**2)

    def forward(self, kernel: Tensor, features: Tensor) -> Tensor:
        """Return (B, pool_size ** 2, H, W) score maps of ``features`` (B, C, H, W) against ``kernel`` (B, C, p, p)."""
        return self.spatial_attention(self.channel_attention(pixelwise_correlation(kernel, features)))
