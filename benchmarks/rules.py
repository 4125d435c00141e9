"""What ten rules cost: readings a second of one thread.

A fleet that is well but for spells: in the first case one reading in a hundred matches and matches come in spells of
some minutes, in the second each match stands alone, so that every one is an alert of its own.

    python -m benchmarks.rules
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from telebeam.transforms.rules.kernel import RuleBook
from telebeam.transforms.rules.spec import RuleSpec
from telebeam.transforms.schema import READINGS_IN_FLIGHT, conform
from telebeam.transforms.testing import readings

DEVICES, SECONDS, EVERY = 500, 3600, 5
SENSORS = ("temperature", "humidity", "vibration")
START = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
REPEATS = 2
STEP = 600

RULES: list[dict[str, Any]] = [
    {"name": "hot", "when": {"sensor_type": "temperature", "above": 80, "critical_above": 95}},
    {"name": "hot-for-long", "when": {"sensor_type": "temperature", "above": 80}, "for": "30s", "cool_down": "5m"},
    {"name": "hot-until-75", "when": {"sensor_type": "temperature", "above": 80}, "resolve": {"at": 75}},
    {"name": "damp", "when": {"sensor_type": "humidity", "outside": [10, 90]}},
    {"name": "shaking", "when": {"sensor_type": "vibration", "rate_of_change": {"above": 4}}},
    {"name": "gone", "when": {"absent": "5m"}},
    {"name": "stuck", "when": {"sensor_type": "temperature", "stuck": "10m"}},
    {"name": "often", "when": {"count": {"of": {"sensor_type": "vibration", "above": 7},
                                         "within": "10m", "at_least": 5}}},
    {"name": "after", "when": {"sequence": {"first": {"sensor_type": "vibration", "above": 7},
                                            "then": {"sensor_type": "temperature", "above": 80}, "within": "5m"}}},
    {"name": "both", "when": {"all": [{"sensor_type": "temperature", "above": 80},
                                      {"not": {"sensor_type": "humidity", "above": 90}}]}},
]  # fmt: skip


def fleet(spell: int) -> pa.RecordBatch:
    """An hour, sorted by series and time as the lake has it; one reading in a hundred is beyond, in spells."""
    draw = np.random.default_rng(1)
    per_series = SECONDS // EVERY
    series = DEVICES * len(SENSORS)
    rows = series * per_series
    beyond = np.repeat(draw.random((series, per_series // spell)) < 0.01, spell, axis=1).ravel()
    normal = np.tile(np.repeat([50.0, 50.0, 3.0], per_series), DEVICES) + np.round(draw.normal(0, 1, rows), 2)
    one = readings([{"value": 0.0}])
    columns = {name: one.column(name).take(pa.array(np.zeros(rows, np.int64))) for name in one.schema.names}
    code = np.arange(rows) // per_series
    names = pa.array([f"device-{number:06d}" for number in range(DEVICES)])
    columns["device_id"] = pa.DictionaryArray.from_arrays(pa.array((code // len(SENSORS)).astype(np.int32)), names)
    sensor = pa.DictionaryArray.from_arrays(pa.array((code % len(SENSORS)).astype(np.int32)), pa.array(SENSORS))
    columns["sensor_type"] = columns["measurement_type"] = sensor
    times = START + np.arange(rows) % per_series * EVERY * 1_000_000
    columns["timestamp"] = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    columns["value"] = pa.array(np.where(beyond, normal * 2, normal))
    columns["source_offset"] = pa.array(np.arange(rows))
    return conform(pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), READINGS_IN_FLIGHT)


def measure(batch: pa.RecordBatch, step: int) -> tuple[float, int]:
    """(readings a second of this thread's own time, changes of alerts), with a call for each step of some seconds."""
    time_of = batch.column("timestamp").cast(pa.int64()).to_numpy()
    ends = [START + end * 1_000_000 for end in range(step, SECONDS + 1, step)]
    pieces = [batch.filter(pa.array((time_of >= end - step * 1_000_000) & (time_of < end))) for end in ends]
    best, alerts = 0.0, 0
    for _ in range(REPEATS):
        book = RuleBook([RuleSpec.model_validate(rule) for rule in RULES])
        begun = time.thread_time()
        alerts = sum(book.evaluate(piece, None, end).alerts.num_rows for piece, end in zip(pieces, ends, strict=True))
        best = max(best, batch.num_rows / (time.thread_time() - begun))
    return best, alerts


def main() -> None:
    for words, spell in (("in spells", 60), ("alone", 1)):
        batch = fleet(spell)
        for step in (SECONDS, STEP, 10):
            speed, alerts = measure(batch, step)
            print(
                f"1 % match, {words}, {step:5d} s a call: {speed / 1e6:5.2f} M readings/s, "
                f"{batch.num_rows:,} readings, {alerts:,} changes of alerts"
            )


if __name__ == "__main__":
    main()
