"""Readers of a job on Prism work side by side, however often they end their bundles in the same moment."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams import ptransforms
from telebeam.io.streams.notices import Notice
from telebeam.io.streams.ptransforms import EndStage, FileStream
from telebeam.io.streams.reader import Bundle
from telebeam.pipelines.runners import choose_runner, pipeline_options
from telebeam.pipelines.runtimes.engines import engine

BUNDLES, SECONDS, READERS = 12, 0.5, 4


@dataclass
class _Job:
    lake: LakeSpec
    readers: int = READERS
    pipeline: str = "fleet"
    run: str = "apart"


DONE: Counter[int] = Counter()
"""Bundles of each reader."""
BUNDLE = threading.local()
"""``readers``: those that the runner's bundle of this thread has called."""
TOGETHER: list[int] = []
"""How many readers a bundle of the runner had called, at each call."""


class _Sleeper:
    """Ends each bundle on the same instants as the others do."""

    def __init__(self, index: int) -> None:
        self._index = index

    def bundle(self) -> Bundle:
        time.sleep(SECONDS - time.monotonic() % SECONDS)
        DONE[self._index] += 1
        BUNDLE.readers += 1
        TOGETHER.append(BUNDLE.readers)
        notice = Notice(self._index, READERS, len(TOGETHER), ())
        return Bundle(notice, {"iot/0": DONE[self._index]}, DONE[self._index] == BUNDLES)


def _begin(_: Any) -> None:
    BUNDLE.readers = 0


@contextmanager
def _leased(_: Any, index: int) -> Iterator[_Sleeper]:
    yield _Sleeper(index)


def test_readers_on_prism_never_wait_for_each_other(prism: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In one stage Prism puts readers that end together into one bundle: one after the other from then on."""
    monkeypatch.setattr(ptransforms, "leased", _leased)
    monkeypatch.setattr(ptransforms, "release", lambda *_: None)
    monkeypatch.setattr(ptransforms._FileBundles, "start_bundle", _begin)
    DONE.clear()
    TOGETHER.clear()
    job: Any = _Job(LakeSpec(path=str(tmp_path)))
    choice = choose_runner("prism", "stream", [f"--prism_location={prism}"])
    with engine(choice) as running, beam.Pipeline(options=pipeline_options(running)) as pipeline:
        _ = pipeline | FileStream(job, apart=True) | EndStage()
    assert Counter(dict.fromkeys(range(READERS), BUNDLES)) == DONE
    assert {*TOGETHER} == {1}
