"""A stream that goes on: some limits are minutes away."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import LiveProducer, message
from tests.integration.streaming.harness import assert_exact, kafka_config

REQUEST_SECONDS = 300.0
"""Beam's time limit of a request to a job server, by one of which it watches the job's state."""


def test_a_job_outlives_the_time_limit_of_beams_requests(
    kafka: Any, topic: str, start: Start, tmp_path: Path, is_long: bool
) -> None:
    if not is_long:
        pytest.skip("five and a half minutes: --long")
    kafka.create_topic(topic, 2)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    messages = (message(f"device-{n % 3}", time.time(), n, n % 2) for n in count())
    with start(config) as job, LiveProducer(kafka.bootstrap_servers, topic, 20, messages) as producer:
        job.wait_more(1)
        until = time.monotonic() + REQUEST_SECONDS + 30
        while time.monotonic() < until:
            job.wait_more(10)
        assert job.stop().code == 0
        acknowledged = producer.finish()
    with start(config, "--set", "source.kafka.until=end") as job:
        assert job.end(60) == 0, job.text
    assert_exact(tmp_path / "lake", acknowledged)
