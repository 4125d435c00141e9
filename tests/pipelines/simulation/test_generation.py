from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.pipelines.simulation.batches import ARCHIVE, readings
from telebeam.pipelines.simulation.faults import Episodes
from telebeam.pipelines.simulation.fleet import SENSORS, Fleet, build_fleet
from telebeam.pipelines.simulation.generation import generate
from telebeam.pipelines.simulation.rows import Kind, Point, Record, Rows
from telebeam.pipelines.simulation.spec import (
    EPISODE_FAULTS,
    POINT_FAULTS,
    RECORD_FAULTS,
    SimulationSpec,
    simulation_spec,
)

EVERYTHING = {
    **dict.fromkeys(POINT_FAULTS, 0.02), **dict.fromkeys(RECORD_FAULTS, 0.03), **dict.fromkeys(EPISODE_FAULTS, 0.2),
}  # fmt: skip


def _all(spec: SimulationSpec, chunk_rows: int = 4096) -> tuple[Fleet, Rows, Episodes]:
    fleet = build_fleet(spec)
    chunks = list(generate(spec, fleet, chunk_rows))
    episodes = Episodes(
        *(np.concatenate([getattr(c.episodes, f) for c in chunks]) for f in Episodes.__dataclass_fields__)
    )
    return fleet, Rows.concat([chunk.rows for chunk in chunks]), episodes


def _columns(rows: Rows | Episodes) -> Iterator[np.ndarray]:
    return (getattr(rows, name) for name in rows.__dataclass_fields__)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3000), st.integers(0, 2**40), st.sampled_from(["reading", "data", "mixed"]),
    st.sampled_from(["7s", "1m", "20m", "3h"]), st.sampled_from(["canonical", "mixed"]),
)  # fmt: skip
def test_chunks_of_any_size_give_the_same_fleet(
    chunk_rows: int, seed: int, shape: str, interval: str, units: str
) -> None:
    duration = {"7s": "4m", "1m": "90m", "20m": "1d", "3h": "9d"}[interval]
    spec = simulation_spec(
        devices=14, seed=seed, shape=shape, interval=interval, duration=duration, units=units, faults=EVERYTHING
    )
    _, rows, episodes = _all(spec, chunk_rows)
    _, expected, expected_episodes = _all(spec, 100_000)
    for found, wanted in zip(_columns(rows), _columns(expected), strict=True):
        np.testing.assert_array_equal(found, wanted)
    order, expected_order = (np.lexsort((e.tick, e.device)) for e in (episodes, expected_episodes))
    for found, wanted in zip(_columns(episodes), _columns(expected_episodes), strict=True):
        np.testing.assert_array_equal(found[order], wanted[expected_order])


def test_a_fleet_without_faults_reports_everything_in_the_order_of_time() -> None:
    spec = simulation_spec(profile="office", interval="1m", duration="2h")
    fleet, rows, episodes = _all(spec)
    assert len(rows) == fleet.rows * 120
    assert (rows.position == np.arange(len(rows))).all()
    assert (np.diff(rows.timestamp_ms) >= 0).all()
    assert not rows.point.any()
    assert not rows.record.any()
    assert len(episodes.kind) == 0


def test_a_fault_leaves_all_other_readings_as_they_were() -> None:
    plain = simulation_spec(profile="factory", interval="1m", duration="6h", seed=5)
    _, before, _ = _all(plain)
    fleet, after, episodes = _all(simulation_spec(**{**dict(plain), "faults": EVERYTHING}))
    sound = (after.point == Point.NONE) & (after.record != Record.FUTURE)
    tick, row = np.divmod(after.position, fleet.rows)
    for kind, first, rows, begin, ticks in zip(
        episodes.kind, episodes.row, episodes.rows, episodes.tick, episodes.ticks, strict=True
    ):
        touched = (row >= first) & (row < first + rows) & (tick >= begin) & (tick < begin + ticks)
        assert not (touched.any() and kind == Kind.DROPOUT)
        sound &= ~touched
    assert 0.5 < sound.mean() < 1
    for column in ("value", "timestamp_ms", "row"):
        assert (getattr(after, column)[sound] == getattr(before, column)[after.position[sound]]).all()


def test_faults_happen_at_their_rates() -> None:
    rates = {**dict.fromkeys(POINT_FAULTS, 0.01), **dict.fromkeys(RECORD_FAULTS, 0.02)}
    fleet, rows, _ = _all(simulation_spec(devices=60, interval="1m", duration="1d", faults=rates))
    originals = rows.record != Record.DUPLICATE
    count = np.count_nonzero(originals)
    for record in (Record.MALFORMED, Record.FUTURE, Record.LATE, Record.DUPLICATE):
        _is_about(np.count_nonzero(rows.record == record), count, 0.02)
    sensors = [SENSORS[s] for s in fleet.sensor]
    able = {
        Point.SPIKE: np.array([s.kind == "measured" for s in sensors]),
        Point.OUT_OF_RANGE: np.isin(
            [s.sensor_type for s in sensors], ["temperature", "humidity", "pressure", "voltage"]
        ),
        Point.MISSING: np.ones(fleet.rows, dtype=bool),
    }
    seen = originals & (rows.record != Record.MALFORMED) & (rows.record != Record.FUTURE)
    for point, who in able.items():
        hit = seen & (rows.point == point)
        assert who[rows.row[hit]].all()
        _is_about(np.count_nonzero(hit), np.count_nonzero(seen & who[rows.row]), 0.01)


