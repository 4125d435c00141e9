"""Devices' payloads: messages a second of one core, decoded, read and validated; and readings enriched.

Figures are of CPU time, of the process that runs codecs too, so that what else the machine does is nobody's advantage;
what a stopped message costs is wall time.

    python benchmarks/codecs.py [--json]
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from telebeam.io.devices.codecs import Codec, Codecs
from telebeam.transforms.devices.cayenne import decode_cayenne_lpp
from telebeam.transforms.devices.decoded import Payloads
from telebeam.transforms.devices.kernel import enrich
from telebeam.transforms.devices.lorawan import read_uplinks
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.devices.validation import Validator
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "codecs"
MESSAGES = 50_000
BATCH = 8_192
REPEATS = 5
RECEIVED = 1_767_225_600_000_000


def best(work: Callable[[], object], count: int, clock: Callable[[], float] = time.process_time) -> float:
    """Items a second, of the best of some rounds."""
    seconds = []
    for _ in range(REPEATS):
        begun = clock()
        work()
        seconds.append(clock() - begun)
    return count / min(seconds)


def in_batches(column: pa.Array) -> list[pa.Array]:
    return [column.slice(first, BATCH) for first in range(0, len(column), BATCH)]


def cayenne() -> float:
    """Temperature, humidity, pressure and battery of one device each."""
    random = np.random.default_rng(1)
    numbers = random.integers(0, 256, (MESSAGES, 7), np.uint8)
    payloads = [bytes([1, 103, *n[:2], 2, 104, n[2], 3, 115, *n[3:5], 4, 2, *n[5:]]) for n in numbers.tolist()]
    batches = in_batches(pa.array(payloads, pa.large_binary()))
    return best(lambda: [decode_cayenne_lpp(batch) for batch in batches], MESSAGES)


def uplinks() -> float:
    records = [
        json.dumps(
            {
                "end_device_ids": {"device_id": f"d{n}", "dev_eui": f"{n % 1000:016X}", "dev_addr": "00BCB929"},
                "received_at": f"2026-01-01T00:{n // 60 % 60:02d}:{n % 60:02d}.787Z",
                "uplink_message": {
                    "f_port": 1,
                    "f_cnt": n,
                    "frm_payload": base64.b64encode(n.to_bytes(11, "big")).decode(),
                    "rx_metadata": [{"gateway_ids": {"gateway_id": "gateway"}, "rssi": -90, "snr": 5.2}],
                    "settings": {"data_rate": {"lora": {"bandwidth": 125000, "spreading_factor": 7}}},
                },
            }
        ).encode()
        for n in range(MESSAGES)
    ]
    batches = in_batches(pa.array(records, pa.large_binary()))
    return best(lambda: [read_uplinks(batch) for batch in batches], MESSAGES)


def validated() -> float:
    schema = {
        "type": "object",
        "required": ["t"],
        "properties": {"t": {"type": "number"}, "mode": {"enum": ["a", "b"]}},
    }
    column = pa.array([b'{"t": 21.5, "h": 40, "mode": "a"}'] * MESSAGES, pa.large_binary())
    validator = Validator(schema)
    return best(lambda: [validator(batch) for batch in in_batches(column)], MESSAGES)


def messages(payloads: list[bytes]) -> list[Payloads]:
    batches = in_batches(pa.array(payloads, pa.large_binary()))
    return [Payloads(batch, np.full(len(batch), 1), np.full(len(batch), RECEIVED)) for batch in batches]


def cpu_seconds(process: int) -> float:
    """The CPU time of a process and its threads; Linux tells it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def codec(name: str, payload: bytes, codecs: Codecs) -> float:
    batches = messages([payload] * MESSAGES)
    made = Codec((EXAMPLES / f"{name}.js").read_text(encoding="utf-8"))
    codecs.check(made)
    child = codecs.process_id()

    def clock() -> float:
        return time.process_time() + cpu_seconds(child)

    return best(lambda: [codecs.decode(made, batch) for batch in batches], MESSAGES, clock)


