"""Units of Parquet hold every row once, under its place, whatever the row groups; damage is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telebeam.io.files import parquet, units
from telebeam.io.files.parquet import read_parquet_unit
from telebeam.io.files.units import Unit, plan_units
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import READINGS, conform
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet

SPEC = ParseSpec()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts every few rows, as if files were a thousand times as long."""
    monkeypatch.setattr(units, "UNIT_ROWS", 10)
    monkeypatch.setattr(parquet, "SLICE_ROWS", 10)


def table(rows: int, first: int = MIDNIGHT) -> pa.Table:
    return pa.table({
        "device_id": pa.array([f"dev-{n % 3}" for n in range(rows)], pa.string()),
        "timestamp": pa.array(first + np.arange(rows) * 1_000_000).cast(pa.timestamp("us", "UTC")),
        "sensor_type": pa.array(["temperature"] * rows, pa.string()),
        "value": np.arange(float(rows)),
    })  # fmt: skip


def write(path: Path, sizes: list[int], **options: Any) -> pa.Table:
    rows = table(sum(sizes))
    with pq.ParquetWriter(path, rows.schema, **options) as writer:
        first = 0
        for size in sizes:
            writer.write_table(rows.slice(first, size), row_group_size=max(size, 1))
            first += size
    return rows


def plan(path: Path, span: tuple[int, int] | None = None, spec: ParseSpec = SPEC) -> list[Unit]:
    return plan_units(str(path.parent), path.name, "parquet", span, spec)


def read(path: Path, span: tuple[int, int] | None = None, spec: ParseSpec = SPEC) -> list[pa.RecordBatch]:
    return [batch for unit in plan(path, span, spec) for batch in read_parquet_unit("fleet", unit, spec)]


@pytest.mark.usefixtures("small")
def test_every_row_is_there_once_with_its_group_and_place(tmp_path: Path):
    path = tmp_path / "a.parquet"

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(st.lists(st.one_of(st.integers(0, 4), st.integers(0, 35)), min_size=1, max_size=12))
    @example([0])
    @example([0, 0, 0])
    @example([100])
    @example([1] * 30)
    @example([3, 50, 0, 3])
    @example([10, 10])
    @example([5, 5, 5])
    def law(sizes: list[int]) -> None:
        write(path, sizes)
        batches = read(path)
        values = [value for batch in batches for value in batch.column("value").to_pylist()]
        assert values == [float(n) for n in range(sum(sizes))]
        places = [
            (batch.column("source_partition")[n].as_py(), batch.column("source_offset")[n].as_py())
            for batch in batches
            for n in range(batch.num_rows)
        ]
        assert places == [(group, n) for group, size in enumerate(sizes) for n in range(size)]
        names = [batch.schema.metadata[UNIT] for batch in batches]
        assert len(set(names)) == len(names)
        assert all(batch.num_rows <= 10 for batch in batches)

    law()


def test_one_huge_row_group_comes_in_slices(tmp_path: Path):
    write(tmp_path / "a.parquet", [600_000])
    assert [batch.num_rows for batch in read(tmp_path / "a.parquet")] == [262_144, 262_144, 75_712]


def test_many_tiny_row_groups_are_one_unit(tmp_path: Path):
    write(tmp_path / "a.parquet", [3] * 300)
    batches = read(tmp_path / "a.parquet")
    assert [batch.num_rows for batch in batches] == [900]


def test_an_archive_of_our_own_keeps_its_sources(tmp_path: Path):
    batch = conform(fleet(100, seed=1), READINGS)
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "a.parquet", row_group_size=30)
    found = pa.Table.from_batches(read(tmp_path / "a.parquet"))
    for name in ("source", "source_partition", "source_offset"):
        assert found[name].to_pylist() == batch.column(name).to_pylist()


