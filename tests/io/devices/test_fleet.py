"""A configuration's devices as workers have them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from apache_beam.internal import pickler

from telebeam.io.devices import fleet as module
from telebeam.io.devices.fleet import MOST_OPEN, FleetFiles, OpenFleet, close_fleets
from telebeam.transforms.devices.decoded import Payloads
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.errors import ConfigurationError

CODEC = "function decodeUplink(input) { return {data: {level: input.bytes[0]}}; }"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No process is left behind."""
    yield
    close_fleets()


def spec(folder: Path, **types: dict[str, str]) -> DevicesSpec:
    (folder / "devices.yaml").write_text("- {device_id: tank-1, device_type: tank, location: yard}\n")
    (folder / "tank.js").write_text(CODEC)
    (folder / "tank.json").write_text(json.dumps({"required": ["level"]}))
    registry = str(folder / "devices.yaml")
    return DevicesSpec.model_validate({"registry": registry, "types": types, "refresh": timedelta(microseconds=1)})


def locations(fleet: FleetFiles) -> list[str]:
    found: list[str] = fleet().registry.texts("location").texts.to_pylist()
    return found


def test_a_worker_that_is_sent_the_fleet_has_codecs_and_schemas(tmp_path: Path):
    types = {"tank": {"codec": str(tmp_path / "tank.js"), "schema": str(tmp_path / "tank.json")}}
    sent = pickler.dumps(
        FleetFiles(spec(tmp_path, **types, tracker={"codec": "cayenne_lpp"}), "run-1", refreshes=False)
    )
    assert len(sent) < 2_000
    fleet = pickler.loads(sent)()
    message = Payloads(pa.array([b"\x07"], pa.large_binary()), np.zeros(1, np.int64), np.zeros(1, np.int64))
    assert fleet.codecs["tank"](message).value.tolist() == [7.0]
    assert fleet.codecs["tracker"](message).refused[0].reason == "malformed"
    assert fleet.schemas["tank"](pa.array([b"{}"])).valid.tolist() == [False]


def test_the_workers_of_a_process_share_what_they_have_read(tmp_path: Path):
    devices = spec(tmp_path)
    first, second = (FleetFiles(devices, "run-2", refreshes=False)() for _ in range(2))
    assert first.registry is second.registry


@pytest.mark.parametrize("refreshes", [True, False])
def test_a_stream_sees_a_changed_registry_and_an_archive_is_read_by_one(tmp_path: Path, refreshes: bool):
    fleet = FleetFiles(spec(tmp_path), f"run-{refreshes}", refreshes)
    assert locations(fleet) == ["yard"]
    new = tmp_path / "new.yaml"
    new.write_text("- {device_id: tank-1, device_type: tank, location: roof of the hall}\n")
    os.replace(new, tmp_path / "devices.yaml")
    assert locations(fleet) == (["roof of the hall"] if refreshes else ["yard"])


def test_a_process_that_runs_many_jobs_keeps_few_of_them_open_and_all_go_on(tmp_path: Path):
    devices = spec(tmp_path, tank={"codec": str(tmp_path / "tank.js")})
    fleets = [FleetFiles(devices, f"many-{number}", refreshes=False) for number in range(2 * MOST_OPEN)]
    message = Payloads(pa.array([b"\x07"], pa.large_binary()), np.zeros(1, np.int64), np.zeros(1, np.int64))
    for fleet in (*fleets, fleets[0]):
        assert fleet().codecs["tank"](message).value.tolist() == [7.0]
        assert len(module._OPEN) <= MOST_OPEN


def test_another_run_reads_the_files_again(tmp_path: Path):
    devices = spec(tmp_path)
    assert locations(FleetFiles(devices, "run-5", refreshes=False)) == ["yard"]
    (tmp_path / "devices.yaml").write_text("- {device_id: tank-1, location: cellar}\n")
    assert locations(FleetFiles(devices, "run-6", refreshes=False)) == ["cellar"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"registry": None}, "devices.registry is missing"),
        ({"registry": "nowhere.yaml"}, "no such file"),
        ({"types": {"tank": {"codec": "nowhere.js"}}}, "there is no such file; expected a codec"),
        ({"types": {"tank": {"schema": "nowhere.json"}}}, "there is no such file; expected a JSON Schema"),
    ],
)
def test_a_file_that_is_missing_is_said_before_the_job_starts(tmp_path: Path, change: dict[str, object], said: str):
    devices = DevicesSpec.model_validate({**spec(tmp_path).model_dump(by_alias=True), **change})
    with pytest.raises(ConfigurationError, match=said):
        OpenFleet(devices, refreshes=False)


def test_a_codec_that_is_none_is_said_before_the_job_starts(tmp_path: Path):
    types = {"tank": {"codec": str(tmp_path / "broken.js")}}
    devices = spec(tmp_path, **types)
    (tmp_path / "broken.js").write_text("function decodeUplink(input) {")
    fleet = OpenFleet(devices, refreshes=False)
    with pytest.raises(ConfigurationError, match=r"broken\.js: is no codec"):
        fleet.check()
    fleet.close()
