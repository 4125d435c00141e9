"""Readings, windows, scores and alerts as InfluxDB line protocol, a column at a time.

A line is a row of tokens — series, field keys, field values, time, line feed — and a block's lines are **one** take
from a pool of the distinct tokens, so that the bytes of any run of lines lie side by side in one buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telebeam.io.influxdb.series import Series, series_of, tags_of
from telebeam.io.influxdb.spec import Dataset, InfluxSpec
from telebeam.io.influxdb.tokens import EMPTY, TEXT, Tokens
from telebeam.transforms.schema import AGGREGATES, DICTIONARY, TIMESTAMP, cast

PRECISION = "us"
"""The unit of the times in the lines: our event times are microseconds, so nothing is rounded."""

BLOCK_ROWS = 65_536  # rows built at once; bounds what the tokens of a large batch take in memory
MAX_MICROSECONDS = 9_223_372_036_854_775  # InfluxDB keeps int64 nanoseconds: years 1677 to 2262
_SAMPLE_ROWS = 4096
_QUOTE = '"'
"""What stands for a number's suffix where a field is a text."""
_MAX_CHARACTERS = 16_000  # of at most four bytes each: InfluxDB keeps 64 KB of a text

Indices = npt.NDArray[np.int64]
Present = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lines:
    """Points in line protocol.

    Args:
        text: The lines, each with its line feed, as large binary.
        rows: For each line the row of the batch that it came from.
        times: For each line its time in microseconds.
    """

    text: pa.LargeBinaryArray
    rows: Indices
    times: Indices

    def __len__(self) -> int:
        return len(self.text)

    def slice(self, start: int, stop: int) -> Lines:
        """The lines from ``start`` to before ``stop``, without a copy."""
        return Lines(self.text[start:stop], self.rows[start:stop], self.times[start:stop])

    def take(self, indices: Indices) -> Lines:
        """The lines at the given places, in their order."""
        return Lines(self.text.take(pa.array(indices)), self.rows[indices], self.times[indices])

    def body(self) -> bytes:
        """The bytes of all lines, as a request carries them."""
        if not len(self):
            return b""
        offsets = np.frombuffer(self.text.buffers()[1], np.int64)[self.text.offset : self.text.offset + len(self) + 1]
        body: bytes = self.text.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0])).to_pybytes()
        return body


@dataclass(frozen=True)
class RefusedPoints:
    """Points that can't be written.

    Args:
        rows: For each the row of the batch that it came from.
        text: For each its line, or the line as it would have been.
        details: For each what is wrong with it.
    """

    rows: Indices
    text: pa.LargeBinaryArray
    details: pa.StringArray

    def __len__(self) -> int:
        return len(self.rows)


def reading_lines(batch: pa.RecordBatch, spec: InfluxSpec) -> tuple[Lines, RefusedPoints]:
    r"""One point for each reading: fields ``value`` and ``quality_score``, both floats, at the event time.

    A field that is null, NaN or infinite is left out; a point without any is unrepresentable.

    >>> spec = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:TOKEN")
    >>> batch = pa.RecordBatch.from_pylist([{
    ...     "tenant": "default", "device_id": "boiler-1", "timestamp": 1700000000000000, "sensor_type": "temperature",
    ...     "measurement_type": "temperature", "value": 21.5, "unit": "celsius", "location": "hall 2",
    ...     "quality_score": 1.0,
    ... }])
    >>> lines, refused = reading_lines(batch, spec)
    >>> for part in lines.body().decode().replace(",location", "\n,location").replace(" value", "\n value").split("\n"):
    ...     print(part)
    iot_measurements,device_id=boiler-1
    ,location=hall\ 2,measurement_type=temperature,sensor_type=temperature,unit=celsius
     value=21.5,quality_score=1 1700000000000000
    <BLANKLINE>

    Args:
        batch: Rows with the columns of ``READINGS``; text may be dictionary-encoded.
        spec: Names of measurement and tags.
    """
    return _all_lines(batch, "readings", {"value": "", "quality_score": ""}, "timestamp", spec)


def window_lines(batch: pa.RecordBatch, spec: InfluxSpec) -> tuple[Lines, RefusedPoints]:
    """One point for each window at its start: field ``count`` an integer, every other aggregate a float.

    ``window_seconds`` is a tag, so that windows of different length are different series.  A null, NaN or infinite
    aggregate is left out.

    Args:
        batch: Rows with the columns of ``WINDOWS``; text may be dictionary-encoded.
        spec: Names of measurement and tags.
    """
    return _all_lines(batch, "windows", {"count": "i", **dict.fromkeys(AGGREGATES, "")}, "window_start", spec)


