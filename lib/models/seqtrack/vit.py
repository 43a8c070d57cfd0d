"""The encoder: a plain vision transformer over search and template crops together, its sizes, and its builder.

It departs from timm's ``VisionTransformer`` in three ways: there is no class token, two image
sizes share one patch embedding, and the position table has one part for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.models.seqtrack.layers import DropPath, Mlp, PatchEmbed, trunc_normal_
from lib.utils.errors import ConfigError, InputError, lookup

NORM_EPS = 1e-6  # Faithful: the encoder's LayerNorm epsilon; the decoder's is 1e-5.


@dataclass(frozen=True)
class ViTVariant:
    """Size of one encoder.

    Attributes:
        dim: width C of a token.
        depth: number of blocks.
        num_heads: attention heads of a block.
        stride: side of a patch in pixels.
        timm_weights: name of the pretrained weights in timm for each pretraining that exists.
    """

    dim: int
    depth: int
    num_heads: int
    stride: int = 16
    timm_weights: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    "vit_base_patch16": ViTVariant(
        768,
        12,
        12,
        timm_weights={"mae": "vit_base_patch16_224.mae", "default": "vit_base_patch16_384.orig_in21k_ft_in1k"},
    ),
    "vit_large_patch16": ViTVariant(1024, 24, 16, timm_weights={"mae": "vit_large_patch16_224.mae"}),
    "vit_huge_patch14": ViTVariant(1280, 32, 16, stride=14, timm_weights={"mae": "vit_huge_patch14_224.mae"}),
    "vit_small_patch16": ViTVariant(384, 12, 6, timm_weights={"default": "vit_small_patch16_384.augreg_in21k_ft_in1k"}),
    "vit_tiny_patch16": ViTVariant(192, 12, 3, timm_weights={"default": "vit_tiny_patch16_384.augreg_in21k_ft_in1k"}),
    "vit_demo_patch16": ViTVariant(384, 6, 6),
    "vit_test_patch16": ViTVariant(32, 2, 2),
}


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix values (B, heads, N, C / heads) for queries (B, heads, M, C / heads)."""
    if not (query.requires_grad and query.dtype is torch.bfloat16 and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value)
    # On a CPU the backward pass of the fused kernel takes longer than all it saves: a step of seqtrack_demo in bfloat16
    # is 1.16 times as fast this way (batch 32, two threads).
    weights = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return weights.softmax(dim=-1) @ value


