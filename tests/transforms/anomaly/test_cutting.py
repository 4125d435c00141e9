"""Laws of order and cutting: no bit of a score depends on how time is cut, what order rows come in, or on a restart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.batches import concat
from telebeam.transforms.errors import JobError
from telebeam.transforms.schema import SCORES, SCORES_IN_FLIGHT, SERIES, conform
from tests.transforms.anomaly.samples import ALL, DAY, FOREST, HOUR, MIDNIGHT, SECOND, fleet, rows, specs, times_of


def bits(batches: list[pa.RecordBatch]) -> list[tuple[object, ...]]:
    """All rows in an order of their own, doubles as their bits."""
    whole = conform(concat(batches), SCORES)
    columns = []
    for name in SCORES.names:
        column = whole.column(name)
        if pa.types.is_floating(column.type):
            numbers = column.fill_null(np.nan).to_numpy(zero_copy_only=False)
            columns.append(numbers.view(np.int64).tolist())
        else:
            columns.append(column.cast(pa.int64()).to_pylist() if name == "timestamp" else column.to_pylist())
    return sorted(zip(*columns, strict=True), key=repr)


def in_pieces(batch: pa.RecordBatch, edges: list[int], chosen: list[dict], restart: bool) -> list[pa.RecordBatch]:
    time, scorer, found = times_of(batch), Scorer(specs(*chosen)), []
    for low, high in zip([-(2**62), *edges], [*edges, 2**62], strict=True):
        found.append(scorer.score(batch.filter(pa.array((time >= low) & (time < high)))))
        if restart:
            scorer = Scorer.restored(specs(*chosen), scorer.history())
        scorer.expire(high - DAY)
    return found


CUTS = st.lists(st.integers(0, 2 * 3600), max_size=6).map(sorted)


@given(cuts=CUTS, seed=st.integers(0, 2**20), restart=st.booleans(), hostile=st.booleans())
@settings(max_examples=5, deadline=None, derandomize=True)
def test_cutting_time_changes_no_bit(cuts: list[int], seed: int, restart: bool, hostile: bool):
    batch = fleet(400, seed, devices=2, hostile=hostile)
    edges = [MIDNIGHT + cut * SECOND for cut in cuts]
    assert bits(in_pieces(batch, edges, ALL, restart)) == bits(in_pieces(batch, [], ALL, False))


@given(cuts=CUTS, seed=st.integers(0, 2**20), restart=st.booleans())
@settings(max_examples=2, deadline=None, derandomize=True)
def test_cutting_time_changes_no_bit_of_a_forests_scores(cuts: list[int], seed: int, restart: bool):
    batch = fleet(500, seed, devices=1)
    edges = [MIDNIGHT + cut * SECOND for cut in cuts]
    whole = in_pieces(batch, [], [FOREST], False)
    assert whole[0].column("anomaly_score").to_numpy().max() > 0.5
    assert bits(in_pieces(batch, edges, [FOREST], restart)) == bits(whole)


@pytest.mark.parametrize("seed", range(40))
def test_cutting_time_changes_no_bit_in_many_forms(seed: int, request: pytest.FixtureRequest):
    if not request.config.getoption("--long"):
        pytest.skip("the long form of the law: pytest --long")
    draw = np.random.default_rng(seed)
    batch = fleet(1500, seed, devices=3, hours=4, hostile=seed % 2 == 1)
    edges = sorted((MIDNIGHT + draw.integers(0, 4 * 3600, 12) * SECOND).tolist())
    chosen = [*ALL, FOREST]
    assert bits(in_pieces(batch, edges, chosen, True)) == bits(in_pieces(batch, [], chosen, False))


@given(seed=st.integers(0, 2**20))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_the_order_of_rows_and_dictionaries_changes_nothing(seed: int):
    batch = fleet(300, seed, hostile=True)
    shuffled = batch.take(pa.array(np.random.default_rng(seed).permutation(batch.num_rows)))
    shuffled = conform(conform(shuffled, plain(batch)), batch.schema)
    one, other = (Scorer(specs(*ALL, FOREST)).score(each) for each in (batch, shuffled))
    assert conform(one, SCORES).equals(conform(other, SCORES))


def plain(batch: pa.RecordBatch) -> pa.Schema:
    """The batch's schema with plain texts."""
    return pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in batch.schema])


@pytest.mark.parametrize("chosen", [ALL, [FOREST]], ids=["all", "forest"])
def test_a_series_scores_are_those_it_has_alone(chosen: list[dict]):
    """Of a forest this holds for another sensor type beside it."""
    batch = fleet(800, 5, devices=1)
    alone = batch.filter(pa.array(np.array(batch.column("sensor_type").to_pylist()) == "pressure"))
    together = Scorer(specs(*chosen)).score(batch)
    mine = together.filter(pa.array(np.array(together.column("sensor_type").to_pylist()) == "pressure"))
    assert bits([mine]) == bits([Scorer(specs(*chosen)).score(alone)])


def test_lanes_of_any_length_side_by_side_score_as_alone():
    draw = np.random.default_rng(3)
    lengths = [1, 2, 19, 20, 21, 300, 1, 150]
    batches = []
    for number, length in enumerate(lengths):
        times = MIDNIGHT + np.sort(draw.integers(0, 7200, length)) * SECOND
        batches.append(rows(times, draw.normal(0, 1, length), device_id=f"dev-{number}"))
    together = Scorer(specs(*ALL)).score(concat(batches))
    assert bits([together]) == bits([Scorer(specs(*ALL)).score(batch) for batch in batches])


