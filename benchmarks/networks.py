"""Seeded stand-ins for trained weights and videos, for measurements that need no download."""

import zlib

import cv2
import numpy as np
import torch

from lib.models.seqtrack import SeqTrack

GAINS = {
    "attn.qkv.weight": 2.0,
    "attn.proj.weight": 0.6,
    "mlp.fc2.weight": 0.6,
    "multihead_attn.in_proj_weight": 2.0,
    "multihead_attn.out_proj.weight": 6.0,
    "vocab_embed.layers.2.weight": 5.0,
    "position_embeddings.weight": 1.5,
}
"""Factors on matrices that keep a random network sensitive to its images: its tokens differ from frame to frame."""


@torch.no_grad()
def fill_with_seeded_weights(network: SeqTrack) -> SeqTrack:
    """Give every weight a value that depends on its name and shape only; returns the network, in eval mode."""
    for name, parameter in network.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            is_norm = name.endswith("weight")
            parameter.copy_(0.02 * values + (1 if is_norm else 0))
        elif name.endswith("pos_embed"):
            parameter.copy_(0.02 * values)
        else:
            gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
            is_table = name.endswith("embeddings.weight")
            parameter.copy_(values * gain / (1.0 if is_table else float(np.prod(parameter.shape[1:])) ** 0.5))
    return network.requires_grad_(False).eval()


def seeded_images(count: int, width: int = 1280, height: int = 720, seed: int = 0) -> list[np.ndarray]:
    """Smooth colored noise, (height, width, 3) uint8, another image for each index."""
    random = np.random.RandomState(seed)
    coarse = [random.randint(0, 256, (height // 24, width // 24, 3), dtype=np.uint8) for _ in range(count)]
    return [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in coarse]
