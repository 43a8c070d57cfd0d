"""A note beside the results that says what made them, so that results of other weights or settings are never reused."""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from lib.test.evaluation.data import SequenceList
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomic

PACKAGES = ("seqtrack", "torch", "torchvision", "timm", "numpy", "opencv-python")
IDENTITY = {"dtype": "another dtype", "settings_sha256": "other settings"}
"""Facts that must be equal to those of earlier results, and how to call them if they are not."""


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(folder: ResultFolder) -> dict[str, Any]:
    """The note of a result folder, empty if there is none or it is unreadable."""
    try:
        content = json.loads(folder.manifest_path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def run_facts(params: Any, **facts: Any) -> dict[str, Any]:
    """What a manifest says beside the weights.

    Args:
        params: settings of the tracker, a data class or anything that ``repr`` describes; its ``checkpoint``,
            ``device`` and ``dtype`` are no settings, since they have entries of their own.
        facts: further entries, such as ``dtype`` and ``device``.
    """
    settings: Any = repr(params)
    if dataclasses.is_dataclass(params):
        own = ("checkpoint", "device", "dtype")
        settings = {key: value for key, value in dataclasses.asdict(params).items() if key not in own}
    text = json.dumps(settings, sort_keys=True, default=str)
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {**facts, "versions": versions, "settings_sha256": digest, "settings": json.loads(text)}


def describe_device(device: str) -> str:
    """Name of a device for the manifest, such as ``cuda:0 (NVIDIA H100 80GB HBM3)``."""
    import torch

    from lib.utils.device import resolve_device

    resolved = resolve_device(device)
    if resolved.type == "cuda":
        return f"{resolved} ({torch.cuda.get_device_name(resolved)})"
    return f"{resolved} ({platform.processor() or platform.machine()})"


class FolderClaim:
    """The right to put results of ``checkpoint`` into a folder; nothing is touched before ``take``.

    Args:
        folder: where the results go.
        sequences: what is about to be tracked.
        checkpoint: the weights; None if the tracker has none.
        overwrite: the results of ``sequences`` are made anew.
        facts: what else the note says (``run_facts``).

    Raises:
        InputError: if results of other weights, dtype or settings are there and would stay.
    """

    def __init__(
        self,
        folder: ResultFolder,
        sequences: SequenceList,
        checkpoint: Path | None,
        overwrite: bool = False,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder = folder
        self._replaced = set(sequences.names) if overwrite else set()
        weights = {"checkpoint": str(checkpoint), "sha256": file_hash(checkpoint) if checkpoint else ""}
        self._content = {**weights, **(facts or {})}
        earlier = read_manifest(folder)
        staying = [name for name in folder.sequences() if name not in self._replaced]
        other = self._difference(earlier)
        if staying and other:
            raise InputError(
                f"{folder.path}: {len(staying)} results there (such as {staying[0]}) were made with {other}; use "
                "--overwrite to replace them, or another --save_dir"
            )

    def _difference(self, earlier: Mapping[str, Any]) -> str:
        """In what the earlier results differ, in words; empty if they do not."""
        if earlier.get("sha256") != self._content["sha256"]:
            return f"other weights ({earlier.get('checkpoint', 'unknown')})"
        for key, words in IDENTITY.items():
            if key in earlier and earlier[key] != self._content.get(key, earlier[key]):
                return f"{words} ({earlier[key]})" if key == "dtype" else words
        return ""

    def take(self) -> None:
        """Remove what is to be replaced and write the note; called once the tracker is known to work."""
        for name in self._replaced:
            self._folder.remove(name)
        self._folder.remove_leftovers()
        write_text_atomic(self._folder.manifest_path, json.dumps(self._content, indent=2) + "\n")
