"""What became of one record, as lines and tables that a person wants to read.

Nothing of what the record holds reaches the terminal as a command: what is not printable is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_MOST = 10
"""Readings, rejects and alerts that are shown: a payload may hold thousands."""
_CHARACTERS = 300
"""Of one value."""
_FIRST = (
    "tenant", "device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", "location",
    "quality_score", "issues", "metadata",
)  # fmt: skip
"""The columns that are always there, in the order of the lake's."""
_DECIDED = {
    "configuration": "as parse.format says",
    "content type": "as its content type says",
    "device type": "as the type of the device says that its key names",
    "key": "as its key says",
    "bytes": "as its bytes say",
    "nothing": "for it looks like nothing else",
    "header line": "for the archive is CSV, with a header line",
}


def print_record(console: Console, explained: dict[str, Any]) -> None:
    """Prints what each step made of a record, and where its readings would go.

    Args:
        console: Where to; lines that may be copied are not wrapped.
        explained: What ``telebeam explain-record --json`` prints.
    """
    _print_lines(console, _record_lines(explained))
    refused = {reject["reading"]: reject for reject in explained["rejects"] if reject["reading"] is not None}
    readings = explained["readings"]
    for reading in readings[:_MOST]:
        console.print(_history(reading, refused.get(reading["number"]), len(readings)))
        _print_lines(console, _target_lines(reading))
    _print_lines(console, _more("readings", len(readings)))
    _print_lines(console, _reject_lines(explained["rejects"]))
    _print_lines(console, _rule_lines(explained["rules"]))
    kept = sum(reading["kept"] for reading in readings)
    _print_lines(console, iter([f"In all: readings {kept:,}, rejects {len(explained['rejects']):,}"]))


def _print_lines(console: Console, lines: Iterator[str]) -> None:
    for line in lines:
        console.print(Text(visible(line)), soft_wrap=True)


def visible(text: str) -> str:
    r"""The text with what is not printable, such as what a terminal would obey, as escapes.

    >>> print(visible("a\x9b31m\u202eb"))
    a\x9b31m\u202eb
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _record_lines(explained: dict[str, Any]) -> Iterator[str]:
    size = explained["bytes"]
    count = "more than can be counted here" if size is None else f"{size:,}"
    yield f"{explained['pipeline']}: one record, at {explained['at']}"
    yield f"bytes: {count}"
    yield f"begins with: {explained['looks'] or 'nothing, it is empty'}"
    if explained["compression"] is not None:
        yield f"compressed: {explained['compression']}"
        if explained["format"] is not None:
            yield f"unpacked: {explained['unpacked'] or 'nothing, it is empty'}"
    said = {"key": explained["key"], "content type": explained["content_type"]}
    yield from (f"{name}: {value}" for name, value in said.items() if value is not None)
    if explained["format"] is None:
        yield "format: it is refused before its format is looked at"
    else:
        yield f"format: {explained['format']}, {_DECIDED[explained['said_by']]}"
    yield f"records in it: {explained['records']:,}"
    steps = (f"{step['step']} {step['readings']:,}" for step in explained["steps"])
    yield f"readings behind each step: {', '.join(steps)}"


def _history(reading: dict[str, Any], reject: dict[str, Any] | None, count: int) -> Table:
    """What the steps made of one reading, a column a line; behind the first step only what changed."""
    title = f"Reading {reading['number'] + 1:,} of {count:,}"
    if "record" in reading:
        title += f", of the record {reading['record']}"
    table = Table(title=Text(visible(title), style="bold"), title_justify="left", header_style="dim")
    table.add_column("step", no_wrap=True)
    table.add_column("column", no_wrap=True)
    table.add_column("what it made", overflow="fold")
    parsed = reading["parsed"]
    for name in sorted(parsed, key=_place):
        if parsed[name] not in (None, []):
            _add_row(table, "parse" if name == "tenant" else "", name, _shown(parsed[name]))
    for change in reading["changes"]:
        table.add_section()
        columns = sorted(change["columns"].items(), key=lambda column: _place(column[0]))
        for number, (name, (before, after)) in enumerate(columns):
            _add_row(table, "" if number else change["step"], name, _change(before, after))
        if not columns:
            _add_row(table, change["step"], "", "as it was")
    if reject is not None:
        table.add_section()
        _add_row(table, reject["step"], "", f"refused: {reject['reason']}")
    return table


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _add_row(table: Table, *cells: str) -> None:
    # As Text, for what a record holds is no markup.
    table.add_row(*(Text(visible(cell)) for cell in cells))


def _change(before: Any, after: Any) -> str:
    if isinstance(after, list):
        added = [f"+ {each}" for each in after if each not in (before or [])]
        return ", ".join([*added, *(f"- {each}" for each in before or [] if each not in after)])
    return f"{_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    text = ", ".join(value) if isinstance(value, list) else str(value)
    if text == "" or text != text.strip():
        text = f'"{text}"'  # white space at an end is what a step takes away
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"


def _target_lines(reading: dict[str, Any]) -> Iterator[str]:
    if not reading["kept"]:
        return
    if reading["lake"] is not None:
        yield f"  lake: {reading['lake']}/"
    for window in reading["windows"]:
        yield f"  windows: {_window(window)}"
    if not reading["windows"]:
        yield "  windows: none are computed"
    point = reading["influxdb"]
    if point is not None:
        yield f"  InfluxDB: {point['line'] if point['refused'] is None else point['refused']}"


def _window(window: dict[str, Any]) -> str:
    name = window["windows"]
    if window["first"] is None:
        return f"{name}: it is the newest of them, or one in their past"
    if window["end"] is None:
        return f"{name}: a session begins at {window['first']} or goes on"
    if window["count"] == 1:
        return f"{name}: that from {window['first']} to {window['end']}"
    return f"{name}: {window['count']:,} of them, from {window['first']} to {window['end']}"


def _reject_lines(rejects: list[dict[str, Any]]) -> Iterator[str]:
    for number, reject in enumerate(rejects[:_MOST], 1):
        whose = "" if reject["reading"] is None else f" of reading {reject['reading'] + 1:,}"
        yield f"Reject {number:,} of {len(rejects):,}{whose}, by step {reject['step']}: {reject['reason']}"
        yield f"  why: {reject['detail']}"
        yield f"  record: {reject['record'] or 'nothing, it is empty'}"
        yield f"  what to do: {reject['advice']}"
        if reject["lake"] is not None:
            yield f"  lake: {reject['lake']}/"
    yield from _more("rejects", len(rejects))


def _more(what: str, count: int) -> Iterator[str]:
    if count > _MOST:
        yield f"… and {count - _MOST:,} {what} more; --json has all"


def _rule_lines(rules: dict[str, Any]) -> Iterator[str]:
    for alert in rules["alerts"][:_MOST]:
        yield f"Rule {alert['rule']}, {alert['state']} ({alert['severity']}): {alert['message']}"
    yield from _more("alerts", len(rules["alerts"]))
    quiet = [name for name in rules["tried"] if name not in {alert["rule"] for alert in rules["alerts"]}]
    if quiet:
        yield f"Rules that do not fire: {', '.join(quiet)}"
    if rules["past"]:
        yield f"Rules that need more than one record, not tried: {', '.join(rules['past'])}"
