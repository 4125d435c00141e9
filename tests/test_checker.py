"""The checker finds what is planted, and finds nothing where nothing is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from telebeam.io.lake.layout import partition
from telebeam.transforms.schema import READINGS, REJECTS, TIMESTAMP, WINDOWS
from tests.checker import Acknowledged, check, late_matches, read_acknowledged, windows_match
from tests.checking.lake import connect
from tests.oracle import windows_oracle

START = datetime(2026, 1, 1, 0, 59, tzinfo=UTC)
TOPIC = "telemetry"
Row = dict[str, Any]


def reading(number: int) -> Row:
    """Of ten devices in turn, a second apart, across an hour's end; two partitions."""
    moment = START + timedelta(seconds=number)
    return {
        "tenant": "default", "device_id": f"device-{number % 10}", "timestamp": moment, "sensor_type": "temperature",
        "measurement_type": "temperature", "value": 20 + number / 7, "unit": "celsius", "location": None,
        "quality_score": 1.0, "issues": [], "metadata": None, "is_late": False,
        "source": TOPIC, "source_partition": number % 2, "source_offset": number // 2,
    }  # fmt: skip


def payload(row: Row) -> bytes:
    names = ("device_id", "sensor_type", "measurement_type", "value", "unit")
    return json.dumps({**{name: row[name] for name in names}, "timestamp": row["timestamp"].isoformat()}).encode()


def message(row: Row, text: bytes | None = None) -> Acknowledged:
    return row["source"], row["source_partition"], row["source_offset"], payload(row) if text is None else text


def refused(row: Row, text: bytes, reason: str = "malformed") -> Row:
    origin = {name: row[name] for name in ("source", "source_partition", "source_offset")}
    return {"reason": reason, "detail": "", "payload": text, "rejected_at": START, **origin}


