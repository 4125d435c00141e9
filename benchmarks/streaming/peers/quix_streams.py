"""The peer: Quix Streams, Kafka → JSON → range check → windows of a minute → a file of lines.

A message's key is its device, so the four sensors of a device share a window: grouping by series would send every
message through Kafka once more.  State lies in RocksDB, without changelog topics.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

from quixstreams import Application
from windowed import NOTHING, WINDOW_SECONDS, Meter, Reading, Sums, added, in_range, line, moment, options

Window = dict[str, Any]
IDLE_SECONDS = 10.0
"""It does not end with the topic by itself, but when it has had nothing for so long; that does not count."""


def main() -> int:
    """Reads the topic to its present end."""
    wanted, meter = options(), Meter()
    app = Application(
        broker_address=wanted.bootstrap_servers, consumer_group=f"quix-{time.time_ns()}", auto_offset_reset="earliest",
        state_dir=wanted.output / "state", use_changelog_topics=False, loglevel="WARNING",
        consumer_extra_config={"fetch.queue.backoff.ms": 10, "queued.min.messages": 500_000},
    )  # fmt: skip

    def counted(reading: Reading) -> bool:
        meter.count()
        return in_range(reading)

    def of(reading: Reading) -> dict[str, Sums]:
        return {reading["sensor_type"]: added(NOTHING, reading["value"])}

    def and_of(sums: dict[str, Sums], reading: Reading) -> dict[str, Sums]:
        kind = reading["sensor_type"]
        return {**sums, kind: added(tuple(sums.get(kind, NOTHING)), reading["value"])}  # type: ignore[arg-type]

    def milliseconds(value: Reading, *_: Any) -> int:
        return int(moment(value).timestamp() * 1000)

    topic = app.topic(wanted.topic, value_deserializer="json", timestamp_extractor=milliseconds)
    with (wanted.output / "windows.jsonl").open("w", encoding="utf-8") as out:

        def write(window: Window, key: Any, *_: Any) -> None:
            start = datetime.fromtimestamp(window["start"] / 1000, UTC)
            device = key.decode() if isinstance(key, bytes) else str(key)
            out.writelines(line(device, kind, start, sums) + "\n" for kind, sums in window["value"].items())

        windows = app.dataframe(topic).filter(counted).tumbling_window(WINDOW_SECONDS * 1000, grace_ms=10_000)
        windows.reduce(and_of, of).final().update(write, metadata=True)
        app.run(timeout=IDLE_SECONDS)
    meter.say()
    return 0


if __name__ == "__main__":
    sys.exit(main())
