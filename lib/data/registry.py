"""Every dataset by the name it has in the configuration (training) or on the command line (evaluation).

A dataset is described beside its reader: ``TRAINING`` holds how its names open it for training, ``BENCHMARKS`` what it
offers for evaluation. To add one, write its module and list it in ``_MODULES``.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from easydict import EasyDict

from lib.config.paths import Paths, load_paths
from lib.data import annotated, benchmarks, coco, got10k, imagenet_vid, lasot, newer_benchmarks, synthetic, trackingnet
from lib.data.annotated import annotated_entries, find_annotated
from lib.data.base import DiskOpener, TrainingDataset
from lib.data.folder import FolderSpec, folder_entries, read_folder_spec
from lib.data.sequence import Benchmark, SequenceList, is_there
from lib.utils.errors import ConfigError, DataError, lookup
from lib.utils.files import expand_home, require_plain_name
from lib.utils.storage import split_packed

FOLDER_PREFIX = "folder:"
VOT_NAMES = ("vot20", "vot21", "vot22")
"""Names that have an update rule but no loader: the VOT toolkit runs these."""

_MODULES = (lasot, got10k, trackingnet, benchmarks, newer_benchmarks, synthetic, coco, imagenet_vid, annotated)

TRAINING: dict[str, Callable[[str, EasyDict, Paths], TrainingDataset]] = {}
"""Every training dataset: how it is opened from its name (with what follows a colon), the configuration and paths."""
BENCHMARKS: dict[str, Benchmark] = {}
"""Every benchmark that has a name of its own."""
for _module in _MODULES:
    TRAINING |= getattr(_module, "TRAINING", {})
    BENCHMARKS |= {benchmark.name: benchmark for benchmark in getattr(_module, "BENCHMARKS", ())}


def build_dataset(name: str, cfg: EasyDict, paths: Paths) -> TrainingDataset:
    """Open a training dataset.

    Args:
        name: a key of ``TRAINING``; for datasets on disk with ``_lmdb`` behind it to insist on the packed form, and,
            where the dataset takes one, an argument behind a colon, as ``FOLDER:my_videos`` or ``TRACKINGNET:0-3``.
        cfg: the configuration.
        paths: where datasets are.

    Raises:
        ConfigError: if the name is unknown; the message lists the known ones.
        DataError: if its files are missing or malformed.
    """
    key = name.partition(":")[0]
    plain, _ = split_packed(key)
    on_disk = isinstance(TRAINING.get(plain), DiskOpener)
    return lookup(TRAINING, plain if on_disk else key, "training dataset")(name, cfg, paths)


def find_benchmark(name: str, paths: Paths | None = None) -> Benchmark:
    """Benchmark of a name that a user wrote.

    Args:
        name: a key of ``BENCHMARKS``, possibly with ``_lmdb`` behind it to insist on the packed form; ``folder:<path>``
            for a folder of one's own videos, or annotations of MOT or COCO, relative to the current folder or else to
            ``data_dir``; or a YAML file that describes a folder.
        paths: path settings; by default those of the environment and the path file.

    Raises:
        ConfigError: if there is no such benchmark; the message lists the known ones.
    """
    if name.startswith(FOLDER_PREFIX):
        return _own_folder(name, (load_paths("test") if paths is None else paths).data_dir)
    if name.lower().endswith((".yaml", ".yml")):
        return _own(read_folder_spec(expand_home(name)))
    if name in VOT_NAMES:
        raise ConfigError(f"dataset {name!r} is run by the VOT toolkit, not by this script; see external/vot20")
    plain, packed = split_packed(name)
    return replace(lookup(BENCHMARKS, plain, "dataset"), packed=packed)


def _own_folder(name: str, data_dir: Path) -> Benchmark:
    """One's own videos or annotations: below the current folder, or, if they are not there, below ``data_dir``."""
    given = expand_home(name.removeprefix(FOLDER_PREFIX))
    if name == FOLDER_PREFIX:
        raise ConfigError(f"dataset {name!r}: expected the path of a folder after the colon")
    places = list(dict.fromkeys(Path(os.path.abspath(base / given)) for base in (Path(), data_dir)))
    root = next((place for place in places if is_there(place) or os.path.isfile(place)), places[-1])
    origin = "as given" if root == places[0] else f"where {name} was looked for after {places[0]}"
    found = find_annotated(root)
    own = root.name if found is None else found.name
    # Results on a folder called lasot are filed apart from those on LaSOT.
    tag = f"folder_{own}" if own in _tags() else own
    benchmark = _own(FolderSpec(root, tag), origin)
    if found is None:
        return benchmark
    return replace(benchmark, root=found.root, entries=partial(annotated_entries, found=found, tag=tag))


def _tags() -> set[str]:
    return {benchmark.tag for benchmark in BENCHMARKS.values()}


def _own(spec: FolderSpec, origin: str = "as given") -> Benchmark:
    try:
        require_plain_name(spec.name, "dataset")
    except DataError as error:
        raise ConfigError(f"{error} (its name becomes that of a folder)") from error
    if spec.name in _tags():
        raise ConfigError(f"dataset {spec.name!r}: that is the name of a benchmark; give yours another one")
    count = None if spec.sequences is None else len(spec.sequences)
    return Benchmark(
        spec.name, spec.name, partial(folder_entries, spec=spec), root=spec.root, sequences=count, origin=origin
    )


def get_dataset(*names: str, paths: Paths | None = None) -> SequenceList:
    """Load benchmarks.

    Args:
        names: as for ``find_benchmark``.
        paths: path settings; by default those of the environment and the path file.

    Raises:
        ConfigError: for an unknown name; the message lists the known ones.
        DataError: if the data is missing or malformed; the message names the file and the setting that points there.
    """
    paths = load_paths("test") if paths is None else paths
    benchmarks = [find_benchmark(name, paths) for name in names]
    return SequenceList(sequence for benchmark in benchmarks for sequence in benchmark.load(paths, strict=True))
