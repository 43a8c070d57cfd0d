"""What a run was: written once at each start, so that a result can be traced to its code, options and versions."""

import json
import logging
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from lib.config.paths import PROJECT_ROOT
from lib.utils.files import write_text_atomic
from lib.utils.launch import package_versions

logger = logging.getLogger(__name__)


def git_revision(folder: Path = PROJECT_ROOT) -> str:
    """Revision of the code, with ``-dirty`` behind it if files were changed since; empty outside a git checkout."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write_manifest(
    path: Path, *, config: Mapping[str, Any], device: torch.device, world_size: int, revision: str, resumed_from: str
) -> None:
    """Write a manifest as JSON.

    Args:
        path: the file.
        config: the resolved configuration, plain.
        device: device of rank 0.
        world_size: number of processes.
        revision: from ``git_revision``.
        resumed_from: path of the checkpoint that the run continues, empty for a fresh run.
    """
    manifest = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": config["TRAIN"]["SEED"],
        "revision": revision,
        "resumed_from": resumed_from,
        "world_size": world_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "versions": package_versions() | {"platform": platform.platform(), "cuda": torch.version.cuda or "none"},
        "config": config,
    }
    write_text_atomic(path, json.dumps(manifest, indent=2) + "\n")


def add_to_manifest(path: Path, **facts: Any) -> None:
    """Add facts to a manifest, or replace them; a manifest that was removed or damaged meanwhile is left alone."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        write_text_atomic(path, json.dumps(manifest | facts, indent=2) + "\n")
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s: cannot be added to: %s", path, error)
