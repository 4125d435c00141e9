"""Figures beside their targets, as a table and as JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

PACKAGES = ("telebeam", "apache-beam", "pyarrow", "numpy", "duckdb", "influxdb-client")


@dataclass(frozen=True)
class Target:
    """What a figure is to reach: ``least`` must be, ``aim`` is better; with ``at_most`` smaller is better."""

    least: float
    aim: float | None = None
    at_most: bool = False

    def verdict(self, figure: float) -> str:
        """``aim``, ``least`` or ``missed``.

        >>> Target(0.33, 0.6).verdict(0.4), Target(1.3, 1.1, at_most=True).verdict(1.4)
        ('least', 'missed')
        """
        sign = -1 if self.at_most else 1
        if sign * figure < sign * self.least:
            return "missed"
        return "least" if self.aim is None or sign * figure < sign * self.aim else "aim"


@dataclass(frozen=True)
class Row:
    """One line of the table; without a target it only explains the others."""

    name: str
    figure: float | None
    unit: str = "×"
    target: Target | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """How the figure stands to its target."""
        if self.figure is None:
            return "skipped"
        return self.target.verdict(self.figure) if self.target else ""

    def as_json(self) -> dict[str, Any]:
        """The row as plain values."""
        target = asdict(self.target) if self.target else None
        figure = None if self.figure is None else round(self.figure, 4)
        plain = {"name": self.name, "figure": figure, "unit": self.unit, "target": target, "verdict": self.verdict}
        return plain | {"note": self.note, "details": self.details}


def table(rows: list[Row]) -> str:
    """The rows as text, one a line.

    >>> print(table([Row("time at 10 × the data", 9.8, target=Target(10.5, at_most=True), note="30 s and 294 s")]))
    what                   figure  at least  aim  verdict
    time at 10 × the data   9.8 ×  ≤ 10.5 ×       least    30 s and 294 s
    """
    lines = [("what", "figure", "at least", "aim", "verdict", "")]
    for row in rows:
        least = _target(row.target.least if row.target else None, row)
        aim = _target(row.target.aim if row.target else None, row)
        figure = "" if row.figure is None else f"{row.figure:.3g} {row.unit}"
        lines.append((row.name, figure, least, aim, row.verdict, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(_line(line, widths) for line in lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": os.getloadavg(),
    }


def _target(value: float | None, row: Row) -> str:
    if value is None or row.target is None:
        return ""
    return f"{'≤ ' if row.target.at_most else ''}{value:g} {row.unit}"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    aligned = [cells[0].ljust(widths[0]), *(cells[n].rjust(widths[n]) for n in (1, 2, 3)), cells[4].ljust(widths[4])]
    return "  ".join([*aligned, cells[5]]).rstrip()
