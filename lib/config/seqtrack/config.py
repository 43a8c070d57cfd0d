"""The options of SeqTrack: defaults, the values a YAML file may give, and loading.

A configuration is a value: each call returns a fresh ``EasyDict`` and nothing in the library changes one afterwards.
Sources: SeqTrack, section 4.1 (implementation details); update intervals and thresholds: the published files.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from easydict import EasyDict

from lib.config.merge import merge_strict
from lib.config.paths import EXPERIMENTS_DIR
from lib.utils.errors import ConfigError
from lib.utils.registry import did_you_mean

_DEFAULTS: dict[str, Any] = {
    "MODEL": {
        "HIDDEN_DIM": 256,  # width of the decoder
        "BINS": 4000,  # coordinate words
        "FEATURE_TYPE": "x",  # what the decoder reads: search tokens, search and template tokens, or their mean
        "ENCODER": {
            "TYPE": "vit_base_patch16",
            "DROP_PATH": 0.0,
            "PRETRAIN_TYPE": "mae",  # mae, default (supervised), scratch, sincos, or the path of a checkpoint
            "STRIDE": 16,  # patch size; must be that of the encoder
            "USE_CHECKPOINT": False,  # recompute activations in the backward pass
        },
        "DECODER": {
            "NHEADS": 8,
            "DROPOUT": 0.1,
            "DIM_FEEDFORWARD": 1024,
            "DEC_LAYERS": 6,
            "PRE_NORM": False,
        },
    },
    "TRAIN": {
        "SEED": 42,
        "LR": 1e-4,
        "WEIGHT_DECAY": 1e-4,
        "EPOCH": 500,
        "LR_DROP_EPOCH": 400,
        "BATCH_SIZE": 8,  # samples that one process takes at once
        "GLOBAL_BATCH": 0,  # samples of a step over all processes, by accumulation; 0: one batch of each process
        "NUM_WORKER": 8,
        "OPTIMIZER": "ADAMW",
        "ENCODER_MULTIPLIER": 0.1,  # learning rate of the encoder over LR
        "FREEZE_ENCODER": False,
        "ENCODER_OPEN": [],  # parts of parameter names that stay trainable in a frozen encoder
        "CE_WEIGHT": 1.0,
        "GUIDE_WEIGHT": 0.0,  # weight of a loss that tells the encoder where the target is; 0: none, as published
        "LABEL_SIGMA": 0.0,  # width in words of the curve that targets are spread over; 0: one word, as published
        "SMOOTH_WORDS": 0.0,  # words over which scores are averaged after each epoch; 0: none, as published
        "PRINT_INTERVAL": 50,  # steps
        "VAL_EPOCH_INTERVAL": 1,
        "SAVE_EVERY": 1,  # epochs
        "SAVE_EVERY_STEPS": 0,  # steps between checkpoints inside an epoch; 0 writes none there
        "KEEP_CHECKPOINTS": 10,  # newest epochs kept; 0 keeps all
        "KEEP_EVERY": 10,  # epochs divisible by this are kept for good; 0 keeps none
        "GRAD_CLIP_NORM": 0.1,
        "AMP": False,
        "AMP_DTYPE": "bfloat16",
        "COMPILE": False,  # torch.compile the network
        "WITHOUT_FILES": False,  # do without pictures and encoder weights that are missing, and say so in the log
        "SCHEDULER": {
            "TYPE": "step",  # step: one drop at LR_DROP_EPOCH; Mstep: drops at MILESTONES; cosine: to 0 over EPOCH
            "DECAY_RATE": 0.1,  # factor of the one drop
            "MILESTONES": [],
            "GAMMA": 0.1,  # factor of each milestone
        },
    },
    "DATA": {
        "MEAN": [0.485, 0.456, 0.406],
        "STD": [0.229, 0.224, 0.225],
        "MAX_SAMPLE_INTERVAL": 200,  # frames
        "SAMPLER_MODE": "order",
        "BAD_SAMPLES": "raise",  # raise: 3 others are tried in place of a damaged sample; skip: as many as it takes
        "MAX_BAD_SAMPLES": 1000,  # skip: damaged samples that a loader process replaces in an epoch before it gives up
        "REDUCED_DECODE": False,  # decode JPEGs 2, 4 or 8 times smaller where crops are shrunk at least as much
        "LOADER": "tracking",
        "SEQ_FORMAT": "xywh",
        "TRAIN": {
            "DATASETS_NAME": ["LASOT", "GOT10K_vottrain"],
            "DATASETS_RATIO": [1.0, 1.0],
            "SAMPLE_PER_EPOCH": 60000,
        },
        "VAL": {
            "DATASETS_NAME": [],
            "DATASETS_RATIO": [],
            "SAMPLE_PER_EPOCH": 0,
        },
        "SEARCH": {"NUMBER": 1, "SIZE": 256, "FACTOR": 4.0, "CENTER_JITTER": 3.5, "SCALE_JITTER": 0.5},
        "TEMPLATE": {"NUMBER": 1, "SIZE": 256, "FACTOR": 4.0, "CENTER_JITTER": 0.0, "SCALE_JITTER": 0.0},
        "SYNTHETIC": {  # the rendered data set SYNTHETIC
            "SEQUENCES": 1000,
            "CACHE": 256,  # worlds kept ready in each worker, about 1.4 MB each
            "FRAMES": 60,
            "WIDTH": 320,
            "HEIGHT": 240,
            "DIFFICULTY": "mixed",
            "BACKGROUNDS": "",  # folder of photos; empty: procedural textures
            "CUTOUTS": "",  # folder of RGBA images; empty: procedural shapes
        },
    },
    "TEST": {
        "TEMPLATE_FACTOR": 4.0,
        "TEMPLATE_SIZE": 256,
        "SEARCH_FACTOR": 4.0,
        "SEARCH_SIZE": 256,
        "EPOCH": 500,
        "WINDOW": False,
        "NUM_TEMPLATES": 1,
        "UPDATE_INTERVALS": {
            "DEFAULT": 9999,
            "LASOT": 450,
            "LASOT_EXTENSION_SUBSET": 9999,
            "GOT10K_TEST": 1,
            "TRACKINGNET": 25,
            "TNL2K": 25,
            "OTB": 9999,
            "NFS": 9999,
            "UAV": 9999,
            "VOT20": 10,
            "VOT21": 10,
            "VOT22": 10,
        },
        "UPDATE_THRESHOLD": {"DEFAULT": 0.6, "VOT20": 0.475, "VOT21": 0.475, "VOT22": 0.475},
    },
}

_YAML_SUFFIXES = (".yaml", ".yml")

# Sections where a YAML file may name benchmarks of its own.
_OPEN_SECTIONS = ("TEST.UPDATE_INTERVALS", "TEST.UPDATE_THRESHOLD")

# Types that the default alone does not show.
_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "TRAIN.ENCODER_OPEN": ([""],),
    "TRAIN.SCHEDULER.MILESTONES": ([0],),
    "DATA.MAX_SAMPLE_INTERVAL": (0, [0]),  # a list for the trident and stark samplers
    "DATA.VAL.DATASETS_NAME": ([""],),
    "DATA.VAL.DATASETS_RATIO": ([0.0],),
}

CHOICES: dict[str, tuple[Any, ...]] = {
    "MODEL.FEATURE_TYPE": ("x", "xz", "token"),
    "MODEL.ENCODER.TYPE": (
        "vit_base_patch16",
        "vit_large_patch16",
        "vit_huge_patch14",
        "vit_small_patch16",
        "vit_tiny_patch16",
        "vit_demo_patch16",
        "vit_test_patch16",
    ),
    "TRAIN.OPTIMIZER": ("ADAMW",),
    "TRAIN.SCHEDULER.TYPE": ("step", "Mstep", "cosine"),
    "TRAIN.AMP_DTYPE": ("bfloat16", "float16"),
    "DATA.SEQ_FORMAT": ("xywh", "whxy", "corner"),
    "DATA.SAMPLER_MODE": ("causal", "order", "trident", "trident_pro", "stark"),
    "DATA.LOADER": ("tracking",),
    "DATA.BAD_SAMPLES": ("raise", "skip"),
    "DATA.SYNTHETIC.DIFFICULTY": ("easy", "medium", "hard", "mixed"),
}
"""Allowed values by dotted key; the tables that implement them are tested to hold the same names."""

# Options of TRAIN.
_NOT_NEGATIVE = (
    *("GLOBAL_BATCH", "SAVE_EVERY_STEPS", "KEEP_CHECKPOINTS", "KEEP_EVERY"),
    *("LABEL_SIGMA", "GUIDE_WEIGHT", "SMOOTH_WORDS"),
)

_POSITIVE = (
    *("MODEL.HIDDEN_DIM", "MODEL.BINS", "MODEL.ENCODER.STRIDE"),
    *(f"MODEL.DECODER.{name}" for name in ("NHEADS", "DIM_FEEDFORWARD", "DEC_LAYERS")),
    *(f"TRAIN.{name}" for name in ("LR", "EPOCH", "BATCH_SIZE", "PRINT_INTERVAL", "SAVE_EVERY", "VAL_EPOCH_INTERVAL")),
    "DATA.TRAIN.SAMPLE_PER_EPOCH",
    *(f"DATA.{kind}.{name}" for kind in ("SEARCH", "TEMPLATE") for name in ("NUMBER", "SIZE", "FACTOR")),
    *(f"DATA.SYNTHETIC.{name}" for name in ("SEQUENCES", "WIDTH", "HEIGHT")),
    *(f"TEST.{name}" for name in ("TEMPLATE_FACTOR", "TEMPLATE_SIZE", "SEARCH_FACTOR", "SEARCH_SIZE", "EPOCH")),
)


def default_config(overrides: Mapping[str, Any] | None = None) -> EasyDict:
    """Return a fresh copy of the defaults with some options replaced.

    Args:
        overrides: values by dotted key, such as ``{"DATA.SEARCH.SIZE": 128}``.

    Raises:
        ConfigError: as ``load_config``.
    """
    cfg = EasyDict(copy.deepcopy(_DEFAULTS))
    _apply_overrides(cfg, overrides or {})
    _validate(cfg, "overrides")
    return cfg


def load_config(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> EasyDict:
    """Load an experiment.

    Args:
        name_or_path: name of a file in ``experiments/seqtrack`` without ``.yaml``, or the path of a YAML file.
        overrides: values by dotted key that win over the file.

    Returns:
        A fresh configuration holding every option.

    Raises:
        ConfigError: if the experiment is unknown, the file is not YAML, a key is unknown, a value has the wrong type or
            is not allowed, or two options contradict each other. The message names the file and the key.
    """
    path = find_experiment(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if content is not None and not isinstance(content, Mapping):
        raise ConfigError(f"{path}: expected sections such as MODEL and TRAIN, got {type(content).__name__}")
    cfg = EasyDict(copy.deepcopy(_DEFAULTS))
    merge_strict(cfg, content or {}, path.name, open_sections=_OPEN_SECTIONS, prototypes=_PROTOTYPES)
    _apply_overrides(cfg, overrides or {})
    _validate(cfg, path.name)
    return cfg


def known_experiments() -> list[str]:
    """Names of the experiments shipped in ``experiments/seqtrack``, sorted."""
    return sorted(path.stem for path in EXPERIMENTS_DIR.glob("*.yaml"))


def experiment_name(name_or_path: str | Path) -> str:
    """Name of an experiment given by name or by the path of its YAML file; what a run writes is filed under it."""
    text = str(name_or_path)
    return Path(text).stem if text.endswith(_YAML_SUFFIXES) else text


def find_experiment(name_or_path: str | Path) -> Path:
    """Path of an experiment's YAML file.

    Raises:
        ConfigError: if there is no such experiment; the message lists the known ones.
    """
    text = str(name_or_path)
    path = Path(text) if text.endswith(_YAML_SUFFIXES) else EXPERIMENTS_DIR / f"{text}.yaml"
    if path.is_file():
        return path
    if path.parent == EXPERIMENTS_DIR:
        known = known_experiments()
        hint = did_you_mean(text, known)
        raise ConfigError(f"unknown config {text!r}; known in {EXPERIMENTS_DIR}: {', '.join(known)}{hint}")
    raise ConfigError(f"{path}: no such config file")


def _apply_overrides(cfg: EasyDict, overrides: Mapping[str, Any]) -> None:
    for dotted, value in overrides.items():
        nested: Any = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        merge_strict(cfg, nested, "override", open_sections=_OPEN_SECTIONS, prototypes=_PROTOTYPES)


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` as written on a command line; the value is read as YAML.

    Raises:
        ConfigError: if there is no ``=`` or the value is not YAML.
    """
    dotted, equals, value = text.partition("=")
    try:
        if equals and dotted:
            return dotted.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        pass
    raise ConfigError(f"override {text!r}: expected KEY=VALUE, such as TRAIN.LR=2e-4")


