"""A runtime in the place of PyTorch, behind the same engine: exported once, kept in a cache, loaded from there."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.formats import FORMATS, export
from lib.test.tracker.graphs import FORMAT_VERSION, graph_settings
from lib.test.tracker.runtimes import Run
from lib.utils.errors import CheckpointError, InputError
from lib.utils.files import expand_home, file_hash, folder_lock

logger = logging.getLogger(__name__)

RUNTIMES = {"onnxruntime": "onnx", "openvino": "openvino"}
"""Backends beside PyTorch, and the format of their files."""
PRECISIONS = {"onnxruntime": ("float32", "int8"), "openvino": ("float32", "bfloat16", "int8")}
"""What each of them computes in."""
EXPORT_SECONDS = 1800.0
"""How long to wait for another process that exports the same network."""
_exporting = threading.Lock()  # the lock of the folder is that of the process


class RuntimeReader:
    """From crops to templates, tokens and likelihoods; takes the place of ``reader.BoxReader``.

    Args:
        params: settings; ``params.backend`` is one of ``RUNTIMES``.

    Raises:
        InputError: if a package is missing, or device or precision are not those of the backend.
        CheckpointError: if the weights are missing or damaged, or exported files are those of another network.
    """

    is_whole, is_captured = True, False

    def __init__(self, params: TrackerParams) -> None:
        check_backend(params)
        self._params = params
        with tempfile.TemporaryDirectory(prefix="seqtrack-") as temporary:
            step = exported_step(params) or _export(params, Path(temporary))
            paths = [step.with_stem("embed_template"), step]
            try:
                opened = self._open(paths)
            except CheckpointError:
                if step.parent.parent != cache_folder():
                    raise
                opened = self._repair(paths)
        for path, (_, facts) in zip(paths, opened, strict=True):
            check_facts(params, facts, path)
        self._embed, self._step = (run for run, _ in opened)

    def _open(self, paths: Sequence[Path]) -> list[tuple[Run, dict[str, Any]]]:
        params = self._params
        opened = [FORMATS[RUNTIMES[params.backend]].open(path, params.device, params.dtype) for path in paths]
        if opened[0][1] != opened[1][1]:
            raise CheckpointError(f"{paths[0]} and {paths[1].name} are of two exports; export again")
        return opened

    def _repair(self, paths: Sequence[Path]) -> list[tuple[Run, dict[str, Any]]]:
        """Export into the cache again, unless another process has done so by now."""
        folder = paths[0].parent
        with _exporting, folder_lock(folder.parent, folder.name, EXPORT_SECONDS):
            try:
                return self._open(paths)
            except CheckpointError:
                logger.warning("%s is damaged: exporting again", folder)
                shutil.rmtree(folder)
                _export(self._params, folder)
                return self._open(paths)

    def embed(self, crops: Sequence[np.ndarray]) -> Tensor:
        """Embed template crops, (T, T, 3) uint8 each: (B, Nt, C)."""
        return torch.from_numpy(self._embed(np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)))[0])

    def __call__(self, templates: Tensor, crops: Tensor) -> tuple[Tensor, Tensor]:
        """As ``BoxReader``; likelihoods are float32."""
        tokens, likelihoods = self._step(templates.numpy(), crops.permute(0, 3, 1, 2).contiguous().numpy())
        return torch.from_numpy(tokens).long(), torch.from_numpy(likelihoods)


def check_backend(params: TrackerParams) -> None:
    """Raise InputError if settings do not go with their backend."""
    known = PRECISIONS[params.backend]
    if params.dtype not in known:
        raise InputError(f"the backend {params.backend} has no {params.dtype}; known: {', '.join(known)}")
    if params.compile:
        raise InputError(f"compiling goes with the backend torch, not with {params.backend}")


def exported_step(params: TrackerParams) -> Path | None:
    """Exported file ``step`` of a network; it is made if it is not in the cache yet.

    Returns:
        ``params.checkpoint``, if it is such a file; None without weights.
    """
    suffix = FORMATS[RUNTIMES[params.backend]].suffix
    if params.checkpoint is None or params.checkpoint.suffix in (suffix, ".onnx"):  # OpenVINO opens both
        return params.checkpoint
    if not params.checkpoint.is_file():
        raise CheckpointError(f"{params.checkpoint}: no such checkpoint")
    folder = cache_folder() / cache_key(params)
    step = folder / f"step{suffix}"
    with _exporting, folder_lock(folder.parent, folder.name, EXPORT_SECONDS):
        return step if step.is_file() else _export(params, folder)


def _export(params: TrackerParams, folder: Path) -> Path:
    """Export a network into a folder, and return the file ``step``."""
    logger.info("exporting the network for %s; this takes a minute, once", params.backend)
    options = {"format": RUNTIMES[params.backend], "precision": _file_precision(params)}
    return export(params, folder, **options, progress=logger.debug)[-1]


def cache_folder() -> Path:
    """Where exported networks are kept: ``$XDG_CACHE_HOME/seqtrack/exported``, or below ``~/.cache``."""
    return (Path(os.environ.get("XDG_CACHE_HOME") or expand_home("~/.cache")) / "seqtrack" / "exported").absolute()


def cache_key(params: TrackerParams) -> str:
    """Name of a folder, for all that the files depend on: weights, network, settings and versions."""
    versions = [FORMAT_VERSION, *map(metadata.version, FORMATS[RUNTIMES[params.backend]].packages)]
    settings = [graph_settings(params), params.config.MODEL, params.mean, params.std]
    facts = [file_hash(params.checkpoint), settings, params.backend, _file_precision(params), versions]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def check_facts(params: TrackerParams, facts: dict[str, Any], path: Path) -> None:
    """Raise CheckpointError if a file was exported for another configuration or precision."""
    for name, expected in graph_settings(params).items():
        if facts.get(name) != expected:
            other = f"{name} is {facts.get(name)}, not {expected}"
            raise CheckpointError(f"{path}: exported for another configuration: {other}")
    if (facts.get("precision") == "int8") != (params.dtype == "int8"):
        raise CheckpointError(f"{path}: exported in {facts.get('precision')}, which is not for {params.dtype}")


def _file_precision(params: TrackerParams) -> str:
    return "int8" if params.dtype == "int8" else "float32"
