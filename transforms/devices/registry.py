"""The registry of devices: an immutable table of what is true of each device from when on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.transforms.cleansing.dictionaries import Encoded
from telebeam.transforms.devices.asof import AsOf
from telebeam.transforms.devices.rows import REGISTRY, Status, problems_of, tidy
from telebeam.transforms.errors import ConfigurationError

ALWAYS = int(np.iinfo(np.int64).min)
"""``valid_from`` of a row without one."""

_IDENTITY_TEXTS = ("device_type", "tenant", "location", "group", "status")
_MOST_PROBLEMS = 20
"""Problems that a message lists."""
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Registry:
    """A snapshot of the registry; two of equal rows have equal fingerprints, in whatever order the rows came.

    Args:
        rows: :data:`REGISTRY`, checked and sorted: made by :meth:`of`.
    """

    rows: pa.RecordBatch

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Registry:
        """The registry of these rows, in any order.

        Raises:
            ConfigurationError: A row is wrong; the message names it by its number from 1.
        """
        rows = tidy(rows)
        problems = list(problems_of(rows))
        if problems:
            lines = [f"row {each.row + 1}: {each.column}: {each.text}" for each in problems[:_MOST_PROBLEMS]]
            raise ConfigurationError("the device registry is wrong\n  " + "\n  ".join(lines), problems[0].hint)
        order = [(name, "ascending", "at_start") for name in ("device_id", "sensor_type", "valid_from")]
        return cls(rows.take(pc.sort_indices(rows, sort_keys=order)))

    @classmethod
    def empty(cls) -> Registry:
        """A registry without devices."""
        return cls(pa.RecordBatch.from_pylist([], schema=REGISTRY))

    @cached_property
    def fingerprint(self) -> str:
        """64 hexadecimal digits that are the same for equal rows and differ for others."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The rows as an Arrow stream."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, REGISTRY) as writer:
            writer.write_batch(self.rows)
        data: bytes = sink.getvalue().to_pybytes()
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Registry:
        """The registry that :meth:`to_bytes` wrote."""
        return cls(pa.ipc.open_stream(data).read_next_batch())

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def _devices(self) -> pa.RecordBatch:
        """The rows that tell of a device as a whole."""
        return self.rows.filter(self.rows.column("sensor_type").is_null())

    @cached_property
    def _sensors(self) -> pa.RecordBatch:
        """The rows that calibrate one sensor."""
        return self.rows.filter(self.rows.column("sensor_type").is_valid())

    @cached_property
    def _names(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.rows.column("device_id").unique().to_pylist())}

    @property
    def device_ids(self) -> list[str]:
        """Every device, in order; a device's place is its code."""
        return list(self._names)

    def codes(self, device_ids: pa.StringArray) -> Codes:
        """int64[n]: each device's code, -1 where it is not in the registry."""
        names = self._names
        return np.array([names.get(name, -1) for name in device_ids.to_pylist()], np.int64)

    def _codes_of_rows(self, rows: pa.RecordBatch) -> Codes:
        column = rows.column("device_id").dictionary_encode()
        return self.codes(column.dictionary)[column.indices.to_numpy()] if len(rows) else np.zeros(0, np.int64)

    @cached_property
    def device_codes(self) -> Codes:
        """int64[r]: the device of each row of :attr:`devices`."""
        return self._codes_of_rows(self._devices)

    @cached_property
    def devices(self) -> AsOf:
        """Device code and time → row of :meth:`texts`, :attr:`status` and :attr:`calibration`."""
        return AsOf(self.device_codes, self.since)

    @cached_property
    def sensors(self) -> AsOf:
        """Device code × :attr:`sensor_types` + sensor type and time → row of :attr:`sensor_calibration`."""
        types = self._sensors.column("sensor_type").dictionary_encode()
        places = np.array([self.sensor_types[name] for name in types.dictionary.to_pylist()], np.int64)
        keys = self._codes_of_rows(self._sensors) * max(len(self.sensor_types), 1)
        return AsOf(keys + (places[types.indices.to_numpy()] if len(types) else 0), moments(self._sensors))

    @cached_property
    def sensor_types(self) -> dict[str, int]:
        """The sensor types that have a calibration of their own, and their codes in order."""
        return {
            name: code for code, name in enumerate(sorted(self._sensors.column("sensor_type").unique().to_pylist()))
        }

    @cached_property
    def _texts(self) -> dict[str, Encoded]:
        return {name: encode_optional(self._devices.column(name)) for name in _IDENTITY_TEXTS}

    def texts(self, name: str) -> Encoded:
        """A text column over the rows of :attr:`devices`, -1 for null."""
        return self._texts[name]

    @cached_property
    def status(self) -> npt.NDArray[np.int8]:
        """int8[r]: each row's :class:`Status`."""
        codes, texts = self.texts("status")
        names = [Status[text.upper()] for text in texts.to_pylist()]
        return np.array([*names, Status.ACTIVE], np.int8)[codes]

    @cached_property
    def since(self) -> Codes:
        """int64[r]: from when each row of :attr:`devices` holds, in µs since 1970; :data:`ALWAYS` for since ever."""
        return moments(self._devices)

    @cached_property
    def calibration(self) -> Calibration:
        """The calibrations of the rows of :attr:`devices`."""
        return Calibration.of(self._devices)

    @cached_property
    def sensor_calibration(self) -> Calibration:
        """The calibrations of the rows of :attr:`sensors`."""
        return Calibration.of(self._sensors)


class Calibration(NamedTuple):
    """Unit, scale and offset of rows; a row may have none of them."""

    unit: Encoded
    """Code -1 for a row without a unit."""
    scale: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    changes: npt.NDArray[np.bool_]
    """Where scale and offset change a value at all."""

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Calibration:
        """The calibrations of rows of :data:`REGISTRY`."""
        scale = rows.column("scale").fill_null(1.0).to_numpy()
        offset = rows.column("offset").fill_null(0.0).to_numpy()
        return cls(encode_optional(rows.column("unit")), scale, offset, (scale != 1) | (offset != 0))


def encode_optional(column: pa.StringArray) -> Encoded:
    """The column as codes into its distinct texts, -1 for null."""
    encoded = column.dictionary_encode()
    return Encoded(encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary)


def moments(rows: pa.RecordBatch) -> Codes:
    """int64[r]: ``valid_from`` in µs since 1970."""
    numbers: Codes = rows.column("valid_from").cast(pa.int64()).fill_null(ALWAYS).to_numpy()
    return numbers