def stopped(codecs: Codecs, body: str) -> float:
    """Milliseconds that one bad message in a batch costs beyond what the batch does without it."""
    source = f"function decodeUplink(i) {{ if (i.bytes[0] === 9) {{ {body} }} return {{data: {{v: 1}}}}; }}"
    good, bad = messages([b"\x01"] * 1000)[0], messages([b"\x01"] * 500 + [b"\x09"] + [b"\x01"] * 500)[0]
    made = Codec(source)
    spent = []
    for batch in (good, good, bad, bad, bad):
        time.sleep(1)  # a process that took over has its own spare by then
        begun = time.perf_counter()
        codecs.decode(made, batch)
        spent.append(time.perf_counter() - begun)
    return (min(spent[2:]) - spent[1]) * 1000


def enriched(devices: int, versions: int) -> float:
    """A registry with several moves and a calibration of each device."""
    rows = {
        "device_id": [f"device-{n:06d}" for n in range(devices) for _ in range(versions)],
        "tenant": ["acme"] * devices * versions,
        "location": [f"hall {n % 50}" for n in range(devices * versions)],
        "scale": [1.5] * devices * versions,
        "valid_from": pa.array([RECEIVED + k * 10**8 for _ in range(devices) for k in range(versions)], pa.int64()),
    }
    table = pa.RecordBatch.from_pydict(rows)
    stamps = table.column("valid_from").cast(REGISTRY.field("valid_from").type)
    registry = Registry.of(table.set_column(4, "valid_from", stamps))
    count, random = 500_000, np.random.default_rng(3)
    device = random.integers(0, devices, count)
    text = pa.array(rows["device_id"][::versions]).take(pa.array(device))
    same = {"tenant": "default", "sensor_type": "power", "measurement_type": "power", "unit": "watts", "source": "x"}
    columns = {name: pa.repeat(value, count) for name, value in same.items()}
    columns |= {"device_id": text, "timestamp": RECEIVED + np.arange(count) * 700, "value": random.random(count)}
    columns |= {"quality_score": np.ones(count), "issues": pa.repeat(pa.scalar([], pa.list_(pa.string())), count)}
    columns |= {"is_late": np.zeros(count, bool), "source_partition": np.zeros(count, np.int32)}
    table = pa.table({**columns, "source_offset": np.arange(count)})
    batches = [conform(batch, READINGS_IN_FLIGHT) for batch in table.to_batches(max_chunksize=32_768)]
    return best(lambda: [enrich(batch, registry, DevicesSpec(unknown="flag")) for batch in batches], count)


def measure() -> dict[str, float]:
    """All figures."""
    pa.set_cpu_count(1)
    figures = {
        "cayenne_messages_per_second": cayenne(),
        "lorawan_records_per_second": uplinks(),
        "json_schema_payloads_per_second": validated(),
        "enriched_readings_per_second_1000_devices": enriched(1000, 4),
        "enriched_readings_per_second_100000_devices": enriched(100_000, 4),
    }
    climate = bytes.fromhex("FF385A960301")
    with Codecs() as codecs:
        figures["codec_es5_messages_per_second"] = codec("climate-es5", climate, codecs)
        figures["codec_es2020_messages_per_second"] = codec(
            "tag-length-value", bytes.fromhex("0175640367 0F0104685A"), codecs
        )
        figures["codec_leaking_messages_per_second"] = codec("older-decoder", bytes.fromhex("0BB80FA0"), codecs)
        figures["endless_loop_ms"] = stopped(codecs, "for (;;) {}")
        figures["memory_bomb_ms"] = stopped(codecs, "var a = []; for (;;) a.push({x: 1, y: [1, 2, 3]});")
        figures["unstoppable_ms"] = stopped(codecs, "new Array(3e8).fill(0);")
        figures["throwing_ms"] = stopped(codecs, "throw new Error('x');")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    figures = measure()
    if arguments.json:
        print(json.dumps({name: round(value, 1) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<48}{value:>14,.1f}")


if __name__ == "__main__":
    main()
