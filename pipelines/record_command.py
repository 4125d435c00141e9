"""``telebeam explain-record``."""

from __future__ import annotations

import json
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import pyarrow as pa
import typer

from telebeam.pipelines.shell import Config, Json, Overrides, examples, load, moment, report_console
from telebeam.transforms.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from telebeam.pipelines.record import Record
    from telebeam.pipelines.spec import PipelineSpec

record_app = typer.Typer()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER_BYTES = 1 << 20
"""How long a CSV file's header may be."""


@record_app.command(
    "explain-record",
    epilog=examples(
        "telebeam explain-record fleet.yaml message.bin --key devices/boiler-1/telemetry",
        "head -n 1 archive.jsonl | telebeam explain-record fleet.yaml - --at 2026-01-01T00:00:00Z --json",
    ),
)
def explain_record(
    config: Config,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="One payload, byte by byte; - for stdin.")],
    key: Annotated[str | None, typer.Option(help="The message's key or topic: devices/boiler-1/telemetry.")] = None,
    content_type: Annotated[str | None, typer.Option(help="The message's content type: application/cbor.")] = None,
    at: Annotated[str | None, typer.Option(help="The clock, as 2026-01-01T00:00:00Z; now unless given.")] = None,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    as_json: Json = False,
) -> None:
    """Send one payload through every step and say what each did to it; nothing is written or sent."""
    from telebeam.dashboards.record import print_record
    from telebeam.pipelines.record import explain_record as explain

    spec = load(Path(config), set_, secrets=False)
    clock = moment("--at", at)
    micros = ((clock or datetime.now(UTC)) - _EPOCH) // timedelta(microseconds=1)
    # An archive does not say when it took a record.
    published = micros if spec.source.is_stream or at is not None else None
    record = _record(spec, file, micros, key, content_type, published)
    explained = explain(spec, record)
    if as_json:
        # ASCII alone: JSON lets control characters beyond U+001F stand, and terminals obey some of them.
        sys.stdout.write(json.dumps(explained).replace("\x7f", "\\u007f") + "\n")
    else:
        print_record(report_console(), explained)


def _record(
    spec: PipelineSpec, name: str, at: int, key: str | None, content_type: str | None, published: int | None
) -> Record:
    from telebeam.pipelines.record import Record

    most = spec.parse.max_payload_bytes
    # A stream has no header lines: there CSV is told as what it is, a message that nothing is known of.
    is_csv = spec.source.kind == "csv" or (spec.parse.format == "csv" and not spec.source.is_stream)
    content, size = _read(name, most + 1 + _HEADER_BYTES * is_csv)
    header: dict[bytes, bytes] = {}
    if is_csv:
        content, header = _first_of_csv(content, name)
        size = len(content)
    elif spec.source.kind == "jsonl" and size is not None:
        content = content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content
        size = len(content)
    label = "stdin" if name == "-" else name
    return Record(content, at, label, key, content_type, published, header, size)


def _read(name: str, most: int) -> tuple[bytes, int | None]:
    """The first bytes of a file or of stdin, and how many there are where that is known.

    Raises:
        ConfigurationError: There is no such file, or it can't be read.
    """
    try:
        if name == "-":
            return _beginning(sys.stdin.buffer, most, None)
        with Path(name).open("rb") as opened:
            mode = Path(name).stat()
            return _beginning(opened, most, mode.st_size if stat.S_ISREG(mode.st_mode) else None)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{name!r} can't be read: {words}", "FILE holds one payload; - is stdin") from error


def _beginning(opened: BinaryIO, most: int, size: int | None) -> tuple[bytes, int | None]:
    content = opened.read(most)
    # A file that is still written, or one of a virtual filesystem, has another size than it says.
    return content, len(content) if len(content) < most else size


def _first_of_csv(content: bytes, name: str) -> tuple[bytes, dict[bytes, bytes]]:
    """The record behind the header line, and the header as envelopes have it.

    Raises:
        ConfigurationError: There is no header, or nothing behind it.
    """
    from telebeam.io.files.text import csv_records

    try:
        records, header = csv_records(pa.py_buffer(content), repr(name))
    except SourceError as error:
        raise ConfigurationError(error.message, "FILE holds a header line and then one record") from error
    if not len(records):
        raise ConfigurationError(f"{name!r} holds a header line and no record", "add the record on a line behind it")
    record: bytes = records[0].as_py()
    return record, header