class SmallLake:
    """A lake of rows as they are given, in the folders where they belong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = 0

    def write(self, dataset: str, rows: list[Row] | pa.Table, schema: pa.Schema, time: str, length: int | None = None):
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema)
        hours = pc.divide(pc.cast(table[time], pa.int64()), 3_600_000_000)
        for hour in pc.unique(hours).to_pylist():
            folder = self.path / partition(dataset, hour, length)
            folder.mkdir(parents=True, exist_ok=True)
            self._files += 1
            pq.write_table(table.filter(pc.equal(hours, hour)), folder / f"{self._files}.parquet")

    def readings(self, rows: list[Row]) -> SmallLake:
        self.write("readings", rows, READINGS, "timestamp")
        return self

    def rejects(self, rows: list[Row]) -> SmallLake:
        self.write("rejects", rows, REJECTS, "rejected_at")
        return self

    def windows(self, rows: list[Row], revision: int = 0, change: Callable[[Row], Row] = lambda row: row) -> SmallLake:
        table = windows_oracle(connect(), pa.Table.from_pylist(rows, READINGS), 60)
        wanted = [{**row, "revision": revision} for row in table.to_pylist()]
        self.write("windows", [change(row) for row in wanted], WINDOWS, "window_start", 60)
        return self


@pytest.fixture
def lake(tmp_path: Path) -> SmallLake:
    return SmallLake(tmp_path / "a [strange] lake's folder")


ROWS = [reading(number) for number in range(200)]
MESSAGES = [message(row) for row in ROWS]


# Messages


def test_a_complete_lake_is_all_right(lake: SmallLake):
    poison = message(reading(200), b'{"device_id":')
    lake.readings(ROWS).rejects([refused(reading(200), poison[3])])
    verdict = check([*MESSAGES, poison], lake.path)
    assert verdict.ok, verdict
    assert (verdict.messages, verdict.readings, verdict.rejects) == (201, 200, 1)
    assert verdict.reasons == {"malformed": 1}


def test_an_empty_lake_has_lost_everything(lake: SmallLake):
    assert check(MESSAGES, lake.path).lost == len(MESSAGES)


def test_a_planted_loss_is_found_and_named(lake: SmallLake):
    verdict = check(MESSAGES, lake.readings(ROWS[:77] + ROWS[78:]).path)
    assert (verdict.lost, verdict.twice, verdict.invented, verdict.altered) == (1, 0, 0, 0)
    assert "lost 1 of telemetry/1 at 38" in str(verdict)


def test_a_planted_duplicate_is_found(lake: SmallLake):
    verdict = check(MESSAGES, lake.readings(ROWS).readings([ROWS[5]]).path)
    assert (verdict.lost, verdict.twice, verdict.invented, verdict.altered) == (0, 1, 0, 0)


def test_a_reading_that_is_also_a_reject_is_there_twice(lake: SmallLake):
    lake.readings(ROWS).rejects([refused(ROWS[5], MESSAGES[5][3])])
    assert check(MESSAGES, lake.path).twice == 1


def test_a_point_that_the_database_refused_leaves_its_reading_in_the_lake(lake: SmallLake):
    lake.readings(ROWS).rejects([refused(ROWS[5], b"line protocol", "unrepresentable")])
    assert check(MESSAGES, lake.path).ok


def test_an_invented_row_is_found(lake: SmallLake):
    verdict = check(MESSAGES, lake.readings([*ROWS, reading(1000)]).path)
    assert (verdict.lost, verdict.twice, verdict.invented, verdict.altered) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"value": 20.000001},
        {"device_id": "device-9"},
        {"timestamp": START + timedelta(microseconds=1)},
        {"measurement_type": "humidity"},
        {"sensor_type": "humidity"},
    ],
)
def test_an_altered_row_is_found(lake: SmallLake, change: Row):
    verdict = check(MESSAGES, lake.readings([ROWS[0] | change, *ROWS[1:]]).path)
    assert (verdict.lost, verdict.twice, verdict.invented, verdict.altered) == (0, 0, 0, 1)


def test_rows_with_each_others_origins_are_altered(lake: SmallLake):
    origin = ("source_partition", "source_offset")
    swapped = [a | {name: b[name] for name in origin} for a, b in ((ROWS[0], ROWS[1]), (ROWS[1], ROWS[0]))]
    assert check(MESSAGES, lake.readings(swapped + ROWS[2:]).path).altered == 2


def test_a_reject_with_other_bytes_is_altered(lake: SmallLake):
    poison = message(reading(200), b"\x00\xff{")
    lake.readings(ROWS).rejects([refused(reading(200), b"\x00\xfe{")])
    assert check([*MESSAGES, poison], lake.path).altered == 1


def test_a_row_in_another_hours_folder_is_misplaced(lake: SmallLake):
    lake.readings(ROWS[1:])
    folder = lake.path / partition("readings", 0)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS[:1], READINGS), folder / "a.parquet")
    verdict = check(MESSAGES, lake.path)
    assert (verdict.lost, verdict.misplaced) == (0, 1)


def test_a_converted_value_is_compared_without_its_number(lake: SmallLake):
    fahrenheit = message(ROWS[0], payload(ROWS[0] | {"unit": "fahrenheit", "value": 68.0}))
    assert check([fahrenheit, *MESSAGES[1:]], lake.readings(ROWS).path).ok


def array_message(rows: list[Row]) -> Acknowledged:
    return message(rows[0], b"[" + b",".join(payload(row) for row in rows) + b"]")


def array_rows(count: int) -> list[Row]:
    origin = {"source_partition": 0, "source_offset": 7}
    return [reading(number) | origin for number in range(count)]


def test_every_value_of_an_array_counts(lake: SmallLake):
    rows = array_rows(100)
    one_refused = refused(rows[0], payload(rows[0]), "future")
    assert check([array_message(rows)], lake.readings(rows[1:]).rejects([one_refused]).path).ok
    verdict = check([array_message(rows)], lake.readings([rows[5], rows[6]]).path)
    assert (verdict.lost, verdict.twice) == (0, 2)


def test_a_loss_within_an_array_is_not_hidden_by_a_duplicate(lake: SmallLake):
    rows = array_rows(10)
    verdict = check([array_message(rows)], lake.readings([*rows[1:], rows[5]]).path)
    assert not verdict.ok


def test_an_unknown_shape_must_give_something_and_nothing_twice(lake: SmallLake):
    flat = message(ROWS[0], b'{"temperature": 20.0, "humidity": 40.0}')
    assert check([flat], lake.path).lost == 1
    several = [ROWS[0], ROWS[0] | {"measurement_type": "humidity"}]
    assert check([flat], lake.readings(several).path).ok
    assert check([flat], lake.readings(several[:1]).path).twice == 1


def test_what_the_broker_took_without_saying_so_may_be_there_once(lake: SmallLake):
    unsaid = MESSAGES[:10]
    assert check(MESSAGES[10:], lake.readings(ROWS[10:]).path, stored=MESSAGES).ok
    assert check(MESSAGES[10:], lake.readings(ROWS[:10]).path, stored=MESSAGES).ok
    verdict = check(MESSAGES[10:], lake.readings(ROWS[:1]).path, stored=unsaid)
    assert (verdict.lost, verdict.twice, verdict.invented) == (0, 1, 0)


@pytest.mark.parametrize("opened", [pa.ipc.new_stream, pa.ipc.new_file])
def test_a_producers_own_list_is_read_back(tmp_path: Path, opened: Callable[..., Any]):
    columns = list(zip(*MESSAGES, strict=True))
    kinds = (pa.string(), pa.int32(), pa.int64(), pa.large_binary())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    table = pa.table(arrays, names=["topic", "partition", "offset", "payload"])
    with opened(str(tmp_path / "list.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=70)
    assert list(read_acknowledged(tmp_path / "list.arrow")) == MESSAGES


# Windows


def test_the_oracles_windows_are_right(lake: SmallLake):
    verdict = windows_match(lake.readings(ROWS).windows(ROWS).path)
    assert verdict.ok, verdict
    assert verdict.windows == 40


def test_late_readings_are_in_no_window(lake: SmallLake):
    late = [reading(number) | {"is_late": True} for number in range(200, 210)]
    assert windows_match(lake.readings(ROWS + late).windows(ROWS).path).ok
    assert not windows_match(lake.readings([]).windows(late).path).ok


@pytest.mark.parametrize("column", ["count", "mean", "std", "min", "max", "sum", "first", "last", "p50", "p95"])
def test_a_wrong_window_is_found(lake: SmallLake, column: str):
    def change(row: Row) -> Row:
        is_it = row["device_id"] == "device-3" and row["window_start"] == START
        return row | {column: row[column] + 1} if is_it else row

    verdict = windows_match(lake.readings(ROWS).windows(ROWS, change=change).path)
    assert f"{column} differs in 1 of 40 windows" in str(verdict)
    assert not verdict.ok


def test_missing_windows_are_found(lake: SmallLake):
    assert not windows_match(lake.readings(ROWS).path).ok
    second_minute = START + timedelta(minutes=1)
    lake.windows([row for row in ROWS if row["device_id"] != "device-3" or row["timestamp"] >= second_minute])
    assert "1 missing" in str(windows_match(lake.path))


def test_the_highest_revision_counts(lake: SmallLake):
    first = [row for row in ROWS if row["source_offset"] % 3]
    assert windows_match(lake.readings(ROWS).windows(first).windows(ROWS, revision=1).path).ok
    assert not windows_match(lake.windows(first, revision=2).path).ok


def test_a_revision_that_is_there_twice_is_found(lake: SmallLake):
    verdict = windows_match(lake.readings(ROWS).windows(ROWS).windows(ROWS[:1]).path)
    assert "1 revisions are there twice" in str(verdict)


def test_open_windows_are_left_out(lake: SmallLake):
    closed = START + timedelta(minutes=2)
    assert windows_match(lake.readings(ROWS).windows(ROWS[:120]).path, closed_before=closed).windows == 20
    assert windows_match(lake.path, closed_before=closed).ok
    assert not windows_match(lake.path).ok


# Lateness


def late_lake(lake: SmallLake, seconds: list[int], late: set[int]) -> Path:
    rows = [
        reading(second) | {"source_partition": 0, "source_offset": offset, "is_late": offset in late}
        for offset, second in enumerate(seconds)
    ]
    return lake.readings(rows).path


def test_lateness_is_by_the_clock_before_the_message(lake: SmallLake):
    # START is at the beginning of a minute: 61 + 60 s of lateness + 10 s of disorder let go of the first window.
    path = late_lake(lake, [0, 131, 5, 130], late={2})
    rule = {60: timedelta(minutes=1)}
    assert late_matches(path, rule, timedelta(seconds=10)) == (1, 0, ())
    assert late_matches(path, rule, timedelta(seconds=12))[:2] == (0, 1)


def test_a_reading_is_late_when_all_its_windows_are(lake: SmallLake):
    path = late_lake(lake, [0, 131, 5, 130], late=set())
    rule = {60: timedelta(minutes=1), 3600: timedelta()}
    # The hour that holds START ends a minute after it.
    assert late_matches(path, rule, timedelta(seconds=10))[1] == 1
    assert late_matches(path, {**rule, 86400: timedelta()}, timedelta(seconds=10))[1] == 0


def test_an_event_time_beyond_its_messages_stamp_moves_no_clock(lake: SmallLake):
    path = late_lake(lake, [0, 131, 5, 130], late=set())
    stamps = pa.table(
        {
            "source": [TOPIC] * 4,
            "source_partition": pa.array([0] * 4, pa.int32()),
            "source_offset": range(4),
            "stamp": pa.array([START] * 4, TIMESTAMP),
        }
    )
    assert late_matches(path, {60: timedelta(minutes=1)}, timedelta(seconds=10), stamps)[:2] == (0, 0)


def test_a_verdict_is_right_only_if_nothing_is_wrong(lake: SmallLake):
    right = check(MESSAGES, lake.readings(ROWS).path)
    assert right.ok
    for name in ("lost", "twice", "invented", "altered", "misplaced"):
        assert not replace(right, **{name: 1}).ok
