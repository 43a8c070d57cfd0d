"""The benchmarks by name."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lib.config.paths import Paths, load_paths
from lib.test.evaluation.data import Entry, SequenceList
from lib.test.evaluation.folder import FolderSpec, folder_entries, read_folder_spec
from lib.test.evaluation.got10k import got10k_entries, got10k_names, has_got10k
from lib.test.evaluation.lasot import has_test, lasot_entries
from lib.test.evaluation.nfs import nfs_entries
from lib.test.evaluation.otb import otb_entries
from lib.test.evaluation.tc128 import has_extra, tc128_entries
from lib.test.evaluation.tnl2k import tnl2k_entries
from lib.test.evaluation.trackingnet import has_trackingnet, trackingnet_entries
from lib.test.evaluation.uav import uav_entries
from lib.utils.errors import ConfigError, DataError
from lib.utils.files import expand_home, require_plain_name
from lib.utils.registry import lookup
from lib.utils.storage import Storage, find_storage

PACKED_SUFFIX = "_lmdb"
FOLDER_PREFIX = "folder:"
VOT_NAMES = ("vot20", "vot21", "vot22")
"""Names that have an update rule but no loader: the VOT toolkit runs these."""


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is and how it is read.

    Attributes:
        name: by which it is chosen, and by which the update rule of the tracker is looked up.
        tag: name of its result folder, and of its conventions in scoring.
        entries: lists its sequences in an opened dataset without reading them.
        setting: its name among the path settings (``lib.config.paths.DATASET_DIRS``), if it has one.
        root: its folder, if it has no setting; None if it is rendered.
        server: where results are scored if the ground truth is hidden, else None.
        sequences: how many there should be, if that is known.
        names: the official names, where the dataset lists its sequences itself.
        packed: whether it has to be in LMDB.
        origin: where ``root`` is from, for messages.
        has: whether an opened dataset holds this part of it, if its parts come apart.
        discover: whether results in its folder are taken for results on it, if several benchmarks share the tag.
    """

    name: str
    tag: str
    entries: Callable[[Storage], list[Entry]]
    setting: str | None = None
    root: Path | None = None
    server: str | None = None
    sequences: int | None = None
    names: Callable[[], Iterable[str]] | None = None
    packed: bool = False
    origin: str = "as given"
    has: Callable[[Storage], bool] = lambda storage: True
    discover: bool = True

    @property
    def split(self) -> str:
        """Which part of a dataset it is, if the parts have sequences of their own and share a result folder."""
        return self.name.removeprefix(f"{self.tag}_") if self.name.startswith(f"{self.tag}_") else ""

    def place(self, paths: Paths) -> tuple[Path | None, str]:
        """Folder of the dataset, and where that is set, for messages; None if it is rendered."""
        if self.setting is None:
            return self.root, self.origin
        return paths.dataset_dir(self.setting), paths.origin(self.setting)

    def is_present(self, paths: Paths) -> bool:
        """Whether there is something where it should be, packed or not, and this part of it."""
        folder, _ = self.place(paths)
        if folder is None or not _is_there(folder):
            return folder is None
        try:
            return self.has(self.open(paths))
        except DataError:
            return True  # there is something, and it is unsound

    def open(self, paths: Paths) -> Storage:
        """Open the dataset. Raises DataError if it is missing."""
        folder, _ = self.place(paths)
        if folder is None:
            from lib.test.evaluation.synthetic import RenderedStorage  # the renderer is needed for nothing else

            return RenderedStorage()
        return find_storage(folder, packed=self.packed)

    def load(self, paths: Paths, wanted: Iterable[str] | None = None, *, strict: bool = False) -> SequenceList:
        """Read sequences; ``failures`` of the answer names those that cannot be read.

        Args:
            paths: path settings.
            wanted: names, or positions counted from 0, of the sequences to read; None for all. No other is looked at.
            strict: whether all have to be sound.

        Raises:
            DataError: if the dataset is missing, a wanted sequence is not part of it, or none can be read; the message
                names the file, and the setting that points there.
        """
        try:
            sequences = SequenceList.load(self.entries(self.open(paths)), wanted)
            return sequences.require_all() if strict or not sequences else sequences
        except DataError as error:
            folder, origin = self.place(paths)
            raise DataError(f"{self.name}: {error} ({folder} is {origin})") from error


