"""The benchmarks by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lib.config.paths import Paths, load_paths
from lib.test.evaluation import got10k
from lib.test.evaluation.data import SequenceList
from lib.utils.errors import DataError
from lib.utils.registry import lookup
from lib.utils.storage import Storage, open_storage


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark lies and how it is read.

    Attributes:
        setting: its name among the path settings (``lib.config.paths.DATASET_DIRS``).
        tag: name of its result folder, and of its conventions in scoring.
        load: reads the sequences from an opened data set.
        server: where results are scored if the truth is hidden, else None.
    """

    setting: str
    tag: str
    load: Callable[[Storage], SequenceList]
    server: str | None = None


BENCHMARKS: dict[str, Benchmark] = {
    "got10k_val": Benchmark("got10k", got10k.TAG, partial(got10k.load_got10k, split="val")),
    "got10k_test": Benchmark(
        "got10k", got10k.TAG, partial(got10k.load_got10k, split="test"), server="http://got-10k.aitestunion.com"
    ),
}
"""Every benchmark that can be tested on."""


def get_dataset(*names: str, paths: Paths | None = None) -> SequenceList:
    """Load benchmarks.

    Args:
        names: keys of ``BENCHMARKS``.
        paths: path settings; by default those of the environment and the path file.

    Raises:
        ConfigError: for an unknown name; the message lists the known ones.
        DataError: if the data is missing or malformed; the message names the file and the setting that points there.
    """
    benchmarks = [lookup(BENCHMARKS, name, "data set") for name in names]
    paths = load_paths("test") if paths is None else paths
    sequences = SequenceList()
    for name, benchmark in zip(names, benchmarks, strict=True):
        root = paths.dataset_dir(benchmark.setting)
        try:
            sequences.extend(benchmark.load(open_storage(root)))
        except DataError as error:
            raise DataError(f"{name}: {error} ({root} is {paths.origin(benchmark.setting)})") from error
    return sequences
