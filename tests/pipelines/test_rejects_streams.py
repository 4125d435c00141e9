"""Rejects of a stream replayed beside its job, and what InfluxDB gets of a replay."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from telebeam.io.lake import Lake
from telebeam.io.lake.layout import HOUR
from telebeam.io.lake.recompute import recompute_windows
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.streams.job import StreamJob
from telebeam.io.streams.reader import Reader
from telebeam.io.streams.spec import TimeSpec
from telebeam.io.streams.testing import MemoryBroker, MemoryFeeds
from telebeam.pipelines.config import load_config
from telebeam.pipelines.rejects_where import parse_where
from telebeam.pipelines.replay import replay
from telebeam.pipelines.replay_tally import Replay
from telebeam.pipelines.sources import checks_of
from telebeam.transforms.errors import SinkError
from tests.io.influxdb.test_client import Border
from tests.io.lake.disks import DiedError, dying_after, tree
from tests.pipelines.rejects_influx import taking_points

CONFIG = """
pipeline: fleet
source: {kafka: {bootstrap_servers: "localhost:1", topics: [memory]}}
quality: {max_age_days: null}
windows: [{every: 1m}]
sinks: {lake: {path: LAKE}}
"""
WITH_ZONE = "parse.timezone=UTC"
START = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z"""


class Stream:
    """A stream, its job and its lake."""

    def __init__(self, folder: Path, config: str = CONFIG) -> None:
        self.config = folder / "fleet.yaml"
        self.config.write_text(config.replace("LAKE", str(folder / "lake")))
        self.lake = LakeSpec(path=str(folder / "lake"))
        self.memory = MemoryBroker(stream="memory")

    def append(self, *records: dict[str, object] | bytes, key: str | None = None) -> None:
        for each in records:
            self.memory.append(
                0, each if isinstance(each, bytes) else json.dumps(each).encode(), key=key, stamped=START
            )

    def reader(self) -> Reader:
        spec = load_config(self.config, ())
        feeds = MemoryFeeds(self.memory)
        job = StreamJob(
            "fleet", "run", feeds, 1, checks_of(spec), spec.windows, self.lake, None, TimeSpec(file_every="100ms")
        )
        return Reader(job, 0)

    def read(self) -> None:
        """A bounded read to its end."""
        reader = self.reader()
        while not reader.bundle().ended:
            pass
        reader.close()

    def replay(self, *overrides: str, now: datetime | None = None) -> Replay:
        specs = load_config(self.config, ()), load_config(self.config, overrides)
        return replay(*specs, parse_where(()), now=now)

    def origins(self) -> Counter[int]:
        lake = Lake(self.lake.path)
        return Counter(lake.readings()["source_offset"].to_pylist() + lake.rejects()["source_offset"].to_pylist())


def record(second: int, zone: str = "Z", **members: object) -> dict[str, object]:
    return {
        "device_id": "dev-1",
        "timestamp": f"2026-01-01T00:00:{second:02d}{zone}",
        "temperature": 20 + second,
        **members,
    }


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    made = Stream(tmp_path)
    made.append(record(0), record(1, ""), record(2, humidity="x"), b"{nonsense", record(4, ""))
    made.read()
    return made


