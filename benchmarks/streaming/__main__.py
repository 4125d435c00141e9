"""The streaming job against its peers and its clock, with real servers, on the same machine and in the same minutes.

    python -m benchmarks.streaming [--only NAME …] [--messages N] [--minutes M] [--json FILE]

Ratios are of one run in which both sides take turns; medians count.  `memory` takes the minutes it is told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report import Row, machine, table
from benchmarks.streaming.live import latency, memory, series
from benchmarks.streaming.others import others
from benchmarks.streaming.servers import running_servers
from benchmarks.streaming.throughput import Throughput, hundred_readings, one_reading
from telebeam.transforms.errors import TelebeamError

MESSAGES = 5_000_000
"""A bare consumer is through in some ten seconds, the job in some twenty: several files a partition."""
LATENCY_RATE, MEMORY_RATE, SERIES_RATE = 20_000, 50_000, 10_000


@dataclass(frozen=True)
class Wanted:
    """What was asked for."""

    telebeam: list[str]
    folder: Path
    messages: int
    repeats: int
    minutes: float | None


def _one_reading(wanted: Wanted) -> list[Row]:
    with running_servers() as servers:
        return one_reading(Throughput(servers, wanted.telebeam, wanted.folder, wanted.repeats), wanted.messages)


def _others(wanted: Wanted) -> list[Row]:
    with running_servers() as servers:
        return others(Throughput(servers, wanted.telebeam, wanted.folder, wanted.repeats), wanted.messages)


def _hundred_readings(wanted: Wanted) -> list[Row]:
    with running_servers() as servers:
        return hundred_readings(Throughput(servers, wanted.telebeam, wanted.folder, wanted.repeats), wanted.messages)


def _latency(wanted: Wanted) -> list[Row]:
    with running_servers(influxdb=True) as servers:
        return latency(servers, wanted.telebeam, wanted.folder, rate=LATENCY_RATE, minutes=wanted.minutes or 4)


def _memory(wanted: Wanted) -> list[Row]:
    with running_servers() as servers:
        return memory(servers, wanted.telebeam, wanted.folder, rate=MEMORY_RATE, minutes=wanted.minutes or 10)


def _series(wanted: Wanted) -> list[Row]:
    with running_servers() as servers:
        return series(servers, wanted.telebeam, wanted.folder, rate=SERIES_RATE, minutes=wanted.minutes or 4)


GROUPS: dict[str, tuple[str, Callable[[Wanted], list[Row]]]] = {
    "one-reading": ("one reading a message, against a bare consumer and per-element Beam", _one_reading),
    "others": ("the same against Quix Streams, Bytewax and Pathway", _others),
    "hundred-readings": ("a hundred readings a message", _hundred_readings),
    "latency": ("from an event to its file, its point and its window", _latency),
    "memory": ("what the job holds over some minutes", _memory),
    "series": ("what the job holds that scores 100,000 series", _series),
}


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; 1 if something did not run, whatever the figures."""
    options = _options(arguments)
    telebeam = options.telebeam or shutil.which("telebeam", path=str(Path(sys.executable).parent)) or "telebeam"
    found: list[Row] = []
    for name in options.only or GROUPS:
        says, group = GROUPS[name]
        print(f"{name}: {says}", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="telebeam-bench-stream-") as scratch:
            folder = Path(scratch)
            try:
                found += group(Wanted([telebeam], folder, options.messages, options.repeats, options.minutes))
            except (TelebeamError, OSError) as error:
                print(f"\n{name} did not run: {error}", file=sys.stderr)
                found.append(Row(name, None, note="did not run"))
    print(table(found))
    if options.json:
        facts = {"machine": machine(), "messages": options.messages, "repeats": options.repeats}
        figures = [row.as_json() for row in found]
        text = json.dumps({**facts, "figures": figures}, indent=2, ensure_ascii=False)
        options.json.write_text(f"{text}\n", encoding="utf-8")
    return int(any(row.note == "did not run" for row in found))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=about)
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="NAME", help=", ".join(GROUPS))
    parser.add_argument("--messages", type=int, default=MESSAGES, help=f"readings in a full topic ({MESSAGES:,})")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--minutes", type=float, help="how long latency (4), memory (10) and series (4) watch")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures, targets and machine there")
    parser.add_argument("--telebeam", metavar="COMMAND", help="the command to measure (the one beside this Python)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
