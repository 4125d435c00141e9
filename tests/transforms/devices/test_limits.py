"""Limits and units of a device type hold for its devices, and for no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from telebeam.transforms.checking import Checks
from telebeam.transforms.cleansing.kernel import cleanse
from telebeam.transforms.cleansing.spec import cleanse_spec
from telebeam.transforms.devices.fleet import Fleet
from telebeam.transforms.devices.kernel import enrich, quality_by_type
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.kernel import check_quality
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from tests.transforms.records import envelopes

SPEC = DevicesSpec.model_validate(
    {
        "types": {
            "freezer": {"limits": {"temperature": {"min": -40, "max": -5, "unit": "celsius"}}},
            "boiler": {"limits": {"temperature": {"max": 400, "unit": "fahrenheit"}}},
            "door": {},
        }
    }
)
ROWS = [
    {"device_id": "freezer-1", "device_type": "freezer"},
    {"device_id": "boiler-1", "device_type": "boiler"},
    {"device_id": "door-1", "device_type": "door"},
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def checked(batch: pa.RecordBatch) -> dict[str, tuple[float, str, list[str]]]:
    registry = Registry.of(pa.RecordBatch.from_pylist(ROWS, schema=REGISTRY))
    limits = quality_by_type(SPEC, QualitySpec())
    units = {name: cleanse_spec(rules) for name, rules in limits.items()}
    clean = cleanse(enrich(batch, registry, SPEC).readings, cleanse_spec(QualitySpec()), units)
    found = conform(check_quality(clean, QualitySpec(), NOW, limits).readings, READINGS_IN_FLIGHT)
    rows = found.to_pylist()
    assert len({row["device_id"] for row in rows}) == len(rows) == batch.num_rows
    return {row["device_id"]: (row["value"], row["unit"], row["issues"]) for row in rows}


def test_each_type_has_its_own_range_and_unit(readings: Callable[..., pa.RecordBatch]):
    batch = readings(
        {"device_id": "boiler-1", "value": 200.0},
        {"device_id": "freezer-1", "value": 4.0},
        {"device_id": "door-1", "value": 4.0},
        {"device_id": "other-1", "value": 120.0},
    )
    assert checked(batch) == {
        "boiler-1": (392.0, "fahrenheit", []),
        "freezer-1": (4.0, "celsius", ["out_of_range"]),
        "door-1": (4.0, "celsius", []),
        "other-1": (120.0, "celsius", ["out_of_range"]),
    }


def test_a_batch_of_one_type_and_an_empty_one_are_taken(readings: Callable[..., pa.RecordBatch]):
    assert checked(readings({"device_id": "freezer-1", "value": -18.0})) == {"freezer-1": (-18.0, "celsius", [])}
    assert checked(readings({"device_id": "freezer-1"}).slice(0, 0)) == {}


def test_all_checks_in_one_call_do_what_the_steps_do():
    registry = Registry.of(pa.RecordBatch.from_pylist(ROWS, schema=REGISTRY))
    checks = Checks(ParseSpec(), QualitySpec(), fleet_of=lambda: Fleet(SPEC, registry))
    payload = b'{"device_id":"%s","timestamp":1767225600,"metric":"temperature","value":4}'
    batch = envelopes([payload % name for name in (b"freezer-1", b"door-1", b"other-1")])
    found = checks(batch, int(NOW.timestamp() * 1e6)).readings
    issues = dict(zip(found.column("device_id").to_pylist(), found.column("issues").to_pylist(), strict=True))
    assert issues == {"freezer-1": ["out_of_range"], "door-1": [], "other-1": []}
