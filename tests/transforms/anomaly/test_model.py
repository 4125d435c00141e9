"""Laws of trained models: a reading's score is its version's, live and again, whole and in pieces."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.model import Models
from telebeam.transforms.anomaly.spec import TrainedModel, detector_spec
from telebeam.transforms.anomaly.training import HoldOut, Trainer
from telebeam.transforms.batches import concat
from telebeam.transforms.errors import ConfigurationError
from tests.transforms.anomaly.models import LATER, grown, model, scored_by, two_versions
from tests.transforms.anomaly.samples import DAY, HOUR, MIDNIGHT, SECOND, fleet, rows, series, times_of
from tests.transforms.anomaly.test_cutting import bits


def in_pieces(batch: pa.RecordBatch, edges: list[int], spec: TrainedModel, restart: bool = False) -> list:
    found, scorer, at = [], Scorer([spec]), times_of(batch)
    for low, high in zip([-(2**62), *edges], [*edges, 2**62], strict=True):
        found.append(scorer.score(batch.filter(pa.array((at >= low) & (at < high)))))
        if restart:
            scorer = Scorer.restored([spec], scorer.history())
        scorer.expire(high - DAY)
    return found


@given(
    cuts=st.lists(st.integers(0, 7200), max_size=5).map(sorted),
    seed=st.integers(0, 2**20),
    restart=st.booleans(),
    hostile=st.booleans(),
)
@settings(max_examples=10, deadline=None, derandomize=True)
def test_cutting_time_changes_no_bit_while_versions_change(cuts: list[int], seed: int, restart: bool, hostile: bool):
    batch, spec = fleet(900, seed, devices=2, hostile=hostile), scored_by(two_versions())
    whole = in_pieces(batch, [], spec)
    assert whole[0].column("anomaly_score").to_numpy().max() > 0
    assert bits(in_pieces(batch, [MIDNIGHT + cut * SECOND for cut in cuts], spec, restart)) == bits(whole)


def test_the_order_of_rows_changes_nothing():
    batch, spec = fleet(600, 3, hostile=True), scored_by(two_versions())
    shuffled = batch.take(pa.array(np.random.default_rng(3).permutation(batch.num_rows)))
    assert bits(in_pieces(shuffled, [], spec)) == bits(in_pieces(batch, [], spec))


def test_each_reading_is_scored_by_the_newest_version_of_its_time():
    batch = fleet(900, 7, devices=1)
    both, old, new = (
        in_pieces(batch, [], scored_by(models))[0]
        for models in (two_versions(), Models((model(),)), Models((model(2, LATER, "v2"),)))
    )
    later = pc.greater_equal(both.column("timestamp").cast(pa.int64()), LATER)
    assert both.filter(later).equals(new.filter(later))
    assert both.filter(pc.invert(later)).equals(old.filter(pc.invert(later)))
    assert not both.filter(later).equals(old.filter(later))
    before = new.filter(pc.invert(later))
    assert pc.max(before.column("anomaly_score")).as_py() == 0
    assert before.column("expected").null_count == before.num_rows


def test_of_two_versions_of_one_moment_the_one_published_later_counts():
    batch = fleet(600, 7, devices=1)
    two = Models((model(2, MIDNIGHT, "a", 9), model(1, MIDNIGHT, "b", 5)))
    assert bits(in_pieces(batch, [], scored_by(two))) == bits(in_pieces(batch, [], scored_by(Models((model(2),)))))


def test_a_version_that_comes_while_the_stream_runs_counts_from_the_next_piece_on():
    class Source:
        models = Models((model(),))

        def current(self) -> Models:
            return self.models

    batch, source = fleet(900, 7, devices=1), Source()
    at = times_of(batch)
    scorer = Scorer([scored_by(source)])
    first = scorer.score(batch.filter(pa.array(at < LATER)))
    source.models = Models((model(), model(2, MIDNIGHT, "v2")))
    second = scorer.score(batch.filter(pa.array(at >= LATER)))
    assert bits([first, second]) == bits(in_pieces(batch, [], scored_by(two_versions())))


def test_a_spike_is_an_anomaly_and_what_was_expected_is_the_mean_before_it():
    values = np.random.default_rng(5).normal(20, 0.5, 300)
    values[250] = 80.0
    times = MIDNIGHT + np.arange(300) * 10 * SECOND
    # One in fifty readings that the model was grown from is a spike as well.
    spec = scored_by(Models((model(),)), threshold=0.5)
    found = in_pieces(rows(times, values, sensor_type="temperature"), [], spec)[0]
    worst = int(np.argmax(found.column("anomaly_score").to_numpy()))
    assert worst == 250
    assert found.column("is_anomaly")[worst].as_py()
    assert found.column("expected")[worst].as_py() == pytest.approx(values[230:250].mean())
    assert found.column("expected").slice(0, 20).null_count == 20


def test_a_shadow_scores_under_its_versions_name_and_calls_nothing_an_anomaly():
    batch, models = fleet(900, 7, devices=1), two_versions()
    plain = scored_by(models, version="v2", threshold=0.3)
    shadow = scored_by(models, version="v2", threshold=0.3, shadow=True)
    one, other = in_pieces(batch, [], plain)[0], in_pieces(batch, [], shadow)[0]
    assert pc.any(one.column("is_anomaly")).as_py()
    assert not pc.any(other.column("is_anomaly")).as_py()
    assert one.column("anomaly_score").equals(other.column("anomaly_score"))
    assert set(other.column("detector").to_pylist()) == {"fleet@v2:shadow"}
    both = Scorer([scored_by(models), shadow]).score(batch)
    assert both.num_rows == 2 * batch.num_rows


def test_what_no_forest_was_grown_for_scores_nothing():
    batch = series(np.random.default_rng(1).normal(0, 9, 100), sensor_type="sound")
    for spec in (scored_by(Models((model(),))), scored_by(Models()), scored_by(Models((model(),)), version="v9")):
        (found,) = in_pieces(batch, [], spec)
        assert found.num_rows == 100
        assert found.column("expected").null_count == 100
        assert pc.max(found.column("anomaly_score")).as_py() == 0


def test_a_series_with_a_forest_of_its_own_is_scored_by_that():
    own, common = model(per="device"), model()
    assert len(own.parts) > len(common.parts)
    batch = fleet(900, 4, devices=3)
    one, other = (in_pieces(batch, [], scored_by(Models((each,))))[0] for each in (own, common))
    known = np.isin(one.column("device_id").to_pylist(), ["dev-0", "dev-1"])
    same = one.column("anomaly_score").to_numpy() == other.column("anomaly_score").to_numpy()
    judged = ~np.array(one.column("expected").is_null())
    assert same[~known].all()
    assert not same[known & judged].all()


@given(cuts=st.lists(st.integers(0, 7200), max_size=4).map(sorted))
@settings(max_examples=4, deadline=None, derandomize=True)
def test_forests_do_not_depend_on_how_the_readings_are_cut_or_ordered(cuts: list[int]):
    batch = fleet(2000, 1, devices=2)
    mixed = batch.take(pa.array(np.random.default_rng(2).permutation(batch.num_rows)))
    edges = tuple(MIDNIGHT + cut * SECOND for cut in cuts)
    for one, other in zip(grown(batch), grown(mixed, cuts=edges), strict=True):
        assert one.group == other.group
        assert (one.forest.path == other.forest.path).all()
        assert (one.forest.anchors == other.forest.anchors).all()
        assert (one.histogram.counts == other.histogram.counts).all()


def test_readings_that_are_not_usable_are_not_learned_and_describe_later_ones():
    batch = series(np.random.default_rng(1).normal(0, 1, 600))
    trainer = Trainer(trees=10)
    usable = np.arange(600) < 400
    trainer.learn(batch, usable)
    (found,) = trainer.fit()
    assert found.readings == 400 - 20


def test_held_out_readings_are_counted_by_the_score_that_the_detector_gives_them():
    batch = fleet(3000, 3, devices=2)
    at = times_of(batch)
    early, late = (batch.filter(pa.array(mask)) for mask in (at < LATER, at >= LATER))
    trainer = Trainer(trees=10, threshold=0.4)
    trainer.learn(early)
    trained = trainer.fit()
    trainer.hold_out(late)
    whole = type(model())("fleet", "v", MIDNIGHT, 0, tuple(each.part for each in trained), "")
    scored = concat(in_pieces(batch, [], scored_by(Models((whole,)), threshold=0.4)))
    scored = scored.filter(pc.greater_equal(scored.column("timestamp").cast(pa.int64()), LATER))
    assert sum(each.hold_out.readings for each in trained) == scored.num_rows - scored.column("expected").null_count
    assert sum(each.hold_out.anomalies for each in trained) == pc.sum(scored.column("is_anomaly")).as_py()


def test_too_few_readings_are_refused():
    trainer = Trainer()
    trainer.learn(series(np.arange(200.0)))
    with pytest.raises(ConfigurationError, match="no sensor type has 256 readings"):
        trainer.fit()


def test_quantiles_of_scores_are_right_to_a_ten_thousandth():
    scores, held = np.random.default_rng(1).random(5000), HoldOut()
    for part in np.split(scores, [10, 10, 4000]):
        held.add(part, 0.9)
    assert held.anomalies == (scores > 0.9).sum()
    for quantile, score in held.quantiles().items():
        exact = np.quantile(scores, float(quantile), method="inverted_cdf")
        assert exact <= score <= exact + 1.01e-4
    assert (HoldOut().alert_rate, HoldOut().quantiles()) == (None, {})


def test_the_fingerprint_of_models_changes_with_any_of_them():
    prints = [Models().fingerprint, Models((model(),)).fingerprint, two_versions().fingerprint]
    assert len(set(prints)) == 3
    assert Models(tuple(reversed(two_versions().versions))).fingerprint == prints[2]


def test_settings_without_models_score_nothing():
    with pytest.raises(ConfigurationError, match="has no models to score by"):
        Scorer([detector_spec(detector="model", model="fleet")])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "model"),
        ({"model": "../x"}, "pattern"),
        ({"model": "m", "threshold": 1.0}, "less than 1"),
        ({"model": "m", "shadow": True}, "names no version"),
        ({"model": "m", "version": "a/b"}, "pattern"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        detector_spec(detector="model", **settings)


def test_what_is_bound_to_models_is_no_setting():
    bound, bare = scored_by(two_versions()), detector_spec(detector="model", model="fleet")
    assert bound.model_dump_json() == bare.model_dump_json()
    assert bound.label == "fleet"


def test_a_core_scores_two_hundred_thousand_readings_a_second(request: pytest.FixtureRequest):
    if not request.config.getoption("--long"):
        pytest.skip("needs a quiet machine: --long")
    draw = np.random.default_rng(1)
    times = MIDNIGHT + np.repeat(np.arange(2000), 200) * SECOND
    names = [f"dev-{number:03}" for number in range(200)] * 2000
    batch = rows(times, draw.normal(20, 1, len(times)), device_id=names, sensor_type="temperature")
    trainer = Trainer()
    trainer.learn(fleet(20_000, 1))
    parts = tuple(each.part for each in trainer.fit())
    spec = scored_by(Models((type(model())("fleet", "v", MIDNIGHT - HOUR, 0, parts, ""),)))
    began = time.process_time()
    Scorer([spec]).score(batch)
    rate = batch.num_rows / (time.process_time() - began)
    assert rate > 200_000, f"{rate:,.0f} readings/s"