def _synthetic_entries(storage: Storage) -> list[Entry]:
    from lib.test.evaluation.synthetic import synthetic_entries

    return synthetic_entries(storage)


def _got10k(split: str, sequences: int, **facts: object) -> Benchmark:
    entries = partial(got10k_entries, split=split)
    has = partial(has_got10k, split=split)
    return Benchmark(f"got10k_{split}", "got10k", entries, "got10k", sequences=sequences, has=has, **facts)


def _lasot(tag: str, sequences: int) -> Benchmark:
    return Benchmark(tag, tag, partial(lasot_entries, tag=tag), tag, sequences=sequences, has=has_test)


_ALL = (
    _lasot("lasot", 280),
    _lasot("lasot_extension_subset", 150),
    _got10k("val", 180, names=partial(got10k_names, "val")),
    _got10k("test", 180, names=partial(got10k_names, "test"), server="http://got-10k.aitestunion.com"),
    _got10k("ltrval", 1401, discover=False),
    Benchmark(
        "trackingnet",
        "trackingnet",
        trackingnet_entries,
        "trackingnet",
        server="https://eval.ai/web/challenges/challenge-page/1805",
        sequences=511,
        has=has_trackingnet,
    ),
    Benchmark("tnl2k", "tnl2k", tnl2k_entries, "tnl2k", sequences=700),
    Benchmark("otb", "otb", otb_entries, "otb", sequences=100),
    Benchmark("nfs", "nfs", nfs_entries, "nfs", sequences=100),
    Benchmark("uav", "uav", uav_entries, "uav", sequences=123),
    Benchmark("tc128", "tc128", tc128_entries, "tc128"),
    Benchmark(
        "tc128ce",
        "tc128",
        partial(tc128_entries, extra_only=True),
        "tc128",
        sequences=78,
        discover=False,
        has=has_extra,
    ),
    Benchmark("synthetic", "synthetic", _synthetic_entries, sequences=20),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}
"""Every benchmark that has a name of its own."""


def find_benchmark(name: str, paths: Paths | None = None) -> Benchmark:
    """Benchmark of a name that a user wrote.

    Args:
        name: a key of ``BENCHMARKS``, possibly with ``_lmdb`` behind it to insist on the packed form; ``folder:<path>``
            for a folder of one's own videos, relative to the current folder or else to ``data_dir``; or a YAML
            file that describes one.
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
    packed = name.endswith(PACKED_SUFFIX)
    return replace(lookup(BENCHMARKS, name.removesuffix(PACKED_SUFFIX), "dataset"), packed=packed)


def _is_there(folder: Path) -> bool:
    return os.path.isdir(folder) or os.path.isdir(f"{folder}{PACKED_SUFFIX}")


def _own_folder(name: str, data_dir: Path) -> Benchmark:
    """A folder of one's own videos: below the current folder, or, if it is not there, below ``data_dir``."""
    given = expand_home(name.removeprefix(FOLDER_PREFIX))
    if name == FOLDER_PREFIX:
        raise ConfigError(f"dataset {name!r}: expected the path of a folder after the colon")
    places = list(dict.fromkeys(Path(os.path.abspath(base / given)) for base in (Path(), data_dir)))
    root = next(filter(_is_there, places), places[-1])
    origin = "as given" if root == places[0] else f"where {name} was looked for after {places[0]}"
    # Results on a folder called lasot are filed apart from those on LaSOT.
    tag = f"folder_{root.name}" if root.name in _tags() else root.name
    return _own(FolderSpec(root, tag), origin)


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
