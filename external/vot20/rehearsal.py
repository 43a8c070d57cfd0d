"""Stand-ins for everything that has to be downloaded: weights, and a dataset; so that all can be rehearsed.

The stand-in tracker is a tiny network that runs like a real one but always says "where it was": its last layer prefers
the tokens for the middle and for the size of the last box. Random weights would lose the target in every frame, and the
toolkit's analysis divides by zero for a tracker that never succeeds.
"""

from pathlib import Path

import torch

from external.vot20.dataset import write_vot
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.synthetic import SyntheticSequence
from lib.utils.checkpoint import save_checkpoint
from lib.utils.files import write_text_atomic

MIDDLE = 32  # of 65 tokens: exactly 0.5
CONFIG = f"""# A tracker that leaves the box where it is; for rehearsals of the VOT toolkit.
MODEL:
  HIDDEN_DIM: 32
  BINS: {2 * MIDDLE + 1}
  ENCODER: {{TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch}}
  DECODER: {{NHEADS: 2, DIM_FEEDFORWARD: 32, DEC_LAYERS: 1}}
DATA:
  SEARCH: {{SIZE: 64, FACTOR: 2.0}}  # half of the crop's side is then the side of the box
  TEMPLATE: {{SIZE: 32, NUMBER: 2}}
TEST:
  SEARCH_SIZE: 64
  SEARCH_FACTOR: 2.0
  TEMPLATE_SIZE: 32
  NUM_TEMPLATES: 2
  WINDOW: true
"""


def hold_still(network: SeqTrack) -> None:
    """Change the weights of a network so that it writes the middle token four times."""
    last = network.vocab_embed.layers[-1]
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.zero_()
        last.bias[MIDDLE] = 10.0


def write_stand_in_tracker(folder: Path) -> tuple[Path, Path]:
    """Write configuration and checkpoint of the stand-in tracker; return their paths."""
    config, checkpoint = folder / "stand_in.yaml", folder / "stand_in.pth.tar"
    write_text_atomic(config, CONFIG)
    torch.manual_seed(0)
    network = build_seqtrack(load_config(config))
    hold_still(network)
    save_checkpoint({"net": network.state_dict()}, checkpoint)
    return config, checkpoint


def write_stand_in_masks(folder: Path) -> Path:
    """Write a checkpoint of Alpha-Refine that fills the whole region that it looks at; return its path (120 MB)."""
    from external.AR import AlphaRefineNetwork

    torch.manual_seed(0)
    network = AlphaRefineNetwork()
    last = network.refiner.project.conv2
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.fill_(3.0)
    path = folder / "stand_in_masks.pth.tar"
    save_checkpoint({"net": network.state_dict()}, path)
    return path


def write_rehearsal_data(folder: Path, *, sequences: int, frames: int, masks: bool = True) -> list[Path]:
    """Render sequences in the toolkit's format; return their folders. Each has a start at either end."""
    videos = (
        (f"rehearsal{k}", SyntheticSequence(k, num_frames=frames, size=(160, 120), difficulty="easy", split="vot"))
        for k in range(1, sequences + 1)
    )
    return write_vot(folder, videos, masks=masks, anchor_step=frames)


def rehearsal_stack_text(frames: int, kind: str = "multistart") -> str:
    """Text of a stack with one multi-start experiment whose EAO window suits short sequences.

    The official window, 115 to 755 frames, gives EAO near 0 for any tracker on sequences shorter than that.
    """
    low, high = max(frames // 3, 1), max(5 * frames // 6, 2)
    return f"""title: Rehearsal on rendered sequences
experiments:
  baseline:
    type: {kind}
    analyses:
    - {{type: multistart_eao_score, name: eaoscore, low: {low}, high: {high}}}
    - {{type: multistart_eao_curve, name: eaocurve, high: {high}}}
    - {{type: multistart_average_ar, name: ar}}
"""
