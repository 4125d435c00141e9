"""A file of hostile payloads among good ones: nothing is lost, nothing is written where it should not be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pipelines.hostile import hostile_payloads
from tests.pipelines.jobs import check_balance, check_windows, job

HOUR = r"date=\d{4}-\d\d-\d\d/hour=\d\d/fleet-[\w.-]+\.parquet"
LAKE = re.compile(
    rf"(readings|rejects|quality)/{HOUR}|windows/window_seconds=60/date=\d{{4}}-\d\d-\d\d/hour=\d\d/windows-60--?\d+\.parquet"
    r"|_commits/(readings|rejects|quality)/fleet-[\w.-]+\.json"
)


def test_every_hostile_payload_is_accounted_for_and_kept_to_the_byte(tmp_path: Path, pytestconfig: pytest.Config):
    """20,000 payloads; --long makes them 100,000."""
    count = 100_000 if pytestconfig.getoption("--long") else 20_000
    lines = list(hostile_payloads(count))
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    made = job(tmp_path, "jsonl", tmp_path / "in.jsonl")
    outcome = made.run()
    check_balance(made, outcome)
    check_windows(made)

    readings, rejects = made.readings(), made.rejects()
    assert outcome.balance.readings > count // 3
    assert set(readings["source_offset"].to_pylist()) | set(rejects["source_offset"].to_pylist()) == set(range(count))
    for offset, payload in zip(rejects["source_offset"].to_pylist(), rejects["payload"].to_pylist(), strict=True):
        line = lines[offset].removesuffix(b"\r")
        # The record itself, or an element of the array that it is.
        assert payload == line or (line.lstrip().startswith(b"[") and payload in line), (offset, payload[:200])

    names = [path.relative_to(made.lake).as_posix() for path in made.lake.rglob("*") if path.is_file()]
    assert not [name for name in names if not LAKE.fullmatch(name)]
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "fleet.yaml", "lake"}
