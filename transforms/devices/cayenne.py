"""CayenneLPP: payloads of fields, each a channel, a type and big-endian numbers; decoded a column at a time.

Types, sizes and scales are those of the Cayenne Low Power Payload description (IPSO object numbers less 3200) and of
the types that network servers have added to it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.devices.decoded import Decoded, Refusal, coded, own_times
from telebeam.transforms.schema import TEXT, Reason


class Part(NamedTuple):
    """One number of a field."""

    name: str
    size: int
    signed: bool
    divisor: int
    unit: str | None = None


TYPES: dict[int, tuple[Part, ...]] = {
    0: (Part("digital_in", 1, False, 1),),
    1: (Part("digital_out", 1, False, 1),),
    2: (Part("analog_in", 2, True, 100),),
    3: (Part("analog_out", 2, True, 100),),
    100: (Part("generic", 4, False, 1),),
    101: (Part("illuminance", 2, False, 1, "lux"),),
    102: (Part("presence", 1, False, 1),),
    103: (Part("temperature", 2, True, 10, "celsius"),),
    104: (Part("humidity", 1, False, 2, "percent"),),
    113: tuple(Part(f"acceleration_{axis}", 2, True, 1000, "standard_gravities") for axis in "xyz"),
    115: (Part("pressure", 2, False, 10, "hpa"),),
    116: (Part("voltage", 2, False, 100, "volts"),),
    117: (Part("current", 2, False, 1000, "amperes"),),
    118: (Part("frequency", 4, False, 1, "hertz"),),
    120: (Part("percentage", 1, False, 1, "percent"),),
    121: (Part("altitude", 2, True, 1, "meters"),),
    125: (Part("concentration", 2, False, 1, "ppm"),),
    128: (Part("power", 2, False, 1, "watts"),),
    130: (Part("distance", 4, False, 1000, "meters"),),
    131: (Part("energy", 4, False, 1000, "kilowatt_hours"),),
    132: (Part("direction", 2, False, 1, "degrees"),),
    133: (Part("unix_time", 4, False, 1, "seconds"),),
    134: tuple(Part(f"rotation_{axis}", 2, True, 100, "degrees/second") for axis in "xyz"),
    135: tuple(Part(f"color_{name}", 1, False, 1) for name in ("red", "green", "blue")),
    136: (
        Part("latitude", 3, True, 10_000, "degrees"),
        Part("longitude", 3, True, 10_000, "degrees"),
        Part("gps_altitude", 3, True, 100, "meters"),
    ),
    142: (Part("switch", 1, False, 1),),
}
"""Type → the numbers of its field."""

_PARTS = [part for parts in TYPES.values() for part in parts]
_FIRST_PART = {kind: _PARTS.index(parts[0]) for kind, parts in TYPES.items()}
_UNITS = sorted({part.unit for part in _PARTS if part.unit})
_UNIT_CODES = np.array([_UNITS.index(part.unit) if part.unit else -1 for part in _PARTS], np.int64)
_SIZES = np.zeros(256, np.int64)
for _kind, _parts in TYPES.items():
    _SIZES[_kind] = sum(part.size for part in _parts)
_HEAD = 2
"""Bytes of a field before its numbers: the channel and the type."""

Integers = npt.NDArray[np.int64]


class _Values(NamedTuple):
    """Numbers as they are found: by field, not yet by message."""

    message: Integers
    start: Integers
    part: Integers
    channel: Integers
    value: npt.NDArray[np.float64]


def decode_cayenne_lpp(payloads: pa.LargeBinaryArray) -> Decoded:
    """The values of CayenneLPP payloads, named by type and channel: ``temperature_1``, ``acceleration_x_3``.

    Every name has its channel's number, so that what a measurement is called does not depend on what else a message
    holds.  A message with an unknown type or a field that is cut off is refused as ``malformed`` as a whole, an empty
    one as ``missing_value``.

    Args:
        payloads: binary or large_binary[n], null for empty.

    >>> decoded = decode_cayenne_lpp(pa.array([bytes.fromhex("03670110056700FF"), bytes.fromhex("016700")]))
    >>> decoded.name.to_pylist(), decoded.value.tolist(), decoded.refused[0].detail
    (['temperature_3', 'temperature_5'], [27.2, 25.5], 'the field at byte 0 is cut off')
    """
    data, offsets = _bytes(payloads)
    position, ends = offsets[:-1].copy(), offsets[1:]
    details: dict[int, str] = {}
    found: list[_Values] = []
    # The k-th fields of all messages at once; a message has at most some eighty.
    rows = np.flatnonzero(position < ends)
    while len(rows):
        start = position[rows]
        kind = np.where(start + 1 < ends[rows], data[np.minimum(start + 1, len(data) - 1)], 0)
        size = _SIZES[kind]
        cut = start + _HEAD + np.maximum(size, 1) > ends[rows]
        unknown = ~cut & (size == 0)
        for place in np.flatnonzero(cut | unknown).tolist():
            at = int(start[place] - offsets[rows[place]])
            words = f"the field at byte {at} " + ("is cut off" if cut[place] else f"has the unknown type {kind[place]}")
            details[int(rows[place])] = words
        rows, start, kind, size = (each[~(cut | unknown)] for each in (rows, start, kind, size))
        found += _fields(data, rows, start, kind)
        position[rows] = start + _HEAD + size
        rows = rows[position[rows] < ends[rows]]
    return _decoded(found, details, offsets)


def _bytes(payloads: pa.Array) -> tuple[npt.NDArray[np.uint8], Integers]:
    """All bytes, and where each payload begins and the last one ends."""
    payloads = payloads.cast(pa.large_binary())
    if payloads.null_count:
        payloads = pc.fill_null(payloads, b"")
    _, places, held = payloads.buffers()
    if not len(payloads) or held is None:
        return np.zeros(0, np.uint8), np.zeros(len(payloads) + 1, np.int64)
    offsets = np.frombuffer(places, np.int64)[payloads.offset : payloads.offset + len(payloads) + 1]
    return np.frombuffer(held, np.uint8), offsets


def _fields(data: npt.NDArray[np.uint8], rows: Integers, start: Integers, kind: Integers) -> list[_Values]:
    """The numbers of one field of each of some messages, type by type."""
    values = []
    order = np.argsort(kind, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1) if len(order) else []:
        at = start[places]
        channel = data[at].astype(np.int64)
        code = int(kind[places[0]])
        place = at + _HEAD
        for number, part in enumerate(TYPES[code]):
            value = _integers(data, place, part) / part.divisor
            which = np.full(len(places), _FIRST_PART[code] + number, np.int64)
            values.append(_Values(rows[places], place, which, channel, value))
            place = place + part.size
    return values


def _integers(data: npt.NDArray[np.uint8], place: Integers, part: Part) -> Integers:
    number = np.zeros(len(place), np.int64)
    for k in range(part.size):
        number = (number << 8) | data[place + k]
    if part.signed:
        number -= (number >> (8 * part.size - 1)) << (8 * part.size)
    return number


def _decoded(found: list[_Values], details: dict[int, str], offsets: Integers) -> Decoded:
    messages = len(offsets) - 1
    none = np.zeros(0, np.int64)
    nothing = _Values(none, none, none, none, none.astype(np.float64))
    message, start, part, channel, value = (np.concatenate(each) for each in zip(nothing, *found, strict=True))
    # A number's place in the bytes orders by message and field alike.
    order = np.argsort(start, kind="stable")
    if details:
        refused = np.zeros(messages, np.bool_)
        refused[list(details)] = True
        order = order[~refused[message[order]]]
    part, channel = part[order], channel[order]
    keys = part * 256 + channel
    used = np.flatnonzero(np.bincount(keys, minlength=1))
    place = np.zeros(len(_PARTS) * 256, np.int64)
    place[used] = np.arange(len(used))
    names = [f"{_PARTS[key // 256].name}_{key % 256}" for key in used.tolist()]
    refusals = [Refusal(row, Reason.MALFORMED.value, detail) for row, detail in details.items()]
    empty = np.flatnonzero(np.diff(offsets) == 0).tolist()
    refusals += [Refusal(row, Reason.MISSING_VALUE.value, "the payload is empty") for row in empty]
    return Decoded(
        message=message[order],
        name=coded(place[keys], names),
        value=value[order],
        unit=coded(_UNIT_CODES[part], _UNITS),
        timestamp=own_times(np.full(len(order), np.nan)),
        metadata=pa.nulls(messages, TEXT),
        warnings=pa.nulls(messages, TEXT),
        refused=sorted(refusals),
    )