def score_lines(batch: pa.RecordBatch, spec: InfluxSpec) -> tuple[Lines, RefusedPoints]:
    """One point for each reading that was scored: field ``anomaly_score``, the highest that a detector gives it.

    Measurement, tags and time are the reading's, so the field joins the reading's own point.  All scores of a reading
    have to be in one batch: of two batches the later one holds.

    Args:
        batch: Rows with the columns of ``SCORES``; text may be dictionary-encoded.
        spec: Names of measurement and tags.
    """
    highest = _highest(batch, spec)
    lines, refused = _all_lines(batch.take(pa.array(highest)), "scores", {"anomaly_score": ""}, "timestamp", spec)
    return (
        Lines(lines.text, highest[lines.rows], lines.times),
        RefusedPoints(highest[refused.rows], refused.text, refused.details),
    )


def alert_lines(batch: pa.RecordBatch, spec: InfluxSpec) -> tuple[Lines, RefusedPoints]:
    """One point for each change of an alert: numbers value, expected and score, texts message and alert_id.

    What is null, NaN or infinite is left out.  A control character in a text, which line protocol can't carry, becomes
    a space; a message ends after 16,000 characters, for InfluxDB keeps 64 KB.

    Args:
        batch: Rows with the columns of ``ALERTS``; text may be dictionary-encoded.
        spec: Names of measurement and tags.
    """
    fields = {**dict.fromkeys(("value", "expected", "score"), ""), "message": _QUOTE, "alert_id": _QUOTE}
    return _all_lines(batch, "alerts", fields, "timestamp", spec)


LINES: dict[Dataset, Callable[[pa.RecordBatch, InfluxSpec], tuple[Lines, RefusedPoints]]] = {
    "readings": reading_lines,
    "windows": window_lines,
    "scores": score_lines,
    "alerts": alert_lines,
}
"""Dataset → what makes its lines."""


def _highest(batch: pa.RecordBatch, spec: InfluxSpec) -> Indices:
    """For each series and time the row of the highest score, the first of equals; ascending."""
    if not batch.num_rows:
        return np.zeros(0, np.int64)
    codes = series_of(tags_of(batch, "scores", spec), "", 0, batch.num_rows).codes
    at = _microseconds(batch.column("timestamp"))
    score = pc.fill_null(batch.column("anomaly_score"), np.nan).to_numpy(zero_copy_only=False)
    order = np.lexsort((np.arange(batch.num_rows), -score, at, codes))
    is_first = np.ones(batch.num_rows, np.bool_)
    is_first[1:] = (np.diff(codes[order]) != 0) | (np.diff(at[order]) != 0)
    highest: Indices = np.sort(order[is_first]).astype(np.int64)
    return highest


def _all_lines(
    batch: pa.RecordBatch, dataset: Dataset, fields: dict[str, str], time: str, spec: InfluxSpec
) -> tuple[Lines, RefusedPoints]:
    tags = tags_of(batch, dataset, spec)
    texts, times = [], []
    faulty: list[tuple[Indices, pa.StringArray]] = []
    for start in range(0, batch.num_rows, BLOCK_ROWS):
        block = batch.slice(start, BLOCK_ROWS)
        at = _microseconds(block.column(time))
        series = series_of(tags, spec.measurement(dataset), start, start + block.num_rows)
        text, empty = _block_text(block, series, fields, at)
        rows, details = _problems(series, at, empty)
        faulty.append((rows + start, details))
        texts.append(text)
        times.append(at)
    if not texts:
        nothing = np.zeros(0, np.int64)
        return Lines(_NO_TEXT, nothing, nothing), RefusedPoints(nothing, _NO_TEXT, pa.array([], pa.string()))
    text = pa.concat_arrays(texts) if len(texts) > 1 else texts[0]
    lines = Lines(text, np.arange(batch.num_rows), np.concatenate(times))
    bad = np.concatenate([rows for rows, _ in faulty])
    refused = RefusedPoints(bad, text.take(pa.array(bad)), pa.concat_arrays([details for _, details in faulty]))
    if len(bad):
        lines = lines.take(np.setdiff1d(lines.rows, bad, assume_unique=True))
    return lines, refused


_NO_TEXT = pa.array([], pa.large_binary())


def _microseconds(column: Any) -> Indices:
    times: Indices = pc.cast(pc.cast(column, TIMESTAMP), pa.int64()).to_numpy()
    return times


