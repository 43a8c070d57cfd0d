"""The encoder as the model sees it: a vision transformer chosen by name."""

from __future__ import annotations

from torch import Tensor, nn

from lib.models.seqtrack.vit import VARIANTS, JointViT, ViTVariant
from lib.utils.errors import ConfigError
from lib.utils.registry import lookup


class Encoder(nn.Module):
    """Holds the vision transformer as ``body``, the name it has in published checkpoints.

    Args:
        body: the network.
    """

    def __init__(self, body: JointViT) -> None:
        super().__init__()
        self.body = body

    @property
    def dim(self) -> int:
        """Width C of a token."""
        return self.body.dim

    @property
    def num_search_tokens(self) -> int:
        """Tokens Ns of one search crop."""
        return self.body.num_search_tokens

    @property
    def num_template_tokens(self) -> int:
        """Tokens Nt of one template crop."""
        return self.body.num_template_tokens

    def embed_template(self, template: Tensor) -> Tensor:
        """Turn templates (B, T, 3, Ht, Wt) into tokens (B, T * Nt, C); raises InputError for another crop size."""
        return self.body.embed_template(template)

    def embed_search(self, search: Tensor) -> Tensor:
        """Turn search crops (B, S, 3, Hs, Ws) into tokens (B, S * Ns, C); raises InputError for another crop size."""
        return self.body.embed_search(search)

    def forward(self, search_tokens: Tensor, template_tokens: Tensor, *, search_only: bool = False) -> Tensor:
        """Encode embedded crops together.

        Args:
            search_tokens: (B, S * Ns, C), from ``embed_search``.
            template_tokens: (B, T * Nt, C), from ``embed_template``.
            search_only: return the search tokens only, and compute no more of the templates than they need.

        Returns:
            (B, S * Ns + T * Nt, C) after the final norm, search tokens first; (B, S * Ns, C) with ``search_only``.
        """
        return self.body(search_tokens, template_tokens, search_only=search_only)


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


def build_encoder(
    variant: ViTVariant,
    *,
    search_size: int,
    template_size: int,
    drop_path: float = 0.0,
    use_checkpoint: bool = False,
) -> Encoder:
    """Make an encoder with fresh weights.

    Args:
        variant: sizes, from ``find_variant``.
        search_size: side of the search crop in pixels.
        template_size: side of the template crop in pixels.
        drop_path: stochastic depth of the last block.
        use_checkpoint: recompute the blocks in the backward pass.

    Returns:
        The encoder, on the CPU.

    Raises:
        ConfigError: if a crop size is not a multiple of the encoder's stride, or ``drop_path`` is not in [0, 1).
    """
    for key, size in (("DATA.SEARCH.SIZE", search_size), ("DATA.TEMPLATE.SIZE", template_size)):
        if size <= 0 or size % variant.stride:
            raise ConfigError(f"{key}: {size} is not a multiple of the encoder's patch side, {variant.stride}")
    if not 0 <= drop_path < 1:
        raise ConfigError(f"MODEL.ENCODER.DROP_PATH: expected a probability in [0, 1), got {drop_path}")
    body = JointViT(
        dim=variant.dim,
        depth=variant.depth,
        num_heads=variant.num_heads,
        stride=variant.stride,
        search_size=search_size,
        template_size=template_size,
        drop_path=drop_path,
        use_checkpoint=use_checkpoint,
    )
    return Encoder(body)
