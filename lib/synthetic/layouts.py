"""Writing synthetic sequences in the folder layouts of GOT-10k and LaSOT.

A sequence is written into a hidden folder beside its place and moved there when it is whole; one that is already there
is kept, if it was made with the same arguments (``synthetic.json`` in its folder says with which).
"""

import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from lib.synthetic.media import list_images
from lib.synthetic.sequence import SyntheticSequence
from lib.synthetic.stable import derive_seed
from lib.synthetic.world import Recipe
from lib.utils.child import watch_parent
from lib.utils.errors import DataError, InputError
from lib.utils.files import folder_lock, write_text_atomic
from lib.utils.image_io import encode_image

GOT10K_SPLITS = {"train": "GOT-10k_Train", "val": "GOT-10k_Val", "test": "GOT-10k_Test"}
LASOT_SPLITS = {"train": "training_set.txt", "test": "testing_set.txt"}
RENDERER_VERSION = 1
"""Raised whenever a change of the renderer moves a pixel, so that old and new sequences are not mixed in one folder."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """What a writer did.

    Attributes:
        folder: that holds the sequences.
        names: of all sequences asked for, relative to ``folder``.
        kept: how many of them were there before.
        frames: in all of them.
    """

    folder: Path
    names: list[str]
    kept: int
    frames: int


def write_got10k(
    root: Path | str,
    split: str,
    sequences: Iterable[SyntheticSequence],
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Write sequences to ``<root>/<split>/GOT-10k_<Split>_%06d`` and list them in ``<root>/<split>/list.txt``.

    Args:
        root: the ``got10k`` folder.
        split: ``train``, ``val`` or ``test``; as in the benchmark, ``test`` shows only the first box and no labels.
        sequences: rendered with the same ``split``.
        workers: processes that render; 0 renders in this one.
        progress: called as ``progress(done, kept)`` once at the start and after each sequence.

    Raises:
        InputError: for an unknown split, or if a sequence of that name was made with other arguments.
        DataError: if the folder cannot be written.
    """
    if split not in GOT10K_SPLITS:
        raise InputError(f"GOT-10k has no split {split!r}; known: {', '.join(GOT10K_SPLITS)}")
    folder = Path(root) / split
    jobs = [
        (sequence.recipe, sequence.jpeg, folder / f"{GOT10K_SPLITS[split]}_{number:06d}", f"got10k_{split}")
        for number, sequence in enumerate(sequences, start=1)
    ]
    written = _write_all(folder, jobs, workers, progress)
    on_disk = sorted(path.parent.name for path in folder.glob(f"{GOT10K_SPLITS[split]}_*/groundtruth.txt"))
    write_text_atomic(folder / "list.txt", "".join(f"{name}\n" for name in on_disk))
    return written


def write_lasot(
    root: Path | str,
    sequences: Iterable[SyntheticSequence],
    *,
    split: str = "train",
    workers: int = 0,
    progress: Progress | None = None,
) -> Written:
    """Write sequences to ``<root>/<class>/<class>-<n>`` and list them in ``training_set.txt`` or ``testing_set.txt``.

    Numbers of test sequences start at 10001, so that both splits fit into one folder.

    Arguments and errors as for ``write_got10k``; ``root`` is the ``lasot`` folder, ``split`` ``train`` or ``test``.
    """
    if split not in LASOT_SPLITS:
        raise InputError(f"LaSOT has no split {split!r}; known: {', '.join(LASOT_SPLITS)}")
    folder = Path(root)
    first = 1 if split == "train" else 10001
    jobs = []
    for number, sequence in enumerate(sequences, start=first):
        name = sequence.object_class
        jobs.append((sequence.recipe, sequence.jpeg, folder / name / f"{name}-{number}", "lasot"))
    written = _write_all(folder, jobs, workers, progress)
    numbered = [(path.parent.name, int(path.parent.name.rpartition("-")[2])) for path in _lasot_sequences(folder)]
    names = sorted(name for name, number in numbered if (number > 10000) == (split == "test"))
    write_text_atomic(folder / LASOT_SPLITS[split], "".join(f"{name}\n" for name in names))
    return written


def _lasot_sequences(folder: Path) -> Iterator[Path]:
    for path in folder.glob("*/*/synthetic.json"):
        if re.fullmatch(r".+-\d+", path.parent.name):
            yield path


Job = tuple[Recipe, bool, Path, str]


def _write_all(folder: Path, jobs: list[Job], workers: int, progress: Progress | None) -> Written:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot make this folder: {error.strerror}") from error
    with folder_lock(folder, "rendering"):
        for _, _, path, _ in jobs:
            for left in path.parent.glob(f".{path.name}.*"):  # of a run that was killed
                shutil.rmtree(left, ignore_errors=True)
        kept = [_is_there(job) for job in jobs]
        done = sum(kept)
        if progress:
            progress(done, done)
        for _ in _run([job for job, there in zip(jobs, kept, strict=True) if not there], workers):
            done += 1
            if progress:
                progress(done, sum(kept))
    names = [str(path.relative_to(folder)) for _, _, path, _ in jobs]
    return Written(folder, names, sum(kept), sum(recipe.num_frames for recipe, *_ in jobs))


