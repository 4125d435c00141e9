from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.kafka.cluster import Place
from telebeam.io.kafka.envelopes import ENVELOPES_IN_FLIGHT, HEADERS, by_partition, envelopes
from telebeam.io.kafka.progress import Progress
from telebeam.io.streams.feed import Partition, Polled
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec

TOPICS = ("one", "two")

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(TOPICS),
        st.integers(0, 3),
        st.none() | st.binary(max_size=8),
        st.none() | st.binary(max_size=4),
        st.none() | st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
        st.integers(-1, 2**63 - 1),
    ),
    max_size=30,
)


def message(
    topic: str = "one", partition: int = 0, value: bytes | None = b"x", key: bytes | None = None, headers=None,
    time: int = 0, offset: int = 0,
) -> Message:  # fmt: skip
    return Message(topic, partition, offset, key, value, headers, None, (1, time))


def batch_of(messages: Sequence[Message]) -> pa.RecordBatch:
    ((place, columns),) = by_partition(messages, TOPICS)
    return envelopes(columns, place)[0]


@given(MESSAGES)
def test_columns_are_what_a_loop_over_the_messages_finds(drawn):
    offsets: dict[Place, int] = {}
    messages = []
    expected: dict[Place, list[tuple[object, ...]]] = {}
    for topic, partition, value, key, headers, time in drawn:
        place = Place(topic, partition)
        offset = offsets[place] = offsets.get(place, 0) + 1
        messages.append(message(topic, partition, value, key, headers, time, offset))
        at = time * 1000 if 0 <= time <= (2**63 - 1) // 1000 else -1
        try:
            text = topic if key is None else key.decode()
        except UnicodeDecodeError:
            text = topic
        rows = expected.setdefault(place, [])
        if value is not None:
            rows.append((value, text, topic, partition, offset, headers or None, at))
    found = {}
    for place, columns in by_partition(messages, TOPICS):
        batch, times = envelopes(columns, place)
        batch.validate(full=True)
        assert batch.schema.names[:5] == ENVELOPES_IN_FLIGHT.names
        rows = [tuple(row.get(name) for name in (*ENVELOPES_IN_FLIGHT.names, "headers")) for row in batch.to_pylist()]
        found[place] = [(*row, at) for row, at in zip(rows, times.tolist(), strict=True)]
        assert ("headers" in batch.schema.names) == any(row[5] for row in expected[place])
    assert found == expected


def test_one_key_that_is_no_text_costs_no_other_its_key():
    batch = batch_of([message(key=b"good", offset=0), message(key=b"\xff", offset=1), message(offset=2)])
    assert batch.column("key").to_pylist() == ["good", "one", "one"]


@pytest.mark.parametrize("key", [None, b"devices/from-key/telemetry"])
def test_parsing_takes_the_device_from_the_key_and_does_not_mind_headers(key: bytes | None):
    payload = b'{"timestamp":"2026-01-01T00:00:00Z","temperature":21.5}'
    plain = batch_of([message(value=payload, key=key)])
    headed = batch_of([message(value=payload, key=key, headers=[("a", b"b")])])
    assert HEADERS.name in headed.schema.names
    one, other = (parse(batch, ParseSpec(format="json"), 0) for batch in (plain, headed))
    assert one.readings.equals(other.readings)
    assert one.rejects.equals(other.rejects)
    assert one.readings.column("device_id").to_pylist() == (["from-key"] if key else [])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(0, 30), st.none() | st.integers(0, 40))
def test_each_offset_is_handed_out_once_whatever_is_received_again(steps, again, until):
    offsets = np.cumsum(steps).tolist()
    place = Place("one", 0)
    progress = Progress(place, Partition("one-000000", 0), 0, until)
    polled: list[Polled | None] = []
    for chunk in (offsets, offsets[min(again, len(offsets) - 1) :], [*offsets, offsets[-1] + 5]):
        ((_, columns),) = by_partition([message(offset=offset) for offset in chunk], TOPICS)
        polled.append(progress.take(columns))
    handed = [row["source_offset"] for it in polled if it for row in it.envelopes.to_pylist()]
    everything = [*offsets, offsets[-1] + 5]
    assert handed == [offset for offset in everything if until is None or offset < until]
    assert progress.next == (everything[-1] + 1 if until is None else min(until, everything[-1] + 1))
    assert progress.is_finished == (until is not None and progress.next >= until)
