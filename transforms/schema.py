"""The columns of every dataset, as Arrow schemas, and the closed lists of codes.

The contract is :data:`DATASETS`: what stands in the lake.
In flight the text columns of few distinct values are dictionary-encoded (see :func:`in_flight`), so that a kernel
trims or compares a device id once a batch and not once a row; :func:`conform` turns either form into the other.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

TIMESTAMP = pa.timestamp("us", tz="UTC")
TEXT = pa.string()
DICTIONARY = pa.dictionary(pa.int32(), TEXT)


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_ORIGIN = [
    _required("source", TEXT),
    _required("source_partition", pa.int32()),
    _required("source_offset", pa.int64()),
]

ENVELOPES = pa.schema(
    [
        _required("payload", pa.large_binary()),
        pa.field("key", TEXT),  # the message's key or topic, where a device id may stand: devices/{id}/telemetry
        *_ORIGIN,
    ]
)
"""One row is one record as a source delivered it, not yet parsed."""

READINGS = pa.schema(
    [
        _required("tenant", TEXT),
        _required("device_id", TEXT),
        _required("timestamp", TIMESTAMP),
        _required("sensor_type", TEXT),
        _required("measurement_type", TEXT),
        _required("value", pa.float64()),
        _required("unit", TEXT),
        pa.field("location", TEXT),
        _required("quality_score", pa.float64()),
        _required("issues", pa.list_(pa.field("element", TEXT))),
        pa.field("metadata", TEXT),
        _required("is_late", pa.bool_()),
        *_ORIGIN,
    ]
)
"""One row is one measured value."""

REJECTS = pa.schema(
    [
        _required("reason", TEXT),
        _required("detail", TEXT),
        _required("payload", pa.large_binary()),
        pa.field("device_id", TEXT),
        pa.field("timestamp", TIMESTAMP),
        *_ORIGIN,
        _required("rejected_at", TIMESTAMP),
        pa.field("key", TEXT),
        pa.field("content_type", TEXT),
        pa.field("published_at", TIMESTAMP),
    ]
)
"""One row is one record, or one value of a record, that can't be used; the last three are what else its message said.

``published_at`` is when the broker took it.
"""

MESSAGE = ("key", "content_type", "published_at")
"""The columns of rejects that say what parsing was given beside the payload; files of before lack them."""

REPLAYED = REJECTS.append(_required("replayed_at", TIMESTAMP))
"""One row is one reject that was parsed again, and whose readings stand in the lake."""

SERIES = ("tenant", "device_id", "sensor_type", "measurement_type", "unit", "location")
"""The columns that name a series: what is aggregated together."""

_SERIES_FIELDS = [READINGS.field(name) for name in SERIES]
AGGREGATES = (
    "mean", "std", "min", "max", "sum", "first", "last", "p50", "p95", "p99", "trend_per_second", "quality_mean",
)  # fmt: skip

WINDOWS = pa.schema(
    [
        *_SERIES_FIELDS,
        _required("window_start", TIMESTAMP),
        _required("window_end", TIMESTAMP),
        _required("window_seconds", pa.int64()),
        _required("count", pa.int64()),
        *[pa.field(name, pa.float64(), nullable=name in ("std", "trend_per_second")) for name in AGGREGATES],
        _required("revision", pa.int32()),
    ]
)
"""One row is one series in one window.

``trend_per_second`` is null where all timestamps are the same; it and ``std`` are null where a value is beyond ±2**480.
"""

QUALITY = pa.schema(
    [
        _required("pipeline", TEXT),
        _required("scope", TEXT),  # total | sensor_type | device
        pa.field("tenant", TEXT),
        pa.field("device_id", TEXT),
        pa.field("sensor_type", TEXT),
        _required("total", pa.int64()),
        _required("valid", pa.int64()),
        _required("invalid", pa.int64()),
        _required("valid_rate", pa.float64()),
        _required("quality_mean", pa.float64()),
        _required("top_issues", pa.list_(pa.field("element", pa.struct([("issue", TEXT), ("count", pa.int64())])))),
        pa.field("first_timestamp", TIMESTAMP),
        pa.field("last_timestamp", TIMESTAMP),
    ]
)
"""One row is one run's quality over all, over a sensor type, or over a device."""

SCORES = pa.schema(
    [
        *_SERIES_FIELDS,
        _required("timestamp", TIMESTAMP),
        _required("value", pa.float64()),
        *_ORIGIN,
        _required("detector", TEXT),
        pa.field("expected", pa.float64()),
        _required("anomaly_score", pa.float64()),
        _required("is_anomaly", pa.bool_()),
    ]
)
"""One row is what one detector says of one reading.

While a detector warms up ``expected`` is null, ``anomaly_score`` 0 and ``is_anomaly`` false.
"""

ALERTS = pa.schema(
    [
        _required("alert_id", TEXT),
        _required("rule", TEXT),
        _required("tenant", TEXT),
        pa.field("device_id", TEXT),
        pa.field("sensor_type", TEXT),
        pa.field("measurement_type", TEXT),
        pa.field("location", TEXT),
        _required("timestamp", TIMESTAMP),
        _required("alert_type", TEXT),
        _required("severity", TEXT),
        _required("state", TEXT),
        _required("message", TEXT),
        pa.field("value", pa.float64()),
        pa.field("expected", pa.float64()),
        pa.field("score", pa.float64()),
    ]
)
"""One row is one change of an alert: ``firing``, and later ``resolved`` with the same ``alert_id``.

``severity`` is info, warning or critical.  An alert of a group of devices has no ``device_id``.
"""

