"""Payload codecs of the LoRa Alliance's TS013 interface, in V8, in a process of their own.

A process rather than a context in this one: V8 ends the process that it runs in when a script takes too much memory,
and some of its built-in functions, ``new Array(3e8).fill(0)`` among them, can't be stopped by any timeout.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from telebeam.io.devices.host import LATE
from telebeam.io.devices.process import Answer, Limits, Process
from telebeam.transforms.devices.decoded import Decoded, Payloads, Refusal, coded, own_times, spread
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import Reason

CHUNK_MESSAGES = 512
"""Messages that are handed over at once: enough that a call's cost vanishes, few enough to be decoded again when one
of them was stopped."""
CHUNK_BYTES = 4 * 2**20
MOST_STOPS = 50
"""Times that a codec is stopped in one batch, before the rest of the batch is refused undecoded."""

_STOPPED = f"the codec was stopped {MOST_STOPS} times in one batch, so the rest of it was not decoded"


@dataclass(frozen=True)
class Codec:
    """A codec's source; equal sources are equal codecs.

    Args:
        source: A plain script with ``decodeUplink``, or one of the older ``Decode`` and ``Decoder``.
        name: How messages name it.
    """

    source: str
    name: str = field(default="codec", compare=False)

    @cached_property
    def key(self) -> str:
        """64 hexadecimal digits of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()


class _Part(NamedTuple):
    """What some of a batch's messages gave; ``first`` is the place of the first of them."""

    first: int
    texts: dict[str, Any]
    columns: bytes


