"""What is trained, and the schedule of its learning rates."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from easydict import EasyDict
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from lib.models.seqtrack.lora import add_low_rank
from lib.utils.errors import ConfigError, lookup
from lib.utils.launch import is_main_process

logger = logging.getLogger(__name__)

ENCODER = "encoder"
"""Parameters with this text in their name form the encoder's group."""


def matches_part(name: str, part: str) -> bool:
    """Whether ``part`` names a parameter or a module on the way to it, in whole components.

    ``blocks.1`` matches ``encoder.body.blocks.1.norm1.weight`` and not ``encoder.body.blocks.11.norm1.weight``.
    """
    return f".{part}." in f".{name}."


def freeze_encoder(network: nn.Module, *, frozen: bool, open_parts: Sequence[str] = ()) -> list[str]:
    """Set which parameters of the encoder are trained.

    Args:
        network: changed in place; parameters outside the encoder are left alone.
        frozen: whether the encoder is frozen.
        open_parts: parts of a frozen encoder that stay trainable, see ``matches_part``.

    Returns:
        Names of the encoder's parameters that are trained.

    Raises:
        ConfigError: if a part matches nothing.
    """
    parameters = {name: parameter for name, parameter in network.named_parameters() if ENCODER in name}
    for part in open_parts:
        if not any(matches_part(name, part) for name in parameters):
            raise ConfigError(f"TRAIN.ENCODER_OPEN: {part!r} matches no parameter of the encoder")
    for name, parameter in parameters.items():
        parameter.requires_grad_(not frozen or any(matches_part(name, part) for part in open_parts))
    return [name for name, parameter in parameters.items() if parameter.requires_grad]


def freeze_unapplied(network: nn.Module, cfg: EasyDict) -> None:
    """Freeze the bottleneck where it is not applied (encoder and decoder of one width): it never gets a gradient.

    So every trained parameter takes part in every step, which distributed training relies on.
    """
    if network.vit.dim == cfg.MODEL.HIDDEN_DIM:
        network.bottleneck.requires_grad_(False)


def build_optimizer(network: nn.Module, cfg: EasyDict) -> Optimizer:
    """Make the optimizer: two groups, the encoder being the second, with a learning rate of its own.

    Freezes the encoder as TRAIN.FREEZE_ENCODER, ENCODER_OPEN and an ENCODER_MULTIPLIER of 0 ask; TRAIN.LORA_RANK
    freezes it and adds low-rank parts to its blocks. With a TRAIN.LAYER_DECAY below 1 each layer of the encoder is a
    group, the last one first. On CUDA devices the update is one fused kernel.

    Source: SeqTrack, section 4.1. Faithful: weight decay acts on all parameters. Decay by layer: Clark et al.,
    "ELECTRA", ICLR 2020, as in the fine-tuning of MAE.

    Raises:
        ConfigError: for an unknown optimizer, or an ENCODER_OPEN part that matches nothing.
    """
    train = cfg.TRAIN
    optimizer = lookup({"ADAMW": AdamW}, train.OPTIMIZER, "TRAIN.OPTIMIZER")
    # An encoder without a learning rate cannot be opened in part.
    without_rate = train.ENCODER_MULTIPLIER <= 0
    frozen = train.FREEZE_ENCODER or train.LORA_RANK > 0
    freeze_encoder(
        network,
        frozen=frozen or without_rate,
        open_parts=train.ENCODER_OPEN if frozen and not without_rate else (),
    )
    freeze_unapplied(network, cfg)
    if train.LORA_RANK:
        add_low_rank(network.vit.blocks, train.LORA_RANK)
    trained = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [parameter for name, parameter in trained if ENCODER not in name]}]
    by_layer: dict[int, list[nn.Parameter]] = {0: []}
    for name, parameter in trained:
        if ENCODER in name:
            above = 0 if train.LAYER_DECAY == 1 else layers_above(name, len(network.vit.blocks))
            by_layer.setdefault(above, []).append(parameter)
    for above, parameters in sorted(by_layer.items()):
        rate = train.LR * train.ENCODER_MULTIPLIER * train.LAYER_DECAY**above
        groups.append({"params": parameters, "lr": rate})
    on_cuda = all(parameter.is_cuda for _, parameter in trained)
    return optimizer(groups, lr=train.LR, weight_decay=train.WEIGHT_DECAY, fused=on_cuda or None)


def layers_above(name: str, depth: int) -> int:
    """Layers of the encoder above the one that a parameter belongs to: 0 for its last norm, ``depth`` + 1 below all."""
    match = re.search(r"\.blocks\.(\d+)\.", name)
    if match:
        return depth - int(match[1])
    return 0 if ".norm." in name else depth + 1


def build_scheduler(optimizer: Optimizer, cfg: EasyDict) -> LRScheduler:
    """Make the schedule of the learning rates; it is stepped once after each epoch.

    ``step`` drops after every LR_DROP_EPOCH epochs; more than one drop is announced.
    """
    train, schedule = cfg.TRAIN, cfg.TRAIN.SCHEDULER
    if schedule.TYPE == "Mstep":
        return MultiStepLR(optimizer, schedule.MILESTONES, gamma=schedule.GAMMA)
    if schedule.TYPE == "cosine":
        return CosineAnnealingLR(optimizer, train.EPOCH)
    # Faithful: drops again and again, though the paper says once; the published files (400 of 500 epochs) drop once.
    drops = (train.EPOCH - 1) // train.LR_DROP_EPOCH
    if drops > 1 and is_main_process():
        last = train.LR * schedule.DECAY_RATE**drops
        logger.warning("TRAIN.LR_DROP_EPOCH: the learning rate drops %d times until the end, to %g", drops, last)
    return StepLR(optimizer, train.LR_DROP_EPOCH, gamma=schedule.DECAY_RATE)
