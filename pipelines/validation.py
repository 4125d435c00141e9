"""A validation error of pydantic's as problems that name place, key, finding, expectation and hint."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from telebeam.pipelines.problems import Problem, did_you_mean, dotted, nearest, show, show_kind
from telebeam.pipelines.settings import describe_settings, keys_below, pattern_of, setting_at
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.yaml_lines import Node
from telebeam.transforms.spec import parse_duration

_EXAMPLE_DURATION = "a duration such as 500ms, 30s, 1m, 1h or 1d"
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "list_type": "a list",
    "greater_than_equal": "at least {ge:_}",
    "greater_than": "more than {gt:_}",
    "less_than_equal": "at most {le:_}",
    "less_than": "less than {lt:_}",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
}
_WORDS_FOR_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}

_Path = tuple[str | int, ...]


def validate(root: Node) -> tuple[PipelineSpec | None, list[Problem]]:
    """The settings that a document holds, or all that is wrong with them."""
    try:
        # JSON's strict mode takes lists for tuples, yet no text for a number and no number for text.
        return PipelineSpec.model_validate_json(json.dumps(root.plain()), strict=True), []
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_problem(detail, root) for detail in details if not _follows_from_another(detail, details)]
        return None, problems


def _problem(detail: Any, root: Node) -> Problem:
    path, kind, found = _path(detail), detail["type"], detail["input"]
    place, key = root.place_of(path), dotted(path)
    setting = setting_at(path)
    if kind == "missing":
        return Problem(place, key, "is missing", f"it is {_about(path)}")
    if kind == "extra_forbidden":
        return _unknown_key(path, root)
    if setting and setting.secret:
        text = f"found {show_kind(found)}, which is not repeated here; expected a reference: env:NAME or file:PATH"
        return Problem(place, key, text, "keep the secret itself out of the configuration, as in env:INFLUX_TOKEN")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _unknown_kind(path, detail, root)
    if kind == "literal_error":
        return _unknown_value(path, found, root)
    if setting and setting.type.startswith("duration") and not _is_duration(found):
        return Problem(place, key, f"found {show(found)}; expected {_EXAMPLE_DURATION}")
    if kind == "value_error":
        text, *hint = detail["ctx"]["error"].args  # a validator may give a hint behind what is wrong
        return Problem(place, key, str(text), *hint)
    wanted = _EXPECTED.get(kind, "{type}").format(
        type=setting.type if setting else "another value", **detail.get("ctx", {})
    )
    # Where a section is expected, a text may be a whole connection string with its token.
    shown = show_kind(found) if kind in ("model_type", "dict_type") else show(found)
    return Problem(place, key or "", f"found {shown}; expected {wanted}", _type_hint(kind, found))


def _path(detail: Any) -> _Path:
    """Where in the configuration; without the name of the kind that pydantic puts behind an entry of several kinds."""
    loc = tuple(part for part in detail["loc"] if part != "[key]")
    is_kind = len(loc) > 2 and loc[0] == "anomalies" and isinstance(loc[1], int)
    return (*loc[:2], *loc[3:]) if is_kind else loc


def _about(path: _Path) -> str:
    setting = setting_at(path)
    return f"{setting.type}: {setting.text.split('. ')[0]}" if setting else "required"


def _unknown_key(path: _Path, root: Node) -> Problem:
    place, key = root.place_of(path), dotted(path)
    known = keys_below(pattern_of(path[:-1]))
    name = str(path[-1])
    elsewhere = [setting.key for setting in describe_settings() if setting.key.split(".")[-1] == name]
    hint = did_you_mean(name, known) or (f"it belongs to {elsewhere[0]}" if elsewhere else "")
    return Problem(place, key, f"unknown key; expected {_one_of(known)}", hint)


def _unknown_kind(path: _Path, detail: Any, root: Node) -> Problem:
    """An entry of several kinds that is none of them, or does not say which."""
    name = detail["ctx"]["discriminator"].strip("'")
    setting = setting_at((*path, name))
    choices = setting.choices if setting else ()
    if detail["type"] == "union_tag_not_found":
        return Problem(root.place_of(path), dotted(path), f"has no {name}; expected one of {', '.join(choices)}")
    here, tag = (*path, name), str(detail["ctx"]["tag"])
    text = f"found {show(tag)}; expected {_one_of(choices)}"
    return Problem(root.place_of(here), dotted(here), text, did_you_mean(tag, choices))


def _unknown_value(path: _Path, found: Any, root: Node) -> Problem:
    place, key = root.place_of(path), dotted(path)
    setting = setting_at(path) or setting_at(path[:-1])
    choices = setting.choices if setting else ()
    hint = did_you_mean(found, choices) if isinstance(found, str) else ""
    return Problem(place, key, f"found {show(found)}; expected {_one_of(choices)}", hint)


def _one_of(words: Any) -> str:
    words = list(words)
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _type_hint(kind: str, found: Any) -> str:
    if kind == "string_type" and isinstance(found, (int, float)):
        return f'put it into quotes: "{show(found)}"'
    if kind == "bool_type" and str(found).lower() in _WORDS_FOR_BOOLEANS:
        return f"write {_WORDS_FOR_BOOLEANS[str(found).lower()]}"
    if kind in ("int_type", "float_type") and isinstance(found, str):
        return "write the number alone, without quotes and without a unit"
    if kind == "tuple_type" and found is not None:
        return "begin each entry with '- ', or put the list into [ ]"
    return ""


def _follows_from_another(detail: Any, details: list[Any]) -> bool:
    """A key is missing because it is misspelt beside."""
    if detail["type"] != "missing":
        return False
    *parent, name = _path(detail)
    beside = [
        _path(other) for other in details if other["type"] == "extra_forbidden" and list(_path(other)[:-1]) == parent
    ]
    return any(nearest(str(path[-1]), [str(name)]) for path in beside)


def _is_duration(value: Any) -> bool:
    if isinstance(value, (dict, list, bool)) or value is None:
        return False
    try:
        parse_duration(value)
    except ValueError:
        return False
    return True