class Codecs:
    """Decodes batches of messages; use it as a context manager, or :meth:`close` it.

    A process is started with the first batch, and a spare one behind it, which takes over when a codec had to be
    stopped.  Several threads may share one object, one after another; for more at once give each its own.

    Args:
        limits: What one message may cost.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._lock = Lock()
        self._process: Process | None = None
        self._spare: Process | None = None
        self._loaded: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes; the next batch starts others."""
        with self._lock:
            for process in (self._process, self._spare):
                if process is not None:
                    process.close()
            self._process = self._spare = None

    def process_id(self) -> int:
        """The operating system's number of the process that decodes now."""
        with self._lock:
            return self._running().id

    def check(self, codec: Codec) -> None:
        """Loads a codec.

        Raises:
            ConfigurationError: It is no script, or has none of the functions that a codec is known by.
        """
        with self._lock:
            self._load(codec)

    def decode(self, codec: Codec, messages: Payloads) -> Decoded:
        """What a codec makes of each message; a message that it fails at costs that message alone.

        Values, texts and refusals of a message depend on that message and the codec alone, but for one that is near
        the limits of time or memory.  A message is refused as ``malformed`` when the codec throws, returns ``errors``
        or nothing of use, or had to be stopped; as ``missing_value`` when it gives no number.

        Raises:
            ConfigurationError: As for :meth:`check`.
        """
        with self._lock:
            self._load(codec)
            parts: list[_Part] = []
            refused: list[Refusal] = []
            for first, end in _chunks(messages):
                self._decode(codec, messages, first, end, parts, refused)
            return _assembled(parts, refused, len(messages.payloads))

    def _decode(
        self, codec: Codec, messages: Payloads, first: int, end: int, parts: list[_Part], refused: list[Refusal]
    ) -> None:
        """Decodes a range of messages, again in parts where one of them was stopped."""
        open_ = [(first, end)]
        while open_:
            first, end = open_.pop()
            stops = sum(refusal.detail.startswith("stopped: ") for refusal in refused)
            if stops >= MOST_STOPS:
                refused += [Refusal(place, Reason.MALFORMED.value, _STOPPED) for place in range(first, end)]
                continue
            answer = self._run(codec, messages, first, end)
            if answer.header is not None and "texts" in answer.header:
                parts.append(_Part(first, json.loads(answer.header["texts"]), answer.body))
                continue
            header = answer.header or {"detail": "ended the process that it ran in"}
            place, known = _guilty(answer, first, end)
            if known:
                refused.append(Refusal(place, Reason.MALFORMED.value, f"stopped: {header['detail']}"))
            alone = [] if known else [(place, place + 1)]
            ranges = [(first, place), *alone, (place + 1, end)]
            open_ += [each for each in reversed(ranges) if each[0] < each[1]]

    def _run(self, codec: Codec, messages: Payloads, first: int, end: int) -> Answer:
        self._load(codec)
        body = _body(messages, first, end)
        answer = self._running().ask({"op": "run", "codec": codec.key, "count": end - first}, body)
        if answer.header is None or answer.header.get("dead"):
            self._replace()
        return answer

    def _load(self, codec: Codec) -> None:
        if codec.key in self._loaded and self._process is not None:
            return
        request = {"op": "load", "codec": codec.key, "source": codec.source}
        answer = self._running().ask(request)
        if answer.header is None:
            # A spare process may have been ended while it waited; a codec that ends it does so again.
            self._replace()
            answer = self._running().ask(request)
        header = answer.header
        if header is None:
            header = {"error": "ends the process that it runs in", "dead": True}
        if header.get("dead"):
            self._replace()
        error = header.get("error") or header.get("detail")
        if error:
            hint = "a codec is plain JavaScript with function decodeUplink(input), without import, export or require"
            raise ConfigurationError(f"{codec.name}: is no codec: {error}", hint)
        self._loaded.add(codec.key)

    def _running(self) -> Process:
        if self._process is None:
            self._process, self._spare = self._spare or Process(self._limits), None
            self._loaded.clear()
        if self._spare is None:
            self._spare = Process(self._limits)
        return self._process

    def _replace(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None


def _guilty(answer: Answer, first: int, end: int) -> tuple[int, bool]:
    """The message for which a range was stopped, and whether that is certain."""
    if end - first == 1:
        return first, True
    if answer.header is None:
        return min(first + answer.at, end - 1), False
    place = first + int(answer.header["stuck"])
    if place >= end:
        # Stopped behind the last message: all of them together were too much.
        return (first + end) // 2, False
    # The machine may have been away for a moment; a message that is late again is late.
    is_late = answer.header["detail"].startswith(LATE) and not answer.header.get("dead")
    return place, not is_late


def _chunks(messages: Payloads) -> Iterator[tuple[int, int]]:
    """Ranges of messages that are handed over at once."""
    lengths = pc.binary_length(messages.payloads).fill_null(0).to_numpy()
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        fits = int(np.searchsorted(ends, before + CHUNK_BYTES, "right"))
        end = max(first + 1, min(fits, first + CHUNK_MESSAGES))
        yield first, end
        first = end


def _body(messages: Payloads, first: int, end: int) -> bytes:
    """A range of messages as the driver reads them."""
    payloads = messages.payloads.slice(first, end - first).fill_null(b"")
    lengths = pc.binary_length(payloads).to_numpy().astype(np.int32)
    times = np.floor(messages.received[first:end] / 1000).astype(np.float64)
    ports = messages.ports[first:end].astype(np.int32)
    return b"".join([times.tobytes(), lengths.tobytes(), ports.tobytes(), *payloads.to_pylist()])


def _assembled(parts: list[_Part], refused: list[Refusal], messages: int) -> Decoded:
    names: dict[str, int] = {}
    units: dict[str, int] = {}
    metadata: dict[int, str] = {}
    warnings: dict[int, str] = {}
    columns: list[tuple[npt.NDArray[Any], ...]] = [
        _columns(_Part(0, {"count": 0, "names": [], "units": []}, b""), {}, {})
    ]
    for part in sorted(parts):
        columns.append(_columns(part, names, units))
        metadata |= {part.first + place: text for place, text in part.texts["metadata"]}
        warnings |= {part.first + place: text for place, text in part.texts["warned"]}
        refused += [Refusal(part.first + place, reason, detail) for place, reason, detail in part.texts["refused"]]
    message, name, unit, value, time = (np.concatenate(each) for each in zip(*columns, strict=True))
    return Decoded(
        message=message,
        name=coded(name, list(names)),
        value=value,
        unit=coded(unit, list(units)),
        timestamp=own_times(time),
        metadata=spread(metadata, messages),
        warnings=spread(warnings, messages),
        refused=sorted(refused),
    )


def _columns(part: _Part, names: dict[str, int], units: dict[str, int]) -> tuple[npt.NDArray[Any], ...]:
    """message, name, unit, value and time of a part's values, by names and units of the whole batch."""
    count = part.texts["count"]
    value = np.frombuffer(part.columns, np.float64, count)
    time = np.frombuffer(part.columns, np.float64, count, 8 * count)
    message, name, unit = (np.frombuffer(part.columns, np.int32, count, (16 + 4 * k) * count) for k in range(3))
    places = np.array([names.setdefault(each, len(names)) for each in part.texts["names"]], np.int64)
    unit_places = np.array([*(units.setdefault(each, len(units)) for each in part.texts["units"]), -1], np.int64)
    return message.astype(np.int64) + part.first, places[name] if count else places[:0], unit_places[unit], value, time
