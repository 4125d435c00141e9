"""Replaying rejects: what now succeeds is filed once, what does not stays as it was, and a kill changes nothing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io.lake import Lake
from telebeam.pipelines.config import load_config
from telebeam.pipelines.rejects_where import parse_where
from telebeam.pipelines.replay import replay
from telebeam.pipelines.replay_tally import Replay
from telebeam.transforms.errors import TelebeamError
from telebeam.transforms.schema import REJECTS
from tests.io.influxdb.test_client import Border
from tests.io.lake.disks import DiedError, dying_after, store, tree
from tests.pipelines.jobs import NOW, Job, check_windows, job, json_lines
from tests.pipelines.rejects_influx import taking_points

LATER = datetime(2026, 2, 3, 4, tzinfo=UTC)
WITH_ZONE = "parse.timezone=UTC"


def record(second: int, **members: Any) -> dict[str, Any]:
    return {"device_id": f"dev-{second % 3}", "timestamp": f"2026-01-01T00:{second:02d}:00Z", **members}


RECORDS: list[Any] = [
    record(0, temperature=20.5, humidity=40),
    record(1, temperature=21, timestamp="2026-01-01T00:01:00"),
    record(2, temperature=22, humidity="x", timestamp="2026-01-01T01:02:00"),
    record(3, temperature="x", humidity=41),
    record(4, temperature=24, timestamp="2100-01-01T00:00:00Z"),
    record(5, temperature=1, timestamp="2026-01-01T00:05:00"),
    record(5, temperature=1, timestamp="2026-01-01T00:05:00"),
    "no object",
]


def replayed(done: Job, *overrides: str, where: tuple[str, ...] = (), now: datetime = LATER, **options: Any) -> Replay:
    return replay(
        load_config(done.config, ()), load_config(done.config, overrides), parse_where(where), now=now, **options
    )


def rows(table: pa.Table, *left_out: str) -> list[tuple[Any, ...]]:
    """Every row, in an order of its own."""
    names = [name for name in table.schema.names if name not in left_out]
    return sorted(zip(*(table[name].to_pylist() for name in names), strict=True), key=repr)


def origins(done: Job) -> Counter[tuple[str, int]]:
    """How often each record is in the lake, readings and rejects."""
    return Counter(
        pair
        for table in (done.readings(), done.rejects())
        for pair in zip(table["source"].to_pylist(), table["source_offset"].to_pylist(), strict=True)
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("replay") / "job"
    json_lines(folder / "in/a.jsonl", RECORDS)
    made = job(folder, "jsonl", folder / "in/*.jsonl", windows=[{"every": "1m"}, {"every": "2h"}])
    made.run()
    assert made.readings().num_rows + made.rejects().num_rows == 10
    return made


@pytest.fixture(scope="module")
def fresh(template: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The lake of a first run with the new settings."""
    made = copied(template, tmp_path_factory.mktemp("fresh") / "job")
    shutil.rmtree(made.lake)
    made.run(WITH_ZONE)
    return made


@pytest.fixture
def done(template: Job, tmp_path: Path) -> Job:
    return copied(template, tmp_path / "copy")


def copied(template: Job, folder: Path) -> Job:
    """The same job with a lake of its own over the same files."""
    folder.mkdir(parents=True)
    shutil.copytree(template.lake, folder / "lake")
    config = folder / "fleet.yaml"
    config.write_text(template.config.read_text().replace(str(template.lake), str(folder / "lake")))
    return Job(folder, config)


def test_what_now_succeeds_is_filed_and_leaves_the_rejects(done: Job, template: Job):
    tally = replayed(done, WITH_ZONE)
    assert (tally.looked_at, tally.replayed, tally.already_there, tally.still_refused) == (7, 3, 0, 4)
    assert tally.readings == 4
    # Of the record with two values one is refused now: the reject that stays is of the record, as it was.
    assert Counter(done.rejects()["reason"].to_pylist()) == Counter(
        {"bad_timestamp": 1, "bad_value": 1, "future": 1, "not_an_object": 1}
    )
    assert {*rows(done.rejects())} < {*rows(template.rejects())}
    check_windows(done)
    check_windows(done, seconds=7200)


def test_the_balance_holds_after_a_replay(done: Job):
    before = origins(done)
    tally = replayed(done, WITH_ZONE, "quality.max_future_seconds=3e9")
    assert tally.replayed == 4
    after = origins(done)
    # The one with a bad value in a record whose time was refused is now a reading and a reject.
    assert after == before + Counter({("a.jsonl", 2): 1})


def test_a_replay_gives_the_readings_of_a_run_with_the_new_settings(done: Job, fresh: Job):
    replayed(done, WITH_ZONE)
    assert rows(done.readings()) == rows(fresh.readings())
    for seconds in (60, 7200):
        assert rows(done_windows(done, seconds)) == rows(done_windows(fresh, seconds))


def done_windows(made: Job, seconds: int) -> pa.Table:
    return Lake(str(made.lake)).windows(seconds)


