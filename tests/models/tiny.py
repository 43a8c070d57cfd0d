"""A network small enough for property tests: 32 x 32 search crops (4 tokens), 16 x 16 templates (1 token), 30 bins."""

from typing import Any

import torch

from lib.config.seqtrack.config import default_config
from lib.models.seqtrack import SeqTrack, build_seqtrack

OVERRIDES = {
    "MODEL.ENCODER.TYPE": "vit_test_patch16",
    "MODEL.HIDDEN_DIM": 16,
    "MODEL.BINS": 30,
    "MODEL.DECODER.NHEADS": 2,
    "MODEL.DECODER.DEC_LAYERS": 2,
    "MODEL.DECODER.DIM_FEEDFORWARD": 24,
    "DATA.SEARCH.SIZE": 32,
    "TEST.SEARCH_SIZE": 32,
    "DATA.TEMPLATE.SIZE": 16,
    "TEST.TEMPLATE_SIZE": 16,
    "DATA.TEMPLATE.NUMBER": 2,
    "TEST.NUM_TEMPLATES": 2,
}


def nested(options: dict[str, Any]) -> dict[str, Any]:
    """Options by dotted name in sections, as a YAML file has them."""
    content: dict[str, Any] = {}
    for dotted, value in options.items():
        *sections, name = dotted.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return content


def tiny_config(**overrides: Any):
    """Configuration of the tiny network; keyword ``MODEL__BINS=9`` stands for the option ``MODEL.BINS``."""
    return default_config(OVERRIDES | {key.replace("__", "."): value for key, value in overrides.items()})


def tiny_model(seed: int = 0, spread: float = 4.0, **overrides: Any) -> SeqTrack:
    """A tiny network in eval mode and float64, its matrices enlarged so that its tokens depend on the images."""
    torch.manual_seed(seed)
    model = build_seqtrack(tiny_config(**overrides)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(spread)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def tiny_images(
    batch: int = 3, num_templates: int = 2, num_search: int = 1, seed: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Template (B, T, 3, 16, 16) and search (B, S, 3, 32, 32) in float64."""
    generator = torch.Generator().manual_seed(seed)
    template = torch.randn(batch, num_templates, 3, 16, 16, generator=generator, dtype=torch.float64)
    search = torch.randn(batch, num_search, 3, 32, 32, generator=generator, dtype=torch.float64)
    return template, search
