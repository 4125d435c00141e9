"""The peer: Bytewax, Kafka → JSON → range check → windows of a minute → a file of lines."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.files import FileSink
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main
from windowed import NOTHING, WINDOW_SECONDS, Meter, Reading, added, in_range, line, merged, moment, options

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def main() -> int:
    """Reads the topic to its present end."""
    wanted, meter = options(), Meter()

    def parsed(message: Any) -> Reading:
        meter.count()
        reading: Reading = orjson.loads(message.value)
        return reading

    def as_line(item: tuple[str, tuple[int, Any]]) -> tuple[str, str]:
        key, (number, sums) = item
        return key, line(*key.split("/"), EPOCH + number * timedelta(seconds=WINDOW_SECONDS), sums)  # type: ignore[call-arg]

    flow = Dataflow("peer")
    servers = [wanted.bootstrap_servers]
    settings = {"fetch.queue.backoff.ms": "10", "queued.min.messages": "500000"}
    polled = kafka.input(
        "read", flow, brokers=servers, topics=[wanted.topic], tail=False, batch_size=10_000, add_config=settings
    )
    readings = op.filter("in range", op.map("parse", polled.oks, parsed), in_range)
    keyed = op.key_on("by series", readings, lambda reading: f"{reading['device_id']}/{reading['sensor_type']}")
    clock = win.EventClock(moment, wait_for_system_duration=timedelta(seconds=10))
    windower = win.TumblingWindower(length=timedelta(seconds=WINDOW_SECONDS), align_to=EPOCH)
    folded = win.fold_window(
        "aggregate",
        keyed,
        clock,
        windower,
        lambda: NOTHING,
        lambda sums, reading: added(sums, reading["value"]),
        merged,
    )  # fmt: skip
    op.output("write", op.map("as line", folded.down, as_line), FileSink(wanted.output / "windows.jsonl"))
    run_main(flow)
    meter.say()
    return 0


if __name__ == "__main__":
    sys.exit(main())
