"""The law of the product: the same messages, streamed or run as a batch, give the same rows.

The long form streams them in three interleavings, killed three times, twice and never: all three lakes are the batch's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from telebeam.io.lake import Lake
from telebeam.pipelines.batch import run_batch
from telebeam.pipelines.config import load_config
from telebeam.pipelines.graph import Run
from telebeam.pipelines.runners import choose_runner
from telebeam.transforms.schema import MESSAGE, READINGS
from tests.checking.messages import Acknowledged, values_of
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Fleet, Mix, Outgoing, send, spread
from tests.integration.streaming.harness import assert_exact, kafka_config, write_config

COUNT = 4000
BEGIN = 1_767_225_600.0
STEP = 0.013
LENGTHS = (2, 60)
# What is late depends on where it stands; here nothing is, so that all ways have the same to do.
WINDOWS = [{"every": f"{seconds}s", "allowed_lateness": "1d"} for seconds in LENGTHS]
SETTINGS: dict[str, Any] = {"windows": WINDOWS, "quality": {"max_age_days": None}}
ORIGIN = ("source", "source_partition", "source_offset")


def history() -> list[Outgoing]:
    """An hour of a fleet, with all that is wrong with one; each message has a line's form."""
    moment = iter(range(10**9))
    fleet = Fleet(40, Mix(poison=0.02, duplicates=0.0, many=0.05, behind=0.1, hours_late=0.02, hot=0.3), seed=11)
    made = fleet.messages(lambda: BEGIN + next(moment) * STEP)
    return [each for each in islice(made, COUNT) if b"\n" not in each.payload and each.payload]


def sorted_rows(table: pa.Table, *without: str) -> pa.Table:
    kept = table.drop_columns(list(without))
    plain = {name: _plain(kept[name]) for name in kept.column_names}
    keys = [(name, "ascending") for name, column in plain.items() if not pa.types.is_nested(column.type)]
    return pa.table(plain).combine_chunks().sort_by(keys)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def rows_of(folder: Path, *without: str) -> dict[str, pa.Table]:
    """What stands in a lake, in an order that follows from the rows alone."""
    lake = Lake(str(folder / "lake"))
    found = {f"windows of {seconds} s": sorted_rows(lake.windows(seconds), "revision") for seconds in LENGTHS}
    found["readings"] = sorted_rows(lake.readings(), *without)
    # What a broker says of a message beside its bytes, no file says.
    found["rejects"] = sorted_rows(lake.rejects(), "rejected_at", *MESSAGE, *without)
    return found


def assert_same(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> None:
    for name, right in expected.items():
        left = found[name]
        assert right.num_rows, name
        if not left.equals(right):
            pairs = zip(left.to_pylist(), right.to_pylist(), strict=False)
            first = next((pair for pair in pairs if pair[0] != pair[1]), None)
            raise AssertionError(f"{name}: {left.num_rows} and {right.num_rows} rows; the first that differ: {first}")


def batch(folder: Path, kind: str, archive: Path) -> Path:
    """A batch job over an archive."""
    config = write_config(folder, {kind: {"path": str(archive)}}, **{**SETTINGS, "sinks": lake_of(folder)})
    choice = choose_runner("direct", "batch", [])
    run_batch(load_config(config, ()), Run(datetime.now(UTC)), choice, quiet=True)
    return folder


def lake_of(folder: Path) -> dict[str, Any]:
    return {"lake": {"path": str(folder / "lake")}}


def parquet_archive(path: Path, acknowledged: Sequence[Acknowledged]) -> Path:
    """The values of messages in our own columns, with where they came from."""
    rows = []
    for topic, partition, offset, payload in acknowledged:
        if values_of(payload)[1]:
            parsed = json.loads(payload)
            origin = dict(zip(ORIGIN, (topic, partition, offset), strict=True))
            rows += [{**row, **origin} for row in (parsed if isinstance(parsed, list) else [parsed])]
    for row in rows:
        row["timestamp"] = datetime.fromisoformat(row["timestamp"])
        row["measurement_type"] = row["sensor_type"]
    schema = pa.schema([READINGS.field(name) for name in rows[0]])
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def test_a_stream_gives_what_a_batch_gives_in_any_interleaving_and_with_restarts(
    kafka: Any, topic: str, start: Start, tmp_path: Path, is_long: bool
) -> None:
    messages = history()
    streamed: list[Path] = []
    taken: list[list[Acknowledged]] = []
    for partitions, kills in ((1, 1), (4, 0)) if not is_long else ((1, 3), (4, 2), (7, 0)):
        name, folder = f"{topic}-{partitions}", tmp_path / f"stream-{partitions}"
        kafka.create_topic(name, partitions)
        config = kafka_config(folder, kafka.bootstrap_servers, name, **SETTINGS)
        parts = cut(spread(messages, partitions, seed=partitions), kills + 1)
        acknowledged = send(kafka.bootstrap_servers, name, parts[0])
        for part in parts[1:]:
            with start(config) as job:
                job.wait_more()
                job.kill()
            acknowledged += send(kafka.bootstrap_servers, name, part)
        with start(config, "--set", "source.kafka.until=end") as job:
            assert job.end() == 0, job.text
        assert_exact(job.lake, acknowledged, LENGTHS)
        assert not [row for row in Lake(str(job.lake)).readings(columns=["is_late"]).to_pylist() if row["is_late"]]
        streamed.append(folder)
        taken.append(acknowledged)
    lines = tmp_path / "in.jsonl"
    lines.write_bytes(b"".join(payload + b"\n" for *_, payload in taken[0]))
    expected = rows_of(batch(tmp_path / "batch", "jsonl", lines), *ORIGIN)
    assert expected["readings"].num_rows > COUNT * 0.9
    for folder in streamed:
        assert_same(rows_of(folder, *ORIGIN), expected)
    for number, folder in enumerate(streamed):
        archive = parquet_archive(tmp_path / f"in-{number}.parquet", taken[number])
        again = rows_of(batch(tmp_path / f"batch-{number}", "parquet", archive))
        del again["rejects"]  # an archive of readings holds none
        assert_same(rows_of(folder), again)


def cut(messages: Sequence[Outgoing], parts: int) -> list[Sequence[Outgoing]]:
    edges = [len(messages) * part // parts for part in range(parts + 1)]
    return [messages[begin:end] for begin, end in pairwise(edges)]
