"""Every setting of a configuration, read off the specs: its key, type, default and text.

The documentation is generated from this list, and messages take their suggestions from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from telebeam.io.secrets import SecretReference
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.rules.conditions import Condition

_SECRET = get_args(SecretReference)[1]
_WORDS: dict[Any, str] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", timedelta: "duration", Any: "any value",
}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One key of the configuration.

    Attributes:
        key: Dotted; ``[]`` stands for any entry of a list, ``NAME`` for any key of a mapping.
        type: What it takes, in words.
        default: As it would be written, ``required``, or empty for a section.
        text: What it does: the field's docstring.
        choices: The values of a closed list.
        secret: It holds a reference to a secret, and perhaps by mistake the secret: no message repeats it.
    """

    key: str
    type: str
    default: str
    text: str
    choices: tuple[str, ...] = ()
    secret: bool = False


def describe_settings() -> list[Setting]:
    """Every setting, in the order of the specs; a section stands before its keys.

    >>> [setting.default for setting in describe_settings() if setting.key == "sinks.influxdb.timeout"]
    ['30s']
    """
    return list(_table().values())


def setting_at(path: tuple[str | int, ...]) -> Setting | None:
    """The setting that a path into a configuration leads to, or ``None`` for an unknown key.

    >>> setting_at(("windows", 0, "every")).key
    'windows[].every'
    """
    return _table().get(pattern_of(path))


def pattern_of(path: tuple[str | int, ...]) -> str:
    """The path with ``[]`` for list entries and ``NAME`` for keys that the user chose."""
    pattern = ""
    for part in path:
        if isinstance(part, int):
            pattern += "[]"
            continue
        known = f"{pattern}.{part}" if pattern else part
        pattern = f"{pattern}.NAME" if pattern in _named_sections() else known
    return pattern


def keys_below(pattern: str) -> list[str]:
    """The names that a section takes; the top level's pattern is empty."""
    prefix = f"{pattern}." if pattern else ""
    return [
        key.removeprefix(prefix)
        for key in _table()
        if key.startswith(prefix) and not {".", "["} & set(key.removeprefix(prefix))
    ]


def format_duration(value: timedelta) -> str:
    """A duration as a configuration writes it.

    >>> format_duration(timedelta(minutes=90)), format_duration(timedelta(0))
    ('90m', '0s')
    """
    milliseconds = value // timedelta(milliseconds=1)
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % length == 0 and milliseconds:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


@cache
def _table() -> dict[str, Setting]:
    """By key; what sections of several kinds have in common says what the first of them says."""
    table: dict[str, Setting] = {}
    for setting in _walk(PipelineSpec, ""):
        former = table.setdefault(setting.key, setting)
        if setting.choices and former.choices != setting.choices:
            choices = tuple(dict.fromkeys([*former.choices, *setting.choices]))
            words = "one of " + ", ".join(f"`{choice}`" for choice in choices)
            table[setting.key] = replace(former, choices=choices, type=words, default="required")
        elif former.default != setting.default:
            table[setting.key] = replace(former, default="by kind")
    return table


@cache
def _named_sections() -> frozenset[str]:
    return frozenset(key.partition(".NAME.")[0] for key in _table() if ".NAME." in key)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield _setting(key, field)
        yield from _below(key, field)


def _below(key: str, field: FieldInfo) -> Iterator[Setting]:
    kind = _without_none(field.annotation)
    if _is_section(kind):
        yield from _walk(kind, f"{key}.")
    for suffix, inner in _entries(kind):
        for section in sections(inner):
            yield from _walk(section, f"{key}{suffix}.")


def _entries(kind: Any) -> list[tuple[str, Any]]:
    """What a list or a mapping holds, with the suffix that its entries' keys have."""
    arguments = get_args(kind)
    if get_origin(kind) in (tuple, list):
        return [("[]", arguments[0])]
    if get_origin(kind) is dict:
        return [(".NAME", arguments[1])]
    return []


def _setting(key: str, field: FieldInfo) -> Setting:
    kind = _without_none(field.annotation)
    secret = _SECRET in field.metadata or any(_SECRET in get_args(each) for each in get_args(field.annotation))
    return Setting(
        key=key,
        type="reference to a secret" if secret else _type_words(field),
        default=_default_words(field),
        text=" ".join((field.description or "").split()),
        choices=_choices(kind),
        secret=secret,
    )


def _type_words(field: FieldInfo) -> str:
    words = _words(_without_none(field.annotation)) + _bounds_words(field.metadata)
    nullable = NoneType in get_args(field.annotation) and not _is_section(_without_none(field.annotation))
    return f"{words}, or null" if nullable else words


def _bounds_words(rules: list[Any]) -> str:
    words = ""
    for rule in rules:
        for bound, word in (("ge", "from"), ("gt", "above"), ("le", "to"), ("lt", "below")):
            if hasattr(rule, bound):
                words += f" {word} {getattr(rule, bound)}"
    return words


def _words(kind: Any) -> str:
    if _is_section(kind):
        return "section"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) in (tuple, list):
        inner = get_args(kind)[0]
        return "list of sections" if sections(inner) else f"list of: {_words(inner)}"
    if get_origin(kind) is dict:
        name, inner = get_args(kind)
        names = "name" if name is str else _words(name)
        return f"mapping: {names} → {_words(inner)}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    return "condition" if isinstance(kind, type) and issubclass(kind, Condition) else _WORDS[kind]


def _default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if _is_section(_without_none(field.annotation)):
        return ""
    return _value_words(field.get_default(call_default_factory=True, validated_data={}))


def _value_words(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, BaseModel):
        return _value_words(
            {name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set}
        )
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_value_words(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_value_words(item)}" for name, item in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_none(annotation: Any) -> Any:
    if NoneType in get_args(annotation):
        (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Condition)


def sections(kind: Any) -> tuple[type[BaseModel], ...]:
    """The sections that a value may be: several where a key tells them apart, none where it is no section."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(kinds) if all(map(_is_section, kinds)) else ()


def _choices(kind: Any) -> tuple[str, ...]:
    """The closed list that a value, a list's entries or a mapping's names are taken from."""
    for candidate in (kind, *get_args(kind)):
        if get_origin(candidate) is Literal:
            return get_args(candidate)
    return ()