def get_option(cfg: Mapping[str, Any], dotted: str) -> Any:
    """Value of the option named ``dotted``, such as ``DATA.SEARCH.SIZE``."""
    value: Any = cfg
    for part in dotted.split("."):
        value = value[part]
    return value


def _validate(cfg: EasyDict, source: str) -> None:
    def refuse(message: str) -> None:
        raise ConfigError(f"{source}: {message}")

    for dotted, allowed in CHOICES.items():
        value = get_option(cfg, dotted)
        if value not in allowed:
            refuse(f"{dotted}: {value!r} is not one of {', '.join(map(str, allowed))}{did_you_mean(value, allowed)}")
    for dotted in _POSITIVE:
        if get_option(cfg, dotted) <= 0:
            refuse(f"{dotted}: must be greater than 0, got {get_option(cfg, dotted)}")
    for name in _NOT_NEGATIVE:
        if cfg.TRAIN[name] < 0:
            refuse(f"TRAIN.{name}: must not be negative, got {cfg.TRAIN[name]}")
    for split in ("TRAIN", "VAL"):
        names, ratios = cfg.DATA[split].DATASETS_NAME, cfg.DATA[split].DATASETS_RATIO
        if len(names) != len(ratios):
            refuse(f"DATA.{split}.DATASETS_RATIO: {len(ratios)} ratios for {len(names)} data sets in DATASETS_NAME")
    if cfg.DATA.TEMPLATE.NUMBER != cfg.TEST.NUM_TEMPLATES:
        refuse(
            f"DATA.TEMPLATE.NUMBER is {cfg.DATA.TEMPLATE.NUMBER} but TEST.NUM_TEMPLATES is {cfg.TEST.NUM_TEMPLATES}; "
            "the network is built for one number of templates"
        )
    for train_key, test_key in (("DATA.SEARCH.SIZE", "TEST.SEARCH_SIZE"), ("DATA.TEMPLATE.SIZE", "TEST.TEMPLATE_SIZE")):
        size, test_size = get_option(cfg, train_key), get_option(cfg, test_key)
        if size != test_size:
            refuse(f"{train_key} is {size} but {test_key} is {test_size}; the position embeddings fit one size only")
        if size % cfg.MODEL.ENCODER.STRIDE:
            refuse(f"{train_key}: {size} is not a multiple of MODEL.ENCODER.STRIDE ({cfg.MODEL.ENCODER.STRIDE})")
    if cfg.MODEL.HIDDEN_DIM % cfg.MODEL.DECODER.NHEADS:
        refuse(f"MODEL.HIDDEN_DIM: {cfg.MODEL.HIDDEN_DIM} is not a multiple of NHEADS ({cfg.MODEL.DECODER.NHEADS})")
