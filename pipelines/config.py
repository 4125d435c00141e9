"""A configuration file becomes one checked :class:`PipelineSpec`, or one error that names everything to mend.

YAML text → nodes with places (:mod:`~telebeam.pipelines.yaml_lines`) → overrides of the command line → specs
(:mod:`~telebeam.pipelines.validation`).  Nothing is opened but the file: secrets are tried by :func:`check_secrets`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from telebeam.io.kafka.spec import REFERENCE
from telebeam.io.secrets import resolve_secret
from telebeam.pipelines.problems import Place, Problem, dotted, error_of, show_kind
from telebeam.pipelines.settings import setting_at
from telebeam.pipelines.spec import SOURCE_KINDS, PipelineSpec, SinksSpec, SourceSpec
from telebeam.pipelines.validation import validate
from telebeam.pipelines.yaml_lines import Node, read_text, read_yaml
from telebeam.transforms.errors import ConfigurationError

__all__ = ["PipelineSpec", "SinksSpec", "SourceSpec", "check_secrets", "load_config"]

_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6})\]")
_KEY = re.compile(r"[^.\[\]=]+(\[\d{1,6}\]|\.[^.\[\]=]+)*")
_SOURCES = set(SOURCE_KINDS)

_Path = tuple[str | int, ...]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> PipelineSpec:
    """The settings of a YAML file, with the command line's overrides put in.

    Args:
        path: The file; at most 256 KiB of UTF-8.
        overrides: ``KEY=VALUE`` each, as in ``source.parquet.path=archive/*.parquet`` or ``windows[0].every=5m``.
            The value is read as YAML, and as text where it is none.  A kind of source replaces the file's.

    Raises:
        ConfigurationError: The file can't be read, isn't YAML, or a setting is wrong.  The message names every
            problem with file, line, key, what was found and what was expected; never a secret.
    """
    root, problems = _read(Path(path), overrides)
    spec, wrong = validate(root)
    if spec is None or problems or wrong:
        raise error_of([*problems, *wrong])
    return spec


def check_secrets(spec: PipelineSpec, path: str | Path | None = None, overrides: Sequence[str] = ()) -> None:
    """Every secret that the settings refer to is there, on this machine.

    Args:
        spec: The checked settings.
        path: The file that they came from, so that the message can name the line; it is read again.
        overrides: What was put in when they were loaded.

    Raises:
        ConfigurationError: A variable isn't set, a file can't be read, or either is empty.  All are named.
    """
    root = _read(Path(path), overrides)[0] if path is not None else Node({}, Place("the configuration"))
    problems = []
    for at, reference in (*_secrets(spec.model_dump(), ()), *_client_secrets(spec)):
        try:
            resolve_secret(reference)
        except ConfigurationError as error:
            problems.append(Problem(root.place_of(at), dotted(at), error.message, error.hint))
    if problems:
        raise error_of(problems)


def _client_secrets(spec: PipelineSpec) -> list[tuple[_Path, str]]:
    """The references among the settings that are handed through to a client, whose keys are not ours."""
    handed: dict[_Path, Any] = {("source", "kafka", "config"): getattr(spec.source.kafka, "config", {})}
    for name in ("alerts", "commands", "tagged"):
        for place, sink in enumerate(getattr(spec.sinks, name)):
            here: _Path = ("sinks", name, place)
            handed[*here, "kafka", "config"] = getattr(sink.kafka, "config", {})
            handed[*here, "webhook", "headers"] = getattr(getattr(sink, "webhook", None), "headers", {})
            handed[*here, "webhook"] = {"url": getattr(getattr(sink, "webhook", None), "url", None)}
    return [
        ((*path, key), value)
        for path, settings in handed.items()
        for key, value in settings.items()
        if isinstance(value, str) and REFERENCE.match(value)
    ]


def _secrets(value: Any, path: _Path) -> list[tuple[_Path, str]]:
    if isinstance(value, dict):
        return [found for key, child in value.items() for found in _secrets(child, (*path, key))]
    if isinstance(value, (list, tuple)):
        return [found for index, child in enumerate(value) for found in _secrets(child, (*path, index))]
    setting = setting_at(path)
    return [(path, value)] if setting and setting.secret and isinstance(value, str) else []


def _read(path: Path, overrides: Sequence[str]) -> tuple[Node, list[Problem]]:
    file = Place(str(path))
    root, problems = read_yaml(read_text(path), str(path))
    if root is None:
        raise error_of([Problem(file, "", "is empty; expected settings", "begin with: pipeline: NAME")])
    if not isinstance(root.value, dict):
        text = f"found {show_kind(root.value)} at the top; expected a mapping of settings"
        raise error_of([Problem(root.place, "", text, "begin with: pipeline: NAME")])
    root = replace(root, place=file)
    for override in overrides:
        try:
            root = _override(root, override)
        except ConfigurationError as error:
            problems.append(Problem(Place("--set"), "", error.message, error.hint))
    return root, problems


def _override(root: Node, override: str) -> Node:
    """The document with one ``KEY=VALUE`` put in.

    Raises:
        ConfigurationError: There is no ``=``, or the key leads through a value that holds no others.
    """
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or not _KEY.fullmatch(key):
        # What stands behind the key may be a secret.
        shown = re.match(r"[\w.\[\]-]{0,60}", override)
        start = shown.group() if shown else ""
        raise ConfigurationError(f"{start}…: expected KEY=VALUE", hint="as in source.parquet.path=archive/*.parquet")
    place = Place(f"--set {key}")
    path: _Path = tuple(name or int(index) for name, index in _STEP.findall(key))
    if len(path) > 1 and path[0] == "source" and path[1] in _SOURCES:
        root = _without_other_sources(root, path[1])
    return _put(root, path, _override_value(text, place), ())


def _override_value(text: str, place: Place) -> Node:
    try:
        node, problems = read_yaml(text, str(place))
    except ConfigurationError:
        # A glob such as *.parquet is an alias to YAML, and a text to everybody else.
        return Node(text, place)
    if problems:
        raise ConfigurationError(f"{place.file}: a key is given twice")
    return _replaced(node, place) if node is not None else Node(None, place)


def _replaced(node: Node, place: Place) -> Node:
    """The node with every place turned to the override's: a command line has no line numbers."""
    value = node.value
    if isinstance(value, dict):
        value = {key: _replaced(child, place) for key, child in value.items()}
    elif isinstance(value, list):
        value = [_replaced(child, place) for child in value]
    return Node(value, place, node.size)


def _without_other_sources(root: Node, kind: str | int) -> Node:
    source = root.value.get("source")
    if source is None or not isinstance(source.value, dict):
        return root
    kept = {name: child for name, child in source.value.items() if name == kind or name not in _SOURCES}
    return replace(root, value={**root.value, "source": replace(source, value=kept)})


def _put(node: Node, path: _Path, new: Node, done: _Path) -> Node:
    """A copy of the node with the path's value replaced; what aliases share stays as it is elsewhere."""
    if not path:
        return new
    step, rest = path[0], path[1:]
    here = (*done, step)
    value = {} if node.value is None else node.value
    if isinstance(step, int) and isinstance(value, list):
        if step >= len(value):
            raise ConfigurationError(f"{dotted(here)} does not exist; {dotted(done)} has {len(value)} entries")
        return replace(node, value=[*value[:step], _put(value[step], rest, new, here), *value[step + 1 :]])
    if isinstance(step, str) and isinstance(value, dict):
        return replace(node, value={**value, step: _put(value.get(step, Node(None, new.place)), rest, new, here)})
    wanted = "a list" if isinstance(step, int) else "a mapping"
    raise ConfigurationError(
        f"{dotted((*here, *rest))} can't be set: {dotted(done)} holds {show_kind(value)}, not {wanted}"
    )
