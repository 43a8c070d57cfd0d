"""The challenges that a sequence shows, such as fast motion, by which benchmarks break their scores down.

A dataset that names them has a file for each sequence, in one of two forms: a row of zeros and ones, one column per
attribute (the MATLAB toolkits of OTB, UAV123 and LaSOT), or abbreviations such as ``IV, OPR, SV`` (``attrs.txt`` of the
Python toolkit of OTB). Order and names of the columns, and how many sequences of the whole benchmark show each as its
published plots say, are in ``lib/data/specs/attributes.csv``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib.data.layout import read_table
from lib.utils.errors import DataError
from lib.utils.storage import Storage


@dataclass(frozen=True)
class Attribute:
    """A challenge.

    Attributes:
        abbreviation: such as ``FM``.
        name: such as ``Fast Motion``.
        sequences: how many sequences of the whole benchmark show it; None if that is not known.
    """

    abbreviation: str
    name: str
    sequences: int | None


def known_attributes(benchmark: str) -> list[Attribute]:
    """Attributes of a benchmark in the order of the columns of its files; none if it has no such files."""
    rows = [row for row in read_table("attributes") if row["benchmark"] == benchmark]
    return [Attribute(row["abbreviation"], row["name"], int(row["sequences"] or 0) or None) for row in rows]


def parse_attributes(text: str, name: str, known: list[Attribute]) -> tuple[str, ...]:
    """Names of the attributes that a file says its sequence shows, in the order of the columns.

    Args:
        text: contents of the file.
        name: what to call it in an error.
        known: attributes of the benchmark.

    Raises:
        DataError: if the file is empty, there are more or fewer columns than attributes, or a value is none of them.
    """
    fields = re.findall(r"[^\s,;]+", text)
    if not fields:
        raise DataError(f"{name}: the file is empty")
    if all(value in ("0", "1") for value in fields):
        if len(fields) != len(known):
            raise DataError(f"{name}: {len(fields)} columns for {len(known)} attributes")
        shown = {attribute.name for attribute, value in zip(known, fields, strict=True) if value == "1"}
    else:
        by_abbreviation = {attribute.abbreviation: attribute.name for attribute in known}
        unknown = [value for value in fields if value.upper() not in by_abbreviation]
        if unknown:
            raise DataError(f"{name}: unknown attribute {unknown[0]!r}; known: {', '.join(by_abbreviation)}")
        shown = {by_abbreviation[value.upper()] for value in fields}
    return tuple(attribute.name for attribute in known if attribute.name in shown)


class AttributeFiles:
    """The attribute files of a dataset that are in a folder of their own, ``<sequence>.txt``.

    Upper and lower case, and the mark before the number of a target (``Jogging_1``, ``jogging-1``), make no difference.

    Args:
        storage: the dataset.
        folders: where they may be; the first one that holds text files counts.
        benchmark: whose attributes they name.
    """

    def __init__(self, storage: Storage, folders: Iterable[str], benchmark: str) -> None:
        self._storage = storage
        self._known = known_attributes(benchmark)
        self._paths: dict[str, str] = {}
        for folder in folders:
            self._paths = {_key(file.removesuffix(".txt")): f"{folder}/{file}" for file in _texts(storage, folder)}
            if self._paths:
                break

    def __bool__(self) -> bool:
        return bool(self._paths)

    def read(self, sequence: str, beside: str | None = None) -> tuple[str, ...] | None:
        """Attributes of a sequence, or None if no file names them.

        Args:
            sequence: its name in the names of the files.
            beside: a file that counts instead, if the sequence has one of its own.

        Raises:
            DataError: if its file is malformed.
        """
        path = beside or self._paths.get(_key(sequence))
        if path is None:
            return None
        return parse_attributes(self._storage.read_text(path), str(self._storage.root / path), self._known)


def _key(name: str) -> str:
    return re.sub(r"[-._]", "-", name).casefold()


def _texts(storage: Storage, folder: str) -> list[str]:
    try:
        return storage.list_files(folder, {".txt"})
    except DataError:
        return []


def unexpected_counts(benchmark: str, counts: Mapping[str, int]) -> list[str]:
    """Compare how many sequences show each attribute with the published numbers; one line if they differ.

    It guards against files whose columns have another order, which nothing else would show.

    Args:
        benchmark: its tag.
        counts: sequences of the whole benchmark by attribute. Silent unless all attributes are there, since
            some datasets name only a few of them in other ways.
    """
    expected = {attribute.name: attribute.sequences for attribute in known_attributes(benchmark)}
    odd = [name for name, number in expected.items() if number is not None and counts.get(name, 0) != number]
    if not odd or not expected.keys() <= counts.keys():
        return []
    first = odd[0]
    return [
        f"{len(odd)} of {len(expected)} attributes are shown by more or fewer sequences than published, such as "
        f"{first}: {counts[first]}, not {expected[first]}; are the columns in the order of "
        "lib/data/specs/attributes.csv?"
    ]
