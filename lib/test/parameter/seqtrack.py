"""What the tracker needs to know for one experiment on one benchmark."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from easydict import EasyDict

from lib.config.paths import find_checkpoint, load_paths
from lib.config.seqtrack.config import experiment_name, load_config
from lib.utils.errors import ConfigError, lookup
from lib.utils.storage import split_packed

T = TypeVar("T")

BACKENDS = ("auto", "torch", "onnxruntime", "openvino")
"""What computes the network."""


@dataclass(frozen=True)
class TrackerParams:
    """Settings of one tracker.

    Attributes:
        config: the experiment, from which the network is built.
        checkpoint: file with the weights; None leaves the network as it is built.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``.
        dtype: precision of the network: ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``int8`` (CPU only).
        search_size: side of the search crop in pixels.
        search_factor: side of the search crop over ``sqrt(w * h)`` of the last box.
        template_size: side of a template crop in pixels.
        template_factor: side of a template crop over ``sqrt(w * h)`` of its box.
        num_templates: how many templates the network sees; the first one stays for ever.
        window: whether a Hann window damps coordinates far from the crop's center.
        update_interval: every so many frames a new template may replace the oldest but the first.
        update_threshold: it does so only if the confidence (0 to 40) is above this.
        mean, std: normalization of RGB values in [0, 1].
        compile: compile the network, and capture it as a CUDA graph on CUDA; the first step takes long.
        cuda_graphs: capture the network as a CUDA graph without compiling it; without effect on other devices.
        backend: what computes the network, one of ``BACKENDS`` but ``auto``, which means ``torch``.
    """

    config: EasyDict
    checkpoint: Path | None
    device: str
    dtype: str
    search_size: int
    search_factor: float
    template_size: int
    template_factor: float
    num_templates: int
    window: bool
    update_interval: int
    update_threshold: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    compile: bool = False
    cuda_graphs: bool = False
    backend: str = "torch"


def parameters(
    config: str | Path,
    dataset: str = "default",
    *,
    checkpoint: str | Path | None = None,
    save_dir: str | Path | None = None,
    epoch: int | str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    **overrides: Any,
) -> TrackerParams:
    """Settings of the tracker of an experiment for a benchmark.

    Args:
        config: name of an experiment (``seqtrack_b256``) or path of its YAML file.
        dataset: name of the benchmark (``lasot``); it chooses the update interval and threshold.
        checkpoint: file with the weights; by default the one of the experiment below ``save_dir``.
        save_dir: where training wrote ``checkpoints/``; by default as ``lib.config.paths`` says.
        epoch: epoch of the checkpoint, ``best`` or ``last``; by default ``TEST.EPOCH``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``.
        dtype: ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``int8`` (CPU only).
        overrides: other fields of :class:`TrackerParams` to set, such as ``update_interval=25``.

    Raises:
        ConfigError: if the experiment or an override is unknown or does not fit.
        CheckpointError: if no checkpoint is found; the message names the places looked at.
    """
    cfg = load_config(config)
    if checkpoint is None:
        root = load_paths("test", save_dir=save_dir).save_dir
        checkpoint = find_checkpoint(root, experiment_name(config), cfg.TEST.EPOCH if epoch is None else epoch)
    params = parameters_from_config(cfg, checkpoint=checkpoint, dataset=dataset, device=device, dtype=dtype)
    known = {field.name: field for field in dataclasses.fields(TrackerParams)}
    for name in overrides:
        lookup(known, name, "tracker parameter")
    return _checked(dataclasses.replace(params, **overrides))


def parameters_from_config(
    cfg: EasyDict,
    *,
    checkpoint: str | Path | None,
    dataset: str = "default",
    device: str = "auto",
    dtype: str = "float32",
) -> TrackerParams:
    """Settings of the tracker for a loaded configuration.

    Args:
        cfg: a complete configuration (``load_config``).
        checkpoint: file with the weights, or None to leave the network as it is built.
        dataset: name of the benchmark, as for :func:`parameters`.
        device: as for :func:`parameters`.
        dtype: as for :func:`parameters`.

    Raises:
        ConfigError: if the network and the test settings do not fit each other.
    """
    test = cfg.TEST
    return _checked(
        TrackerParams(
            config=cfg,
            checkpoint=None if checkpoint is None else Path(checkpoint),
            device=device,
            dtype=dtype,
            search_size=int(test.SEARCH_SIZE),
            search_factor=float(test.SEARCH_FACTOR),
            template_size=int(test.TEMPLATE_SIZE),
            template_factor=float(test.TEMPLATE_FACTOR),
            num_templates=int(test.NUM_TEMPLATES),
            window=bool(test.WINDOW),
            update_interval=int(benchmark_value(test.UPDATE_INTERVALS, dataset)),
            update_threshold=float(benchmark_value(test.UPDATE_THRESHOLD, dataset)),
            mean=tuple(float(value) for value in cfg.DATA.MEAN),
            std=tuple(float(value) for value in cfg.DATA.STD),
        )
    )


def benchmark_value(table: Mapping[str, T], dataset: str) -> T:
    """Entry of a benchmark in a per-benchmark table, or its ``DEFAULT``.

    The value belongs to the benchmark, whatever its storage: ``lasot_lmdb`` is ``LASOT``. (The published code gives it
    DEFAULT; see docs/numerics.md.)
    """
    by_upper = {str(key).upper(): value for key, value in table.items()}
    # Faithful: other names must match as a whole, so got10k_val is not GOT10K_TEST.
    return by_upper.get(split_packed(dataset.lower())[0].upper(), by_upper["DEFAULT"])


def _checked(params: TrackerParams) -> TrackerParams:
    """Return ``params``, or raise ConfigError if they cannot work with the network of their experiment."""
    data = params.config.DATA
    for test_key, value, model_key, expected in (
        ("TEST.NUM_TEMPLATES", params.num_templates, "DATA.TEMPLATE.NUMBER", data.TEMPLATE.NUMBER),
        ("TEST.SEARCH_SIZE", params.search_size, "DATA.SEARCH.SIZE", data.SEARCH.SIZE),
        ("TEST.TEMPLATE_SIZE", params.template_size, "DATA.TEMPLATE.SIZE", data.TEMPLATE.SIZE),
    ):
        if value != expected:
            raise ConfigError(f"{test_key} is {value} but {model_key} is {expected}; the network needs them to agree")
    if params.backend not in BACKENDS:
        raise ConfigError(f"unknown backend {params.backend!r}; known: {', '.join(BACKENDS)}")
    if params.backend == "auto":
        params = dataclasses.replace(params, backend="torch")
    for name in ("search_factor", "template_factor", "update_interval"):
        if not getattr(params, name) > 0:
            raise ConfigError(f"the tracker's {name} must be above 0, got {getattr(params, name)}")
    if params.update_interval != int(params.update_interval) or math.isnan(params.update_threshold):
        given = f"update_interval {params.update_interval} and update_threshold {params.update_threshold}"
        raise ConfigError(f"the tracker's update_interval must be whole and its update_threshold a number, got {given}")
    return params