def test_replaying_twice_is_replaying_once(done: Job):
    replayed(done, WITH_ZONE)
    before = tree(done.lake)
    again = replayed(done, WITH_ZONE, now=datetime(2026, 3, 1, tzinfo=UTC))
    assert (again.replayed, again.already_there, again.readings) == (0, 0, 0)
    assert tree(done.lake) == before


def test_what_still_fails_is_untouched_to_the_last_byte(done: Job):
    before = tree(done.lake)
    tally = replayed(done)
    assert (tally.replayed, tally.still_refused) == (0, 7)
    assert tree(done.lake) == before


def test_a_dry_run_says_what_a_replay_does_and_writes_nothing(done: Job):
    before = tree(done.lake)
    planned = replayed(done, WITH_ZONE, dry_run=True)
    assert tree(done.lake) == before
    tally = replayed(done, WITH_ZONE)
    assert (planned.replayed, planned.readings, planned.by_reason) == (tally.replayed, tally.readings, tally.by_reason)
    assert planned.by_reason["bad_timestamp"]["still_refused"] == {"bad_value": 1}


def test_replayed_rejects_are_kept_with_when_they_were(done: Job, template: Job):
    replayed(done, WITH_ZONE)
    kept = Lake(str(done.lake)).replayed()
    assert set(kept["replayed_at"].to_pylist()) == {LATER}
    assert sorted(rows(kept, "replayed_at") + rows(done.rejects()), key=repr) == rows(template.rejects())


def test_only_records_that_are_meant_are_replayed(done: Job):
    tally = replayed(done, WITH_ZONE, where=("source_offset=1",))
    assert (tally.looked_at, tally.replayed, tally.readings) == (1, 1, 1)
    assert replayed(done, WITH_ZONE, where=("rejected_at<2026-01-01",)).looked_at == 0


def test_one_record_after_the_other_is_all_at_once(done: Job, template: Job, tmp_path: Path):
    whole = copied(template, tmp_path / "whole")
    replayed(whole, WITH_ZONE)
    for offset in (6, 2, 7, 1, 3, 5, 4):
        replayed(done, WITH_ZONE, where=(f"source_offset={offset}",))
    assert tree(done.lake) == tree(whole.lake)


def test_scores_of_the_hours_are_made_anew(done: Job):
    spec = load_config(done.config, ("anomalies=[{detector: rolling_zscore, last: 3, threshold: 2}]",))
    replay(spec, load_config(done.config, (WITH_ZONE,)), parse_where(()), now=LATER)
    scores = Lake(str(done.lake)).scores()
    assert sorted(scores["value"].to_pylist()) == sorted(done.readings()["value"].to_pylist())


@pytest.fixture
def border(monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    monkeypatch.setenv("INFLUX_TEST_TOKEN", "secret")
    with taking_points() as made:
        yield made


def test_influxdb_gets_readings_and_windows_of_an_archive(done: Job, border: Border):
    influx = f"sinks.influxdb={{url: '{border.url}', org: o, bucket: b, token: 'env:INFLUX_TEST_TOKEN'}}"
    tally = replay(
        load_config(done.config, (influx,)), load_config(done.config, (WITH_ZONE,)), parse_where(()), now=LATER
    )
    lines = [line for request in border.requests for line in request]
    kinds = Counter(line.partition(",")[0] for line in lines)
    assert kinds == Counter({"iot_measurements": 4, "iot_windows": tally.windows})
    assert tally.points == len(lines)


def test_a_job_run_again_with_the_new_settings_takes_replayed_readings_along(done: Job, fresh: Job):
    replayed(done, WITH_ZONE)
    outcome = done.run(WITH_ZONE)
    assert rows(done.readings()) == rows(fresh.readings())
    assert outcome.balance.readings == done.readings().num_rows
    assert outcome.balance.rejects == done.rejects().num_rows
    check_windows(done)
    assert not list(done.lake.rglob("readings/**/*-replayed.parquet"))


def test_a_job_run_again_with_the_old_settings_has_the_rejects_back_as_they_were(done: Job, template: Job):
    replayed(done, WITH_ZONE)
    done.run(started=LATER)
    before, after = tree(template.lake), tree(done.lake)
    datasets = ("readings", "rejects", "windows")
    assert {k: v for k, v in after.items() if k.startswith(datasets)} == {
        k: v for k, v in before.items() if k.startswith(datasets)
    }
    replayed(done, WITH_ZONE)
    assert Lake(str(done.lake)).replayed().num_rows == 3


def killed(template: Job, folder: Path, operations: int) -> tuple[Job, bool]:
    """A lake whose replay was killed after so many operations on files, and whether it was."""
    made = copied(template, folder)
    try:
        with dying_after(operations, made.lake):
            replayed(made, WITH_ZONE)
    except DiedError:
        return made, True
    return made, False


def test_a_replay_that_dies_anywhere_and_is_run_again_ends_in_the_same_lake(
    template: Job, tmp_path: Path, request: pytest.FixtureRequest
):
    whole = copied(template, tmp_path / "whole")
    replayed(whole, WITH_ZONE)
    expected = tree(whole.lake)
    step = 1 if request.config.getoption("--long") else 5
    for operations in range(0, 1000, step):
        made, died = killed(template, tmp_path / str(operations), operations)
        assert made.readings().num_rows >= 3
        replayed(made, WITH_ZONE)
        assert tree(made.lake) == expected, f"killed after {operations} operations"
        shutil.rmtree(made.folder)
        if not died:
            assert operations > 20
            return
    raise AssertionError("it does not end")


def test_a_store_that_fails_anywhere_is_mended_by_replaying_again(
    template: Job, tmp_path: Path, request: pytest.FixtureRequest
):
    whole = copied(template, tmp_path / "whole")
    replayed(whole, WITH_ZONE, root=store(whole.lake)[0])
    expected = tree(whole.lake)
    step = 1 if request.config.getoption("--long") else 11
    for operations in range(1, 1000, step):
        made = copied(template, tmp_path / str(operations))
        try:
            replayed(made, WITH_ZONE, root=store(made.lake, operations)[0])
            broke = False
        except TelebeamError as error:
            broke = "the store is gone" in error.message
            if not broke:
                raise
        replayed(made, WITH_ZONE, root=store(made.lake)[0])
        assert tree(made.lake) == expected, f"failed at operation {operations}"
        shutil.rmtree(made.folder)
        if not broke:
            return
    raise AssertionError("it does not end")


def test_rejects_of_before_lack_columns_and_are_replayed(done: Job):
    for path in (done.lake / "rejects").rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None).drop_columns(["key", "content_type", "published_at"])
        pq.write_table(table, path, store_schema=False)
    tally = replayed(done, WITH_ZONE)
    assert (tally.replayed, tally.still_refused) == (3, 4)
    assert done.rejects().schema == REJECTS


