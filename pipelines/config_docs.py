"""Writes the tables of docs/configuration.md: ``python -m telebeam.pipelines.config_docs [FILE]``.

A table stands between ``<!-- settings: SECTION -->`` and ``<!-- end -->``; the text around it is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from telebeam.pipelines.settings import Setting, describe_settings

DOCUMENT = Path("docs/configuration.md")
TOP_LEVEL = "top level"
_MARKED = re.compile(r"(?P<start><!-- settings: (?P<section>[\w .]+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def render(document: str) -> str:
    """The document with each marked table made anew.

    Raises:
        KeyError: A marker names a section that there isn't.
    """
    tables = _tables()
    return _MARKED.sub(lambda found: f"{found['start']}{tables[found['section']]}{found['end']}", document)


def sections() -> list[str]:
    """The names that markers may have; the document is complete when it has a marker for each."""
    return list(_tables())


def _tables() -> dict[str, str]:
    rows: dict[str, list[Setting]] = {TOP_LEVEL: []}
    for setting in describe_settings():
        top, dot, rest = setting.key.partition(".")
        rows[TOP_LEVEL].extend([] if dot or "[" in top else [setting])
        section = f"sinks.{rest.partition('.')[0].removesuffix('[]')}" if top == "sinks" else top.removesuffix("[]")
        if dot and (top != "sinks" or "." in rest):
            rows.setdefault(section, []).append(setting)
    return {section: _table(settings) for section, settings in rows.items()}


def _table(settings: list[Setting]) -> str:
    lines = ["| key | takes | default | |", "|---|---|---|---|"]
    for setting in settings:
        default = f"`{setting.default}`" if setting.default not in ("", "required") else setting.default
        cells = (f"`{setting.key}`", setting.type, default, setting.text.replace("``", "`"))
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Rewrites the document in place."""
    path = Path(arguments[0]) if arguments else DOCUMENT
    path.write_text(render(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
