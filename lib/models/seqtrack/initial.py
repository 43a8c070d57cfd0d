"""Starting a training from the weights of another one (MODEL.INIT): what fits is taken, the rest is logged."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib.models.seqtrack.pretrained import resample_grid
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.utils.checkpoint import check_weights, find_weights, load_checkpoint
from lib.utils.errors import CheckpointError, printable

logger = logging.getLogger(__name__)

ENCODER_POSITIONS, MEMORY_POSITIONS = "encoder.body.pos_embed", "pos_embed"
TOKEN_TABLES = ("decoder.embedding.word_embeddings.", "decoder.embedding.position_embeddings.", "vocab_embed.layers.2.")
"""Starts of the names of weights that belong to tokens: they mean nothing for other bins, or another order."""


def load_initial_weights(network: SeqTrack, source: Path | str) -> None:
    """Fill a network from a checkpoint of SeqTrack, published, bundled or own, of this or a similar configuration.

    Position tables are resampled to other crop sizes. Weights of another shape (another width, number of bins or
    depth), and those of the tokens where the checkpoint's configuration names another DATA.SEQ_FORMAT, stay as they
    are. What was not taken is named in the log.

    Args:
        network: changed in place; untouched if an error is raised.
        source: a file that ``load_checkpoint`` reads.

    Raises:
        CheckpointError: if the file cannot be read, or none of its encoder's weights fit.
    """
    state = load_checkpoint(source)
    given, own = find_weights(state, source), network.state_dict()
    taken: dict[str, Tensor] = {}
    resampled: list[str] = []
    fresh: list[str] = []
    other_format = _sequence_format(state) not in (None, network.vocabulary.seq_format)
    for name, value in own.items():
        weight = given.get(name)
        if isinstance(weight, Tensor) and weight.shape != value.shape:
            weight = _resample(network, name, weight, state)
            resampled += [name] if weight is not None else []
        if not isinstance(weight, Tensor) or (other_format and name.startswith(TOKEN_TABLES)):
            fresh.append(name)
        else:
            taken[name] = weight
    if not any(name.startswith("encoder.body.") and name != ENCODER_POSITIONS for name in taken):
        raise CheckpointError(f"{source}: no weight of its encoder fits that of MODEL.ENCODER.TYPE")
    check_weights({name: own[name] for name in taken}, taken, source)
    network.load_state_dict(taken, strict=False)
    logger.info("MODEL.INIT: %d of %d weights are those of %s", len(taken), len(own), source)
    for what, names in (
        ("resampled", resampled),
        ("fresh (other shape, other tokens, or not in the file)", fresh),
        ("of the file, not used", [name for name in given if name not in own]),
    ):
        if names:
            logger.info("MODEL.INIT: %s: %s", what, printable(", ".join(names), 2000))


def _sequence_format(state: Mapping[str, Any]) -> str | None:
    """DATA.SEQ_FORMAT of the run that wrote a checkpoint, None where it does not say."""
    data = _section(state, "DATA")
    return data["SEQ_FORMAT"] if isinstance(data.get("SEQ_FORMAT"), str) else None


def _section(state: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    section: Any = state.get("config")
    for name in names:
        section = section.get(name) if isinstance(section, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _resample(network: SeqTrack, name: str, table: Tensor, state: Mapping[str, Any]) -> Tensor | None:
    """A position table for the crops of ``network``; None if ``name`` is another weight, or it cannot be resampled."""
    if name not in (ENCODER_POSITIONS, MEMORY_POSITIONS) or table.dim() != 3 or not table.is_floating_point():
        return None
    own = network.state_dict()[name]
    if table.shape[::2] != own.shape[::2]:
        return None
    vit = network.vit
    if name == MEMORY_POSITIONS:
        if network.feature_type != "x" or network.num_search != 1:
            return None
        sides = [_square(table.shape[1])]
        wanted = [math.isqrt(vit.num_search_tokens)]
    else:
        sides = _sides(table.shape[1], state)
        wanted = [math.isqrt(vit.num_search_tokens), math.isqrt(vit.num_template_tokens)]
    if not all(sides):
        return None
    parts = table.split([side * side for side in sides], dim=1)
    return torch.cat([resample_grid(part, side) for part, side in zip(parts, wanted, strict=True)], dim=1)


def _square(rows: int) -> int:
    """Side of a square of so many rows, 0 if there is none."""
    side = math.isqrt(rows)
    return side if side * side == rows else 0


def _sides(rows: int, state: Mapping[str, Any]) -> list[int]:
    """Sides in patches of the search and template crops behind a table of the encoder; zeros if they cannot be told.

    The file's own configuration says it; without one both crops are taken to be equal, as in the published models.
    """
    sizes = [_section(state, "DATA", part).get("SIZE") for part in ("SEARCH", "TEMPLATE")]
    stride = _section(state, "MODEL", "ENCODER").get("STRIDE", 16)
    if all(isinstance(number, int) and number > 0 for number in (*sizes, stride)):
        sides = [size // stride for size in sizes]
        if sum(side * side for side in sides) == rows:
            return sides
    return [_square(rows // 2)] * 2 if rows % 2 == 0 else [0, 0]