COMMANDS = pa.schema(
    [
        _required("command_id", TEXT),
        _required("rule", TEXT),
        _required("tenant", TEXT),
        pa.field("device_id", TEXT),
        _required("timestamp", TIMESTAMP),
        _required("command", TEXT),
        pa.field("payload", TEXT),
    ]
)
"""One row is one command to a device, of a rule; ``payload`` is JSON text."""

LAST_N = pa.schema(
    [
        *_SERIES_FIELDS,
        _required("timestamp", TIMESTAMP),
        _required("value", pa.float64()),
        *_ORIGIN,
        _required("n", pa.int64()),
        _required("count", pa.int64()),
        _required("mean", pa.float64()),
        pa.field("std", pa.float64()),
        _required("min", pa.float64()),
        _required("max", pa.float64()),
        pa.field("trend_per_second", pa.float64()),
    ]
)
"""One row is what the last ``n`` readings of a series say at one of them, itself included.

``count`` is smaller than ``n`` while the series has fewer.  ``std`` and ``trend_per_second`` are null as in windows.
"""

DRIFT = pa.schema(
    [
        _required("pipeline", TEXT),
        _required("model", TEXT),
        _required("version", TEXT),
        _required("valid_from", TIMESTAMP),
        _required("tenant", TEXT),
        _required("sensor_type", TEXT),
        pa.field("device_type", TEXT),
        _required("feature", TEXT),
        _required("statistic", TEXT),  # psi | ks
        _required("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        _required("is_drift", pa.bool_()),
        _required("readings", pa.int64()),
        _required("window_start", TIMESTAMP),
        _required("window_end", TIMESTAMP),
    ]
)
"""One row is how far one feature of a group's readings is, over a span, from what a model's version was trained on.

``threshold`` is null, and ``is_drift`` false, where nothing is judged: the KS distance, and groups of few readings.
"""

DATASETS = {
    "readings": READINGS, "replayed": REPLAYED, "rejects": REJECTS, "windows": WINDOWS, "quality": QUALITY,
    "scores": SCORES, "alerts": ALERTS, "commands": COMMANDS, "drift": DRIFT, "last_n": LAST_N,
}  # fmt: skip

ADDED = {"rejects": frozenset(MESSAGE)}
"""Dataset → nullable columns that it has got since there are lakes: files without them hold nulls."""

_ENCODED = {*SERIES, "source", "detector", "rule"}


class Reason(StrEnum):
    """Why a record is refused: the closed list of ``rejects.reason``."""

    MALFORMED = "malformed"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LARGE = "too_large"
    UNKNOWN_FORMAT = "unknown_format"
    SCHEMA = "schema"
    MISSING_DEVICE_ID = "missing_device_id"
    BAD_DEVICE_ID = "bad_device_id"
    UNKNOWN_DEVICE = "unknown_device"
    MISSING_TIMESTAMP = "missing_timestamp"
    BAD_TIMESTAMP = "bad_timestamp"
    MISSING_VALUE = "missing_value"
    BAD_VALUE = "bad_value"
    FUTURE = "future"
    TOO_OLD = "too_old"
    BAD_FILE = "bad_file"
    UNREPRESENTABLE = "unrepresentable"
    REFUSED_BY_SINK = "refused_by_sink"


class Issue(StrEnum):
    """What was found or mended in a reading that is kept: the closed list of ``readings.issues``."""

    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_UNIT = "unknown_unit"
    WRONG_DIMENSION = "wrong_dimension"
    UNKNOWN_SENSOR_TYPE = "unknown_sensor_type"
    BAD_QUALITY_SCORE = "bad_quality_score"
    WRONG_TYPE = "wrong_type"
    CODEC_WARNING = "codec_warning"
    UNKNOWN_DEVICE = "unknown_device"
    DECOMMISSIONED_DEVICE = "decommissioned_device"


def in_flight(schema: pa.Schema) -> pa.Schema:
    """The schema with its columns of few distinct values dictionary-encoded."""
    return pa.schema([f.with_type(DICTIONARY) if f.name in _ENCODED else f for f in schema])


READINGS_IN_FLIGHT = in_flight(READINGS)
"""What travels between the transforms: :data:`READINGS` with encoded text."""
SCORES_IN_FLIGHT = in_flight(SCORES)
"""The same of :data:`SCORES`."""
LAST_N_IN_FLIGHT = in_flight(LAST_N)
"""The same of :data:`LAST_N`."""


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with exactly the schema's columns, in its order and types.

    Columns that the schema does not name are dropped; a nullable one that is absent becomes null.

    Raises:
        pyarrow.ArrowInvalid: A required column is absent or a cast would lose something.
    """
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index >= 0:
            columns.append(cast(batch.column(index), field.type))
        elif field.nullable:
            columns.append(pa.nulls(batch.num_rows, field.type))
        else:
            raise pa.ArrowInvalid(f"column {field.name!r} is absent")
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Safe cast that also encodes and decodes dictionaries, of large strings too."""
    if column.type == kind:
        return column
    if pa.types.is_dictionary(kind):
        if pa.types.is_dictionary(column.type):
            return pa.DictionaryArray.from_arrays(
                column.indices.cast(kind.index_type), column.dictionary.cast(kind.value_type)
            )
        return column.cast(kind.value_type).dictionary_encode()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.cast(column, kind)
