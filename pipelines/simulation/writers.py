"""Where a simulation goes: text files and Parquet archives, published when they are complete."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from telebeam.io.kafka.spec import check_servers, check_topic
from telebeam.pipelines.simulation.batches import ARCHIVE, MALFORMED_VALUES, Batches
from telebeam.pipelines.simulation.fleet import Fleet
from telebeam.pipelines.simulation.payloads import CSV_HEADER, MALFORMED_CSV, MALFORMED_JSON, Payloads
from telebeam.pipelines.simulation.rows import Rows
from telebeam.transforms.errors import ConfigurationError

ROW_GROUP_ROWS = 131_072
"""Readers skip by row group; this is also what the lake writes."""

# The fastest level: simulated text is written once and read soon.
_GZIP_LEVEL = 1
_OTHER_COMPRESSIONS = (".bz2", ".xz", ".zip", ".lz4", ".br", ".Z")

_EXAMPLE = "write jsonl:fleet.jsonl, csv:fleet.csv.gz, parquet:archive or kafka:localhost:9092/TOPIC"


@dataclass(frozen=True)
class Target:
    """What is written where."""

    kind: Literal["jsonl", "csv", "parquet", "kafka"]
    path: Path
    """The file, for Parquet the folder, and for Kafka the topic's name, which names the labels and the manifest."""
    servers: str = ""
    """Kafka's brokers."""

    @property
    def truth(self) -> Path:
        """Where the labels go; beside the data under an ending that no glob over the data finds."""
        return self.path.with_name(f"{self.path.name}.truth.ndjson")

    @property
    def manifest(self) -> Path:
        """Where it is written down what was simulated."""
        return self.path.with_name(f"{self.path.name}.simulation.json")

    @property
    def malformed(self) -> tuple[str, ...]:
        """The ways in which a record of this kind can be malformed."""
        json = tuple(MALFORMED_JSON)
        return {"jsonl": json, "kafka": json, "csv": tuple(MALFORMED_CSV), "parquet": MALFORMED_VALUES}[self.kind]


def parse_target(text: str) -> Target:
    """The target of ``jsonl:PATH``, ``csv:PATH`` (or ``.gz``, ``.zst``), ``parquet:FOLDER``, ``kafka:SERVERS/TOPIC``.

    >>> parse_target("jsonl:out/fleet.jsonl.zst").truth.as_posix()
    'out/fleet.jsonl.zst.truth.ndjson'

    Raises:
        ConfigurationError: Another scheme, no path, a path that is not local, or an unknown compression.
    """
    kind, colon, path = text.partition(":")
    if kind == "kafka":
        return _topic(text, path)
    if not colon or kind not in ("jsonl", "csv", "parquet"):
        raise ConfigurationError(
            f"{text!r} is no target; expected jsonl:PATH, csv:PATH, parquet:FOLDER or kafka:SERVERS/TOPIC", _EXAMPLE
        )
    if "://" in path:
        raise ConfigurationError(f"{text!r} is not a local path", "simulate into a local path and copy it there")
    if not path.strip() or "\0" in path or not Path(path).name.strip("."):
        raise ConfigurationError(f"{text!r} names no {'folder' if kind == 'parquet' else 'file'}", _EXAMPLE)
    if kind != "parquet" and path.endswith(_OTHER_COMPRESSIONS):
        raise ConfigurationError(f"{text!r} has a compression that is not written", "end the path in .gz or .zst")
    return Target(kind, Path(path).expanduser())  # type: ignore[arg-type]


def _topic(text: str, place: str) -> Target:
    servers, slash, topic = place.rpartition("/")
    try:
        return Target("kafka", Path(check_topic(topic)), check_servers(servers))
    except ValueError as error:
        what = str(error) if slash else "no topic"
        raise ConfigurationError(f"{text!r} is no target: {what}; expected kafka:HOST:PORT/TOPIC", _EXAMPLE) from error


class Writer(Protocol):
    """One open file of a simulation."""

    def write(self, rows: Rows) -> None:
        """Appends readings."""

    def close(self) -> None:
        """Completes the file."""


class TextWriter:
    """JSON lines or CSV.

    Args:
        path: The file; its ending says how it is compressed.
        payloads: What makes text of readings.
        header: The file's first bytes.
    """

    def __init__(self, path: Path, payloads: Payloads, header: bytes = b"") -> None:
        self._payloads = payloads
        self._raw = path.open("wb")
        self._file: Any = self._raw
        if path.name.endswith(".gz"):
            # Neither a name nor a time in the header: two runs are to be equal.
            self._file = gzip.GzipFile("", "wb", _GZIP_LEVEL, self._raw, mtime=0)
        elif path.name.endswith(".zst"):
            self._file = pa.CompressedOutputStream(self._raw, "zstd")
        self._file.write(header)

    def write(self, rows: Rows) -> None:
        """Appends readings; a record's readings are not cut apart."""
        lines = self._payloads.lines(rows)
        _, offsets, data = lines.buffers()
        edges = np.frombuffer(offsets, dtype=np.int64)[lines.offset : lines.offset + len(lines) + 1]
        self._file.write(memoryview(data)[edges[0] : edges[-1]])

    def close(self) -> None:
        """Completes the file."""
        if self._file is not self._raw:
            self._file.close()
        self._raw.close()


class ArchiveWriter:
    """A Parquet file in our columns: zstd, page checksums, row groups of :data:`ROW_GROUP_ROWS`.

    Args:
        path: The file.
        batches: What makes batches of readings.
    """

    def __init__(self, path: Path, batches: Batches) -> None:
        self._batches = batches
        self._held: list[pa.RecordBatch] = []
        self._rows = 0
        texts = [field.name for field in ARCHIVE if pa.types.is_string(field.type)]
        # Without Arrow's own schema a reader gets plain text, whatever was encoded on the way here.
        self._writer = pq.ParquetWriter(
            path, batches.schema, compression="zstd", compression_level=1, use_dictionary=texts,
            write_page_checksum=True, store_schema=False,
        )  # fmt: skip

    def write(self, rows: Rows) -> None:
        """Appends readings."""
        batch = self._batches.batch(rows)
        self._held.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._flush(self._rows - self._rows % ROW_GROUP_ROWS)

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._held)
        self._writer.write_table(table.slice(0, rows), row_group_size=ROW_GROUP_ROWS)
        self._held = table.slice(rows).to_batches()
        self._rows -= rows

    def close(self) -> None:
        """Completes the file."""
        if self._rows:
            self._flush(self._rows)
        self._writer.close()


def writer_factory(target: Target, fleet: Fleet) -> Callable[[Path], Writer]:
    """A function that opens a :class:`Writer` for a path."""
    if target.kind == "parquet":
        batches = Batches(fleet)
        return lambda path: ArchiveWriter(path, batches)
    payloads = Payloads(fleet, csv=target.kind == "csv")
    header = CSV_HEADER if target.kind == "csv" else b""
    return lambda path: TextWriter(path, payloads, header)