def _block_text(
    block: pa.RecordBatch, series: Series, fields: dict[str, str], at: Indices
) -> tuple[pa.LargeBinaryArray, Present]:
    """The lines of a block, and which of them have no field."""
    tokens = Tokens(block.num_rows)
    tokens.columns.append(series.codes + tokens.add(series.keys))
    begun: Present = np.zeros(block.num_rows, np.bool_)
    for name, suffix in fields.items():
        begun = _add_field(tokens, name, suffix, block.column(name), begun)
    tokens.columns.append(tokens.add(pa.array([" "], TEXT)))
    tokens.columns.append(tokens.add(pc.cast(pa.array(at), TEXT)) + np.arange(block.num_rows))
    tokens.columns.append(tokens.add(pa.array(["\n"], TEXT)))
    return tokens.joined().view(pa.large_binary()), ~begun


def _add_field(tokens: Tokens, name: str, suffix: str, column: Any, begun: Present) -> Present:
    """Append a field's key and value where it has one; returns which rows have had a field so far."""
    if suffix == _QUOTE:
        present = np.asarray(pc.is_valid(column))
        texts, codes = _quoted_texts(column)
    else:
        present = np.asarray(pc.fill_null(pc.is_finite(column), False))
        texts, codes = _number_texts(column)
    if suffix and suffix != _QUOTE:
        texts = pc.binary_join_element_wise(texts, pa.scalar(suffix, TEXT), EMPTY)
    # The first field of a line follows a space, the others a comma; an absent one is two empty tokens.
    first = tokens.add(pa.array([f" {name}=", f",{name}=", ""], TEXT))
    values = codes + tokens.add(texts)
    if present.all() and (begun.all() or not begun.any()):
        tokens.columns += [first + int(begun.any()), values]
    else:
        tokens.columns += [np.where(present, first + begun, first + 2), np.where(present, values, first + 2)]
    have: Present = begun | present
    return have


def _quoted_texts(column: Any) -> tuple[pa.LargeStringArray, Indices]:
    """Texts as fields carry them, and for each row which of them is its own."""
    encoded = cast(column, DICTIONARY)
    texts = pc.utf8_slice_codeunits(pc.cast(encoded.dictionary, TEXT), 0, _MAX_CHARACTERS)
    texts = pc.replace_substring_regex(texts, r"\p{Cc}", " ")
    for character in ("\\", '"'):
        texts = pc.replace_substring(texts, character, "\\" + character)
    texts = pc.binary_join_element_wise(pa.scalar(_QUOTE, TEXT), texts, pa.scalar(_QUOTE, TEXT), EMPTY)
    # One more, so that rows without a value have something to point at.
    texts = pa.concat_arrays([texts, pa.array([""], TEXT)])
    codes: Indices = pc.fill_null(encoded.indices, len(texts) - 1).to_numpy().astype(np.int64)
    return texts, codes


def _number_texts(column: Any) -> tuple[pa.LargeStringArray, Indices]:
    """The shortest texts that read back as the same numbers, and for each row which of them is its own."""
    bits = pc.fill_null(column, 0).view(pa.int64())  # by bits, because -0.0 == 0.0
    sample = bits[:_SAMPLE_ROWS]
    if len(pc.unique(sample)) > len(sample) // 2:
        return pc.cast(bits.view(column.type), TEXT), np.arange(len(column))
    # Sensors repeat themselves: printing each distinct number once is several times cheaper.
    encoded = bits.dictionary_encode()
    codes: Indices = encoded.indices.to_numpy().astype(np.int64)
    return pc.cast(encoded.dictionary.view(column.type), TEXT), codes


def _problems(series: Series, at: Indices, empty: Present) -> tuple[Indices, pa.StringArray]:
    """The rows that can't be written and why."""
    details: list[Any] = list(_row_problems(series, at, empty))
    if not details:
        return np.zeros(0, np.int64), pa.array([], pa.string())
    words = pc.coalesce(*details)
    rows: Indices = np.flatnonzero(np.asarray(pc.is_valid(words)))
    return rows, words.take(pa.array(rows))


def _row_problems(series: Series, at: Indices, empty: Present) -> Iterator[pa.StringArray]:
    nothing = pa.scalar(None, pa.string())
    if series.problems.null_count < len(series.problems):
        yield series.problems.take(pa.array(series.codes))
    beyond = (at > MAX_MICROSECONDS) | (at < -MAX_MICROSECONDS)
    if beyond.any():
        words = pa.scalar("time is outside of what int64 nanoseconds hold (years 1677 to 2262)")
        yield pc.if_else(pa.array(beyond), words, nothing)
    if empty.any():
        yield pc.if_else(pa.array(empty), pa.scalar("point has no finite field"), nothing)
