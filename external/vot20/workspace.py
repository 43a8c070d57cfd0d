"""Workspaces of the VOT toolkit: the experiments (a stack), the trackers, and where the sequences are."""

import re
import shlex
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from external.vot20.dataset import label_files
from external.vot20.toolkit import Toolkit
from lib.config.paths import PROJECT_ROOT
from lib.utils.errors import ConfigError, InputError, did_you_mean, printable
from lib.utils.files import write_text_atomic

STACKS = {
    "vot2020/shortterm": "VOT-ST2020: masks as ground truth, several starts per sequence",
    "vot2021/shortterm": "VOT-ST2021: masks",
    "vot2022/shortterm": "VOT-STs2022: masks",
    "vot2022/shorttermbox": "VOT-STb2022: boxes",
    "vots2023": "VOTS2023: several targets, masks, hidden labels",
    "vots2024/main": "VOTS2024: the same sequences",
    "vots2025/main": "VOTS2025: the same sequences",
    "vots2025/realtime": "VOTS-RT2025: the same sequences, and once more in real time",
    "vots2026/main": "VOTS2026: several targets, masks, hidden labels",
    "tests/multiobject": "four labelled sequences with several targets",
}
"""Stacks of the toolkit that SeqTrack is made for."""

SINCE = {
    "vots2023": "0.6.0",
    "tests/multiobject": "0.6.0",
    "vots2024/main": "0.7.0",
    "vots2025/main": "0.7.2",
    "vots2025/realtime": "0.7.2",
    "vots2026/main": "0.8.0",
}
"""Stacks with several targets, and the toolkit that brought them."""

MODELS = {
    "seqtrack_b256": "SeqTrack-B256",
    "seqtrack_b384": "SeqTrack-B384",
    "seqtrack_l256": "SeqTrack-L256",
    "seqtrack_l384": "SeqTrack-L384",
}
"""Published models: names of the experiments, and what tables call them."""

TIMEOUT = 300
OWN_STACK = "./stack.yaml"
MARK = "# Written by tracking/create_vot_workspace.py, which keeps this file once it is edited. Checksum"
OURS = "# With our experiments in the place of those that crash: the toolkit's stack "
COMPAT = "external.vot20.multistart.MultiStart"
COMPAT_REALTIME = "external.vot20.multistart.RealTime"


@dataclass(frozen=True)
class TrackerEntry:
    """One tracker of a ``trackers.ini``.

    Attributes:
        name: what ``vot evaluate`` calls it.
        label: what tables call it.
        config: name of an experiment, or path of its YAML file.
        masks: whether it reports masks (SeqTrack+AR).
        options: more arguments of ``external.vot20.run_tracker.load``; values that are None are left out.
    """

    name: str
    label: str
    config: str
    masks: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """Python source that the toolkit runs."""
        options = {"masks": self.masks or None, **self.options}
        given = [f"{key}={_literal(value)}" for key, value in options.items() if value is not None]
        arguments = ", ".join([_literal(self.config), *given])
        return f"from external.vot20.run_tracker import run; run({arguments})"


def _literal(value: Any) -> str:
    """Python source of a value that survives the toolkit's quoting, which is not a complete one."""
    text = repr(str(value) if isinstance(value, Path) else value)
    if re.search(r"[\\\"$`]", text) or "\n" in text:
        raise InputError(f"the VOT toolkit cannot pass on the characters of {value}")
    return text


def published_entries(options: Mapping[str, Any] | None = None) -> list[TrackerEntry]:
    """Return entries of the eight published trackers: four models, each with boxes and (``_ar``) with masks."""
    given = dict(options or {})
    ar_checkpoint = given.pop("ar_checkpoint", None)
    return [
        *(TrackerEntry(name, label, name, options=given) for name, label in MODELS.items()),
        *(
            TrackerEntry(f"{name}_ar", f"{label}+AR", name, True, {**given, "ar_checkpoint": ar_checkpoint})
            for name, label in MODELS.items()
        ),
    ]


