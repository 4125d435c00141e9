"""What parsing costs by format: messages and readings a second on one core, without Beam.

python -m benchmarks.formats            # all formats
python -m benchmarks.formats cbor json  # some
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.tahu import payload_class
from telebeam.transforms.parsing.wire import Schema
from telebeam.transforms.schema import ENVELOPES

MESSAGES = 50_000
BATCH = 10_000
ROUNDS = 5
ARROW_ROWS = 16_384
POISON_EVERY = 1_000

Case = tuple[list[bytes], ParseSpec, Known]
AVRO = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "device_id", "type": "string"},
        {"name": "timestamp", "type": "long"},
        {"name": "sensor_type", "type": "string"},
        {"name": "value", "type": "double"},
        {"name": "unit", "type": "string"},
        {"name": "location", "type": "string"},
    ],
}


def records() -> list[dict[str, Any]]:
    """Readings of a thousand devices in turns."""
    values = np.random.default_rng(0).normal(20, 5, MESSAGES).round(2).tolist()
    return [
        {"device_id": f"device-{n % 1000:04}", "timestamp": 1_767_225_600_000 + n, "sensor_type": "temperature",
         "value": value, "unit": "celsius", "location": "hall"}
        for n, value in enumerate(values)
    ]  # fmt: skip


def case_json() -> Case:
    """JSON, a record a message."""
    return [msgspec.json.encode(record) for record in records()], ParseSpec(), Known()


def case_json_poisoned() -> Case:
    """The same, of which one message in a thousand is cut short."""
    payloads = case_json()[0]
    return [p[:-9] if n % POISON_EVERY == 500 else p for n, p in enumerate(payloads)], ParseSpec(), Known()


def case_cbor() -> Case:
    """CBOR, a map a message."""
    import cbor2

    return [cbor2.dumps(record) for record in records()], ParseSpec(format="cbor"), Known()


def case_msgpack() -> Case:
    """MessagePack, a map a message."""
    return [msgspec.msgpack.encode(record) for record in records()], ParseSpec(format="msgpack"), Known()


def case_line_protocol() -> Case:
    """Line protocol, a line of two readings a message."""
    payloads = [
        f"room,device_id={r['device_id']},location=hall temperature={r['value']},humidity={n % 100}i {r['timestamp']}"
        for n, r in enumerate(records())
    ]
    return [payload.encode() for payload in payloads], ParseSpec(format="line_protocol", precision="ms"), Known()


def case_arrow() -> Case:
    """Arrow IPC, a stream of 16,384 rows a message."""
    rows = np.arange(ARROW_ROWS)
    table = pa.table({
        "device_id": pa.array([f"device-{n % 1000:04}" for n in rows]).dictionary_encode(),
        "timestamp": pa.array(1_767_225_600_000_000 + rows * 1_000).cast(pa.timestamp("us", "UTC")),
        "sensor_type": pa.array(["temperature"] * ARROW_ROWS).dictionary_encode(),
        "value": np.random.default_rng(0).normal(20, 5, ARROW_ROWS),
        "unit": pa.array(["celsius"] * ARROW_ROWS).dictionary_encode(),
    })  # fmt: skip
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return [sink.getvalue().to_pybytes()] * 40, ParseSpec(format="arrow"), Known()


def case_senml() -> Case:
    """SenML, a pack of two values a message."""
    packs = [
        [{"bn": f"{r['device_id']}:", "bt": r["timestamp"] / 1e3, "n": "temperature", "u": "Cel", "v": r["value"]},
         {"n": "humidity", "u": "%RH", "v": 40}]
        for r in records()
    ]  # fmt: skip
    return [msgspec.json.encode(pack) for pack in packs], ParseSpec(format="senml"), Known()


def case_avro() -> Case:
    """Avro, a record a message."""
    import fastavro

    schema = fastavro.parse_schema(AVRO)
    payloads = []
    for record in records():
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, schema, record)
        payloads.append(b"\x00\x00\x00\x00\x01" + stream.getvalue())
    return payloads, ParseSpec(format="avro"), Known({1: Schema("avro", json.dumps(AVRO))}.get)


def case_sparkplug() -> Case:
    """Sparkplug B, a metric a message."""
    payloads = []
    for record in records():
        message = payload_class()(timestamp=record["timestamp"])
        message.metrics.add(name="temperature", datatype=10, double_value=record["value"])
        payloads.append(message.SerializeToString())
    return payloads, ParseSpec(format="sparkplug"), Known()


CASES: dict[str, Callable[[], Case]] = {
    "json": case_json, "json_poisoned": case_json_poisoned, "cbor": case_cbor, "msgpack": case_msgpack,
    "line_protocol": case_line_protocol, "arrow": case_arrow, "senml": case_senml, "avro": case_avro,
    "sparkplug": case_sparkplug,
}  # fmt: skip


def envelopes(payloads: list[bytes]) -> pa.RecordBatch:
    """A batch of messages."""
    rows = len(payloads)
    columns = [pa.array(payloads, pa.large_binary()), pa.array(["spBv1.0/plant/NDATA/edge"] * rows),
               pa.array(["topic"] * rows), pa.array(np.zeros(rows, np.int32)), pa.array(np.arange(rows))]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=ENVELOPES)


def measure(payloads: list[bytes], spec: ParseSpec, known: Known) -> tuple[float, int]:
    """(CPU seconds of the fastest of some rounds, readings)."""
    batches = [envelopes(payloads[first : first + BATCH]) for first in range(0, len(payloads), BATCH)]
    best, readings = float("inf"), 0
    for _ in range(ROUNDS):
        begun = time.process_time()
        readings = sum(parse(batch, spec, 0, known).readings.num_rows for batch in batches)
        best = min(best, time.process_time() - begun)
    return best, readings


def main() -> None:
    """Prints a line a format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", choices=[[], *CASES], default=[])
    pa.set_cpu_count(1)
    for name in parser.parse_args().formats or CASES:
        payloads, spec, known = CASES[name]()
        seconds, readings = measure(payloads, spec, known)
        messages = len(payloads) / seconds
        print(f"{name:14} {messages:12,.0f} messages/s {readings / seconds:14,.0f} readings/s")


if __name__ == "__main__":
    main()
