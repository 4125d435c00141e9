"""Archives and lakes in an object store that speaks S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from telebeam.io import storage
from telebeam.io.lake import Lake
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.pipelines.cli import app
from telebeam.transforms.aggregation.kernel import aggregate, extract
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import SinkError, SourceError
from telebeam.transforms.rejects import reject_batch
from telebeam.transforms.schema import READINGS, WINDOWS, conform
from tests.transforms.aggregation.samples import HOUR, MIDNIGHT, fleet, readings

KEY = [(name, "ascending") for name in WINDOWS.names[:7]]


@pytest.fixture
def bucket(s3: Any) -> str:
    return str(s3.create_bucket(f"bucket-{uuid4().hex[:8]}"))


@pytest.fixture
def lake(s3: Any, bucket: str) -> LakeSpec:
    return LakeSpec(path=s3.uri(f"{bucket}/a lake"))


def content_of(lake: LakeSpec) -> Iterator[tuple[str, bytes]]:
    root = storage.locate(lake.path)
    for path in storage.files_below(root, "", ending=""):
        content = storage.read(root, path)
        assert content is not None
        yield path, content.to_pybytes()


def parquet_bytes(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_batches([conform(batch, READINGS)]), sink)
    return bytes(sink.getvalue().to_pybytes())


@pytest.mark.parametrize(
    "name", ["a b.parquet", "ü.parquet", "50%.parquet", "a%20b.parquet", "a#1.parquet", "x=1/y.parquet"]
)
def test_an_object_of_any_name_is_found_and_read(s3: Any, bucket: str, name: str):
    s3.put(f"{bucket}/archive/{name}", b"content")
    single = storage.find(s3.uri(f"{bucket}/archive/{name}"))
    assert single == [name.rpartition("/")[2]]
    for pattern in ("archive", "archive/", "archive/**", "archive/**/*.parquet"):
        assert storage.find(s3.uri(f"{bucket}/{pattern}")) == [name]
    found = storage.read(storage.source_root(s3.uri(f"{bucket}/archive")), name)
    assert found is not None
    assert found.to_pybytes() == b"content"


def test_a_glob_with_a_question_mark_is_told_from_a_query(s3: Any, bucket: str):
    for name in ("a1.parquet", "a2.parquet", "a10.parquet", "a?.parquet"):
        s3.put(f"{bucket}/{name}", b"x")
    assert storage.find(s3.uri(f"{bucket}/a?.parquet")) == ["a1.parquet", "a2.parquet", "a?.parquet"]
    assert storage.find(s3.uri(f"{bucket}/a[?].parquet")) == ["a?.parquet"]


def test_hidden_folders_are_left_out(s3: Any, bucket: str):
    for name in ("a/_staging/x.parquet", "a/.b/x.parquet", "a/x.parquet"):
        s3.put(f"{bucket}/{name}", b"x")
    assert storage.find(s3.uri(f"{bucket}/a")) == ["x.parquet"]


def test_what_is_not_there_is_told(s3: Any, bucket: str, lake: LakeSpec):
    for path in (f"{bucket}/nothing", f"{bucket}/*.parquet", f"{bucket}/nothing/*", "no-such-bucket/x"):
        with pytest.raises(SourceError):
            storage.find(s3.uri(path))
    with pytest.raises(SinkError, match="no-such-bucket"):
        storage.probe(storage.locate(s3.uri("no-such-bucket/lake")))
    storage.probe(storage.locate(lake.path))
    assert list(content_of(lake)) == []


def test_a_lake_in_the_store_is_the_local_lake(lake: LakeSpec, tmp_path: Path):
    batch = fleet(3000, seed=1, hours=3).replace_schema_metadata({UNIT: b"unit"})
    local = LakeSpec(path=str(tmp_path))
    for spec in (lake, local):
        for file in LakeWriter(spec, "readings").write(batch):
            recompute_windows(spec, 60, file.first // HOUR)
    assert dict(content_of(lake)) == {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file() and "_staging" not in path.parts
    }
    windows = pa.Table.from_batches([conform(extract(aggregate(batch, 60), 60), WINDOWS)])
    assert Lake(lake.path).windows(60).sort_by(KEY).equals(windows.sort_by(KEY))
    assert Lake(lake.path).readings(devices=["dev-1"]).equals(Lake(local.path).readings(devices=["dev-1"]))
    with pytest.raises(SourceError, match="DuckDB"):
        Lake(lake.path).duckdb()


def test_a_unit_is_in_the_store_once_and_takes_its_old_files_along(lake: LakeSpec):
    writer = LakeWriter(lake, "readings")
    unit = {UNIT: b"unit"}
    writer.write(readings([1.0], [MIDNIGHT]).replace_schema_metadata(unit))
    moved = readings([1.0], [MIDNIGHT + HOUR]).replace_schema_metadata(unit)
    writer.write(moved)
    before = dict(content_of(lake))
    writer.write(moved)
    assert dict(content_of(lake)) == before
    assert Lake(lake.path).readings()["timestamp"].cast(pa.int64()).to_pylist() == [MIDNIGHT + HOUR]


def test_rejects_in_the_store_keep_their_first_time(lake: LakeSpec):
    columns = {
        "reason": pa.array(["malformed"]), "detail": pa.array([""]), "payload": pa.array([b"{"], pa.large_binary()),
        "source": pa.array(["a"]), "source_partition": pa.array([0], pa.int32()), "source_offset": pa.array([0]),
    }  # fmt: skip
    for now in (MIDNIGHT, MIDNIGHT + 9 * HOUR):
        batch = reject_batch(columns, now).replace_schema_metadata({UNIT: b"unit"})
        LakeWriter(lake, "rejects").write(batch)
    assert Lake(lake.path).rejects()["rejected_at"].cast(pa.int64()).to_pylist() == [MIDNIGHT]


def test_a_job_reads_an_archive_from_the_store_and_writes_its_lake_there(s3: Any, bucket: str, tmp_path: Path):
    batch = fleet(2000, seed=2, hours=2)
    s3.put(f"{bucket}/archive/day 1/part #0.parquet", parquet_bytes(batch.slice(0, 1200)))
    s3.put(f"{bucket}/archive/day 2/50%.parquet", parquet_bytes(batch.slice(1200)))
    lake = LakeSpec(path=s3.uri(f"{bucket}/lake"))
    config = {
        "pipeline": "fleet",
        "source": {"parquet": {"path": s3.uri(f"{bucket}/archive/**/*.parquet")}},
        "quality": {"max_age_days": None, "max_future_seconds": 10**9},
        "windows": [{"every": "1m"}, {"every": "7m"}],
        "sinks": {"lake": {"path": lake.path}},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    contents = []
    for _ in range(2):
        done = CliRunner().invoke(app, ["run", str(tmp_path / "job.yaml"), "--json"])
        assert done.exit_code == 0, done.output
        balance = json.loads(done.stdout.strip().splitlines()[-1])["balance"]
        assert balance == {"in": 2000, "readings": 2000, "rejects": 0, "duplicates": 0, "late": 0}
        contents.append(dict(content_of(lake)))
    assert contents[0] == contents[1]
    written = Lake(lake.path).readings()
    assert written.num_rows == 2000
    again = conform(written.combine_chunks().to_batches()[0], conform(batch, READINGS).schema)
    for seconds in (60, 420):
        expected = pa.Table.from_batches(
            [conform(extract(aggregate(conform(again, batch.schema), seconds), seconds), WINDOWS)]
        )
        assert Lake(lake.path).windows(seconds).sort_by(KEY).equals(expected.sort_by(KEY))


def test_a_file_that_is_uploaded_is_not_seen_before_it_is_whole(lake: LakeSpec):
    root = storage.locate(lake.path)
    with root.filesystem.open_output_stream(root.child("readings/a.parquet")) as stream:
        stream.write(b"x" * (6 << 20))
        assert root.filesystem.get_file_info(root.child("readings/a.parquet")).type == pafs.FileType.NotFound
