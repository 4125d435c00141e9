"""The registry's file: what is wrong is named with its place, and a new file takes the old one's place."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.io.devices.registry import RegistryFile, load_registry
from telebeam.transforms.devices.rows import REGISTRY
from telebeam.transforms.errors import ConfigurationError

YAML = """\
# the fleet
devices:
  - {device_id: 0012, device_type: door, tenant: acme, location: no, status: active}
  - device_id: meter-1
    scale: 0.5
    offset: -1
    unit: °C
    valid_from: 2026-01-31
  - {device_id: meter-1, sensor_type: Humidity, scale: 2, valid_from: "2026-02-01T00:00:00+01:00"}
"""


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def replace(path: Path, text: str) -> None:
    """A new file under the old name, as a careful writer does."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def test_a_value_is_what_its_column_says_and_not_what_yaml_guesses(tmp_path: Path):
    rows = load_registry(write(tmp_path / "fleet.yaml", YAML)).rows.to_pylist()
    assert [row["device_id"] for row in rows] == ["0012", "meter-1", "meter-1"]
    assert rows[0]["location"] == "no"
    assert rows[1] | {"valid_from": None} == {
        **dict.fromkeys(REGISTRY.names),
        "device_id": "meter-1",
        "scale": 0.5,
        "offset": -1.0,
        "unit": "celsius",
    }
    assert rows[1]["valid_from"] == datetime(2026, 1, 31, tzinfo=UTC)
    assert (rows[2]["sensor_type"], rows[2]["valid_from"]) == ("humidity", datetime(2026, 1, 31, 23, tzinfo=UTC))


def test_yaml_and_parquet_of_the_same_rows_are_the_same_registry(tmp_path: Path):
    yaml = load_registry(write(tmp_path / "fleet.yml", YAML))
    table = pa.Table.from_batches([yaml.rows]).select(REGISTRY.names[::-1]).append_column("more", pa.array([1, 2, 3]))
    table = table.set_column(0, "valid_from", table.column("valid_from").cast(pa.timestamp("ms", "Europe/Berlin")))
    pq.write_table(table, tmp_path / "fleet.parquet")
    assert load_registry(str(tmp_path / "fleet.parquet")).fingerprint == yaml.fingerprint


@pytest.mark.parametrize("text", ["", "devices:\n", "[]", "# nothing\n"])
def test_a_registry_may_be_empty(text: str, tmp_path: Path):
    assert len(load_registry(write(tmp_path / "fleet.yaml", text))) == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {device_id: dev-1}\n- {device_id: x}\n", "fleet.yaml:2: device_id: 'x' is no device id"),
        ("- {device_id: dev-1, statuss: active}\n", "fleet.yaml:1: 'statuss' is no column of a registry"),
        ("- device_id: dev-1\n  scale: two\n", "fleet.yaml:1: scale: 'two' is no number"),
        ("- {device_id: dev-1, scale: .nan}\n", "'.nan' is no number"),
        ("- {device_id: dev-1, scale: 1e999}\n", "'1e999' is no number"),
        ("- {device_id: dev-1, valid_from: yesterday}\n", "'yesterday' is no instant"),
        ("- {device_id: dev-1, valid_from: 2026-02-30}\n", "'2026-02-30' is no instant"),
        ("- {device_id: dev-1, valid_from: 2026-01-01T00:00:00}\n", "is no instant"),
        ("- {device_id: dev-1, location: [a, b]}\n", "fleet.yaml:1: location: expected one value, found a list"),
        ("- {device_id: dev-1}\n- dev-2\n", "fleet.yaml:2: expected a device with device_id, found 'dev-2'"),
        ("- {device_id: dev-1}\n- {device_id: dev-1}\n", "fleet.yaml:2: device_id: 'dev-1' has two rows"),
        ("- {device_id: dev-1, device_id: dev-2}\n", "fleet.yaml:1: device_id is given twice"),
        ("- {location: hall}\n", "fleet.yaml:1: device_id: there is none"),
        ("device_id: dev-1\n", "fleet.yaml:1: expected a list of devices"),
        ("- {device_id: dev-1\n- x\n", "fleet.yaml:3: not YAML"),
        ("- {device_id: dev-1, <<: {location: x}}\n", "'<<' is no column"),
        ("- {[1]: dev-1}\n", "'' is no column"),
        ("\x00", "not YAML"),
        ("- {device_id: *absent}", "found an alias"),
        ("- {device_id: dev-1}\n---\n- {device_id: dev-2}\n", "fleet.yaml:2: expected nothing behind"),
        ("devices: []\nmore: 1\n", "fleet.yaml:2: expected nothing behind"),
        ("- {device_id: !!python/name:os.system x}", "device_id: 'x' is no device id"),
        ("[" * 50_000, "expected a device with device_id, found a list"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, words: str, tmp_path: Path):
    with pytest.raises(ConfigurationError) as error:
        load_registry(write(tmp_path / "fleet.yaml", text))
    assert words in error.value.message


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path):
    text = "".join(f"- {{device_id: x, status: odd{n}}}\n" for n in range(40))
    with pytest.raises(ConfigurationError) as error:
        load_registry(write(tmp_path / "fleet.yaml", text))
    assert error.value.message.startswith("119 problems in the device registry\n")
    assert error.value.message.endswith("… and 99 more")


