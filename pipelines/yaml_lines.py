"""YAML read with the place of every value kept, and with bounds on what a file may cost.

Scalars follow the core schema of YAML 1.2, not PyYAML's 1.1: ``no`` is text and ``1:30`` isn't ninety, so that a
location in Norway stays a location.  Tags that make objects are refused; anchors, aliases and ``<<`` work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from telebeam.pipelines.problems import Place, Problem, dotted, error_of

MAX_BYTES = 262_144
"""PyYAML reads some 200 kB/s: a longer file would keep its user waiting, and none that a person wrote is."""
MAX_DEPTH = 24
"""Levels of nesting; the deepest setting stands on the fifth."""
MAX_VALUES = 20_000
"""Values after aliases are followed; a few lines of aliases to aliases stand for billions."""

_TAG = "tag:yaml.org,2002:"
_NULL = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {text: text.lower() == "true" for text in ("true", "True", "TRUE", "false", "False", "FALSE")}
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_REFUSED_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

# What PyYAML says → what a person who wrote the line can use.
_WORDING = (
    ("character '\\t'", "a tab where YAML takes spaces only", "indent with spaces"),
    ("mapping values are not allowed", "a ': ' that doesn't fit here", "put text that holds ': ' into quotes"),
    ("could not find expected ':'", "a line without 'key: value'", "write a colon and a space after the key"),
    ("expected <block end>", "an indentation that doesn't fit the lines above", "line the keys up with their siblings"),
    ("expected ',' or", "a bracket that is not closed, or a comma that is missing", ""),
    ("unexpected end of stream", "a quote that is not closed", ""),
    ("expected the node content", "a bracket that is not closed, or a value that is missing", ""),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the place of the key that leads to it.

    ``value`` is a scalar, a ``dict[str, Node]`` or a ``list[Node]``; ``size`` counts the values that it stands for.
    """

    value: Any
    place: Place
    size: int = 1

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def place_of(self, path: tuple[str | int, ...]) -> Place:
        """Where the path's value stands, or the nearest of its parents that is there."""
        node = self
        for part in path:
            children = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
            if not isinstance(children, dict) or part not in children:
                break
            node = children[part]
        return node.place


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigurationError: There is no such file, it can't be read, it is too large or it isn't UTF-8.
    """
    place = Place(str(path))
    try:
        # A pipe or a device could be waited for without end.
        if path.exists() and not path.is_file():
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise error_of([Problem(place, "", f"is {kind}; expected a YAML file")])
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        hint = f"the current directory is {Path.cwd()}" if not path.is_absolute() else ""
        raise error_of([Problem(place, "", "there is no such file; expected a configuration", hint)]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise error_of([Problem(place, "", f"can't be read: {reason}")]) from error
    if len(data) > MAX_BYTES:
        text = f"is larger than {MAX_BYTES // 1024} KiB; expected a configuration, not data"
        raise error_of([Problem(place, "", text, "readings are named by source.parquet.path and its like")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte 0x{data[error.start]:02x} is not UTF-8; expected a YAML text file in UTF-8"
        raise error_of([Problem(Place(str(path), line), "", text)]) from error


def read_yaml(text: str, file: str) -> tuple[Node | None, list[Problem]]:
    r"""The one document of a YAML text, and the keys that it gives twice; an empty text is ``None``.

    >>> node, _ = read_yaml("windows:\n  - every: 1m\n", "fleet.yaml")
    >>> node.plain(), str(node.place_of(("windows", 0, "every")))
    ({'windows': [{'every': '1m'}]}, 'fleet.yaml:2')

    Args:
        text: What was read.
        file: How places name it.

    Raises:
        ConfigurationError: It isn't YAML, or it is beyond the bounds of this module.
    """
    composer = _Composer(text, file)
    try:
        return composer.document(), composer.problems
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # PyYAML's error quotes the line, which may hold a secret: it must not reach a traceback either.
        raise error_of([_syntax_problem(error, Place(file, mark.line + 1 if mark else 0))]) from None
    except yaml.reader.ReaderError as error:
        place = Place(file, text.count("\n", 0, error.position) + 1)
        found = f"the character U+{ord(text[error.position]):04X} is not text; expected a YAML file"
        raise error_of([Problem(place, "", found)]) from error
    except (ValueError, OverflowError) as error:
        # PyYAML calls chr() and int() on escapes and version numbers without a look at their size.
        raise error_of([Problem(Place(file), "", "an escape or a number that is no character or version")]) from error


def _syntax_problem(error: yaml.MarkedYAMLError, place: Place) -> Problem:
    said = f"{error.problem or ''} {error.context or ''}"
    for part, text, hint in _WORDING:
        if part in said:
            return Problem(place, "", f"not YAML: {text}", hint)
    return Problem(place, "", f"not YAML: {said.strip()}")


class _Composer:
    """Builds nodes from the parser's events, so that the bounds hold before anything is built."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._file = file
        self._anchors: dict[str, Node] = {}
        self._values = 0
        self._path: list[str | int] = []
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        event = next(self._events)
        root = self._node(event, self._place(event), 1)
        next(self._events)
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refuse(event, "a second document begins; expected one")
        return None if root.value is None else root

    def _node(self, event: yaml.Event, place: Place, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place)
        if isinstance(event, yaml.ScalarEvent):
            node = self._count(event, Node(self._scalar(event), place))
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, place, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, place, depth)
        else:
            raise self._refuse(event, "a value is missing")
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: yaml.AliasEvent, place: Place) -> Node:
        name = event.anchor or ""
        node = self._anchors.get(name)
        if node is None:
            text = f"the alias *{name[:40]} has no finished anchor &{name[:40]} before it"
            raise self._refuse(event, text, "put text that begins with * into quotes")
        return self._count(event, replace(node, place=place), node.size)

    def _count(self, event: yaml.Event, node: Node, values: int = 1) -> Node:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._refuse(event, f"more than {MAX_VALUES} values, with aliases followed")
        return node

    def _sequence(self, start: yaml.SequenceStartEvent, place: Place, depth: int) -> Node:
        self._check_tag(start, "seq")
        children: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            children.append(self._child(len(children), event, self._place(event), depth))
        return self._count(start, Node(children, place, 1 + sum(child.size for child in children)))

    def _mapping(self, start: yaml.MappingStartEvent, place: Place, depth: int) -> Node:
        self._check_tag(start, "map")
        children: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, "a key must be text", "put text that begins with *, [ or { into quotes")
            key = self._text(event)
            child = self._child(key, next(self._events), self._place(event), depth)
            if key == "<<" and event.style is None:
                merged += child.value if isinstance(child.value, list) else [child]
            elif key in children:
                text = f"given twice; the first one stands on line {children[key].place.line}"
                self.problems.append(Problem(self._place(event), dotted([*self._path, key]), text, "keep one of them"))
            else:
                children[key] = child
        for other in merged:
            if not isinstance(other.value, dict):
                raise self._refuse(start, "<< takes a mapping or a list of mappings")
            children = {**other.value, **children}
        return self._count(start, Node(children, place, 1 + sum(child.size for child in children.values())))

    def _child(self, step: str | int, event: yaml.Event, place: Place, depth: int) -> Node:
        self._path.append(step)
        node = self._node(event, place, depth + 1)
        self._path.pop()
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        plain, _ = event.implicit
        if not plain or event.tag is not None:
            if event.tag not in (None, "!"):
                self._check_tag(event, "str")
            return self._text(event)
        return _resolve(self._text(event))

    def _text(self, event: yaml.ScalarEvent) -> str:
        refused = _REFUSED_CHARACTER.search(event.value)
        if refused:
            raise self._refuse(event, f"the character U+{ord(refused.group()):04X} is not text")
        return str(event.value)

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._refuse(event, "a YAML tag; expected plain values", "leave out the word that begins with !")

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1 if mark else 0)

    def _refuse(self, event: yaml.Event, text: str, hint: str = "") -> Exception:
        return error_of([Problem(self._place(event), "", text, hint)])


def _resolve(text: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float("nan") if special.group(3) else float(f"{special.group(1)}inf")
    return float(text) if _FLOAT.fullmatch(text) else text
