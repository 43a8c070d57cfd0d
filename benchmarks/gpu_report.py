"""The facts that ``benchmarks/gpu.py`` finds: printed, kept in a JSON file, written as a table into the docs."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lib.config.paths import PROJECT_ROOT
from lib.utils.device import resolve_device
from lib.utils.files import write_text_atomic

BEGIN, END = "<!-- benchmarks.gpu: begin -->", "<!-- benchmarks.gpu: end -->"
Fact = dict[str, Any]
"""``section``, ``what``, ``value`` and ``expected`` as text; ``ok`` is None where nothing is judged."""


class Report:
    """The facts, and where they are found.

    Args:
        dry: whether a tiny network on the CPU stands for the published ones on the GPU.
    """

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.device = torch.device("cpu") if dry else resolve_device("cuda")
        self.facts: list[Fact] = []
        self.section = ""

    def fact(self, what: str, value: Any, expected: str = "", ok: bool | None = None) -> None:
        """Print and keep a fact; ``ok`` is None for one that is not judged."""
        mark = "" if ok is None else "ok" if ok else "LOOK"
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{self.section} | {what} | {shown} | {expected} | {mark}", flush=True)
        fact = {"section": self.section, "what": what, "value": shown, "expected": expected}
        self.facts.append({**fact, "ok": None if ok is None else bool(ok)})

    def print_summary(self) -> int:
        """Print the facts to look at; 1 if there are any."""
        look = [fact for fact in self.facts if fact["ok"] is False]
        print(f"\n{describe(self)['device']}: {len(self.facts)} facts, {len(look)} to look at")
        for fact in look:
            print(f"LOOK {fact['section']}: {fact['what']}: {fact['value']} (expected {fact['expected']})")
        return int(bool(look))


def describe(report: Report) -> dict[str, str]:
    """What the numbers depend on."""
    git = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty"]
    smi = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    about = {"device": "CPU (dry run)" if report.dry else torch.cuda.get_device_name(report.device)}
    for name, command in {"driver": smi, "commit": git}.items():
        try:
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            text = ""
        about[name] = (text.split() or ["unknown"])[0]
    return {**about, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


def add_to_json(path: Path, report: Report) -> list[Fact]:
    """Write the facts, with those of other sections that the file has; returns all."""
    earlier = json.loads(path.read_text())["facts"] if path.is_file() else []
    done = {fact["section"] for fact in report.facts}
    facts = [fact for fact in earlier if fact["section"] not in done] + report.facts
    write_text_atomic(path, json.dumps({"about": describe(report), "facts": facts}, indent=1) + "\n")
    return facts


def write_docs(path: Path, about: dict[str, str], facts: Sequence[Fact]) -> None:
    """Put the facts between the two marks of docs/performance.md."""
    head, rest = path.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.split(END)[1]
    lines = [", ".join(f"{key} {value}" for key, value in about.items()) + ":", ""]
    lines += ["| part | what | value | expected |", "|---|---|---|---|"]
    lines += [
        f"| {f['section']} | {f['what']} | {f['value']} | {f['expected']} |" for f in facts if f["what"] != "seconds"
    ]
    write_text_atomic(path, "\n".join([head + BEGIN, *lines, END + tail]))
