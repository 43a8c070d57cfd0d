"""Published sizes on CUDA without values: tensors of two devices or types raise, and so does reading one back."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.precision import BLOCK_LINEARS, NarrowLinear, replace_submodule
from lib.test.tracker.preprocess import Preprocessor
from lib.test.tracker.reader import BoxReader
from lib.train.actors.seqtrack import SeqTrackActor
from lib.train.data.batch import TrainingBatch

PUBLISHED = ["seqtrack_b256", "seqtrack_b384", "seqtrack_l256", "seqtrack_l384", "seqtrack_demo"]
PRODUCTS = {getattr(torch.ops.aten, name) for name in ("mm", "addmm", "bmm", "baddbmm")}
CUDA = torch.device("cuda", 0)


class OneType(TorchDispatchMode):
    """Refuses matrix products of two types, which fake tensors allow and CUDA does not."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in PRODUCTS and len({value.dtype for value in args if isinstance(value, Tensor)}) > 1:
            raise RuntimeError(f"{func}: arguments of different dtype")
        return func(*args, **(kwargs or {}))


def make_network(cfg, dtype):
    """As ``set_precision``, which would move the parameters; fake ones cannot be moved."""
    with torch.device("cuda"):
        network = build_seqtrack(cfg).requires_grad_(False).eval()
        for block in network.vit.blocks if dtype != torch.float32 else ():
            for name in BLOCK_LINEARS:
                layer = NarrowLinear(block.get_submodule(name), dtype)
                replace_submodule(block, name, layer)
    network.precompute()
    return network


@pytest.mark.parametrize(
    ("config", "changes", "dtype"),
    [
        *((name, {}, torch.bfloat16) for name in PUBLISHED),
        ("seqtrack_b256", {}, torch.float32),
        ("seqtrack_b256", {"MODEL.FEATURE_TYPE": "xz"}, torch.float16),
        ("seqtrack_b256", {"MODEL.FEATURE_TYPE": "token", "DATA.SEQ_FORMAT": "whxy"}, torch.float16),
        ("seqtrack_b256", {"DATA.SEQ_FORMAT": "corner", "MODEL.DECODER.PRE_NORM": True}, torch.float16),
    ],
)
def test_a_step_of_the_tracker(config, changes, dtype):
    cfg = load_config(config, changes)
    T, search, template = cfg.DATA.TEMPLATE.NUMBER, cfg.DATA.SEARCH.SIZE, cfg.DATA.TEMPLATE.SIZE
    with FakeTensorMode(), OneType(), torch.no_grad():
        network = make_network(cfg, dtype)
        with torch.device("cuda"):
            preprocess = Preprocessor(cfg.DATA.MEAN, cfg.DATA.STD)
            crops = torch.empty(3, search, search, 3, dtype=torch.uint8)
            images = torch.empty(3, T, 3, template, template)
        templates = network.embed_template(images)
        for window, likelihoods in ((network.vocabulary.window().to("cuda"), torch.float64), (None, torch.float32)):
            packed = BoxReader(network, preprocess, window).step(templates, crops)
            assert (packed.shape, packed.device, packed.dtype) == ((3, 8), CUDA, likelihoods)
        tokens = packed[:, :4].long()
        boxes = network.vocabulary.decode(tokens)
        assert boxes.device == network.vocabulary.encode(boxes).device == CUDA


@pytest.mark.parametrize("config", ["seqtrack_b256", "seqtrack_l384"])
def test_the_loss(config):
    cfg = load_config(config)
    T, search, template = cfg.DATA.TEMPLATE.NUMBER, cfg.DATA.SEARCH.SIZE, cfg.DATA.TEMPLATE.SIZE
    with FakeTensorMode(), OneType(), torch.no_grad(), torch.device("cuda"):
        network = build_seqtrack(cfg)
        actor = SeqTrackActor(network, network.vocabulary, mean=cfg.DATA.MEAN, std=cfg.DATA.STD)
        crops = [
            torch.empty(2, count, side, side, 3, dtype=torch.uint8) for count, side in ((T, template), (1, search))
        ]
        boxes, gains = ([torch.empty(2, count, *shape) for count in (T, 1)] for shape in ((4,), ()))
        output = actor(TrainingBatch(crops[0], boxes[0], gains[0], crops[1], boxes[1], gains[1]))
        assert output.loss.device == output.iou.device == CUDA
        assert output.loss.shape == output.iou.shape == ()


def test_hidden_reads_and_mixtures_are_seen():
    """The checks above can fail."""
    with FakeTensorMode(), OneType(), torch.device("cuda"):
        layer, tokens = nn.Linear(2, 2), torch.empty(3, 2)
        for work in (
            lambda: layer(tokens.bfloat16()),
            lambda: layer(tokens.to("cpu")),
            lambda: tokens[tokens > 0],
            lambda: float(tokens.sum()),
        ):
            with pytest.raises(Exception, match=r"dtype|same device|nonzero|local_scalar"):
                work()
