"""Alerts on drift follow from the spans that were looked at, and from nothing else."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.transforms.anomaly.drift_meter import HOUR, Drift
from telebeam.transforms.anomaly.drift_rows import LEAST_JUDGED, Judged, drift_alerts, rows_of_span
from telebeam.transforms.schema import ALERTS, DRIFT

PLENTY = LEAST_JUDGED
SPANS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 3), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([10, PLENTY])),
    max_size=8,
    unique_by=lambda span: span[:2],
)
"""(first hour, hours, PSI, readings)."""


def drift(psi: float, readings: int = PLENTY, **changes: Any) -> Drift:
    said = {"tenant": "default", "sensor_type": "temperature", "version": "v1", "hour": None, "feature": "value",
            "readings": readings, "psi": psi, "ks": psi / 2, **changes}  # fmt: skip
    return Drift(**said)


def span(begin: int, hours: int, *drifts: Drift, threshold: float = 0.25) -> pa.RecordBatch:
    return rows_of_span(drifts, Judged("fleet", "week", begin * HOUR, (begin + hours) * HOUR, threshold))


def alerts_of(*spans: pa.RecordBatch) -> list[dict[str, Any]]:
    found = drift_alerts(pa.Table.from_batches(spans, DRIFT))
    assert found.schema.equals(ALERTS)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def states(*spans: pa.RecordBatch) -> list[tuple[int, str]]:
    """(hour, state)."""
    return [(round(row["timestamp"].timestamp()) // 3600, row["state"]) for row in alerts_of(*spans)]


def test_a_span_has_two_rows_a_feature_and_hours_have_none():
    rows = span(0, 2, drift(0.3), drift(0.9, hour=1), drift(0.2, feature="rate")).to_pylist()
    assert [(row["feature"], row["statistic"], row["value"], row["threshold"], row["is_drift"]) for row in rows] == [
        ("rate", "ks", 0.1, None, False),
        ("rate", "psi", 0.2, 0.25, False),
        ("value", "ks", 0.15, None, False),
        ("value", "psi", 0.3, 0.25, True),
    ]


def test_rows_do_not_depend_on_the_order_of_what_was_measured():
    drifts = [drift(0.3), drift(0.1, tenant="acme"), drift(0.2, feature="rate"), drift(0.4, device_type="pump")]
    assert span(0, 1, *drifts).equals(span(0, 1, *reversed(drifts)))


def test_few_readings_are_filed_and_not_judged():
    (psi,) = [row for row in span(0, 1, drift(9.0, PLENTY - 1)).to_pylist() if row["statistic"] == "psi"]
    assert (psi["value"], psi["threshold"], psi["is_drift"]) == (9.0, None, False)


def test_an_alert_fires_with_the_first_span_and_resolves_with_the_first_that_is_usual_again():
    nights = [span(24 * n, 24, drift(psi)) for n, psi in enumerate([0.1, 0.4, 0.3, 0.25, 0.1, 0.26])]
    assert states(*nights) == [(48, "firing"), (96, "resolved"), (144, "firing")]
    first, second, third = alerts_of(*nights)
    assert first["alert_id"] == second["alert_id"] != third["alert_id"]
    assert first["message"] == (
        "temperature, tenant default: readings have moved from those of model week v1 by value (PSI 0.40), "
        "1970-01-02T00:00:00Z to 1970-01-03T00:00:00Z"
    )
    assert second["message"].startswith("resolved: ")
    assert (first["value"], first["expected"], first["rule"]) == (0.4, 0.25, "drift:week")


def test_an_alert_names_the_features_that_moved_the_farthest_first():
    (found,) = alerts_of(span(0, 24, drift(0.3), drift(0.8, feature="rate"), drift(0.2, feature="spread")))
    assert "by rate (PSI 0.80), value (PSI 0.30)," in found["message"]
    assert found["value"] == 0.8


def test_too_few_readings_leave_an_alert_as_it_was():
    moved, few, usual = span(0, 24, drift(0.9)), span(24, 24, drift(0.0, 10)), span(48, 24, drift(0.0))
    assert states(moved, few) == [(24, "firing")]
    assert states(moved, few, usual) == [(24, "firing"), (72, "resolved")]
    assert states(moved, span(24, 24)) == [(24, "firing")]


def test_groups_have_alerts_of_their_own():
    found = alerts_of(
        span(0, 24, drift(0.9), drift(0.9, tenant="acme"), drift(0.0, sensor_type="humidity"),
             drift(0.9, device_type="pump"))
    )  # fmt: skip
    assert [(row["tenant"], row["sensor_type"], row["state"]) for row in found].count(
        ("default", "temperature", "firing")
    ) == 2
    assert len({row["alert_id"] for row in found}) == len(found) == 3


def test_the_version_that_is_in_use_at_the_end_decides():
    old, new = drift(0.9, version="z-old", valid_from=1), drift(0.0, version="a-new", valid_from=2)
    assert states(span(0, 24, old, new)) == []
    assert states(span(0, 24, old), span(24, 24, old, new)) == [(24, "firing"), (48, "resolved")]


def test_of_spans_with_one_end_the_shortest_counts():
    week, night = span(0, 168, drift(0.1)), span(144, 24, drift(0.9))
    assert states(week, night) == [(168, "firing")]


@pytest.mark.parametrize("threshold", [0.0, 1e308])
def test_any_threshold_will_do(threshold: float):
    assert len(alerts_of(span(0, 1, drift(1.0), threshold=threshold))) == (threshold == 0.0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(SPANS, st.randoms(use_true_random=False))
def test_changes_alternate_and_depend_neither_on_order_nor_on_what_comes_later(
    spans: list[tuple[int, int, float, int]], shuffler: Any
):
    made = [span(begin, hours, drift(psi, readings)) for begin, hours, psi, readings in spans]
    found = alerts_of(*made)
    shuffler.shuffle(made)
    assert alerts_of(*made) == found
    assert [row["state"] for row in found] == [("firing", "resolved")[n % 2] for n in range(len(found))]
    for first, second in zip(found[::2], found[1::2], strict=False):
        assert first["alert_id"] == second["alert_id"]
    for cut in range(10):
        earlier = [each for each in made if each.column("window_end")[0].cast(pa.int64()).as_py() <= cut * HOUR]
        known = [row for row in found if row["timestamp"].timestamp() <= cut * 3600]
        assert alerts_of(*earlier) == known