class Attention(nn.Module):
    """Multi-head self-attention.

    Args:
        dim: width C of a token.
        num_heads: number of heads, divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attend = attend  # a faster one may take its place for inference, see cpu.py
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, num_queries: int | None = None) -> Tensor:
        """Attend from the first tokens to all tokens.

        Args:
            tokens: (B, N, C).
            num_queries: number of query tokens; all of them by default.

        Returns:
            (B, ``num_queries``, C).
        """
        B, N, C = tokens.shape
        qkv = self.qkv(tokens).view(B, N, 3, self.num_heads, C // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, C / heads)
        # Queries that nobody asked for are projected all the same: one large product beats two smaller ones.
        mixed = self.attend(query[:, :, :num_queries], key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Pre-norm transformer block.

    Args:
        dim: width C of a token.
        num_heads: number of attention heads.
        drop_path: probability with which a sample skips a residual branch in training (stochastic depth).
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Tensor, num_queries: int | None = None) -> Tensor:
        """Attend, then transform each token.

        Args:
            tokens: (B, N, C).
            num_queries: how many of the first tokens are wanted; all of them by default.

        Returns:
            (B, ``num_queries``, C).
        """
        tokens = tokens[:, :num_queries] + self.drop_path(self.attn(self.norm1(tokens), num_queries))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class JointViT(nn.Module):
    """Vision transformer over search and template tokens at once.

    Source: SeqTrack, section 3.1.

    Args:
        dim: width C of a token.
        depth: number of blocks.
        num_heads: attention heads of a block.
        stride: side of a patch in pixels.
        search_size: side of the square search crop in pixels, a multiple of ``stride``.
        template_size: side of the square template crop in pixels, a multiple of ``stride``.
        drop_path: stochastic depth of the last block; it rises linearly from 0 at the first.
        use_checkpoint: recompute the blocks in the backward pass, which saves memory in training.
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        num_heads: int,
        stride: int,
        search_size: int,
        template_size: int,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.search_size = search_size
        self.template_size = template_size
        self.num_search_tokens = (search_size // stride) ** 2
        self.num_template_tokens = (template_size // stride) ** 2
        self.use_checkpoint = use_checkpoint

        # One table for each kind, search first. All templates share theirs: nothing tells a token its time.
        self.pos_embed = nn.Parameter(torch.zeros(1, self.num_search_tokens + self.num_template_tokens, dim))
        self.patch_embed = PatchEmbed(stride, dim)
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, num_heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Start from the published distributions; the patch embedding keeps PyTorch's default."""
        trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def embed_search(self, search: Tensor) -> Tensor:
        """Turn search crops into tokens.

        Args:
            search: (B, S, 3, Hs, Ws) normalized float.

        Returns:
            (B, S * Ns, C), position embedding included.

        Raises:
            InputError: if the crops are not of ``search_size``.
        """
        return self._embed(search, self.pos_embed[:, : self.num_search_tokens], self.search_size, "search")

    def embed_template(self, template: Tensor) -> Tensor:
        """Turn template crops into tokens.

        Args:
            template: (B, T, 3, Ht, Wt) normalized float.

        Returns:
            (B, T * Nt, C), position embedding included.

        Raises:
            InputError: if the crops are not of ``template_size``.
        """
        return self._embed(template, self.pos_embed[:, self.num_search_tokens :], self.template_size, "template")

    def _embed(self, images: Tensor, positions: Tensor, size: int, name: str) -> Tensor:
        if images.dim() != 5 or images.shape[2:] != (3, size, size):
            raise InputError(f"{name} images have shape {tuple(images.shape)}, expected (B, n, 3, {size}, {size})")
        # The convolution steps by whole patches: as one matrix product it takes half the time on a CPU.
        projection = self.patch_embed.proj
        side = projection.kernel_size[0]
        patches = images.unflatten(4, (-1, side)).unflatten(3, (-1, side))  # (B, n, 3, rows, side, columns, side)
        patches = patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)  # (B, n, N, 3 * side * side)
        tokens = F.linear(patches, projection.weight.flatten(1), projection.bias) + positions  # (B, n, N, C)
        return tokens.flatten(1, 2)

    def forward(self, search_tokens: Tensor, template_tokens: Tensor, *, search_only: bool = False) -> Tensor:
        """Encode embedded crops together.

        Args:
            search_tokens: (B, S * Ns, C), from ``embed_search``.
            template_tokens: (B, T * Nt, C), from ``embed_template``.
            search_only: leave the templates out of the last block, where no later block reads them. The search tokens
                are those that the whole computation gives.

        Returns:
            (B, S * Ns + T * Nt, C) after the final norm, search tokens first; (B, S * Ns, C) with ``search_only``.
        """
        tokens = torch.cat((search_tokens, template_tokens), dim=1)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            num_queries = search_tokens.shape[1] if search_only and number == last else None
            if self.use_checkpoint and self.training and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, num_queries, use_reentrant=False)
            else:
                tokens = block(tokens, num_queries)
        return self.norm(tokens)


def find_variant(name: str, *, declared_stride: int | None = None) -> ViTVariant:
    """Look an encoder up.

    Args:
        name: MODEL.ENCODER.TYPE.
        declared_stride: MODEL.ENCODER.STRIDE, checked against the encoder's own; None leaves it unchecked.

    Returns:
        The sizes of the encoder.

    Raises:
        ConfigError: for an unknown name, or a stride that is not the encoder's.
    """
    variant = lookup(VARIANTS, name, "encoder (MODEL.ENCODER.TYPE)")
    if declared_stride is not None and declared_stride != variant.stride:
        raise ConfigError(
            f"MODEL.ENCODER.STRIDE: patches of {name} have {variant.stride} pixels, not {declared_stride}"
        )
    return variant


def build_vit(
    variant: ViTVariant,
    *,
    search_size: int,
    template_size: int,
    drop_path: float = 0.0,
    use_checkpoint: bool = False,
) -> JointViT:
    """Make a vision transformer with fresh weights.

    Args:
        variant: sizes, from ``find_variant``.
        search_size: side of the search crop in pixels.
        template_size: side of the template crop in pixels.
        drop_path: stochastic depth of the last block.
        use_checkpoint: recompute the blocks in the backward pass.

    Returns:
        The network, on the CPU.

    Raises:
        ConfigError: if a crop size is not a multiple of the encoder's stride, or ``drop_path`` is not in [0, 1).
    """
    for key, size in (("DATA.SEARCH.SIZE", search_size), ("DATA.TEMPLATE.SIZE", template_size)):
        if size <= 0 or size % variant.stride:
            raise ConfigError(f"{key}: {size} is not a multiple of the encoder's patch side, {variant.stride}")
    if not 0 <= drop_path < 1:
        raise ConfigError(f"MODEL.ENCODER.DROP_PATH: expected a probability in [0, 1), got {drop_path}")
    return JointViT(
        dim=variant.dim,
        depth=variant.depth,
        num_heads=variant.num_heads,
        stride=variant.stride,
        search_size=search_size,
        template_size=template_size,
        drop_path=drop_path,
        use_checkpoint=use_checkpoint,
    )
