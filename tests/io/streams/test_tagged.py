"""Each tagged reading goes to each topic once, however slow the topic and whoever is killed."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from telebeam.io import storage
from telebeam.io.alerts.dispatcher import Dispatcher
from telebeam.io.alerts.messages import keys_of
from telebeam.io.alerts.outlet import Outlet
from telebeam.io.alerts.sender import Sent
from telebeam.io.alerts.sentlog import SentLog
from telebeam.io.alerts.spec import TaggedSinkSpec
from telebeam.io.alerts.tagged import SEGMENT_SECONDS, TAGGED
from telebeam.io.lake.in_order import OrderedFiles
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.steps import STEP
from telebeam.io.streams.tagged import TaggedLine
from telebeam.transforms.errors import UnreachableError
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform
from tests.integration.conftest import kafka  # noqa: F401 - a fixture
from tests.io.alerts.test_kafka import messages, ready

SECONDS = 20
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
SINK = TaggedSinkSpec(kafka={"bootstrap_servers": "localhost:1", "topic": "hot"}, tags=("hot", "odd"))


class Topic:
    """What a sender was given, in order; takes nothing while it is away."""

    def __init__(self) -> None:
        self.at_once = 7
        self.rows: list[pa.RecordBatch] = []
        self.there = threading.Event()
        self.there.set()

    def send(self, rows: pa.RecordBatch) -> Sent:
        if not self.there.is_set():
            return Sent(trouble=UnreachableError("away", ""))
        self.rows.append(rows)
        return Sent(tuple(keys_of(rows, TAGGED)))

    def close(self) -> None:
        pass

    @property
    def offsets(self) -> list[int]:
        return [offset for rows in self.rows for offset in rows.column("source_offset").to_pylist()]


@pytest.fixture
def lake(tmp_path: Path) -> LakeSpec:
    return LakeSpec(path=str(tmp_path / "lake"))


def root_of(lake: LakeSpec) -> storage.Location:
    return storage.locate(lake.path)


@contextmanager
def line(lake: LakeSpec, topic: Topic, sink: TaggedSinkSpec = SINK, room: int = 20) -> Iterator[TaggedLine]:
    """A line to a topic, with room for some rows in memory and no pauses."""
    log = SentLog(root_of(lake), "fleet", sink.name, TAGGED.name, segment_seconds=SEGMENT_SECONDS, kept=TAGGED.kept)
    outlet = Outlet(sink, TAGGED, log, lambda stopping: topic, max_waiting=room, jitter=lambda: -0.9999)
    try:
        yield TaggedLine(sink, outlet, root_of(lake), "fleet")
    finally:
        outlet.close()


def readings(start: int, count: int) -> pa.RecordBatch:
    """One a second."""
    rows = [
        {
            "tenant": "default", "device_id": f"boiler-{n % 3}", "timestamp": FIRST + timedelta(seconds=n), "unit": "1",
            "sensor_type": "temperature", "measurement_type": "temperature", "value": float(n), "quality_score": 1.0,
            "issues": [], "is_late": False, "source": "a", "source_partition": 2, "source_offset": n,
        }
        for n in range(start, start + count)
    ]  # fmt: skip
    return conform(pa.RecordBatch.from_pylist(rows, schema=READINGS), READINGS_IN_FLIGHT)


def file(lake: LakeSpec, start: int, count: int, tag: str = "hot", missing: tuple[int, ...] = ()) -> pa.RecordBatch:
    """Puts readings under a tag into the lake, a file for each step, as an in-order stage does."""
    rows = readings(start, count)
    kept = rows.filter(pa.array([n not in missing for n in range(start, start + count)]))
    begin = int(FIRST.timestamp()) * 1_000_000 + start * 1_000_000
    spans = [(begin + n * STEP, begin + (n + 1) * STEP) for n in range(-(-count // 10))]
    OrderedFiles(lake, root_of(lake), "fleet").replace(f"tagged/tag={tag}", (begin, spans[-1][1]), spans, kept)
    return kept


def finish(made: TaggedLine) -> None:
    for _ in range(100):
        if not made.pieces:
            return
        made.wait(0.1)
    raise AssertionError(f"{made.pieces} pieces are left")


def test_readings_are_sent_once_in_the_order_of_their_steps(lake: LakeSpec):
    topic = Topic()
    with line(lake, topic) as made:
        for start in (0, 10, 20):
            made.add("hot", file(lake, start, 10))
        finish(made)
        made.add("hot", file(lake, 0, 30))  # the same once more, for good
        made.add("cold", file(lake, 0, 30, "cold"))
        finish(made)
    assert topic.offsets == list(range(30))
    assert set(topic.rows[0].column("tag").to_pylist()) == {"hot"}


def test_what_a_sink_has_no_room_for_stays_in_the_lake_and_follows(lake: LakeSpec):
    topic = Topic()
    topic.there.clear()
    with line(lake, topic, room=15) as made:
        for start in range(0, 400, 10):
            made.add("hot", file(lake, start, 10))
            made.move()
        assert made.pieces >= 39
        assert sum(rows.num_rows for rows in made._under_way) <= 15
        assert made._head is None or made._head[1].num_rows <= 1_010
        topic.there.set()
        finish(made)
    assert Counter(topic.offsets) == Counter(range(400))


def test_a_step_that_changed_while_it_waited_is_sent_as_the_lake_has_it(lake: LakeSpec):
    topic = Topic()
    topic.there.clear()
    with line(lake, topic, room=10) as made:
        for start in (0, 10, 20):
            made.add("hot", file(lake, start, 10, missing=(15,)))
        made.move()
        made.add("hot", file(lake, 10, 10))  # a reading came behind the clock
        file(lake, 20, 10, missing=tuple(range(20, 30)))
        topic.there.set()
        finish(made)
    assert Counter(topic.offsets) == Counter(range(20))


def test_whoever_goes_on_after_a_kill_sends_what_is_missing_and_nothing_twice(lake: LakeSpec):
    first, second = Topic(), Topic()
    with line(lake, first) as made:
        made.add("hot", file(lake, 0, 20))
        finish(made)
        first.there.clear()
        made.add("hot", file(lake, 20, 20))
    with line(lake, second) as made:
        made.add("hot", file(lake, 0, 60))
        finish(made)
    assert Counter(first.offsets + second.offsets) == Counter(range(60))


def test_two_tags_of_one_reading_are_two_messages(lake: LakeSpec):
    topic = Topic()
    with line(lake, topic) as made:
        for tag in ("hot", "odd"):
            made.add(tag, file(lake, 0, 10, tag))
        finish(made)
    columns = [(rows.column("tag").to_pylist(), rows.column("source_offset").to_pylist()) for rows in topic.rows]
    found = [pair for tags, offsets in columns for pair in zip(tags, offsets, strict=True)]
    assert Counter(found) == Counter((tag, n) for tag in ("hot", "odd") for n in range(10))


def test_what_is_remembered_of_what_was_sent_is_bounded(lake: LakeSpec):
    topic = Topic()
    log = SentLog(root_of(lake), "fleet", SINK.name, TAGGED.name, segment_seconds=SEGMENT_SECONDS, kept=3)
    outlet = Outlet(SINK, TAGGED, log, lambda stopping: topic, max_waiting=1000)
    made = TaggedLine(SINK, outlet, root_of(lake), "fleet")
    for start in range(0, 20 * SEGMENT_SECONDS, SEGMENT_SECONDS):
        made.add("hot", file(lake, start, 10))
        finish(made)
    outlet.close()
    assert len(topic.offsets) == 200
    assert len(log) <= 4 * 10
    assert len({path.split("/")[-2] for path in storage.files_below(root_of(lake), "_commits/tagged", ".json")}) <= 4


def test_a_topic_has_each_reading_once_with_its_tag_and_device(kafka: Any, lake: LakeSpec):  # noqa: F811
    topic = ready(kafka, kafka.create_topic(f"tagged-{uuid4().hex[:8]}", 3), 3)
    sink = TaggedSinkSpec(kafka={"bootstrap_servers": kafka.bootstrap_servers, "topic": topic})
    for _ in range(2):
        dispatcher = Dispatcher([sink], root_of(lake), "fleet", TAGGED, max_waiting=50)
        made = TaggedLine(sink, dispatcher.outlets[0], root_of(lake), "fleet")
        made.add("hot", file(lake, 0, 300))
        made.add("odd", file(lake, 0, 30, "odd"))
        finish(made)
        dispatcher.close()
        # Without the log the topic itself is asked.
        for path in storage.files_below(root_of(lake), "_commits/tagged", ".json"):
            if "/positions/" not in path:
                storage.remove(root_of(lake), path)
    found = messages(kafka, topic)
    said = [json.loads(message.value()) for message in found]
    assert Counter((row["tag"], row["source_offset"]) for row in said) == Counter(
        [("hot", n) for n in range(300)] + [("odd", n) for n in range(30)]
    )
    assert all(message.key().decode() == row["device_id"] for message, row in zip(found, said, strict=True))
    headers = dict(found[0].headers())
    assert sorted(headers) == ["pipeline", "tag", "tagged_id"]
    assert headers["pipeline"] == b"fleet"
