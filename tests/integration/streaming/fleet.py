"""A fleet that reports to Kafka while a test goes on, and what the broker has acknowledged of it."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import pyarrow as pa
from confluent_kafka import Message, Producer

from tests.checking.messages import Acknowledged, values_of

SENSORS = (("temperature", "celsius", 21.0), ("humidity", "percent", 55.0), ("voltage", "volts", 12.0))
POISON = (
    b'{"device_id": "d-', b"\xff\xfe\x00", b'{"device_id":"ab","timestamp":"2026-01-01T00:00:00Z","value":1}', b"[]",
    b'{"device_id":"dev-0","timestamp":"2026-01-01T00:00:00Z","sensor_type":"temperature","value":NaN}', b"null",
    b'{"device_id":"dev-0","sensor_type":"temperature","value":1}', b"", b"[" * 5000, b'"a text"',
)  # fmt: skip
"""Payloads of which nothing can be made."""
ACKNOWLEDGE_SECONDS = 120
_CLIENT = {
    "acks": "all", "enable.idempotence": True, "linger.ms": 20, "message.timeout.ms": 300_000,
    "reconnect.backoff.max.ms": 500, "log_level": 0, "error_cb": lambda error: None,
}  # fmt: skip


class Outgoing(NamedTuple):
    """A message before it is sent; to the partition of its key unless one is given."""

    payload: bytes
    key: str = "device"
    partition: int = -1


def reading(device: str, moment: float, value: float, sensor: int = 0) -> dict[str, Any]:
    """A reading as devices send it, of a moment in seconds since 1970."""
    kind, unit, _ = SENSORS[sensor % len(SENSORS)]
    time = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
    return {"device_id": device, "timestamp": time, "sensor_type": kind, "value": value, "unit": unit}


def message(device: str, moment: float, value: float = 21.5, partition: int = -1) -> Outgoing:
    """One reading in one message."""
    return Outgoing(json.dumps(reading(device, moment, value)).encode(), device, partition)


@dataclass(frozen=True)
class Mix:
    """Shares of what is not a plain reading on time, and how traffic is spread.

    ``many`` messages hold three readings each.  ``behind`` are some seconds old, so that windows are revised;
    ``hours_late`` are late for good.  ``hot`` is the first device's share of the traffic.
    """

    poison: float = 0.01
    duplicates: float = 0.02
    many: float = 0.02
    behind: float = 0.03
    hours_late: float = 0.01
    hot: float = 0.0


class Fleet:
    """Makes messages, the same for the same seed but for the time of day."""

    def __init__(self, devices: int = 30, mix: Mix | None = None, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._devices = [f"device-{number:04}" for number in range(devices)]
        self._mix = mix or Mix()
        self._sent: deque[Outgoing] = deque(maxlen=200)
        self._last = 0.0

    def messages(self, now: Callable[[], float] = time.time) -> Iterator[Outgoing]:
        """Messages without end."""
        while True:
            yield self._message(now())

    def _message(self, now: float) -> Outgoing:
        draw, mix = self._random.random, self._mix
        if self._sent and draw() < mix.duplicates:
            return self._random.choice(self._sent)
        device = self._devices[0] if draw() < mix.hot else self._random.choice(self._devices)
        if draw() < mix.poison:
            return Outgoing(self._random.choice(POISON), device)
        age = 0.0
        if draw() < mix.behind:
            age = self._random.uniform(2, 9)
        elif draw() < mix.hours_late:
            age = self._random.uniform(7200, 9000)
        # No two readings of one time: which of them comes first would follow from where they stand.
        self._last = max(now, self._last + 1e-5)
        count = 3 if draw() < mix.many else 1
        found = [
            reading(device, self._last - age - n / 7, round(self._random.gauss(SENSORS[n % 3][2], 2), 3), n)
            for n in range(count)
        ]
        made = Outgoing(json.dumps(found if count > 1 else found[0]).encode(), device)
        self._sent.append(made)
        return made


class Acknowledgements:
    """What the broker has taken; a producer's callback."""

    def __init__(self) -> None:
        self.messages: list[Acknowledged] = []
        self.stamps: list[int] = []
        self.failed: list[str] = []

    def __call__(self, error: Any, sent: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        self.messages.append((sent.topic() or "", sent.partition() or 0, sent.offset() or 0, sent.value() or b""))
        self.stamps.append(sent.timestamp()[1])

    def stamp_table(self) -> pa.Table:
        """When the producer stamped each message, for :func:`tests.checker.late_matches`."""
        topics, partitions, offsets, _ = zip(*self.messages, strict=True)
        return pa.table({
            "source": pa.array(topics), "source_partition": pa.array(partitions, pa.int32()),
            "source_offset": pa.array(offsets, pa.int64()),
            "stamp": pa.array(self.stamps, pa.timestamp("ms", "UTC")),
        })  # fmt: skip


def rows_in(acknowledged: Iterable[Acknowledged]) -> int:
    """The values that messages hold, and one for each that holds none: ``in`` of the balance."""
    return sum(values_of(payload)[0] or 1 for *_, payload in acknowledged)


def send(servers: str, topic: str, messages: Iterable[Outgoing]) -> list[Acknowledged]:
    """Sends messages in their order and waits until all are acknowledged."""
    taken = Acknowledgements()
    producer = Producer({**_CLIENT, "bootstrap.servers": servers})
    for each in messages:
        _produce(producer, topic, each, taken)
    assert not producer.flush(ACKNOWLEDGE_SECONDS), "the broker does not acknowledge"
    assert not taken.failed, taken.failed[:3]
    return sorted(taken.messages, key=lambda it: it[:3])


def _produce(producer: Producer, topic: str, given: Outgoing, taken: Acknowledgements) -> None:
    while True:
        try:
            producer.produce(topic, given.payload, given.key, given.partition, on_delivery=taken)
            return
        except BufferError:
            producer.poll(0.1)


class LiveProducer:
    """Sends a fleet's messages from a thread of its own, at an even rate, whatever the broker does meanwhile.

    Args:
        servers: The brokers.
        topic: Where to.
        rate: Messages a second.
        messages: What; a fleet's unless given.
    """

    def __init__(self, servers: str, topic: str, rate: float = 400, messages: Iterator[Outgoing] | None = None) -> None:
        self.taken = Acknowledgements()
        self._topic, self._rate = topic, rate
        self._messages = Fleet().messages() if messages is None else messages
        self._producer = Producer({**_CLIENT, "bootstrap.servers": servers})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def count(self) -> int:
        """Messages acknowledged so far."""
        return len(self.taken.messages)

    def finish(self) -> list[Acknowledged]:
        """Stops sending, waits until all is acknowledged, and says what was."""
        self.__exit__()
        assert not self._producer.flush(ACKNOWLEDGE_SECONDS), "the broker does not acknowledge"
        assert not self.taken.failed, self.taken.failed[:3]
        return self.taken.messages

    def _run(self) -> None:
        begun = time.monotonic()
        for sent, each in enumerate(self._messages):
            while sent > (time.monotonic() - begun) * self._rate:
                self._producer.poll(0.01)
                if self._stop.is_set():
                    return
            _produce(self._producer, self._topic, each, self.taken)
            if self._stop.is_set():
                return


def spread(messages: Sequence[Outgoing], partitions: int, seed: int) -> list[Outgoing]:
    """The same messages in another interleaving: each device's in their order, devices in any."""
    drawn = random.Random(seed)
    queues: dict[str, deque[Outgoing]] = {}
    for each in messages:
        queues.setdefault(each.key, deque()).append(each)
    home = {key: drawn.randrange(partitions) for key in queues}
    order = [each.key for each in messages]
    drawn.shuffle(order)
    return [queues[key].popleft()._replace(partition=home[key]) for key in order]
