"""Which payloads break the JSON Schema of their device's type."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from telebeam.transforms.batches import codes
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.kernel import types_of
from telebeam.transforms.schema import TEXT, Reason


class Conforming(NamedTuple):
    """A batch in two: readings of payloads that conform, and one row for each payload that doesn't."""

    readings: pa.RecordBatch
    refused: pa.RecordBatch
    """The first reading of each such payload, with ``reason`` and ``detail``."""


def conforming(batch: pa.RecordBatch, fleet: Fleet) -> Conforming:
    """The readings whose payloads their device's type allows; one that it does not is one reject, of all its values.

    What a type with a codec sends is no JSON: there the schema is held against an object of the measurements' names and
    values, and of the texts that the codec gave.

    Args:
        batch: Readings in flight with ``payload``, the bytes of records.
        fleet: The types' schemas, and which device is of which type.
    """
    types = types_of(batch, fleet.registry)
    payload = batch.column("payload")
    numbers, places = codes(types), codes(payload)
    details: dict[int, str] = {}
    refused = np.zeros(batch.num_rows, np.bool_)
    for code, name in enumerate(types.dictionary.to_pylist()):
        rows = np.flatnonzero(numbers == code)
        if name not in fleet.schemas or not len(rows):
            continue
        owners, first, of = np.unique(places[rows], return_index=True, return_inverse=True)
        if name in fleet.codecs:
            texts = _decoded_texts(batch.take(pa.array(rows)), of, len(owners))
        else:
            texts = payload.dictionary.take(pa.array(owners))
        found = fleet.schemas[name](texts)
        bad = np.flatnonzero(~found.valid)
        if len(bad):
            refused[rows[np.isin(of, bad)]] = True
            why = found.detail.take(pa.array(bad)).to_pylist()
            details |= dict(zip(rows[first[bad]].tolist(), why, strict=True))
    return _split(batch, refused, details)


def _decoded_texts(rows: pa.RecordBatch, of: npt.NDArray[np.int64], payloads: int) -> pa.LargeBinaryArray:
    """For each payload the JSON object of what its codec made of it."""
    objects: list[dict[str, object]] = [{} for _ in range(payloads)]
    columns = (rows.column(name).to_pylist() for name in ("measurement_type", "value", "metadata"))
    for place, name, value, metadata in zip(of.tolist(), *columns, strict=True):
        if metadata is not None:
            objects[place] |= {key: text for key, text in msgspec.json.decode(metadata).items() if key not in _NETWORK}
        objects[place][name] = int(value) if value.is_integer() else value
    return pa.array([msgspec.json.encode(each) for each in objects], pa.large_binary())


_NETWORK = frozenset({"rssi", "snr", "gateway", "gateways", "f_cnt"})
"""What the network adds to metadata, and not the codec."""


def _split(batch: pa.RecordBatch, refused: npt.NDArray[np.bool_], details: dict[int, str]) -> Conforming:
    if not details:
        return Conforming(batch, _with_reasons(batch.slice(0, 0), []))
    ordered = sorted(details)
    return Conforming(
        batch.filter(pa.array(~refused)),
        _with_reasons(batch.take(pa.array(ordered)), [details[row] for row in ordered]),
    )


def _with_reasons(batch: pa.RecordBatch, details: list[str]) -> pa.RecordBatch:
    texts = [pa.array([Reason.SCHEMA.value] * len(details), TEXT), pa.array(details, TEXT)]
    fields = [pa.field(name, TEXT, nullable=False) for name in ("reason", "detail")]
    schema = pa.schema([*batch.schema, *fields], batch.schema.metadata)
    return pa.RecordBatch.from_arrays([*batch.columns, *texts], schema=schema)