@pytest.mark.parametrize("interval", ["1m", "7m"])
def test_episodes_begin_at_their_rate_for_each_device_and_hour(interval: str) -> None:
    rates = dict.fromkeys(EPISODE_FAULTS, 0.02)
    _, _, episodes = _all(simulation_spec(devices=100, interval=interval, duration="4d", faults=rates))
    for kind in Kind:
        _is_about(np.count_nonzero(episodes.kind == kind), 100 * 96, 0.02)


def _is_about(found: int, trials: int, rate: float) -> None:
    deviation = (trials * rate * (1 - rate)) ** 0.5
    assert abs(found - trials * rate) < 5 * deviation + 0.02 * trials * rate


def test_episodes_of_a_device_never_meet() -> None:
    _, _, episodes = _all(
        simulation_spec(devices=20, interval="1m", duration="2d", faults=dict.fromkeys(EPISODE_FAULTS, 0.25))
    )
    order = np.lexsort((episodes.tick, episodes.device))
    device, begin, end = episodes.device[order], episodes.tick[order], (episodes.tick + episodes.ticks)[order]
    assert ((begin[1:] >= end[:-1]) | (device[1:] != device[:-1])).all()
    assert episodes.ticks.min() >= 1


def test_episodes_do_what_they_are_called() -> None:
    spec = simulation_spec(devices=60, interval="30s", duration="12h", faults=dict.fromkeys(EPISODE_FAULTS, 0.1))
    fleet, rows, episodes = _all(spec)
    _, normal, _ = _all(simulation_spec(devices=60, interval="30s", duration="12h"))
    value = dict(zip(rows.position.tolist(), rows.value.tolist(), strict=True))
    whole = episodes.ticks >= 10
    assert set(episodes.kind[whole].tolist()) == set(Kind)
    for i in np.flatnonzero(whole):
        positions = (episodes.tick[i] + np.arange(episodes.ticks[i])) * fleet.rows + episodes.row[i]
        sensor = SENSORS[fleet.sensor[episodes.row[i]]]
        if episodes.kind[i] == Kind.DROPOUT:
            assert not any(position in value for position in positions.tolist())
            continue
        found = np.array([value[position] for position in positions.tolist()])
        departure = (found - normal.value[positions]) / sensor.noise
        if episodes.kind[i] == Kind.STUCK:
            assert (found == normal.value[positions[0]]).all()
        elif sensor.ceiling == np.inf and sensor.floor == -np.inf:
            rounding = 0.11 / sensor.noise  # two values, each rounded to a tenth or finer
            expected = episodes.size[i] * (
                np.arange(1, len(found) + 1) / len(found) if episodes.kind[i] == Kind.DRIFT else np.ones(len(found))
            )
            assert np.abs(departure - expected).max() < rounding


def test_a_late_record_stands_behind_a_later_one_of_its_device() -> None:
    spec = simulation_spec(profile="home", interval="1m", duration="1d", faults={"late": 0.01}, shape="data")
    fleet, rows, _ = _all(spec)
    assert len(rows) == fleet.rows * spec.ticks
    device = fleet.device[rows.row]
    end = spec.start_ms + (spec.ticks - 1) * spec.interval_ms
    for i in np.flatnonzero((rows.record == Record.LATE) & rows.first & (rows.timestamp_ms < end)):
        before = rows.timestamp_ms[:i][device[:i] == device[i]]
        assert 60_000 <= before.max() - rows.timestamp_ms[i] <= 600_000


def test_a_record_is_never_cut_apart() -> None:
    spec = simulation_spec(profile="factory", interval="1m", duration="6h", faults=EVERYTHING, shape="data")
    fleet, rows, _ = _all(spec, 50)
    starts = np.flatnonzero(rows.first)
    for low, high in zip(starts, np.append(starts[1:], len(rows)), strict=True):
        device = fleet.device[rows.row[low]]
        assert rows.row[low:high].tolist() == list(range(fleet.first_row[device], fleet.first_row[device + 1]))
        assert len(set(rows.timestamp_ms[low:high])) == len(set(rows.record[low:high])) == 1


def test_a_duplicate_follows_its_equal() -> None:
    _, rows, _ = _all(
        simulation_spec(profile="home", interval="1m", duration="1d", faults={"duplicate": 0.05, "missing": 0.05})
    )
    copies = np.flatnonzero(rows.record == Record.DUPLICATE)
    assert (rows.position[copies] == rows.position[copies - 1]).any()
    for copy in copies:
        original = np.flatnonzero((rows.position == rows.position[copy]) & (rows.record == Record.NONE))
        assert len(original) == 1
        assert original[0] < copy
        np.testing.assert_equal(rows.value[original[0]], rows.value[copy])


def test_batches_have_our_columns_and_say_what_is_missing() -> None:
    spec = simulation_spec(
        profile="home", interval="1m", duration="6h", faults={"missing": 0.1, "malformed": 0.1}, units="mixed"
    )
    batches = list(readings(spec, 1000))
    table = pa.Table.from_batches(batches).cast(ARCHIVE)
    value = table["value"].combine_chunks()
    assert table.num_rows == 27 * 360
    assert 0.1 < value.null_count / len(value) < 0.2
    assert 0.03 < np.isnan(value.drop_null().to_numpy()).mean() < 0.07
    assert table["sensor_type"].equals(table["measurement_type"])


def test_more_devices_than_a_chunk_holds_are_simulated_in_slices() -> None:
    spec = simulation_spec(devices=20_000, interval="1m", duration="2m")
    batches = list(readings(spec, 10_000))
    assert max(batch.num_rows for batch in batches) < 10_004
    assert sum(batch.num_rows for batch in batches) == build_fleet(spec).rows * 2
    assert batches[0].schema.field("device_id").type == pa.string()