@given(gap_at=st.integers(1, 199), cut=st.integers(0, 199), seed=st.integers(0, 99))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_a_series_that_was_silent_for_too_long_starts_anew_however_time_is_cut(gap_at: int, cut: int, seed: int):
    chosen = [{**each, "expire_after": "1h"} for each in [*ALL, FOREST]]
    draw = np.random.default_rng(seed)
    times = MIDNIGHT + np.arange(200) * 10 * SECOND
    times[gap_at:] += HOUR + 1
    batch = rows(times, draw.normal(0, 1, 200), device_id=[f"dev-{n}" for n in draw.integers(0, 2, 200)])
    whole = bits(in_pieces(batch, [], chosen, False))
    assert bits(in_pieces(batch, [int(times[cut])], chosen, True)) == whole
    solo = [each for each in chosen if each["detector"] != "isolation_forest"]
    time, parts = times_of(batch), []
    for device in ("dev-0", "dev-1"):
        mine = np.array(batch.column("device_id").to_pylist()) == device
        gaps = np.flatnonzero(np.diff(time[mine]) > HOUR)
        pieces = np.split(np.flatnonzero(mine), gaps + 1)
        parts += [Scorer(specs(*solo)).score(batch.take(pa.array(piece))) for piece in pieces]
    assert bits(parts) == bits(in_pieces(batch, [], solo, False))


def test_expiring_shows_in_no_score_and_frees_the_series():
    chosen = [{**each, "expire_after": "1h"} for each in ALL]
    draw = np.random.default_rng(1)
    first = rows(
        MIDNIGHT + np.arange(300) * SECOND, draw.normal(0, 1, 300), device_id=[f"d-{i % 30:03}" for i in range(300)]
    )
    later = rows(MIDNIGHT + 2 * HOUR + np.arange(300) * SECOND, draw.normal(0, 1, 300), device_id="d-007")
    last = rows(
        MIDNIGHT + 3 * HOUR + np.arange(300) * SECOND,
        draw.normal(0, 1, 300),
        device_id=[f"d-{i % 30:03}" for i in range(300)],
    )
    kept, expired = Scorer(specs(*chosen)), Scorer(specs(*chosen))
    results = []
    for scorer in (kept, expired):
        found = []
        for batch in (first, later, last):
            found.append(scorer.score(batch))
            if scorer is expired:
                gone = scorer.expire(MIDNIGHT + 10 * HOUR)
                assert gone == (29 if batch is later else 0)
        results.append(bits(found))
    assert results[0] == results[1]


def test_expiring_keeps_what_may_return_in_time():
    scorer = Scorer(specs({"detector": "auto", "expire_after": "1d"}))
    scorer.score(rows(np.array([MIDNIGHT]), np.array([1.0])))
    assert (scorer.expire(2**62), scorer.series) == (0, 1)


def test_rows_come_in_the_order_of_series_time_origin_and_detector():
    found = Scorer(specs({"detector": "stuck"}, {"detector": "auto"}, {"detector": "ewma"})).score(fleet(200, 9))
    assert found.schema == SCORES_IN_FLIGHT
    assert found.num_rows == 600
    names = [*SERIES, "timestamp", "source", "source_partition", "source_offset", "detector"]
    columns = [["" if part is None else part for part in found.column(name).to_pylist()] for name in names]
    keys = list(zip(*columns, strict=True))
    assert keys == sorted(keys)


def test_only_the_sensor_types_that_are_asked_for_are_scored():
    batch = fleet(200, 9)
    pressure = batch.column("sensor_type").to_pylist().count("pressure")
    found = Scorer(specs({"detector": "ewma", "sensor_types": [" Pressure"]}, {"detector": "auto"})).score(batch)
    by = list(zip(found.column("detector").to_pylist(), found.column("sensor_type").to_pylist(), strict=True))
    assert by.count(("ewma", "pressure")) == pressure
    assert by.count(("ewma", "temperature")) == 0
    assert sum(name == "auto" for name, _ in by) == 200
    none = Scorer(specs({"detector": "ewma", "sensor_types": ["sound"]})).score(batch)
    assert (none.num_rows, none.schema) == (0, SCORES_IN_FLIGHT)


def test_an_empty_batch_and_no_detector_give_no_row():
    assert Scorer(specs(*ALL)).score(fleet(10, 1).slice(0, 0)).equals(Scorer([]).score(fleet(10, 1)))


def test_a_value_is_given_back_as_it_came():
    batch = fleet(100, 2, hostile=True)
    found = Scorer(specs({"detector": "auto"})).score(batch)
    order = np.argsort(batch.column("source_offset").to_numpy())
    back = np.argsort(found.column("source_offset").to_numpy())
    given_, got = (each.column("value").to_numpy()[by].view(np.int64) for each, by in ((batch, order), (found, back)))
    assert (given_ == got).all()


def test_time_that_runs_backwards_is_refused():
    scorer = Scorer(specs(*ALL))
    scorer.score(rows(np.array([MIDNIGHT + 1]), np.array([1.0])))
    with pytest.raises(JobError, match=r"2026-01-01T00:00:00\.000000Z came after .* expected ascending"):
        scorer.score(rows(np.array([MIDNIGHT]), np.array([1.0])))


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, -0.0, 0.0])
def test_scores_are_shares_and_expectations_finite_at_the_ends_of_the_doubles(value: float):
    values = np.where(np.arange(400) % 7 == 3, -value, value)
    found = Scorer(specs(*ALL)).score(rows(MIDNIGHT + np.arange(400) * 10 * SECOND, values))
    shares = found.column("anomaly_score").to_numpy()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert np.isfinite(found.column("expected").drop_null().to_numpy()).all()
