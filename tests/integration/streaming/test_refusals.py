"""What can't work is refused at once, in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from telebeam.pipelines.cli import main
from tests.checker import check
from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import message, send
from tests.integration.streaming.harness import StreamingJob, kafka_config, write_config

CHECK_SECONDS = 10.0
"""From when the job says what it is going to read."""
SUBSCRIPTION = {"subscription": "projects/telebeam-test/subscriptions/nobody-made-it"}


class Refused(NamedTuple):
    code: int
    errors: list[str]
    seconds: float
    text: str


def refused(job: StreamingJob) -> Refused:
    job.wait(lambda: bool(job.said) or not job.is_running, "a first word") if job.is_running else None
    begun = time.monotonic()
    code = job.end()
    errors = [line for line in job.said if line.startswith("telebeam: error:")]
    return Refused(code, errors, time.monotonic() - begun, job.text)


class Refusals(NamedTuple):
    """Jobs that were started together, for most of their time goes into imports."""

    password: StreamingJob
    topic: StreamingJob
    subscription: StreamingJob


@pytest.fixture
def jobs(kafka: Any, pubsub: Any, start: Start, tmp_path: Path) -> Refusals:
    login = {**kafka.login(), "sasl.password": "env:KAFKA_PASSWORD"}
    secured = kafka_config(tmp_path / "a", kafka.sasl_bootstrap_servers, "telemetry", kafka={"config": login})
    unknown = kafka_config(tmp_path / "b", kafka.bootstrap_servers, "nobody-made-it")
    missing = write_config(tmp_path / "c", {"pubsub": SUBSCRIPTION})
    password = {"KAFKA_PASSWORD": "wrong"}
    return Refusals(
        start(secured, environment=password, warm=None), start(unknown, warm=None), start(missing, warm=None)
    )


def test_a_wrong_password_an_unknown_topic_and_a_missing_subscription_end_the_job_at_once(jobs: Refusals) -> None:
    words = {"password": "refuses the login", "topic": "nobody-made-it", "subscription": "nobody-made-it"}
    for name, job in jobs._asdict().items():
        found = refused(job)
        assert found.code == 1, (name, found)
        assert len(found.errors) == 1, (name, found)
        assert words[name] in found.errors[0], (name, found)
        assert "wrong" not in found.text.replace("wrong password", "")
        assert "Traceback" not in found.text
        assert found.seconds < CHECK_SECONDS, (name, found)
        assert not job.lake.exists()


Said = Callable[..., tuple[int, str]]


@pytest.fixture
def telebeam(capfd: pytest.CaptureFixture[str]) -> Said:
    """The command within this process: its exit code, and what it says on stderr."""

    def call(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main(["run", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert not out
        assert "Traceback" not in err
        return int(stop.value.code or 0), err

    return call


def test_a_stream_on_the_runner_that_never_emits_is_refused_with_another_one(telebeam: Said, tmp_path: Path) -> None:
    config = kafka_config(tmp_path, "127.0.0.1:9", "telemetry")
    code, said = telebeam(config, "--mode", "stream", "--runner", "direct")
    assert (code, "hint: --runner prism" in said) == (2, True), said


def test_a_stream_without_a_lake_is_refused_with_what_to_add(
    telebeam: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFLUX_TOKEN", "any")
    influx = {"url": "http://127.0.0.1:9", "org": "iot", "bucket": "telemetry", "token": "env:INFLUX_TOKEN"}
    config = kafka_config(tmp_path, "127.0.0.1:9", "telemetry", sinks={"lake": None, "influxdb": influx})
    code, said = telebeam(config)
    assert (code, "sinks.lake" in said, "hint: add sinks" in said) == (2, True, True), said


def test_a_stream_as_a_batch_is_refused_with_how_it_finishes(telebeam: Said, tmp_path: Path) -> None:
    code, said = telebeam(kafka_config(tmp_path, "127.0.0.1:9", "telemetry"), "--mode", "batch")
    assert (code, "until: end" in said) == (2, True), said


def test_an_archive_as_a_stream_is_refused_with_a_source_that_is_one(telebeam: Said, tmp_path: Path) -> None:
    code, said = telebeam(write_config(tmp_path, {"jsonl": {"path": "in.jsonl"}}), "--mode", "stream")
    assert (code, "source.kafka" in said) == (2, True), said


def test_of_two_jobs_of_one_name_at_most_one_goes_on_and_nothing_is_there_twice(
    kafka: Any, topic: str, start: Start, tmp_path: Path
) -> None:
    kafka.create_topic(topic)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    now = time.time()
    acknowledged = send(kafka.bootstrap_servers, topic, [message("device-1", now + n / 100) for n in range(100)])
    jobs = [start(config), start(config)]
    for job in jobs:
        job.wait(lambda job=job: bool(job.statuses) or not job.is_running, "a first status, or that it has lost")
    # Unless one was so much faster that the other has lost: whoever files second finds what it did not write.
    while all(job.is_running for job in jobs):
        acknowledged += send(kafka.bootstrap_servers, topic, [message("device-1", time.time())])
        time.sleep(0.1)
    loser, winner = sorted(jobs, key=lambda job: job.is_running)
    assert loser.end() == 1
    assert [line for line in loser.said if line.startswith("telebeam: error:") and "another job" in line], loser.text
    winner.wait_filed(acknowledged)
    assert winner.is_running
    winner.kill()
    verdict = check(acknowledged, winner.lake)
    assert verdict.ok, str(verdict)