def _run(jobs: list[Job], workers: int) -> Iterator[None]:
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield write_sequence(job)
        return
    # "spawn": a forked child may inherit locks of threads that OpenCV or torch started.
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=get_context("spawn"), initializer=_start_worker
    ) as pool:
        waiting = iter(jobs)
        running: set[Future] = {pool.submit(write_sequence, job) for job in islice(waiting, 2 * workers)}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
                running |= {pool.submit(write_sequence, job) for job in islice(waiting, len(finished))}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets us finish
    watch_parent()
    cv2.setNumThreads(1)


def _describe(recipe: Recipe, jpeg: bool) -> str:
    folders = {}
    for name, folder in (("backgrounds", recipe.backgrounds), ("cutouts", recipe.cutouts)):
        folders[name] = None
        if folder:  # what is in the folder decides, not where it is
            files = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in list_images(folder)]
            folders[name] = f"{len(files)} files, {derive_seed(files):08x}"
    facts = {
        "renderer": RENDERER_VERSION,
        "seed": recipe.seed,
        "split": recipe.split,
        "num_frames": recipe.num_frames,
        "width": recipe.width,
        "height": recipe.height,
        "difficulty": recipe.difficulty,
        "jpeg_before_storage": jpeg,
    }
    return json.dumps(facts | folders, indent=1) + "\n"


def _is_there(job: Job) -> bool:
    recipe, jpeg, path, _ = job
    if not path.exists():
        return False
    note = path / "synthetic.json"
    if not note.is_file() or note.read_text() != _describe(recipe, jpeg):
        raise InputError(
            f"{path}: is there already and was made with other settings; choose another folder or remove it"
        )
    return True


def write_sequence(job: Job) -> None:
    """Render one sequence into its folder, whole or not at all.

    Args:
        job: recipe, whether frames are compressed twice, the folder, and the layout (``got10k_<split>`` or ``lasot``).

    Raises:
        DataError: if the folder cannot be written.
    """
    recipe, jpeg, path, layout = job
    arguments = {
        name: getattr(recipe, name) for name in ("seed", "num_frames", "difficulty", "split", "backgrounds", "cutouts")
    }
    sequence = SyntheticSequence(**arguments, size=(recipe.width, recipe.height), jpeg=jpeg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            temporary.chmod(0o755)
            images = temporary / "img" if layout == "lasot" else temporary
            images.mkdir(exist_ok=True)
            for index in range(sequence.num_frames):
                data = encode_image(sequence.frame(index), ".jpg", sequence.quality)
                (images / f"{index + 1:08d}.jpg").write_bytes(data)
            labels = lasot_labels(sequence) if layout == "lasot" else got10k_labels(sequence, layout.partition("_")[2])
            for name, text in (labels | {"synthetic.json": _describe(recipe, jpeg)}).items():
                (temporary / name).write_text(text)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(f"{path}: cannot write the sequence: {error.strerror}") from error


def _lines(values: Iterable[object]) -> str:
    return "".join(f"{value}\n" for value in values)


def got10k_labels(sequence: SyntheticSequence, split: str) -> dict[str, str]:
    """Texts of the label files of GOT-10k by file name.

    Boxes have four decimals; ``cover.label`` is the visible fraction in eighths, at least 1 where anything shows.
    """
    boxes = [",".join(f"{value:.4f}" for value in box) for box in sequence.boxes_xywh.tolist()]
    if split == "test":
        return {"groundtruth.txt": _lines(boxes[:1])}
    cover = np.where(sequence.absent, 0, np.clip(np.floor(sequence.visible_fraction * 8 + 0.5), 1, 8)).astype(int)
    facts = {
        "url": f"synthetic://{sequence.recipe.split}/{sequence.recipe.seed}",
        "begin": "00:00:00",
        "end": f"00:{sequence.num_frames // 600:02d}:{sequence.num_frames // 10 % 60:02d}",
        "anno_fps": "10Hz",
        "object_class": sequence.object_class,
        "motion_class": sequence.difficulty,
        "major_class": sequence.object_class,
        "root_class": "synthetic",
        "motion_adverb": sequence.difficulty,
        "resolution": str(sequence.size),
    }
    return {
        "groundtruth.txt": _lines(boxes),
        "absence.label": _lines(sequence.absent.astype(int)),
        "cover.label": _lines(cover),
        "cut_by_image.label": _lines(sequence.cut_by_image.astype(int)),
        "meta_info.ini": "[METAINFO]\n" + _lines(f"{name}: {value}" for name, value in facts.items()),
    }


def lasot_labels(sequence: SyntheticSequence) -> dict[str, str]:
    """Texts of the label files of LaSOT by file name; boxes are whole pixels, as in the benchmark."""
    boxes = sequence.boxes_xywh
    low = np.floor(boxes[:, :2] + 0.5)
    high = np.maximum(np.floor(boxes[:, :2] + boxes[:, 2:] + 0.5), low + (boxes[:, 2:] > 0))
    rows = np.concatenate([low, high - low], axis=1).astype(int)
    hidden = sequence.absent & ~sequence.out_of_view
    return {
        "groundtruth.txt": _lines(",".join(map(str, row)) for row in rows.tolist()),
        "full_occlusion.txt": ",".join(map(str, hidden.astype(int).tolist())) + "\n",
        "out_of_view.txt": ",".join(map(str, sequence.out_of_view.astype(int).tolist())) + "\n",
    }
