"""A live job that knows its devices, and hears when the registry has changed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from telebeam.io.lake import Lake
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Outgoing, send
from tests.integration.streaming.harness import kafka_config
from tests.transforms.records import CLIMATE, EUI, things_stack

KEY = f"devices/{EUI}/telemetry"
CODEC = "function decodeUplink(input) { return {data: {level: input.bytes[0]}, warnings: ['low']}; }"


def registry(folder: Path, location: str) -> None:
    """Puts a registry in the place of the one that is there."""
    new = folder / "new.yaml"
    new.write_text(
        f"- {{device_id: {EUI}, device_type: climate, tenant: acme, location: {location}}}\n"
        "- {device_id: tank-1, device_type: tank, tenant: acme}\n"
    )
    os.replace(new, folder / "devices.yaml")


def test_a_live_job_decodes_by_device_and_takes_a_changed_registry(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic, 2)
    registry(tmp_path, "yard")
    (tmp_path / "tank.js").write_text(CODEC)
    types = {"climate": {"codec": "cayenne_lpp"}, "tank": {"codec": "tank.js"}}
    devices = {"registry": "devices.yaml", "types": types, "refresh": "100ms", "unknown": "reject"}
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic, devices=devices, quality={"max_age_days": None})
    stranger = json.dumps({"device_id": "stranger", "timestamp": 1767225600, "metric": "level", "value": 1}).encode()
    bare = [Outgoing(CLIMATE, KEY), Outgoing(b"\x07", "devices/tank-1/telemetry")]
    first = [Outgoing(things_stack(), "gateway"), *bare, Outgoing(stranger, "x"), Outgoing(b"\x01", KEY)]

    def locations() -> set[str]:
        return set(Lake(str(tmp_path / "lake")).readings()["location"].to_pylist())

    with start(config) as job:
        acknowledged = send(kafka.bootstrap_servers, topic, first)
        job.wait_filed(acknowledged)
        registry(tmp_path, "roof")

        def is_heard() -> bool:
            acknowledged.extend(send(kafka.bootstrap_servers, topic, [Outgoing(things_stack(), "gateway")]))
            job.wait_filed(acknowledged)
            return "roof" in locations()

        job.wait(is_heard, "the changed registry to be in force")
        assert job.stop().code == 0, job.text
    lake = Lake(str(tmp_path / "lake"))
    rows = lake.readings().to_pylist()
    assert {(row["tenant"], row["device_id"], row["measurement_type"], row["value"]) for row in rows} == {
        ("acme", EUI, "temperature_3", 27.2), ("acme", EUI, "temperature_5", 25.5), ("acme", "tank-1", "level", 7.0)
    }  # fmt: skip
    assert [row["issues"] for row in rows if row["device_id"] == "tank-1"] == [["codec_warning"]]
    assert sorted((row["reason"], row["payload"]) for row in lake.rejects().to_pylist()) == [
        ("malformed", b"\x01"),
        ("unknown_device", stranger),
    ]
