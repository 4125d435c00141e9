"""What messages must give, by a few plain rules; and where messages come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa

Acknowledged = tuple[str, int, int, bytes]
"""Topic, partition, offset, payload."""

_CHUNK = 50_000
_ORIGIN_FIELDS = [
    pa.field("source", pa.string()),
    pa.field("source_partition", pa.int32()),
    pa.field("source_offset", pa.int64()),
]
_MESSAGES = pa.schema(
    [
        *_ORIGIN_FIELDS,
        pa.field("payload", pa.large_binary()),
        pa.field("rows", pa.int64()),  # how many it must give; null where the rules below can't tell
        pa.field("known", pa.bool_()),  # whether the values that it must give are known, too
        pa.field("demanded", pa.bool_()),
    ]
)
_TEXTS = ("device_id", "time", "sensor_type", "measurement_type", "unit")
_VALUES = pa.schema(
    [*_ORIGIN_FIELDS, *[pa.field(name, pa.string()) for name in _TEXTS], pa.field("value", pa.float64())]
)


def load_messages(
    con: duckdb.DuckDBPyConnection, acknowledged: Iterable[Acknowledged], stored: Iterable[Acknowledged]
) -> None:
    """Makes the tables ``messages``, a row each, and ``wanted``, a row for each value that is known beforehand.

    Args:
        con: Where.
        acknowledged: What must be in the lake.
        stored: What may be; what was acknowledged may be among it.
    """
    for name, schema in (("messages", _MESSAGES), ("wanted", _VALUES)):
        con.register("columns", schema.empty_table())
        con.execute(f"create table {name} as from columns")
    _load(con, acknowledged, demanded=True)
    _load(con, stored, demanded=False)


def _load(con: duckdb.DuckDBPyConnection, rows: Iterable[Acknowledged], *, demanded: bool) -> None:
    remaining = iter(rows)
    new = "" if demanded else "anti join messages using (source, source_partition, source_offset)"
    while chunk := list(islice(remaining, _CHUNK)):
        messages, values = _expected(chunk, demanded)
        con.register("more_messages", messages)
        con.register("more_values", values)
        # The values first: they are new as long as their message is.
        con.execute(f"insert into wanted from more_values {new}")
        con.execute(f"insert into messages from more_messages {new}")


def _expected(chunk: list[Acknowledged], demanded: bool) -> tuple[pa.Table, pa.Table]:
    messages, values = [], []
    for topic, partition, offset, payload in chunk:
        origin = (topic, partition, offset)
        rows, found = values_of(payload)
        messages.append((*origin, payload, rows, bool(found), demanded))
        values += [(*origin, *value) for value in found]
    return _table(messages, _MESSAGES), _table(values, _VALUES)


def _table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema)


def values_of(payload: bytes) -> tuple[int | None, list[tuple[Any, ...]]]:
    """How many rows a payload must give (None: these rules don't tell), and which values, if they are known.

    >>> values_of(b'{"device_id":"d-1","timestamp":"2026-01-01T00:00:00Z","metric":"co2","value":1}')
    (1, [('d-1', '2026-01-01T00:00:00Z', 'co2', 'co2', None, 1.0)])
    >>> values_of(b'{"device_id"'), values_of(b'{"temperature":21.5}')
    ((1, []), (None, []))
    """
    try:
        parsed = orjson.loads(payload)  # strict: what is no text of RFC 8259 is refused
    except orjson.JSONDecodeError:
        return 1, []
    records = [_value_of(record) for record in (parsed if isinstance(parsed, list) else [parsed])]
    values = [record for record in records if record is not None]
    return (len(values), values) if values and len(values) == len(records) else (None, [])


def _value_of(record: Any) -> tuple[Any, ...] | None:
    """A record of one value that has everything in its plain form: device, time, types, unit, value."""
    if not isinstance(record, dict) or "data" in record:
        return None
    metric, unit, value = record.get("metric"), record.get("unit"), record.get("value")
    sensor = record.get("sensor_type", metric)
    texts = [record.get("device_id"), record.get("timestamp"), sensor, record.get("measurement_type", sensor)]
    if type(value) not in (int, float) or not math.isfinite(value) or not all(type(text) is str for text in texts):
        return None
    device, time, sensor, measurement = (text.strip() for text in texts)
    return device, time, sensor.lower(), measurement, unit if isinstance(unit, str) else None, float(value)


def read_topic(bootstrap_servers: str, topics: Sequence[str]) -> Iterator[Acknowledged]:
    """What the broker holds of some topics now, acknowledged or not; messages without a payload are left out."""
    from confluent_kafka import Consumer, TopicPartition

    settings = {"bootstrap.servers": bootstrap_servers, "group.id": "checker", "enable.auto.commit": False}
    consumer = Consumer({**settings, "fetch.queue.backoff.ms": 10})
    try:
        for topic in topics:
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                consumer.assign([TopicPartition(topic, number, low)])
                reached = low
                while reached < high:
                    polled = [
                        message
                        for message in consumer.consume(min(5000, high - reached), 1.0)
                        if message.error() is None
                    ]
                    yield from ((topic, number, m.offset(), m.value()) for m in polled if m.value() is not None)
                    # Gaps of transactions and of compaction hold no message: the position passes them, too.
                    reached = max(reached, consumer.position([TopicPartition(topic, number)])[0].offset)
    finally:
        consumer.close()


def read_acknowledged(path: str | Path) -> Iterator[Acknowledged]:
    """What a producer wrote down: an Arrow IPC stream or file of topic, partition, offset and payload."""
    with pa.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        for batch in _batches_of_file(source) if is_file else pa.ipc.open_stream(source):
            columns = [batch.column(name).to_pylist() for name in ("topic", "partition", "offset", "payload")]
            yield from zip(*columns, strict=True)


def _batches_of_file(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = pa.ipc.open_file(source)
    return (reader.get_batch(number) for number in range(reader.num_record_batches))
