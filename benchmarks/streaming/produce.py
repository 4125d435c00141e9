"""A fleet that reports now: messages at an even rate, each with the present as its time, and what was acknowledged.

    python -m benchmarks.streaming.produce --bootstrap-servers … --topic … --rate 20000 --seconds 60 [--acknowledged F]

It ends after its time or at SIGTERM, when everything is acknowledged, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as Sent

from benchmarks.streaming.load import PRODUCER, finish, now_ms, send
from benchmarks.streaming.messages import Fleet
from telebeam.transforms.errors import TelebeamError

TICK_SECONDS = 0.01
LINGER_MS = 5
LIST = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("payload", pa.large_binary())]
)
_LISTED = 20_000
_PORTION = 1000


class Acknowledged:
    """Writes down what the broker acknowledged, as an Arrow stream, if there is a path for it.

    Args:
        path: The file; nothing is written without.
    """

    def __init__(self, path: Path | None) -> None:
        self._writer = None if path is None else pa.ipc.new_stream(str(path), LIST)
        self._rows: list[tuple[Any, ...]] = []
        self.messages = 0
        self.refused = ""

    def __call__(self, error: KafkaError | None, sent: Sent) -> None:
        """Takes one delivery report."""
        if error is not None:
            self.refused = self.refused or str(error)
            return
        self.messages += 1
        if self._writer is not None:
            self._rows.append((sent.topic(), sent.partition(), sent.offset(), sent.value()))
            if len(self._rows) >= _LISTED:
                self._write()

    def _write(self) -> None:
        if self._writer is not None and self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(column, kind) for column, kind in zip(columns, LIST.types, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=LIST))
            self._rows.clear()

    def close(self) -> None:
        """Completes the list."""
        self._write()
        if self._writer is not None:
            self._writer.close()


def pace(
    producer: Producer, topic: str, fleet: Fleet, *, rate: float, seconds: float, report: Acknowledged,
    stop: threading.Event,
) -> dict[str, float]:  # fmt: skip
    """Sends readings at a rate for a time; returns what was sent and how far it once was behind.

    What a tick owes it sends at once, so that the rate is kept over any second, however late the tick came.
    """
    begun = time.monotonic()
    sent, largest_delay = 0, 0.0
    while not stop.is_set() and (passed := time.monotonic() - begun) < seconds:
        largest_delay = max(largest_delay, passed - sent * fleet.readings / rate)
        due = int(passed * rate / fleet.readings)
        while sent < due:  # in small portions, each with its own present
            some = min(due - sent, _PORTION)
            for message in fleet.messages(sent, [now_ms()] * some):
                send(producer, topic, message, report)
            sent += some
        producer.poll(0)
        stop.wait(max(0.0, begun + passed + TICK_SECONDS - time.monotonic()))
    taken = time.monotonic() - begun
    return {"messages": sent, "readings": sent * fleet.readings, "seconds": taken, "largest_delay": largest_delay}


def main() -> int:
    """Sends, and prints what was acknowledged."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--rate", type=float, default=20_000, help="readings a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--readings", type=int, default=1, help="readings a message")
    parser.add_argument("--acknowledged", type=Path, metavar="FILE", help="write what was acknowledged there")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Where nobody keeps a list, only what is refused is told: the rest costs time.
    told = {"delivery.report.only.error": options.acknowledged is None}
    settings = {**PRODUCER, **told, "linger.ms": LINGER_MS, "bootstrap.servers": options.bootstrap_servers}
    producer = Producer(settings)
    report = Acknowledged(options.acknowledged)
    fleet = Fleet(options.devices, options.readings)
    try:
        figures = pace(
            producer, options.topic, fleet, rate=options.rate, seconds=options.seconds, report=report, stop=stop
        )
        finish(producer)
    except TelebeamError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        report.close()
    print(json.dumps({**figures, "acknowledged": report.messages or figures["messages"], "refused": report.refused}))
    return int(bool(report.refused))


if __name__ == "__main__":
    sys.exit(main())
