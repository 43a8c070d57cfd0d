"""The options of SeqTrack, each declared once in ``SCHEMA``, and loading.

A configuration is a value: each call returns a fresh ``EasyDict`` and nothing in the library changes one afterwards.
Sources: SeqTrack, section 4.1 (implementation details); update intervals and thresholds: the published files.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from easydict import EasyDict

from lib.config.paths import EXPERIMENTS_DIR
from lib.config.schema import (
    boolean,
    choice,
    defaults,
    flatten,
    integer,
    list_of,
    merge,
    number,
    one_or_list,
    open_section,
    path_or_name,
    text,
    use_current_names,
)
from lib.config.yaml_text import read_yaml
from lib.utils.errors import ConfigError, did_you_mean, printable

_LARGEST_COUNT = 10**9

LARGEST_FILE = 2**20
"""Most bytes of a config file."""

LARGEST_BATCH_GIB = 32
"""Most memory that the crops of a batch may take."""

SCHEMA: dict[str, Any] = {
    "MODEL": {
        "HIDDEN_DIM": integer(256, 1, 2048),  # width of the decoder
        "BINS": integer(4000, 2, 50_000),  # coordinate tokens
        "FEATURE_TYPE": choice("x", "xz", "token"),  # the decoder's input: search tokens, all tokens, or their mean
        "ENCODER": {
            "TYPE": choice(
                "vit_base_patch16",
                "vit_large_patch16",
                "vit_huge_patch14",
                "vit_small_patch16",
                "vit_tiny_patch16",
                "vit_demo_patch16",
                "vit_test_patch16",
            ),
            "DROP_PATH": number(0.0, 0, 1, below=True),
            "PRETRAIN_TYPE": path_or_name("mae"),  # mae, default (supervised), scratch, sincos, or a file of weights
            "STRIDE": integer(16, 1, 64),  # patch size; must be that of the encoder
            "USE_CHECKPOINT": boolean(False),  # recompute activations in the backward pass
        },
        "DECODER": {
            "NHEADS": integer(8, 1, 256),
            "DROPOUT": number(0.1, 0, 1, below=True),
            "DIM_FEEDFORWARD": integer(1024, 1, 16_384),
            "DEC_LAYERS": integer(6, 1, 32),
            "PRE_NORM": boolean(False),
        },
        "INIT": path_or_name(""),  # checkpoint of SeqTrack that a training starts from, at epoch 0; empty: none
    },
    "TRAIN": {
        "SEED": integer(42, 0, 2**32 - 1),
        "LR": number(1e-4, 0, 1000, above=True),
        "WEIGHT_DECAY": number(1e-4, 0, 1000),
        "EPOCH": integer(500, 1, 1_000_000),
        "LR_DROP_EPOCH": integer(400, 1, 1_000_000),  # step: the learning rate drops after every so many epochs
        "BATCH_SIZE": integer(8, 1, 4096),  # samples that one process takes at once
        "GLOBAL_BATCH": integer(0, 0, 1_000_000),  # samples of a step over all processes; 0: a batch of each process
        "NUM_WORKER": integer(8, 0, 128),  # loader processes of each process
        "OPTIMIZER": choice("ADAMW"),
        "ENCODER_MULTIPLIER": number(0.1, 0, 1000),  # learning rate of the encoder over LR; 0 freezes it
        "FREEZE_ENCODER": boolean(False),
        "ENCODER_OPEN": list_of(text(""), []),  # parts of parameter names that stay trainable in a frozen encoder
        "LAYER_DECAY": number(1.0, 0, 1, above=True),  # factor of the learning rate from a layer of the encoder down
        "LORA_RANK": integer(0, 0, 1024),  # train products of this rank on top of the frozen encoder; 0: none
        "EMA": number(0.0, 0, 1, below=True),  # decay of a moving average of the weights, which is tested; 0: none
        "BEST_METRIC": choice("none", "val/IoU", "val/loss", "track/AUC"),  # chooses SEQTRACK_best.pth.tar
        "PATIENCE": integer(0, 0, 1_000_000),  # checks in a row without a better BEST_METRIC that end it; 0: never
        "CE_WEIGHT": number(1.0, 0, 1e6),
        "GUIDE_WEIGHT": number(0.0, 0, 1e6),  # weight of a loss that tells the encoder where the target is; 0: none
        "LABEL_SIGMA": number(0.0, 0, 1000),  # width in tokens of the curve that targets are spread over; 0: one token
        "SMOOTH_TOKENS": number(0.0, 0, 1000),  # tokens over which scores are averaged after each epoch; 0: none
        "PRINT_INTERVAL": integer(50, 1, _LARGEST_COUNT),  # steps
        "VAL_EPOCH_INTERVAL": integer(1, 1, 1_000_000),
        "VAL_IMAGE_INTERVAL": integer(0, 0, 1_000_000),  # epochs between images of validations in TensorBoard; 0: none
        "SAVE_EVERY": integer(1, 1, 1_000_000),  # epochs
        "SAVE_EVERY_STEPS": integer(0, 0, _LARGEST_COUNT),  # steps between checkpoints inside an epoch; 0: none there
        "KEEP_CHECKPOINTS": integer(10, 0, 1_000_000),  # newest epochs kept; 0 keeps all
        "KEEP_EVERY": integer(10, 0, 1_000_000),  # epochs divisible by this are kept for good; 0 keeps none
        "GRAD_CLIP_NORM": number(0.1, 0, 1e6),  # largest total gradient norm; 0 does not clip
        "TF32": boolean(True),  # CUDA: products of float32 with inputs rounded to 10 bits, about five times as fast
        "AMP": boolean(False),
        "AMP_DTYPE": choice("bfloat16", "float16"),
        "COMPILE": boolean(False),  # torch.compile the network
        "ALLOW_MISSING_FILES": boolean(False),  # replace missing images and encoder weights, with a warning
        "SCHEDULER": {
            # step: drops after every LR_DROP_EPOCH epochs; Mstep: drops at MILESTONES; cosine: to 0 over EPOCH
            "TYPE": choice("step", "Mstep", "cosine"),
            "DECAY_RATE": number(0.1, 0, 1, above=True),  # step: factor of each drop
            "MILESTONES": list_of(integer(1, 1, 1_000_000), []),
            "GAMMA": number(0.1, 0, 1, above=True),  # Mstep: factor of each milestone
        },
    },
    "DATA": {
        "MEAN": list_of(number(0, -10, 10), [0.485, 0.456, 0.406], 3, 3),
        "STD": list_of(number(1, 0.001, 10), [0.229, 0.224, 0.225], 3, 3),
        "MAX_SAMPLE_INTERVAL": one_or_list(integer(200, 1, 1_000_000)),  # frames; a list for trident and stark
        "SAMPLER_MODE": choice("order", "causal", "trident", "trident_pro", "stark"),
        "BAD_SAMPLES": choice("raise", "skip"),  # raise: a damaged sample is replaced up to 3 times; skip: always
        "MAX_BAD_SAMPLES": integer(1000, 0, _LARGEST_COUNT),  # skip: damaged samples a worker replaces in an epoch
        "REDUCED_DECODE": boolean(False),  # decode JPEGs 2, 4 or 8 times smaller where crops are shrunk that much
        "LOADER": choice("tracking"),
        "SEQ_FORMAT": choice("xywh", "whxy", "corner"),
        "TRAIN": {
            "DATASETS_NAME": list_of(text(""), ["LASOT", "GOT10K_vottrain"], 1),
            "DATASETS_RATIO": list_of(number(1, 0, 1e9), [1.0, 1.0], 1),
            "SAMPLE_PER_EPOCH": integer(60_000, 1, 100_000_000),
        },
        "VAL": {
            "DATASETS_NAME": list_of(text(""), []),
            "DATASETS_RATIO": list_of(number(1, 0, 1e9), []),
            "SAMPLE_PER_EPOCH": integer(0, 0, 100_000_000),
        },
        "SEARCH": {
            "NUMBER": integer(1, 1, 16),
            "SIZE": integer(256, 1, 2048),
            "FACTOR": number(4.0, 0.1, 100),
            "CENTER_JITTER": number(3.5, 0, 100),
            "SCALE_JITTER": number(0.5, 0, 2),
        },
        "TEMPLATE": {
            "NUMBER": integer(1, 1, 16),
            "SIZE": integer(256, 1, 2048),
            "FACTOR": number(4.0, 0.1, 100),
            "CENTER_JITTER": number(0.0, 0, 100),
            "SCALE_JITTER": number(0.0, 0, 2),
        },
        "SYNTHETIC": {  # the rendered dataset SYNTHETIC
            "SEQUENCES": integer(1000, 1, 10_000_000),
            "CACHE": integer(256, 0, 20_000),  # scenes kept ready in each worker, about 1.4 MB each
            "FRAMES": integer(60, 1, 100_000),
            "WIDTH": integer(320, 32, 4096),
            "HEIGHT": integer(240, 32, 4096),
            "DIFFICULTY": choice("mixed", "easy", "medium", "hard"),
            "BACKGROUNDS": path_or_name(""),  # folder of photos; empty: procedural textures
            "CUTOUTS": path_or_name(""),  # folder of RGBA images; empty: procedural shapes
        },
    },
    "TEST": {
        "TEMPLATE_FACTOR": number(4.0, 0.1, 100),
        "TEMPLATE_SIZE": integer(256, 1, 2048),
        "SEARCH_FACTOR": number(4.0, 0.1, 100),
        "SEARCH_SIZE": integer(256, 1, 2048),
        "EPOCH": integer(500, 1, 1_000_000),
        "WINDOW": boolean(False),
        "NUM_TEMPLATES": integer(1, 1, 16),
        # Both take benchmarks of the user's own.
        "UPDATE_INTERVALS": open_section(
            integer(9999, 1, _LARGEST_COUNT),  # frames
            LASOT=450,
            LASOT_EXTENSION_SUBSET=9999,
            GOT10K_TEST=1,
            TRACKINGNET=25,
            TNL2K=25,
            OTB=9999,
            NFS=9999,
            UAV=9999,
            VOT20=10,
            VOT21=10,
            VOT22=10,
        ),
        "UPDATE_THRESHOLD": open_section(number(0.6, -1, 100), VOT20=0.475, VOT21=0.475, VOT22=0.475),  # confidence
    },
}
"""Every option, with its default and what a value must be. To add one, add its line here."""

ALIASES = {
    "TRAIN.SMOOTH_WORDS": "TRAIN.SMOOTH_TOKENS",
    "TRAIN.WITHOUT_FILES": "TRAIN.ALLOW_MISSING_FILES",
}
"""Current name of an option by its former one, which still works, with a warning."""

_YAML_SUFFIXES = (".yaml", ".yml", ".json")  # JSON is YAML


def default_config(overrides: Mapping[str, Any] | None = None) -> EasyDict:
    """Return a fresh copy of the defaults with some options replaced.

    Args:
        overrides: values by dotted key, such as ``{"DATA.SEARCH.SIZE": 128}``.

    Raises:
        ConfigError: as ``load_config``.
    """
    return _configuration({}, overrides or {}, "overrides")


def load_config(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> EasyDict:
    """Load an experiment.

    Args:
        name_or_path: name of a file in ``experiments/seqtrack`` without ``.yaml``, or the path of a YAML file.
        overrides: values by dotted key that win over the file.

    Returns:
        A fresh configuration holding every option.

    Raises:
        ConfigError: if the experiment is unknown, the file is not YAML, a key is unknown or comes twice, a value is not
            as ``SCHEMA`` declares it, or two options contradict each other. The message names the file and the key.
    """
    path = find_experiment(name_or_path)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{path}: larger than {LARGEST_FILE} bytes, so not a config")
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the file: {error}") from error
    values = read_yaml(content, path.name)
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected sections such as MODEL and TRAIN, got {type(values).__name__}")
    return _configuration(values or {}, overrides or {}, path.name)


def _configuration(values: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> EasyDict:
    cfg = defaults(SCHEMA)
    merge(cfg, values, SCHEMA, source, aliases=ALIASES)
    for dotted, value in use_current_names(overrides, ALIASES, "override").items():
        nested: Any = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        merge(cfg, nested, SCHEMA, "override", aliases=ALIASES)
    cfg = EasyDict(cfg)
    for message in _contradictions(cfg):
        raise ConfigError(f"{source}: {message}")
    return cfg


def saved_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name of a configuration that an earlier version saved; what it did not know is as by default."""
    return flatten(defaults(SCHEMA)) | {ALIASES.get(name, name): value for name, value in flatten(config).items()}


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
    try:
        if text.endswith(_YAML_SUFFIXES):
            path = Path(text).expanduser()
            if path.is_file():
                return path
            raise ConfigError(f"{path}: {'not a regular file' if path.exists() else 'no such config file'}")
        known = known_experiments()
        if text in known:
            return EXPERIMENTS_DIR / f"{text}.yaml"
    except (OSError, RuntimeError) as error:  # too long, looping links, no such home folder
        raise ConfigError(f"config {printable(repr(text))}: {error}") from error
    # What a run writes is filed under the name, so a path without its suffix is no name.
    hint = did_you_mean(text, known) or "; the path of a config ends in .yaml"
    raise ConfigError(f"unknown config {printable(repr(text))}; known in {EXPERIMENTS_DIR}: {', '.join(known)}{hint}")


