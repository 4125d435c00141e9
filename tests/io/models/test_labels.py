"""Labels are read as they stand, and a line that is none is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from telebeam.io.models.labels import of_alerts, read_labels
from telebeam.transforms.anomaly.labels import Label, Labels
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import ALERTS
from tests.transforms.anomaly.samples import MIDNIGHT, SECOND, rows


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_labels_are_read_with_and_without_an_end(tmp_path: Path):
    text = "start,device_id,end,note\n2026-01-01T00:00:00Z, a-1 ,2026-01-01T01:00:00+01:00,x\n"
    path = written(tmp_path / "a.csv", text.replace("01:00:00+01:00", "02:00:00+01:00"))
    assert read_labels(path) == [Label("a-1", MIDNIGHT, MIDNIGHT + 3600 * SECOND)]
    path = written(tmp_path / "a.csv", "\ufeffdevice_id,start\na-1,2026-01-01T00:00:00Z\n")
    assert read_labels(path) == [Label("a-1", MIDNIGHT, MIDNIGHT + 1)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "the header is"),
        ("", "the header is None"),
        ("device_id,start\na-1,soon\n", ":2: Invalid isoformat"),
        ("device_id,start\na-1,2026-01-01T00:00:00Z\na-1,2026-01-01T00:00:00\n", ":3: .* names no zone"),
        ("device_id,start,end\na-1,2026-01-01T00:00:00Z,2025-01-01T00:00:00Z\n", ":2: .* ends before"),
        ("device_id,start\n,2026-01-01T00:00:00Z\n", ":2: no device"),
        ("device_id,start\na-1\n", ":2: Invalid isoformat"),
    ],
)
def test_a_line_that_is_no_label_is_named(text: str, words: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=words):
        read_labels(written(tmp_path / "a.csv", text))
    with pytest.raises(ConfigurationError, match="can't be read"):
        read_labels(tmp_path / "absent.csv")


def test_readings_within_a_label_of_their_device_are_found():
    labels = Labels.of([Label("a-1", 5, 9), Label("a-1", 7, 12), Label("a-1", 12, 13), Label("b-1", 0, 3)])
    assert labels.by_device["a-1"] == [(5, 13)]
    batch = rows(pa.array([4, 5, 12, 13, 2]), pa.array([0.0] * 5), device_id=["a-1", "a-1", "a-1", "a-1", "b-1"])
    assert labels.inside(batch).tolist() == [False, True, True, False, True]
    assert not Labels.of([])


def test_alerts_are_labels_from_firing_to_resolved_or_to_the_end():
    def alert(key: str, device: str | None, second: int, state: str) -> dict:
        return {
            "alert_id": key, "rule": "r", "tenant": "default", "device_id": device, "timestamp": second * SECOND,
            "alert_type": "t", "severity": "info", "state": state, "message": "",
        }  # fmt: skip

    changes = [
        alert("1", "a-1", 9, "resolved"), alert("1", "a-1", 5, "firing"), alert("2", "b-1", 7, "firing"),
        alert("3", None, 7, "firing"), alert("4", "c-1", 30, "firing"), alert("5", "d-1", 1, "resolved"),
    ]  # fmt: skip
    found = sorted(of_alerts(pa.Table.from_pylist(changes, schema=ALERTS), 20 * SECOND))
    assert found == [Label("a-1", 5 * SECOND, 9 * SECOND), Label("b-1", 7 * SECOND, 20 * SECOND)]