@pytest.mark.parametrize("column", ["source", "source_partition", "source_offset"])
def test_an_archive_without_all_of_a_source_gets_its_own(tmp_path: Path, column: str):
    rows = pa.Table.from_batches([conform(fleet(10, seed=1), READINGS)])
    holes = pa.array([None, *rows[column].to_pylist()[1:]], rows.schema.field(column).type)
    with_holes = rows.set_column(rows.schema.get_field_index(column), pa.field(column, holes.type), holes)
    for number, other in enumerate([rows.drop_columns([column]), with_holes]):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(other, path)
        found = read(path)[0]
        assert found.column("source").to_pylist() == [path.name] * 10
        assert found.column("source_offset").to_pylist() == list(range(10))


def test_a_file_without_rows_is_no_unit_whatever_its_columns_are(tmp_path: Path):
    # An empty column of objects is written by pandas as one of nulls.
    pq.write_table(pa.table({"device_id": pa.nulls(0), "value": pa.nulls(0)}), tmp_path / "a.parquet")
    assert plan(tmp_path / "a.parquet") == []


# A range of time

KINDS = {"ms": 1000, "us": 1, "ns": None}


@pytest.mark.parametrize("unit", list(KINDS))
@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize("first", [MIDNIGHT, -3_000_000])
def test_pruning_skips_units_and_loses_no_row(tmp_path: Path, unit: str, version: str, first: int):
    rows = table(100, first)
    times = rows["timestamp"].cast(pa.timestamp(unit, "UTC"))
    path = tmp_path / "a.parquet"
    options: dict[str, Any] = (
        {"version": version, "allow_truncated_timestamps": True} if unit == "ns" else {"version": version}
    )
    schema = rows.set_column(1, "timestamp", times).schema
    with pq.ParquetWriter(path, schema, **options) as writer:
        writer.write_table(rows.set_column(1, "timestamp", times), row_group_size=10)
    whole = split(path)
    for start, end in [(0, 100), (5, 6), (9, 11), (50, 50), (95, 200), (-50, 0), (-50, 1), (100, 200)]:
        span = first + start * 1_000_000, first + end * 1_000_000
        kept = [unit for unit in whole if unit in split(path, span)]
        values = [v for unit in kept for b in read_parquet_unit("f", unit, SPEC) for v in b.column("value").to_pylist()]
        assert {float(n) for n in range(100) if start <= n < end} <= set(values)
        assert len(kept) <= max(0, end - start) // 10 + 2


def split(path: Path, span: tuple[int, int] | None = None) -> list[Unit]:
    """A unit for each row group."""
    before, units.UNIT_ROWS = units.UNIT_ROWS, 1
    try:
        return plan(path, span)
    finally:
        units.UNIT_ROWS = before


def write_with(path: Path, **columns: pa.Array) -> None:
    rows = table(10)
    for name, column in columns.items():
        index = rows.schema.get_field_index(name)
        rows = rows.append_column(name, column) if index < 0 else rows.set_column(index, name, column)
    pq.write_table(rows, path)


OUTSIDE = MIDNIGHT + 5 * HOUR, MIDNIGHT + 6 * HOUR


def test_a_unit_outside_of_the_span_is_not_read(tmp_path: Path):
    write_with(tmp_path / "a.parquet")
    assert plan(tmp_path / "a.parquet", OUTSIDE) == []


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kathmandu", "America/Los_Angeles"])
def test_naive_times_are_pruned_with_a_day_to_spare(tmp_path: Path, zone: str | None):
    write_with(tmp_path / "a.parquet", timestamp=table(10)["timestamp"].cast(pa.timestamp("us")))
    spec = ParseSpec(timezone=zone)
    assert len(plan(tmp_path / "a.parquet", OUTSIDE, spec)) == 1
    assert plan(tmp_path / "a.parquet", (MIDNIGHT + 48 * HOUR, MIDNIGHT + 49 * HOUR), spec) == []


