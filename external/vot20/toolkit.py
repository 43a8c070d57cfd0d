"""Running the VOT toolkit as a program, and saying what it does not: whether it worked.

The toolkit ends with exit code 0 when a tracker crashed, when an analysis failed, and when a tracker does not exist.
Success is therefore read from what it prints.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.config.paths import PROJECT_ROOT
from lib.utils.errors import DataError, InputError, SeqTrackError, printable

VARIABLE = "SEQTRACK_VOT"
PROBE_SECONDS = 120.0
"""How long an interpreter may take to import the toolkit."""
WORKING = "vot-toolkit==0.7.4 attributee==0.1.9"
SUCCESS = {
    "test": "Test concluded success",
    "evaluate": "Evaluation concluded success",
    "analysis": "Analysis successful",
    "pack": "Result packaging successful",
}

_CHATTER = ("@@TRAX:", "Processing frame")

_PROBE = """
import importlib.metadata, importlib.util, json
spec = importlib.util.find_spec("vot")
report = {"found": spec is not None and spec.origin is not None}
if report["found"]:
    import os
    report["folder"] = os.path.dirname(spec.origin)
    for key, name in (("version", "vot-toolkit"), ("attributee", "attributee")):
        try:
            report[key] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            report[key] = "missing"
    try:
        import vot.utilities.cli, vot.workspace, vot.analysis, vot.experiment
    except Exception as error:
        report["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(report))
"""


@dataclass(frozen=True)
class Toolkit:
    """An installed toolkit.

    Attributes:
        python: the interpreter that has it.
        version: for example ``0.7.4``.
        folder: its package, which holds the stack files.
    """

    python: Path
    version: str
    folder: Path

    @property
    def needs_compat(self) -> bool:
        """Whether its own multi-start experiment crashes (0.8.0 to 0.9.0, so assumed of what follows)."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2]) >= (0, 8)

    @property
    def program(self) -> str:
        """What a user types for it."""
        return str(self.python.with_name("vot"))


def find_toolkit(place: str | Path | None = None) -> Toolkit:
    """Find the toolkit and check that it can start.

    Args:
        place: an interpreter, an environment's folder, or the program ``vot``; by default the environment variable
            SEQTRACK_VOT, else the running interpreter.

    Raises:
        InputError: if there is none or it is broken; the message says which versions work.
    """
    python = _interpreter(place or os.environ.get(VARIABLE) or sys.executable)
    report = _probe(python)
    install = f"`{python} -m pip install {WORKING}`"
    if not report["found"]:
        raise InputError(
            f"the VOT toolkit is not installed for {python}: {install}, or name the environment that has it by "
            f"--vot or {VARIABLE}"
        )
    if "error" in report:
        raise InputError(
            f"the VOT toolkit {report['version']} (attributee {report['attributee']}) of {python} cannot start: "
            f"{report['error']}; these versions work: {install}"
        )
    return Toolkit(python, report["version"], Path(report["folder"]))


def _probe(python: Path) -> dict[str, Any]:
    """What an interpreter says about its toolkit. Raises InputError if it says nothing."""
    # `python -c` imports from the current folder first, so that is an empty one which nobody else can write to.
    with tempfile.TemporaryDirectory(prefix="seqtrack-vot-") as empty:
        try:
            done = subprocess.run(
                [str(python), "-c", _PROBE],
                capture_output=True,
                check=False,
                cwd=empty,
                stdin=subprocess.DEVNULL,
                timeout=PROBE_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"{python}: cannot be run as a Python interpreter: {error}") from error
    try:
        report = json.loads(done.stdout.splitlines()[-1])
        if not isinstance(report["found"], bool):
            raise ValueError("no answer")
    except (IndexError, ValueError, TypeError, KeyError, RecursionError) as error:
        said = printable(done.stderr.decode(errors="replace").strip()[-300:])
        raise InputError(f"{python}: cannot ask for the VOT toolkit: {said}") from error
    return report


def _interpreter(place: str | Path) -> Path:
    """Interpreter of an environment that is named by it, by its folder or by a program in it."""
    path = Path(place).expanduser().absolute()
    if path.is_dir():
        path = path / "bin" / "python"
    elif path.name in ("vot", "vot.exe"):
        path = path.with_name("python")
    if not path.is_file():
        raise InputError(f"{place}: no Python interpreter there; give an environment's folder, or its bin/python")
    return path


def run_toolkit(
    toolkit: Toolkit,
    command: str,
    arguments: Sequence[str],
    workspace: Path,
    env: Mapping[str, str] | None = None,
    show: Callable[[str], object] = lambda text: None,
) -> str:
    """Run ``vot <command>`` in a workspace.

    Args:
        toolkit: which one.
        command: ``test``, ``evaluate``, ``analysis`` or ``pack``.
        arguments: what follows the command.
        workspace: folder to run in; a crashed tracker's output is read from its ``logs``.
        env: more environment variables.
        show: called with each line as it comes, and with the output of a crashed tracker.

    Returns:
        What was printed.

    Raises:
        SeqTrackError: if it did not succeed, whatever its exit code.
    """
    logs = set(workspace.glob("logs/*.log"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT_ROOT),  # for external.vot20.multistart
        "PYTHONSAFEPATH": "1",  # `python -m` must not import what happens to be in the workspace
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
        "VOT_PERSISTENT_CACHE": "0",  # it knows scores by names, and gives those of earlier results
        **(env or {}),
    }
    call = [str(toolkit.python), "-m", "vot", command, *arguments]
    process = subprocess.Popen(
        call,
        cwd=workspace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        printed = []
        for line in process.stdout or ():
            printed.append(line)
            if not line.startswith(_CHATTER):
                show(line)
    text = "".join(printed)
    if process.returncode or SUCCESS[command] not in text:
        for log in sorted(set(workspace.glob("logs/*.log")) - logs):
            show(f"---- what the tracker printed ({log}):\n{log.read_text(errors='replace').rstrip()}\n----\n")
        raise SeqTrackError(f"`vot {command}` failed (its exit code was {process.returncode}); see above")
    return text


def pack_results(
    toolkit: Toolkit,
    tracker: str,
    workspace: Path,
    env: Mapping[str, str] | None = None,
    show: Callable[[str], object] = lambda text: None,
) -> Path:
    """Run ``vot pack``; return the zip file to upload.

    Raises:
        SeqTrackError: if results are missing, or there is no file in the end.
    """
    text = run_toolkit(toolkit, "pack", ["--workspace", ".", tracker], workspace, env, show)
    named = re.search(r"archive available in (\S+\.zip)", text)
    if named is None or not (workspace / named[1]).is_file():
        raise SeqTrackError(f"`vot pack` named no file that is in {workspace}")
    return workspace / named[1]


@dataclass(frozen=True)
class Score:
    """Scores of one tracker in one experiment.

    Attributes:
        experiment: for example ``baseline``.
        tracker: its name.
        values: ``EAO``, ``accuracy``, ``robustness``, of VOTS also ``quality``, ``NRE``, ``DRE``,
            ``ADQ``; each 0 to 1, as far as the experiment has them.
    """

    experiment: str
    tracker: str
    values: dict[str, float]


_MEASURES = {
    "EAOScore": ("EAO",),
    "AverageAccuracyRobustness": ("accuracy", "robustness"),
    "AverageAccuracy": ("accuracy",),
    "Quality": ("quality",),  # the average accuracy by the name that the stacks of VOTS give it
    "AccuracyRobustness": ("accuracy", "robustness"),
    "AverageQualityAuxiliary": ("NRE", "DRE", "ADQ"),
}


def read_scores(path: Path) -> list[Score]:
    """Read the file that ``vot analysis --format json`` wrote.

    Raises:
        DataError: if it is no such file.
    """
    try:
        content = json.loads(path.read_text())
        names = list(content["trackers"])
        table: dict[tuple[str, str], dict[str, float]] = {}
        for experiment, entry in content["results"].items():
            for analysis, rows in zip(entry["parameters"]["analyses"], entry["results"], strict=True):
                kind = analysis["type"].rsplit(".", 1)[-1]
                measures = _MEASURES.get("Quality" if analysis.get("name") == "Quality" else kind, ())
                for name, row in zip(names, rows, strict=True):
                    values = table.setdefault((experiment, name), {})
                    given = zip(measures, row, strict=False)  # None where there are too few frames for a measure
                    values.update((measure, float(value)) for measure, value in given if value is not None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: cannot read scores of the VOT toolkit: {type(error).__name__}: {error}") from error
    return [Score(experiment, name, values) for (experiment, name), values in table.items()]