def parquet(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_a_wrong_row_of_parquet_is_named_by_its_number(tmp_path: Path):
    path = parquet(tmp_path / "f.parquet", device_id=["dev-1", "dev-2"], status=["active", "odd"])
    with pytest.raises(ConfigurationError, match=r"f\.parquet: row 2: status: 'odd'"):
        load_registry(path)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": ["dev-1"]}, "has no column device_id, only id"),
        ({"device_id": ["dev-1"], "scale": ["two"]}, "can't be read as a registry"),
        ({"device_id": ["dev-1"], "valid_from": pa.array([0], pa.timestamp("us"))}, "valid_from names no zone"),
    ],
)
def test_parquet_of_other_columns_is_refused(columns: dict[str, Any], words: str, tmp_path: Path):
    with pytest.raises(ConfigurationError, match=words):
        load_registry(parquet(tmp_path / "f.parquet", **columns))


def test_a_file_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    for path, words in [
        (str(tmp_path / "absent.yaml"), "there is no such file"),
        (str(tmp_path), "there is no such file"),
        (str(tmp_path / "cut.parquet"), "can't be read as a registry"),
        ("ftp://host/fleet.yaml", "ftp://"),
        (write(tmp_path / "fleet.json", "[]"), "expected a registry that ends in"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            load_registry(path)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_changed_file_is_read_again_after_the_time_of_a_refresh(tmp_path: Path):
    path, clock = tmp_path / "fleet.yaml", Clock()
    file = RegistryFile(write(path, "- {device_id: dev-1}\n"), timedelta(seconds=60), clock)
    first = file()
    replace(path, "- {device_id: dev-1}\n- {device_id: dev-2}\n")
    clock.seconds = 59.9
    assert file() is first
    clock.seconds = 60.0
    assert file().device_ids == ["dev-1", "dev-2"]
    assert first.device_ids == ["dev-1"]


def test_an_unchanged_file_gives_the_same_snapshot(tmp_path: Path):
    clock = Clock()
    file = RegistryFile(write(tmp_path / "fleet.yaml", "- {device_id: dev-1}\n"), timedelta(seconds=1), clock)
    first = file()
    clock.seconds = 100
    assert file() is first


def test_a_broken_new_file_leaves_the_old_registry_and_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path, clock = tmp_path / "fleet.yaml", Clock()
    file = RegistryFile(write(path, "- {device_id: dev-1}\n"), timedelta(seconds=1), clock)
    first = file()
    with caplog.at_level(logging.WARNING):
        replace(path, "- {device_id: dev-1, status: odd}\n")
        for seconds in (1, 2, 3):
            clock.seconds = seconds
            assert file() is first
        assert len(caplog.records) == 1
        assert "fleet.yaml:1: status: 'odd'" in caplog.text
        path.unlink()
        clock.seconds = 4
        assert file() is first
        assert len(caplog.records) == 2
    replace(path, "- {device_id: dev-2}\n")
    clock.seconds = 5
    assert file().device_ids == ["dev-2"]