def test_the_column_that_is_mapped_decides_and_not_one_that_is_called_timestamp(tmp_path: Path):
    later = pa.array([OUTSIDE[0]] * 10).cast(pa.timestamp("us", "UTC"))
    write_with(tmp_path / "a.parquet", measured_at=later)
    spec = ParseSpec(fields={"timestamp": "measured_at"})
    assert len(plan(tmp_path / "a.parquet", OUTSIDE, spec)) == 1
    assert plan(tmp_path / "a.parquet", (MIDNIGHT, MIDNIGHT + HOUR), spec) == []


@pytest.mark.parametrize(
    "times",
    [pa.array(["2026-01-01T00:00:00Z"] * 10), pa.array([MIDNIGHT] * 10), pa.array([MIDNIGHT / 1e6] * 10)],
    ids=["text", "integer", "double"],
)
def test_times_that_are_no_timestamps_are_not_pruned(tmp_path: Path, times: pa.Array):
    write_with(tmp_path / "a.parquet", timestamp=times)
    assert len(plan(tmp_path / "a.parquet", OUTSIDE)) == 1


def test_without_statistics_nothing_is_pruned(tmp_path: Path):
    write(tmp_path / "a.parquet", [5, 5], write_statistics=False)
    assert len(plan(tmp_path / "a.parquet", OUTSIDE)) == 1


def test_times_beyond_a_datetime_are_no_obstacle(tmp_path: Path):
    times = pa.array([2**62, -(2**62)] * 5).cast(pa.timestamp("us", "UTC"))
    write_with(tmp_path / "a.parquet", timestamp=times)
    assert len(plan(tmp_path / "a.parquet", OUTSIDE)) == 1


def test_a_nested_time_is_pruned_by_its_own_statistics(tmp_path: Path):
    rows = table(10)
    data = pa.StructArray.from_arrays([rows["timestamp"].combine_chunks()], names=["at"])
    pq.write_table(rows.drop_columns(["timestamp"]).append_column("data", data), tmp_path / "a.parquet")
    spec = ParseSpec(fields={"timestamp": "data.at"})
    assert plan(tmp_path / "a.parquet", OUTSIDE, spec) == []
    assert len(plan(tmp_path / "a.parquet", (MIDNIGHT, MIDNIGHT + HOUR), spec)) == 1


# Bad files


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"a,b\n1,2\n", b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_a_file_of_another_format_is_named_with_a_hint(tmp_path: Path, content: bytes):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.parquet is no readable Parquet file.*\n  hint: "):
        plan(path)


def test_a_file_without_our_columns_is_named_with_what_it_has(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"colour": ["red"]}), path)
    with pytest.raises(SourceError, match=r"a\.parquet is no archive of readings: no device_id, .*colour\n  hint: "):
        read(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_named(tmp_path: Path, share: float):
    path = tmp_path / "a.parquet"
    write(path, [1000])
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(SourceError, match=r"a\.parquet"):
        read(path)


def attempt(path: Path) -> list[pa.RecordBatch] | str:
    """The batches, or what was said of the file."""
    try:
        return read(path)
    except SourceError as error:
        return str(error)


def test_a_flipped_bit_of_a_file_with_checksums_is_found_or_does_no_harm(tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, [300, 300], write_page_checksum=True, compression="zstd")
    good = path.read_bytes()
    whole = pa.Table.from_batches(read(path))
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    for bit in np.random.default_rng(3).integers(32, footer * 8, 300).tolist():
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found = attempt(path)
        assert "a.parquet" in found if isinstance(found, str) else pa.Table.from_batches(found).equals(whole)


def test_a_damaged_footer_never_ends_in_anything_but_a_source_error(tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, [300, 300])
    good = path.read_bytes()
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    draw = np.random.default_rng(4)
    found = 0
    for byte in draw.integers(footer, len(good), 300).tolist():
        damaged = bytearray(good)
        damaged[byte] = int(draw.integers(0, 256))
        path.write_bytes(damaged)
        result = attempt(path)
        if isinstance(result, str):
            assert "a.parquet" in result
            found += 1
    assert found > 60
