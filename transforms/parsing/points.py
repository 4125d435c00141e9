"""One line of line protocol as a point: the sure way, with every escape of the specification.

See https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/.  In names, tags and keys a backslash stands
before a comma, an equals sign or a space, in strings before a quote or a backslash; before anything else it is itself.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from telebeam.transforms.parsing.records import RefusedRecord

_NAME = r"(?:\\[, ]|[^, ])++"
_KEY = r"(?:\\[,= ]|[^,= ])++"
_STRING = r'"(?:\\["\\]|[^"])*+"'
_TAG = re.compile(rf",({_KEY})=({_KEY})")
_FIELD = re.compile(rf'({_KEY})=({_STRING}|[^,= "]++)')
_HEAD = re.compile(_NAME)
_TIME = re.compile(r" +(-?[0-9]+)? *")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"-?[0-9]+i|[0-9]+u")
_MOST_DIGITS = 40
_BOOLEANS = {
    **dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1), **dict.fromkeys(("f", "F", "false", "False", "FALSE"), 0),
}  # fmt: skip
_ESCAPED_NAME = re.compile(r"\\([, ])")
_ESCAPED_KEY = re.compile(r"\\([,= ])")
_ESCAPED_STRING = re.compile(r'\\(["\\])')


class Point(NamedTuple):
    """A point; times are as they stand, None where there is none."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, Any]
    """Floats, integers (booleans as 1 and 0) and texts."""
    time: int | None


def parse_point(line: bytes) -> Point:
    r"""The point of a line, which is no comment and not empty.

    >>> parse_point(br'my\ room,site=a\=b t=21.5,n=3i,on=t,note="x" 17')
    Point(measurement='my room', tags={'site': 'a=b'}, fields={'t': 21.5, 'n': 3, 'on': 1, 'note': 'x'}, time=17)

    Raises:
        RefusedRecord: ``malformed``.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedRecord("malformed", f"not UTF-8: {error.reason} at byte {error.start}") from error
    head = _HEAD.match(text)
    if head is None:
        raise RefusedRecord("malformed", "no measurement")
    tags, at = _tags(text, head.end())
    fields, at = _fields(text, _spaces(text, at))
    tail = _TIME.fullmatch(text, at) if at < len(text) else None
    if at < len(text) and tail is None:
        raise _malformed("expected a comma, or a space and a time", at)
    digits = tail.group(1) if tail else None
    if digits and len(digits) > _MOST_DIGITS:
        raise _malformed("a time of too many digits", at)
    return Point(_ESCAPED_NAME.sub(r"\1", head.group()), tags, fields, int(digits) if digits else None)


def _malformed(what: str, at: int) -> RefusedRecord:
    return RefusedRecord("malformed", f"{what} (character {at})")


def _spaces(text: str, at: int) -> int:
    end = at
    while text[end : end + 1] == " ":
        end += 1
    if end == at:
        raise _malformed("expected a space and a field" if at == len(text) else "expected a tag, name=value", at)
    return end


def _tags(text: str, at: int) -> tuple[dict[str, str], int]:
    tags: dict[str, str] = {}
    while found := _TAG.match(text, at):
        name = _ESCAPED_KEY.sub(r"\1", found.group(1))
        if name in tags:
            raise _malformed(f"the tag {name!r} twice", at)
        tags[name] = _ESCAPED_KEY.sub(r"\1", found.group(2))
        at = found.end()
    return tags, at


def _fields(text: str, at: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    while True:
        found = _FIELD.match(text, at)
        if found is None:
            raise _malformed("expected a field, name=value", at)
        fields[_ESCAPED_KEY.sub(r"\1", found.group(1))] = _value(found.group(2), at)
        at = found.end()
        if text[at : at + 1] != ",":
            return fields, at
        at += 1


def _value(text: str, at: int) -> Any:
    if text.startswith('"'):
        return _ESCAPED_STRING.sub(r"\1", text[1:-1])
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text[:-1]) if len(text) <= _MOST_DIGITS else float(text[:-1])
    if _FLOAT.fullmatch(text):
        return float(text)
    raise _malformed(f"{text[:40]!r} is no value: expected a number, a boolean or a string in quotes", at)
