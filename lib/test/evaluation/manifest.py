"""A note beside the results that says what made them, so that results of other weights or settings are never reused."""

import contextlib
import dataclasses
import hashlib
import json
import platform
import sys
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from lib.config.seqtrack.config import saved_options
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError
from lib.utils.files import FolderInUseError, file_hash, folder_lock, other_owners, write_text_atomic

PACKAGES = ("seqtrack", "torch", "torchvision", "timm", "numpy", "opencv-python", "onnxruntime", "openvino")
IDENTITY = {"dtype": "another dtype", "backend": "another backend", "settings_sha256": "other settings"}
"""Facts that must be equal to those of earlier results, beside the weights, and how to call them if they are not."""
CLAIM_SECONDS = 20.0
"""How long to wait for another run that is just looking at the folder."""


def read_manifest(folder: ResultFolder) -> dict[str, Any]:
    """The manifest of a result folder (of its split), empty if there is none or it is unreadable."""
    path = folder.manifest_path
    if folder.split and not path.exists():  # earlier versions wrote one for all splits
        path = replace(folder, split="").manifest_path
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def run_facts(params: Any, checkpoint: Path | None = None, **facts: Any) -> dict[str, Any]:
    """What a manifest says.

    Args:
        params: settings of the tracker, a data class or anything that ``repr`` describes; its ``checkpoint``,
            ``device``, ``dtype`` and ``backend`` are no settings, since they have entries of their own.
        checkpoint: the weights; None if the tracker has none.
        facts: further entries, such as ``dtype``.
    """
    settings: Any = repr(params)
    if dataclasses.is_dataclass(params):
        own = ("checkpoint", "device", "dtype", "backend")
        settings = {key: value for key, value in dataclasses.asdict(params).items() if key not in own}
    text = json.dumps(settings, sort_keys=True, default=str)
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    digest = hashlib.sha256(text.encode()).hexdigest()
    facts = {"checkpoint": str(checkpoint), "sha256": file_hash(checkpoint) if checkpoint else "", **facts}
    return {**facts, "versions": versions, "settings_sha256": digest, "settings": json.loads(text)}


def describe_device(device: str) -> str:
    """Name of a device for the manifest, such as ``cuda:0 (NVIDIA H100 80GB HBM3)``.

    Only for a process that computes on it: asking for the name initializes CUDA.
    """
    name = platform.processor() or platform.machine()
    if torch := sys.modules.get("torch"):  # a tracker without torch must not pay for importing it
        from lib.utils.device import resolve_device

        resolved = resolve_device(device)
        device, name = str(resolved), torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else name
    return f"{device} ({name})"


def identity(facts: Mapping[str, Any]) -> str:
    """One hash of what must not differ between the results of a folder."""
    keys = ("sha256", *(key for key in IDENTITY if key in facts or key != "backend"))  # without one it is PyTorch
    text = json.dumps([facts.get(key) for key in keys], default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _are_same(earlier: Any, current: Any) -> bool:
    """Whether settings differ only in former names of options, or in options that are younger than one of them."""
    try:
        first, second = (
            {**settings, "config": saved_options(settings["config"])} if "config" in settings else settings
            for settings in (earlier, current)
        )
        return first == second
    except (AttributeError, TypeError, RecursionError):  # no settings, or a damaged manifest
        return False


class FolderClaim:
    """The right to put results of a checkpoint into a folder; nothing is touched before ``take``.

    A context manager: other runs with the same settings share the folder, those with other settings are refused until
    it is left.

    Args:
        folder: where the results go.
        sequences: names of what is about to be tracked.
        facts: content of the manifest (``run_facts``).
        overwrite: the results of ``sequences`` are made again.
        benchmark: names of all sequences of the benchmark; other results in a folder that splits share stay out of it.

    Raises:
        InputError: if results of other weights, dtype or settings are there and would stay.
    """

    def __init__(
        self,
        folder: ResultFolder,
        sequences: Collection[str],
        facts: Mapping[str, Any],
        *,
        overwrite: bool = False,
        benchmark: Collection[str] | None = None,
    ) -> None:
        self._folder = folder
        self._overwrite = overwrite
        self._replaced = set(sequences) if overwrite else set()
        self._benchmark = set(sequences if benchmark is None else benchmark)
        self._content = {**facts, "identity": identity(facts)}
        self._held = contextlib.ExitStack()
        self._check()

    @property
    def identity(self) -> str:
        """What ``ResultFolder.claim`` must be for results of this run."""
        return self._content["identity"]

    def _check(self) -> None:
        """Refuse to mix results."""
        other = self._difference(read_manifest(self._folder))
        if not other:
            return
        present = self._folder.sequences()
        if self._folder.split:
            present = [name for name in present if name in self._benchmark]
        staying = [name for name in present if name not in self._replaced]
        if not staying:
            return
        if not self._overwrite:
            advice = "use --overwrite to replace them, or another --save_dir"
        elif self._benchmark.isdisjoint(staying):
            advice = "and belong to no sequence of this benchmark; move them away, or use another --save_dir"
        else:
            advice = "and would stay; use --overwrite without --sequence to replace all, or another --save_dir"
        raise InputError(
            f"{self._folder.path}: {len(staying)} results there (such as {staying[0]}) were made with {other}; {advice}"
        )

    def _difference(self, earlier: Mapping[str, Any]) -> str:
        """In what the earlier results differ, in words; empty if they do not."""
        if earlier.get("sha256") != self._content["sha256"]:
            return f"other weights ({earlier.get('checkpoint', 'unknown')})"
        earlier = {"backend": "torch", **earlier}
        for key, text in IDENTITY.items():
            if key == "settings_sha256" and _are_same(earlier.get("settings"), self._content.get("settings")):
                continue
            default = "torch" if key == "backend" else earlier.get(key)
            if key in earlier and earlier[key] != self._content.get(key, default):
                return text if key == "settings_sha256" else f"{text} ({earlier[key]})"
        return ""

    def take(self, device: str = "") -> None:
        """Remove what is to be replaced and write the manifest; called once the tracker is known to work.

        Args:
            device: what it runs on (``describe_device``), for the manifest.

        Raises:
            FolderInUseError: if a run with other settings is going on in the folder, or one whose results are to be
                replaced.
            InputError: if results of other settings have come in the meantime.
        """
        self._folder.path.mkdir(parents=True, exist_ok=True)
        with folder_lock(self._folder.path, "claim", CLAIM_SECONDS):
            owners = other_owners(self._folder.path)
            earlier = read_manifest(self._folder)
            other = self._difference(earlier) if earlier else ""
            if owners and (other or self._overwrite):
                what = f"a run with {other}" if other else "another run"
                raise FolderInUseError(
                    f"{self._folder.path}: {what} is going on there, by {owners[0]}; wait for its end"
                )
            self._check()
            for name in self._replaced:
                self._folder.remove(name)
            content = {**self._content, "device": device}
            write_text_atomic(self._folder.manifest_path, json.dumps(content, indent=2) + "\n")
            self._held.enter_context(folder_lock(self._folder.path, f"run-{uuid.uuid4().hex}"))

    def __enter__(self) -> "FolderClaim":
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