def get_option(cfg: Mapping[str, Any], dotted: str) -> Any:
    """Value of the option named ``dotted``, such as ``DATA.SEARCH.SIZE``; of ``SCHEMA`` its declaration."""
    value: Any = cfg
    for part in dotted.split("."):
        value = value[part]
    return value


def _contradictions(cfg: EasyDict) -> Iterator[str]:
    """What is wrong with options that are right one by one, key first."""
    model, train, data, test = cfg.MODEL, cfg.TRAIN, cfg.DATA, cfg.TEST
    for split in ("TRAIN", "VAL"):
        names, ratios = data[split].DATASETS_NAME, data[split].DATASETS_RATIO
        if len(names) != len(ratios):
            yield f"DATA.{split}.DATASETS_RATIO: {len(ratios)} ratios for {len(names)} of DATA.{split}.DATASETS_NAME"
        if names and not sum(ratios):
            yield f"DATA.{split}.DATASETS_RATIO: the ratios must not all be 0"
        if names and not data[split].SAMPLE_PER_EPOCH:
            yield f"DATA.{split}.SAMPLE_PER_EPOCH: 0 samples of the datasets in DATA.{split}.DATASETS_NAME"
    if data.TEMPLATE.NUMBER != test.NUM_TEMPLATES:
        yield (
            f"DATA.TEMPLATE.NUMBER is {data.TEMPLATE.NUMBER} but TEST.NUM_TEMPLATES is {test.NUM_TEMPLATES}; "
            "the network is built for one number of templates"
        )
    for train_key, test_key in (("DATA.SEARCH.SIZE", "TEST.SEARCH_SIZE"), ("DATA.TEMPLATE.SIZE", "TEST.TEMPLATE_SIZE")):
        size, test_size = get_option(cfg, train_key), get_option(cfg, test_key)
        if size != test_size:
            yield f"{train_key} is {size} but {test_key} is {test_size}; the position embeddings fit one size only"
        if size % model.ENCODER.STRIDE:
            yield f"{train_key}: {size} is not a multiple of MODEL.ENCODER.STRIDE ({model.ENCODER.STRIDE})"
    patch = model.ENCODER.TYPE.rpartition("patch")[2]
    if patch != str(model.ENCODER.STRIDE):
        yield f"MODEL.ENCODER.STRIDE: patches of {model.ENCODER.TYPE} have {patch} pixels, not {model.ENCODER.STRIDE}"
    if model.HIDDEN_DIM % model.DECODER.NHEADS:
        yield f"MODEL.HIDDEN_DIM: {model.HIDDEN_DIM} is not a multiple of MODEL.DECODER.NHEADS ({model.DECODER.NHEADS})"
    pixels = sum(part.NUMBER * part.SIZE**2 for part in (data.SEARCH, data.TEMPLATE))
    batch_gib = train.BATCH_SIZE * pixels * 12 / 2**30  # three channels of float32
    if batch_gib > LARGEST_BATCH_GIB:
        yield f"TRAIN.BATCH_SIZE: the crops of {train.BATCH_SIZE} samples take {batch_gib:.0f} GiB"
    if not train.CE_WEIGHT and not train.GUIDE_WEIGHT:
        yield "TRAIN.CE_WEIGHT and TRAIN.GUIDE_WEIGHT: both losses have the weight 0"
    if train.BEST_METRIC.startswith("val/") and not data.VAL.DATASETS_NAME:
        yield f"TRAIN.BEST_METRIC: {train.BEST_METRIC} needs DATA.VAL.DATASETS_NAME"
    if train.PATIENCE and train.BEST_METRIC == "none":
        yield "TRAIN.PATIENCE: needs a TRAIN.BEST_METRIC to wait for"
    if train.LORA_RANK and not train.ENCODER_MULTIPLIER:
        yield "TRAIN.LORA_RANK: nothing of it is trained with TRAIN.ENCODER_MULTIPLIER 0"
    if train.SCHEDULER.TYPE == "Mstep" and not train.SCHEDULER.MILESTONES:
        yield "TRAIN.SCHEDULER.MILESTONES: the schedule Mstep needs at least one epoch"
    for name in ("UPDATE_INTERVALS", "UPDATE_THRESHOLD"):
        if len({benchmark.upper() for benchmark in test[name]}) < len(test[name]):
            yield f"TEST.{name}: two names of benchmarks differ in case only"
