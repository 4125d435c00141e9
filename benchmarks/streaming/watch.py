"""What a running job does, seen from outside: files that appear in the lake, and the memory of processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

MEGABYTE = 1_000_000


@dataclass
class Filed:
    """A file that appeared: when its name did (seconds since 1970) and how many rows it has."""

    path: Path
    seen: float
    rows: int


class Repeating(threading.Thread):
    """Calls a function every so many seconds until it is finished, and once more then."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._seconds = seconds
        self._call = call
        self._done = threading.Event()

    def run(self) -> None:
        """Until finished."""
        while not self._done.is_set():
            self._call()
            self._done.wait(self._seconds)

    def finish(self) -> None:
        """Stops, waits, and calls a last time."""
        self._done.set()
        self.join()
        self._call()

    def __enter__(self) -> Repeating:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finish()


class LakeWatch:
    """Notes when files appear below a lake's datasets.

    Args:
        lake: The lake's folder; it may not be there yet.
        datasets: Which.
    """

    def __init__(self, lake: Path, datasets: tuple[str, ...] = ("readings",)) -> None:
        self._folders = [lake / dataset for dataset in datasets]
        self.seen: dict[Path, float] = {}

    def __call__(self) -> None:
        """Looks once."""
        for folder in self._folders:
            if folder.is_dir():
                for path in _parquet_below(folder):
                    if path not in self.seen:
                        self.seen[path] = _appeared(path)

    def files(self) -> list[Filed]:
        """What appeared and is still there, in the order of its appearance."""
        there = [(seen, path) for path, seen in self.seen.items() if path.exists()]
        return [Filed(path, seen, pq.read_metadata(path).num_rows) for seen, path in sorted(there)]


def _appeared(path: Path) -> float:
    """When a file got the name that it has: renaming sets the time of the last change of its inode."""
    try:
        return min(path.stat().st_ctime, time.time())
    except FileNotFoundError:
        return time.time()


def _parquet_below(folder: Path) -> list[Path]:
    found, folders = [], [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.name.endswith(".parquet"):
                    found.append(Path(entry.path))
    return found


@dataclass
class MemoryWatch:
    """Notes the resident memory of a process and of what it started, by the programs' names.

    Args:
        pid: The process; what it has as its own is under "job".
    """

    pid: int
    begun: float = field(default_factory=time.monotonic)
    samples: list[dict[str, float]] = field(default_factory=list)

    def __call__(self) -> None:
        """Looks once."""
        sizes = {"seconds": time.monotonic() - self.begun, "job": _resident_bytes(self.pid)}
        for pid in descendants(self.pid):
            name = _name(pid)
            kind = "prism" if name.startswith("prism") else "job"
            sizes[kind] = sizes.get(kind, 0) + _resident_bytes(pid)
        if sizes["job"]:
            self.samples.append(sizes)

    def slope(self, kind: str, after_seconds: float) -> float:
        """MB a minute, by least squares over the samples from ``after_seconds`` on; nan for fewer than three."""
        points = [(s["seconds"], s[kind]) for s in self.samples if s["seconds"] >= after_seconds and kind in s]
        if len(points) < 3:
            return float("nan")
        seconds, sizes = np.array(points).T
        return float(np.polyfit(seconds / 60, sizes / MEGABYTE, 1)[0])

    def peak(self, kind: str) -> float:
        """MB."""
        return max((sample.get(kind, 0.0) for sample in self.samples), default=0.0) / MEGABYTE


def descendants(pid: int) -> list[int]:
    """What a process started, and what that started, where /proc tells."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # it ended meanwhile
                continue
    return found[1:]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _resident_bytes(pid: int) -> float:
    try:
        return float(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0.0


def percentiles(values: Any) -> dict[str, float]:
    """``p50``, ``p95`` and ``max`` of some seconds; nan for none."""
    if not len(values):
        return {"p50": float("nan"), "p95": float("nan"), "max": float("nan")}
    p50, p95, largest = np.percentile(values, [50, 95, 100])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(float(largest), 3)}