def test_rows_of_a_table_are_replayed_from_their_text(tmp_path: Path):
    columns = {
        "device_id": ["dev-1", "dev-2", None, "NaN-1"],
        "timestamp": pa.array(["2026-01-01T00:00:00", "2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z", None]),
        "sensor_type": ["temperature"] * 4,
        "value": [1.5, float("nan"), 3.0, 4.0],
        "metadata": ['{"a": 1}', None, None, None],
    }
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in/a.parquet")
    made = job(tmp_path, "parquet", tmp_path / "in")
    made.run()
    assert made.rejects().num_rows == 4
    tally = replayed(made, WITH_ZONE, "parse.defaults={device_id: spare-1}")
    assert (tally.replayed, tally.still_refused) == (2, 2)
    held = {row["device_id"]: (row["value"], row["metadata"]) for row in made.readings().to_pylist()}
    fresh = job(tmp_path / "fresh", "parquet", tmp_path / "in")
    fresh.run(WITH_ZONE, "parse.defaults={device_id: spare-1}")
    assert rows(made.readings()) == rows(fresh.readings())
    assert held["dev-1"][0] == 1.5


def test_lines_of_csv_are_replayed_with_their_files_header_and_left_where_it_is_gone(tmp_path: Path):
    source = tmp_path / "in/a.csv"
    source.parent.mkdir()
    source.write_text(
        "device_id,timestamp,temperature\ndev-1,2026-01-01T00:00:00Z,1\ndev-1,2026-01-01T00:01:00,2\n", encoding="utf-8"
    )
    made = job(tmp_path, "csv", tmp_path / "in/*.csv")
    made.run()
    away = source.rename(tmp_path / "a.csv")
    tally = replayed(made, WITH_ZONE)
    assert (tally.replayed, dict(tally.left)) == (0, {"header_unknown": 1})
    away.rename(source)
    tally = replayed(made, WITH_ZONE)
    assert (tally.replayed, made.readings()["value"].to_pylist()) == (1, [2.0, 1.0])


def test_another_pipelines_rejects_are_left(done: Job):
    for name in ("fleet-2", "fle", "other"):
        config = done.folder / f"{name}.yaml"
        config.write_text(done.config.read_text().replace("pipeline: fleet", f"pipeline: {name}"))
        tally = replayed(Job(done.folder, config), WITH_ZONE)
        assert (tally.replayed, dict(tally.left)) == (0, {"foreign": 7})
    done.run("pipeline=fleet-2")
    tally = replayed(done, WITH_ZONE)
    assert (tally.replayed, dict(tally.left)) == (3, {"foreign": 7})


def test_values_that_would_read_otherwise_now_are_not_filed_a_second_time(tmp_path: Path):
    source = tmp_path / "in/a.jsonl"
    json_lines(source, [record(0, temperature=20.5, humidity="x")])
    made = job(tmp_path, "jsonl", source)
    made.run()
    before = tree(made.lake)
    # Another name of the same value: what was one reading would be two.
    tally = replayed(made, "parse.fields={sensor_type: device_id, value: temperature}")
    assert (tally.readings, dict(tally.left)) == (0, {"changed": 1})
    assert tree(made.lake) == before


def test_the_tally_adds_up_and_is_json(done: Job):
    found = replayed(done, WITH_ZONE).as_dict()
    assert found["looked_at"] == sum(found[n] for n in ("replayed", "already_there", "still_refused")) + sum(
        found["left"].values()
    )
    assert json.loads(json.dumps(found)) == found
    assert NOW < LATER