def test_readings_of_a_stream_are_late_until_a_backfill(stream: Stream):
    tally = stream.replay(WITH_ZONE)
    assert (tally.replayed, tally.still_refused, tally.windows) == (2, 2, 0)
    assert tally.as_dict()["backfill"] == {"start": "2026-01-01T00:00:01Z", "end": "2026-01-01T00:00:04.000001Z"}
    late = Lake(stream.lake.path).readings().select(["source_offset", "is_late"]).to_pylist()
    assert {row["source_offset"] for row in late if row["is_late"]} == {1, 4}
    recompute_windows(stream.lake, 60, START // HOUR)
    assert Lake(stream.lake.path).windows(60)["count"].to_pylist() == [4]


def test_replaying_a_stream_twice_is_replaying_it_once(stream: Stream):
    stream.replay(WITH_ZONE)
    before = tree(Path(stream.lake.path))
    assert stream.replay(WITH_ZONE).readings == 0
    assert tree(Path(stream.lake.path)) == before


def test_a_stream_goes_on_beside_a_replay_with_each_record_once(stream: Stream):
    reader = stream.reader()
    stream.append(record(5), record(6, ""))
    reader.bundle()
    assert stream.replay(WITH_ZONE).replayed == 3
    stream.append(record(7), record(8, ""))
    stream.read()
    assert stream.replay(WITH_ZONE).replayed == 1
    assert stream.origins() == Counter({**dict.fromkeys(range(9), 1), 2: 2})


def test_a_pending_unit_is_not_touched_and_each_record_is_there_once_in_the_end(tmp_path: Path):
    pending = 0
    for operations in range(0, 60, 4):
        folder = tmp_path / str(operations)
        folder.mkdir()
        made = Stream(folder)
        made.append(record(0), record(1, ""), record(2))
        try:
            with dying_after(operations, Path(made.lake.path)):
                made.read()
        except DiedError:
            pass
        left = made.replay(WITH_ZONE).left
        pending += left["not_filed"]
        made.read()
        made.replay(WITH_ZONE)
        assert made.origins() == Counter({0: 1, 1: 1, 2: 1}), f"killed after {operations} operations"
    assert pending > 0


def test_what_stood_beside_the_payload_is_there_again(tmp_path: Path):
    made = Stream(tmp_path)
    made.append({"timestamp": "2026-01-01T00:00:00", "temperature": 1}, key="devices/boiler-7/telemetry")
    made.read()
    (reject,) = Lake(made.lake.path).rejects().to_pylist()
    assert (reject["key"], reject["published_at"]) == ("devices/boiler-7/telemetry", datetime(2026, 1, 1, tzinfo=UTC))
    assert made.replay(WITH_ZONE).replayed == 1
    assert Lake(made.lake.path).readings()["device_id"].to_pylist() == ["boiler-7"]


def test_without_its_key_a_reject_of_before_stays(tmp_path: Path):
    made = Stream(tmp_path)
    made.append({"timestamp": "2026-01-01T00:00:00", "temperature": 1}, key="devices/boiler-7/telemetry")
    made.read()
    (path,) = Path(made.lake.path, "rejects").rglob("*.parquet")
    old = pq.read_table(path, partitioning=None).drop_columns(["key", "content_type", "published_at"])
    pq.write_table(old, path, store_schema=False)
    before = path.read_bytes()
    tally = made.replay(WITH_ZONE)
    assert (tally.replayed, tally.still_refused) == (0, 1)
    assert path.read_bytes() == before


def test_equal_lines_of_a_message_are_records_of_their_own(tmp_path: Path):
    made = Stream(tmp_path, CONFIG + "parse: {max_depth: 1}\n")
    deep = json.dumps(record(1, metadata={"a": 1})).encode()
    made.append(b"\n".join([deep, json.dumps(record(2)).encode(), deep]))
    made.read()
    tally = made.replay("parse.max_depth=9")
    assert (tally.replayed, tally.readings) == (2, 2)
    assert made.origins() == Counter({0: 3})


def test_a_stream_without_journals_is_left_until_nobody_writes_its_files_again(stream: Stream):
    (journal,) = Path(stream.lake.path, "_commits/streams").rglob("*.json")
    journal.unlink()
    assert dict(stream.replay(WITH_ZONE).left) == {"not_filed": 4}
    assert stream.replay(WITH_ZONE, now=datetime.now(UTC) + timedelta(hours=2)).replayed == 2


@pytest.fixture
def border(monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    monkeypatch.setenv("INFLUX_TEST_TOKEN", "secret")
    with taking_points() as made:
        yield made


def with_influx(folder: Path, border: Border) -> Stream:
    influx = f"{{url: '{border.url}', org: o, bucket: b, token: 'env:INFLUX_TEST_TOKEN', max_retries: 0}}"
    made = Stream(folder, CONFIG.replace("{lake: {path: LAKE}}", f"{{lake: {{path: LAKE}}, influxdb: {influx}}}"))
    made.append(record(0), record(1, ""))
    made.read()
    return made


def test_influxdb_gets_what_is_replayed(tmp_path: Path, border: Border):
    made = with_influx(tmp_path, border)
    tally = made.replay(WITH_ZONE)
    assert (tally.points, tally.refused_points) == (1, 0)
    (lines,) = border.requests
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(START + 1_000_000)]


def test_rejects_leave_when_influxdb_has_their_points(tmp_path: Path, border: Border):
    made = with_influx(tmp_path, border)
    border.rule = lambda lines: (503, {}, "not now")
    with pytest.raises(SinkError):
        made.replay(WITH_ZONE)
    assert Lake(made.lake.path).rejects().num_rows == 1
    border.rule = lambda lines: (204, {}, "")
    tally = made.replay(WITH_ZONE)
    assert (tally.replayed, tally.already_there, tally.points) == (0, 1, 1)
    assert Lake(made.lake.path).rejects().num_rows == 0
    assert Lake(made.lake.path).replayed().num_rows == 1


def test_refused_points_are_never_replayed(tmp_path: Path, border: Border):
    made = with_influx(tmp_path, border)
    border.rule = lambda lines: (422, {}, "field type conflict")
    assert made.replay(WITH_ZONE).refused_points == 1
    assert Lake(made.lake.path).rejects()["reason"].to_pylist() == ["refused_by_sink"]
    tally = made.replay(WITH_ZONE)
    assert (tally.replayed, dict(tally.left)) == (0, {"sink": 1})
    assert Lake(made.lake.path).readings().num_rows == 2
