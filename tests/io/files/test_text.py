"""Units of text hold every record once, under its number, whatever the lines and wherever the cuts."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.io.files import text, units
from telebeam.io.files.text import read_text_unit
from telebeam.io.files.units import plan_units
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.csv import CSV_HEADER
from telebeam.transforms.schema import ENVELOPES, conform

FIXED = settings(derandomize=True, deadline=None, max_examples=80)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts every few lines and bytes, as if files were a million times as long."""
    for module in (units, text):
        monkeypatch.setattr(module, "UNIT_ROWS", 4)
        monkeypatch.setattr(module, "UNIT_BYTES", 32)
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 200)
        monkeypatch.setattr(module, "_BLOCK", 16)


def batches_of(path: Path, kind: str = "jsonl") -> list[pa.RecordBatch]:
    return [
        batch
        for unit in plan_units(str(path.parent), path.name, kind, None)
        for batch in read_text_unit("fleet", unit, kind)
    ]


def records_of(path: Path, kind: str = "jsonl") -> list[bytes]:
    """All records, after making sure that they are numbered from 0 and that no two batches share a name."""
    batches = batches_of(path, kind)
    numbers = [number for batch in batches for number in batch.column("source_offset").to_pylist()]
    assert numbers == list(range(len(numbers)))
    names = [batch.schema.metadata[UNIT] for batch in batches]
    assert len(set(names)) == len(names)
    assert all(set(batch.column("source").to_pylist()) <= {path.name} for batch in batches)
    return [record for batch in batches for record in conform(batch, ENVELOPES).column("payload").to_pylist()]


def lines_of(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return [line.removesuffix(b"\r") for line in (lines[:-1] if lines[-1] == b"" else lines)]


CONTENT = st.lists(
    st.tuples(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"x")), st.sampled_from([b"\n", b"\r\n", b"\n\n"])),
    max_size=30,
).map(lambda lines: b"".join(line + end for line, end in lines))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("packed", [False, True])
def test_every_line_is_there_once_with_its_number(packed: bool, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("lines")

    @FIXED
    @given(CONTENT, st.booleans())
    @example(b"", False)
    @example(b"\n", False)
    @example(b"\n\n\n\n\n\n\n\n\n\n", False)
    @example(b"\r\n\r\n", False)
    @example(b"{}", False)
    @example(b"a\r", False)
    @example(b"x" * 15 + b"\n" + b"y" * 15 + b"\n", False)
    @example((b"x" * 31 + b"\n") * 3, False)
    @example(b"a\n" * 4, False)
    @example(b"a\n" * 9, True)
    def law(content: bytes, is_open: bool) -> None:
        content = content.removesuffix(b"\n") if is_open else content
        path = folder / ("a.jsonl.gz" if packed else "a.jsonl")
        path.write_bytes(gzip.compress(content) if packed else content)
        assert records_of(path) == lines_of(content)

    law()


@pytest.mark.usefixtures("small")
def test_a_unit_is_no_longer_than_its_rows_and_bytes(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"a\n" * 1000 + (b"b" * 40 + b"\n") * 10)
    planned = plan_units(str(tmp_path), path.name, "jsonl", None)
    assert all(batch.num_rows <= 4 for batch in batches_of(path))
    assert planned[0][3:] == (0, 8, 0)
    assert max(unit.end - unit.start for unit in planned) <= 32 + 41
    assert [(a.end, b.start) for a, b in pairwise(planned) if a.end != b.start] == []


def test_units_are_the_same_for_short_and_for_long_reads(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"0123456789\n" * 600_000)
    planned = plan_units(str(tmp_path), path.name, "jsonl", None)
    assert [unit.first_row for unit in planned] == [0, 262_144, 524_288]
    assert sum(batch.num_rows for batch in batches_of(path)) == 600_000


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
def test_a_line_that_does_not_end_is_an_error_that_names_the_file(name: str, tmp_path: Path):
    content = b"a,b\n" + b"x" * 500 + b"\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(SourceError, match=rf"{name}: a record is longer than"):
        batches_of(path, "csv" if name == "a.csv" else "jsonl")


FIELDS = st.text(st.sampled_from('ab,"\n\r 1ü'), max_size=12)


@pytest.mark.usefixtures("small")
def test_every_csv_record_is_there_once_quoted_line_ends_included(tmp_path: Path):
    @FIXED
    @given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=12), st.sampled_from(["\n", "\r\n"]))
    def law(rows: list[tuple[str, str]], end: str) -> None:
        buffer = io.StringIO(newline="")
        csv.writer(buffer, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("device_id", "value"), *rows])
        path = tmp_path / "a.csv"
        path.write_bytes(buffer.getvalue().encode())
        records = records_of(path, "csv")
        found = [next(csv.reader(io.StringIO(record.decode(), newline=""))) for record in records]
        assert found == [list(row) for row in rows]
        assert all(CSV_HEADER in batch.schema.metadata for batch in batches_of(path, "csv"))

    law()


@pytest.mark.parametrize(
    "content", [b"", b"device_id,value\n", b"device_id,value", "\ufeffdevice_id,value\r\n".encode()]
)
def test_a_csv_file_without_records_has_none(content: bytes, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(content)
    assert records_of(tmp_path / "a.csv", "csv") == []


@pytest.mark.parametrize("header", [b"a,a\n1,2\n", b"a,,b\n1,2,3\n", b"\xff,a\n1,2\n", b"\n1\n"])
def test_a_bad_header_is_an_error_that_names_the_file(header: bytes, tmp_path: Path):
    (tmp_path / "a.csv").write_bytes(header)
    with pytest.raises(SourceError, match=r"a\.csv: the header"):
        batches_of(tmp_path / "a.csv", "csv")


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    return bz2.compress(content) if name.endswith(".bz2") else pa.compress(content, codec="zstd", asbytes=True)


CONTENT_LINES = b"".join(b'{"n": %d, "hash": %d}\n' % (n, hash((n, n * n))) for n in range(20_000))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
def test_packed_files_are_unpacked(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(packed(name, CONTENT_LINES))
    assert records_of(tmp_path / name) == lines_of(CONTENT_LINES)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.bz2"])
def test_packed_files_one_behind_the_other_are_one_file(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(packed(name, b"a\n") + packed(name, b"b\n"))
    assert records_of(tmp_path / name) == [b"a", b"b"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.csv.gz"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.9999])
def test_a_packed_file_that_was_cut_off_is_an_error(name: str, share: float, tmp_path: Path):
    whole = packed(name, CONTENT_LINES)
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError, match=rf"{name} can't be read.*\n  hint: "):
        batches_of(tmp_path / name, "csv" if "csv" in name else "jsonl")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
def test_a_file_that_is_not_packed_as_it_says_is_an_error(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b'{"plain": true}\n' * 100)
    with pytest.raises(SourceError, match=name):
        batches_of(tmp_path / name)


@pytest.mark.parametrize("name", ["a b.jsonl", "ü.jsonl", "50%.jsonl", "a#1.jsonl", "what?.jsonl"])
def test_any_name_is_read(name: str, tmp_path: Path):
    (tmp_path / name).write_bytes(b"{}\n")
    assert records_of(tmp_path / name) == [b"{}"]


def test_a_file_that_went_away_is_named(tmp_path: Path):
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    planned = plan_units(str(tmp_path), "a.jsonl", "jsonl", None)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        list(read_text_unit("fleet", planned[0], "jsonl"))
    with pytest.raises(SourceError, match=r"a\.jsonl"):
        plan_units(str(tmp_path), "a.jsonl", "jsonl", None)
