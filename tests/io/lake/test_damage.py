"""Bit rot and cut files are errors that name the file, or do no harm; never wrong rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SourceError
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet

FLIPS = 250


@pytest.fixture
def file(lake: LakeSpec) -> Path:
    batch = fleet(800, seed=1, hours=0.9).replace_schema_metadata({UNIT: b"unit"})
    return Path(lake.path) / LakeWriter(lake, "readings").write(batch)[0].path


def footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def attempt(lake: LakeSpec, hour: int) -> list[pa.Table] | SourceError:
    """Readings and windows computed anew, or what was said of a file."""
    try:
        readings = Lake(lake.path).readings()
        recompute_windows(lake, 60, hour)
        return [readings, Lake(lake.path).windows(60)]
    except SourceError as error:
        return error


@pytest.mark.parametrize("part", ["pages", "footer"])
def test_a_flipped_bit_is_found_or_does_no_harm(lake: LakeSpec, file: Path, part: str):
    good = file.read_bytes()
    hour = MIDNIGHT // HOUR
    recompute_windows(lake, 60, hour)
    rows, windows = Lake(lake.path).readings(), Lake(lake.path).windows(60)
    begin, end = (4, footer_start(good)) if part == "pages" else (footer_start(good), len(good))
    found = 0
    for bit in np.random.default_rng(5).integers(begin * 8, end * 8, FLIPS).tolist():
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        result = attempt(lake, hour)
        if isinstance(result, SourceError):
            assert file.name in result.message, bit
            assert result.hint
            found += 1
        else:
            assert [table.equals(was) for table, was in zip(result, (rows, windows), strict=True)] == [True, True], bit
    assert found > FLIPS * (0.9 if part == "pages" else 0.2)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_named(lake: LakeSpec, file: Path, keep: float):
    good = file.read_bytes()
    file.write_bytes(good[: int(keep * len(good)) if keep < 1 else int(keep)])
    with pytest.raises(SourceError, match=file.name):
        recompute_windows(lake, 60, MIDNIGHT // HOUR)
    with pytest.raises(SourceError, match="damaged"):
        Lake(lake.path).readings()


def test_a_foreign_file_among_the_readings_is_named(lake: LakeSpec, file: Path):
    pq.write_table(pa.table({"a": [1]}), file.parent / "foreign.parquet")
    with pytest.raises(SourceError, match=r"foreign\.parquet"):
        recompute_windows(lake, 60, MIDNIGHT // HOUR)
    with pytest.raises(SourceError, match=r"foreign\.parquet"):
        Lake(lake.path).readings()