def registry_text(
    entries: Sequence[TrackerEntry],
    *,
    python: str | Path | None,
    root: str | Path = PROJECT_ROOT,
    timeout: int = TIMEOUT,
    env: Mapping[str, str] | None = None,
) -> str:
    """Text of a ``trackers.ini``.

    Args:
        entries: the trackers.
        python: interpreter that has torch and vot-trax; None takes the toolkit's own.
        root: the project's folder; a relative one counts from the file's folder.
        timeout: seconds that the toolkit waits for an answer.
        env: environment variables of the trackers.

    Raises:
        InputError: if a path or name holds characters that the toolkit cannot pass on.
    """
    if "\n" in str(python):
        raise InputError(f"the VOT toolkit cannot start a tracker by {printable(python)}")
    if re.search(r"['\":;\\\n]", str(root)):
        raise InputError(
            f"the VOT toolkit cannot start a tracker in {root}: quotes, colons and backslashes do not work"
        )
    lines = ["# The trackers that this workspace knows; docs/vot.md says what the keys mean."]
    for entry in entries:
        if not entry.name or re.search(r"[\[\]\r\n]", entry.name + entry.label):
            raise InputError(f"{printable(repr(entry.name))} cannot be the name of a tracker of the VOT toolkit")
        lines += ["", f"[{entry.name}]", f"label = {entry.label}", "protocol = traxpython"]
        lines += [f"command = {entry.command}", f"paths = {root}"]
        lines += [] if python is None else [f"python = {shlex.quote(str(python))}"]
        lines += [f"timeout = {timeout}", *(f"env_{key} = {value}" for key, value in (env or {}).items())]
    return "\n".join(lines).replace("%", "%%") + "\n"  # the toolkit's reader takes a single % for a reference


def config_text(stack: str, sequences: str | Path | None = None) -> str:
    """Text of a ``config.yaml``.

    Args:
        stack: name of a stack of the toolkit, or path of a file, relative to the workspace.
        sequences: folder of the dataset; by default ``sequences`` in the workspace.
    """
    lines = [
        f"# Stacks for SeqTrack: {', '.join(STACKS)}.",
        "# Each has its own sequences: make another workspace for another one.",
        f"stack: {stack}",
        "registry:",
        "- ./trackers.ini",
    ]
    if sequences is not None:  # quoted where YAML needs it
        lines.append(yaml.safe_dump({"sequences": str(sequences)}, allow_unicode=True, width=1 << 20).strip())
    return "\n".join(lines) + "\n"


def stack_file(toolkit: Toolkit, stack: str) -> Path:
    """File of a stack of the toolkit.

    Raises:
        ConfigError: if the toolkit has no such stack; the message says which version has it, or what is close.
    """
    path = toolkit.folder / "stack" / f"{stack}.yaml"
    if path.is_file():
        return path
    if stack in SINCE:
        raise ConfigError(
            f"the stack {stack} needs vot-toolkit {SINCE[stack]} or newer; {toolkit.python} has {toolkit.version}"
        )
    raise ConfigError(f"the VOT toolkit has no stack {stack!r}{did_you_mean(stack, STACKS)}")


def compat_stack_text(toolkit: Toolkit, stack: str) -> str:
    """Text of a stack of the toolkit with our experiments in the place of its own that crash; empty if none does.

    Raises:
        ConfigError: if the toolkit has no such stack.
    """
    content = yaml.safe_load(stack_file(toolkit, stack).read_text())
    ours = {"multistart": COMPAT, "unsupervised": COMPAT_REALTIME}
    crashing = [
        experiment
        for experiment in content["experiments"].values()
        if experiment["type"] == "multistart" or (experiment["type"] == "unsupervised" and "realtime" in experiment)
    ]
    for experiment in crashing:
        experiment["type"] = ours[experiment["type"]]
    return f"{OURS}{stack}\n{yaml.safe_dump(content, sort_keys=False)}" if crashing else ""


def is_scored(toolkit: Toolkit, workspace: Path) -> bool:
    """Whether the stack of a workspace has measures to compute; those whose labels are hidden have none.

    Raises:
        InputError: if this is no workspace.
    """
    name = str(_config(workspace).get("stack"))
    for path in (workspace / name, toolkit.folder / "stack" / f"{name}.yaml"):
        if path.is_file():
            stack = _mapping(path)
            experiments = stack.get("experiments")
            return not isinstance(experiments, dict) or any(
                isinstance(experiment, dict) and experiment.get("analyses") for experiment in experiments.values()
            )
    return True  # the toolkit says what is wrong


