"""Reading YAML as it is written: nothing is guessed, nothing is run, and the work is bounded by the text's length."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from lib.utils.errors import ConfigError, printable

DEEPEST = 20
LONGEST_ANCHORED = 1000
_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("null", "bool", "int", "float", "str")}
_TRUE, _FALSE = ("yes", "true", "on"), ("no", "false", "off")
# YAML 1.1 reads 010 as 8 and 1:30 as 90: such texts stay texts, and no option takes them for a number.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,40})")


def read_yaml(text: str, source: str) -> Any:
    """Value of a YAML text: None, numbers, booleans, texts, lists and dictionaries.

    Keys are the texts that are written there. Anchors may stand for single values only, and no key may come twice.

    Args:
        text: one YAML document.
        source: name of the file or flag, for messages.

    Raises:
        ConfigError: if the text is not YAML or holds what is not supported; the message names source and line.
    """
    try:
        return _Reader(yaml.SafeLoader(text), source).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{source}: {place}not valid YAML: {printable(error.problem or error.context)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not valid YAML: {printable(' '.join(str(error).split()))}") from error


class _Reader:
    """Builds values from the events of PyYAML's parser, which reads no further than it is asked to."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader, self.source = loader, source
        self.anchors: dict[str, Any] = {}

    def document(self) -> Any:
        self.loader.get_event()  # start of the stream
        if isinstance(self.loader.get_event(), yaml.StreamEndEvent):
            return None
        value = self.value(self.loader.get_event(), 0)
        self.loader.get_event()  # end of the document
        event = self.loader.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            self.refuse(event, "a second document; expected one")
        return value

    def value(self, event: yaml.Event, depth: int) -> Any:
        if depth > DEEPEST:
            self.refuse(event, f"nested more than {DEEPEST} levels deep")
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                self.refuse(event, f"*{event.anchor} does not stand for a single value given above")
            return self.anchors[event.anchor]
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event)
            if event.anchor and len(event.value) <= LONGEST_ANCHORED:
                self.anchors[event.anchor] = value
            return value
        if event.tag:
            self.refuse(event, f"tag {event.tag} is not supported")
        if isinstance(event, yaml.SequenceStartEvent):
            return [self.value(item, depth + 1) for item in self.until(yaml.SequenceEndEvent)]
        return self.mapping(depth)

    def mapping(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for event in self.until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self.refuse(event, "expected a name as key")
            key, line = event.value, event.start_mark.line + 1
            if key in lines:
                self.refuse(event, f"{key}: given twice, first in line {lines[key]}")
            lines[key] = line
            values[key] = self.value(self.loader.get_event(), depth + 1)
        return values

    def scalar(self, event: yaml.ScalarEvent) -> Any:
        tag = event.tag or self.loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        kind, text = _TAGS.get(tag, "str"), event.value
        if event.tag and tag not in _TAGS:
            self.refuse(event, f"tag {event.tag} is not supported")
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in _TRUE + _FALSE:
            return text.lower() in _TRUE
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if kind == "float":
            try:
                return float(text.replace("_", ""))
            except ValueError:  # .nan and .inf
                return text
        return text

    def until(self, end: type[yaml.Event]) -> Iterator[yaml.Event]:
        while not isinstance(event := self.loader.get_event(), end):
            yield event

    def refuse(self, event: yaml.Event, reason: str) -> None:
        raise ConfigError(f"{self.source}: line {event.start_mark.line + 1}: {printable(reason)}")


def parse_override(text: str) -> tuple[str, Any]:
    """Split ``KEY=VALUE`` as written on a command line; the value is read as YAML; ``KEY=`` is the empty text.

    Raises:
        ConfigError: if there is no ``=`` or the value is not YAML.
    """
    dotted, equals, value = text.partition("=")
    if not (equals and dotted.strip()):
        raise ConfigError(f"override {printable(repr(text))}: expected KEY=VALUE, such as TRAIN.LR=2e-4")
    return dotted.strip(), read_yaml(value, f"override {printable(repr(text))}") if value.strip() else ""


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Values by dotted key of everything given to ``--override``.

    Raises:
        ConfigError: as ``parse_override``, or if a key comes twice.
    """
    overrides: dict[str, Any] = {}
    for key, value in map(parse_override, texts):
        if key in overrides:
            raise ConfigError(f"override {printable(key)}: given twice")
        overrides[key] = value
    return overrides
