"""The command ``explain-record``, asked within this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from telebeam.pipelines.cli import main

HOT = {
    "device_id": "boiler-1", "timestamp": "2026-01-01T00:00:00Z", "sensor_type": "temperature", "value": 68,
    "unit": "fahrenheit",
}  # fmt: skip
AT = "2026-01-01T01:00:00Z"
NOW = 1_767_229_200_000_000
CONFIG = """
pipeline: fleet
source: {kafka: {bootstrap_servers: "localhost:9092", topics: [iot]}}
quality:
  limits: {temperature: {min: 0, max: 15, unit: celsius}}
windows: [{every: 1m}, {every: 1m, length: 15m}, {session_gap: 10m}, {last: 10}]
rules:
  - {name: overheated, when: {sensor_type: temperature, above: 18}, severity: critical}
  - {name: cold, when: {sensor_type: temperature, below: 0}}
  - {name: slow, when: {sensor_type: temperature, above: 18}, for: 30s}
sinks:
  lake: {path: lake}
  influxdb: {url: "http://localhost:8086", org: iot, bucket: telemetry, token: "env:NOT_THERE"}
"""


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


Ask = Callable[..., Said]


def asker(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks the command about a payload in a file: (payload, *options, config=, at=) → what it said."""
    monkeypatch.chdir(folder)

    def call(payload: bytes | dict[str, Any] | Path, *options: str, config: str = CONFIG, at: str = AT) -> Said:
        Path("fleet.yaml").write_text(config, encoding="utf-8")
        name = str(payload) if isinstance(payload, Path) else "record"
        if not isinstance(payload, Path):
            Path(name).write_bytes(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        capfd.readouterr()
        try:
            main(["explain-record", "fleet.yaml", name, "--at", at, *options])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err, err
        return Said(code, out, err)

    return call