def sequences_folder(workspace: Path) -> Path:
    """Folder of the dataset of a workspace.

    Raises:
        InputError: if this is no workspace.
    """
    folder = _config(workspace).get("sequences") or "sequences"
    if not isinstance(folder, str):
        path = workspace / "config.yaml"
        raise InputError(f"{path}: sequences: expected a folder, got {printable(repr(folder))}")
    return workspace / folder


def check_own_workspace(workspace: Path, stack: str) -> None:
    """Refuse a workspace of another stack that has sequences or results: those of two are not told apart.

    One of several targets is refused in any case.

    Args:
        workspace: its folder, which may be missing.
        stack: the toolkit's name of it, also where ``stack.yaml`` takes its place.

    Raises:
        InputError: naming both stacks.
    """
    if (workspace / "config.yaml").is_file():
        other = _config(workspace).get("stack")
        if other == OWN_STACK and (workspace / other).is_file():
            named = re.search(f"^{re.escape(OURS)}(.*)$", _read(workspace / other), re.MULTILINE)
            other = named[1] if named else stack  # one of an earlier version does not say
        used = any(path.exists() for path in (sequences_folder(workspace) / "list.txt", workspace / "results"))
        if other != stack and (used or {str(other), stack} & set(SINCE)):
            raise InputError(
                f"{workspace} is a workspace of {printable(other)}; {stack} needs one of its own: --workspace_dir"
            )


def _config(workspace: Path) -> dict[str, Any]:
    """Settings of a workspace. Raises InputError if it has none."""
    path = workspace / "config.yaml"
    if not path.is_file():
        raise InputError(f"{workspace}: no config.yaml, so no workspace; tracking/create_vot_workspace.py makes one")
    return _mapping(path)


def _mapping(path: Path) -> dict[str, Any]:
    """What a YAML file says; empty if it holds no mapping."""
    try:
        content = yaml.safe_load(_read(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not valid YAML: {printable(error)}") from error
    return content if isinstance(content, dict) else {}


def _read(path: Path) -> str:
    """A text file of a workspace or dataset. Raises InputError naming it if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file") from error


def check_sequences(folder: Path) -> None:
    """Refuse a folder that is no dataset of the toolkit.

    Raises:
        InputError: naming what is missing.
    """
    listing = folder / "list.txt"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of VOT sequences")
    if not listing.is_file():
        raise InputError(f"{folder}: no list.txt, so this is no dataset of the VOT toolkit")
    names = [line.strip() for line in _read(listing).splitlines()]
    missing = [name for name in names if not name or not label_files(folder / name)]
    if missing or not names:
        first = f": {printable(missing[0]) or 'an empty line'}" if missing else " (it is empty)"
        raise InputError(f"{listing}: {len(missing)} of {len(names)} sequences are not there{first}")


def signed(text: str) -> str:
    """Put a line before a text that tells, later, whether somebody has edited it."""
    return f"{MARK} {zlib.crc32(text.encode()):08x}\n{text}"


def is_untouched(text: str) -> bool:
    """Whether a text is as :func:`signed` made it."""
    head, _, body = text.partition("\n")
    return head.startswith(MARK) and text == signed(body)


def write_workspace(folder: Path, files: Mapping[str, str], *, force: bool = False) -> list[Path]:
    """Write the files of a workspace, each with a checksum.

    Args:
        folder: the workspace; made if missing.
        files: texts by name.
        force: replace files that somebody else wrote or edited.

    Returns:
        The files written.

    Raises:
        InputError: if a file is there that this function did not write, or that was edited; then none is changed.
    """
    kept = [
        path
        for name in files
        if (path := folder / name).exists() and not is_untouched(path.read_text(encoding="utf-8", errors="replace"))
    ]
    if kept and not force:
        raise InputError(f"{' and '.join(map(str, kept))}: somebody has edited it; use --force to replace it")
    for name, text in files.items():
        write_text_atomic(folder / name, signed(text))
    return [folder / name for name in files]
