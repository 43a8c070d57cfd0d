"""Pretrained weights for the encoder: from timm, or from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.seqtrack.vit import JointViT, ViTVariant
from lib.utils.checkpoint import check_weights, find_weights, load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError

SCRATCH = "scratch"
SINCOS = "sincos"
NAMED = ("mae", "default")
_CLASSIFIER = "head."


def load_pretrained(body: JointViT, variant: ViTVariant, source: str, *, encoder_name: str) -> None:
    """Fill an encoder with pretrained weights.

    Args:
        body: the network, changed in place.
        variant: its sizes, which know the names of the weights in timm.
        source: MODEL.ENCODER.PRETRAIN_TYPE: ``scratch`` (nothing happens), ``sincos`` (fresh weights whose position
            table starts as sines, which saves a training from nothing the time to find out where its tokens are),
            ``mae`` or ``default`` (through timm, which downloads them once), or the path of a checkpoint in the layout
            of timm or MAE.
        encoder_name: MODEL.ENCODER.TYPE, for messages.

    Raises:
        ConfigError: if timm has no such weights for this encoder, or ``source`` is neither a name nor a file.
        CheckpointError: if the weights cannot be had or read, or are not those of this encoder.
    """
    if source == SCRATCH:
        return
    if source == SINCOS:
        body.pos_embed.data.copy_(sincos_positions(body))
        return
    if source in NAMED:
        weights = _from_timm(variant, source, encoder_name)
        origin = f"{variant.timm_weights[source]} of timm"
    elif Path(source).is_file():
        weights = find_weights(load_checkpoint(source), source)
        origin = source
    else:
        known = ", ".join((*NAMED, SCRATCH, SINCOS))
        raise ConfigError(f"MODEL.ENCODER.PRETRAIN_TYPE: {source!r} is neither one of {known} nor an existing file")
    load_vit_weights(body, weights, origin=origin)


def sincos_positions(body: JointViT) -> Tensor:
    """Two-dimensional sine table for the search and template tokens of an encoder.

    A quarter of the channels each holds the sine and cosine of the column and of the row, at geometric wavelengths.
    Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", appendix A.

    Returns:
        (1, Ns + Nt, C), search first.
    """
    quarter = body.dim // 4
    frequencies = 10000 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    tables = []
    for tokens in (body.num_search_tokens, body.num_template_tokens):
        grid = torch.arange(math.isqrt(tokens), dtype=torch.float64)
        rows, columns = torch.meshgrid(grid, grid, indexing="ij")
        angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]  # (N, C / 4) each
        tables.append(torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1))
    table = torch.zeros(1, body.num_search_tokens + body.num_template_tokens, body.dim)
    table[0, :, : 4 * quarter] = torch.cat(tables).float()
    return table


def load_vit_weights(body: JointViT, weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Load the weights of an image classifier or of a masked autoencoder, strictly.

    The class token and its row of the position table are dropped, a classifier head is ignored, the position table is
    resampled. Everything else must fit by name and shape.

    Args:
        body: the network, changed in place (untouched if this raises).
        weights: state dict of a vision transformer with one class token.
        origin: where the weights are from, for messages.

    Raises:
        CheckpointError: naming what is missing, unexpected or of another shape.
    """
    weights = {key: value for key, value in weights.items() if not key.startswith(_CLASSIFIER)}
    for key in ("cls_token", "pos_embed"):
        if key not in weights:
            raise CheckpointError(f"{origin}: no {key}: not the weights of a vision transformer with a class token")
    del weights["cls_token"]
    table = weights["pos_embed"]
    if not isinstance(table, Tensor) or table.dim() != 3 or table.shape[0] != 1 or table.shape[2] != body.dim:
        shape = tuple(table.shape) if isinstance(table, Tensor) else type(table).__name__
        raise CheckpointError(f"{origin}: pos_embed is {shape}, expected (1, 1 + grid * grid, {body.dim})")
    weights["pos_embed"] = resample_pos_embed(
        table,
        search_grid=math.isqrt(body.num_search_tokens),
        template_grid=math.isqrt(body.num_template_tokens),
        origin=origin,
    )
    check_weights(body.state_dict(), weights, origin)
    body.load_state_dict(weights)


def resample_pos_embed(pos_embed: Tensor, *, search_grid: int, template_grid: int, origin: str = "weights") -> Tensor:
    """Fit the position table of an image model to the search and template crops.

    Args:
        pos_embed: (1, 1 + grid * grid, C), the class token's row first.
        search_grid: side of the search crop in patches.
        template_grid: side of the template crop in patches.
        origin: where the table is from, for messages.

    Returns:
        (1, search_grid ** 2 + template_grid ** 2, C), search first.

    Raises:
        CheckpointError: if the table's rows make no square.
    """
    rows = pos_embed.shape[1] - 1
    grid = math.isqrt(max(rows, 0))
    if grid < 1 or grid * grid != rows:
        raise CheckpointError(f"{origin}: pos_embed has {rows} rows after the class token, which make no square grid")
    tables = [resample_grid(pos_embed[:, 1:], side) for side in (search_grid, template_grid)]
    return torch.cat(tables, dim=1)


def resample_grid(table: Tensor, side: int) -> Tensor:
    """Fit a position table to another square grid of patches: (1, grid * grid, C) -> (1, side * side, C)."""
    grid = math.isqrt(table.shape[1])
    if side == grid:
        return table
    source = table.transpose(1, 2).unflatten(2, (grid, grid))  # (1, C, grid, grid)
    # Faithful: align_corners=True, unlike timm and MAE, as the published models were trained.
    resampled = F.interpolate(source.float(), size=(side, side), mode="bicubic", align_corners=True)
    return resampled.flatten(2).transpose(1, 2).to(table.dtype)


def _from_timm(variant: ViTVariant, kind: str, encoder_name: str) -> dict[str, Tensor]:
    """Fetch weights by name; downloads them unless they are in the cache."""
    import timm  # takes seconds, which only a training that starts from such weights should pay

    name = variant.timm_weights.get(kind)
    if name is None:
        known = ", ".join((*variant.timm_weights, SCRATCH))
        raise ConfigError(
            f"MODEL.ENCODER.PRETRAIN_TYPE: {encoder_name} has no {kind!r} weights; it has {known}, or give a file"
        )
    try:
        return timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except Exception as error:  # the hub's client raises its own, version-dependent kinds when the network fails
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{name}: the weights could not be fetched through timm ({reason}); "
            "download them elsewhere and set MODEL.ENCODER.PRETRAIN_TYPE to the file"
        ) from error
