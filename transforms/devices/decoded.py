"""What decoders of devices' payloads give: values by message, and the messages that gave none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.cleansing.units import SENSOR_UNITS
from telebeam.transforms.schema import DICTIONARY, TEXT, TIMESTAMP


class Payloads(NamedTuple):
    """What a batch of n messages is decoded from."""

    payloads: pa.LargeBinaryArray
    """large_binary[n], null for none."""
    ports: npt.NDArray[np.int64]
    """int64[n]: LoRaWAN's fPort; 0 where there is none."""
    received: npt.NDArray[np.int64]
    """int64[n]: µs since 1970; the time that a codec's clock shows."""


class Refusal(NamedTuple):
    """Why a message gave no values: ``reason`` and ``detail`` as the rejects have them."""

    message: int
    reason: str
    detail: str


class Decoded(NamedTuple):
    """The values of a batch of n messages: m values, in the order of their messages."""

    message: npt.NDArray[np.int64]
    """int64[m]: each value's message, by its place in the batch; ascending."""
    name: pa.DictionaryArray
    """text[m]: the measurement's name."""
    value: npt.NDArray[np.float64]
    """float64[m], perhaps not finite."""
    unit: pa.DictionaryArray
    """text[m]; null where the decoder names none."""
    timestamp: pa.TimestampArray
    """timestamp[m]: of values that bring their own time; null for the message's."""
    metadata: pa.StringArray
    """text[n]: a JSON object of the texts that a message held; null for none."""
    warnings: pa.StringArray
    """text[n]: what the decoder warned of; null for nothing."""
    refused: Sequence[Refusal]
    """One for each message that gave no value, in their order."""


def sensor_types(names: pa.DictionaryArray) -> pa.DictionaryArray:
    """The sensor type of each measurement's name; see :func:`sensor_type_of`."""
    types = pa.array([sensor_type_of(name) for name in names.dictionary.to_pylist()], TEXT).dictionary_encode()
    codes = np.append(types.indices.to_numpy(), -1)[names.indices.fill_null(-1).to_numpy()] if len(names) else []
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), types.dictionary)


@lru_cache(maxsize=4096)
def sensor_type_of(name: str) -> str:
    """The known sensor type with which a name ends, else the name; without the numbers behind it.

    >>> [sensor_type_of(name) for name in ("temperature_1", "air_Temperature", "supply_voltage", "digital_in_2")]
    ['temperature', 'temperature', 'voltage', 'digital_in']
    """
    parts = name.strip().lower().split("_")
    while len(parts) > 1 and parts[-1].isdigit():
        parts.pop()
    endings = ("_".join(parts[place:]) for place in range(len(parts)))
    return next((ending for ending in endings if ending in SENSOR_UNITS), "_".join(parts))


def spread(texts: dict[int, str], rows: int) -> pa.StringArray:
    """text[rows]: each text at its row, null elsewhere."""
    if not texts:
        return pa.nulls(rows, TEXT)
    places = np.full(rows, -1, np.int64)
    places[list(texts)] = np.arange(len(texts))
    return pa.array(list(texts.values()), TEXT).take(pa.array(places, mask=places < 0))


def coded(codes: npt.NDArray[np.integer], texts: Sequence[str]) -> pa.DictionaryArray:
    """A text column of codes, -1 for null."""
    numbers = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(numbers, pa.array(texts, TEXT)).cast(DICTIONARY)


def own_times(milliseconds: npt.NDArray[np.float64]) -> pa.TimestampArray:
    """Times from milliseconds since 1970; NaN is null."""
    none = np.isnan(milliseconds)
    micros = np.rint(np.where(none, 0, milliseconds) * 1000).astype(np.int64)
    return pa.array(micros, mask=none).cast(TIMESTAMP)
