"""Streams on Flink: workers that are killed, workers elsewhere, and the same rows as on any other runner."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError
from telebeam.pipelines.runtimes.processes import free_port, is_listening
from telebeam.pipelines.runtimes.workers import boot_program
from tests.checker import read_topic
from tests.integration.conftest import unavailable
from tests.integration.streaming.fleet import Fleet, LiveProducer, Mix, rows_in, send, spread
from tests.integration.streaming.harness import (
    DRAIN_SECONDS,
    StreamingJob,
    assert_exact,
    filed_rows,
    journals,
    kafka_config,
    wait_until,
)
from tests.integration.streaming.test_batch_is_stream import (
    LENGTHS,
    ORIGIN,
    SETTINGS,
    assert_same,
    batch,
    history,
    rows_of,
)
from tests.integration.streaming.test_in_order import by_batch, made, said, scoring
from tests.integration.streaming.test_in_order import history as of_six_devices

FLINK = ("--mode", "stream", "--runner", "flink", "--status-every", "1s")
PROCESS = ("--", "--environment_type=PROCESS")
WORKER = "apache_beam.runners.worker.sdk_worker_main"
PATIENCE = 300.0
"""A job server and a worker start anew: seconds on an idle machine, a minute on a busy one."""


@contextmanager
def running(config: Path, *options: str) -> Iterator[StreamingJob]:
    with StreamingJob(config, *options, mode=FLINK) as job:
        yield job


@pytest.fixture
def processes(kafka: Any) -> tuple[str, ...]:
    """The options for workers in processes of their own."""
    try:
        boot_program()
    except RuntimeUnavailableError as error:
        unavailable(str(error))
    return PROCESS


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[str]:
    """A worker pool's address."""
    port = free_port()
    module = "apache_beam.runners.worker.worker_pool_main"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "pool.log").open("wb") as log:
        command = [sys.executable, "-m", module, f"--service_port={port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        wait_until(lambda: is_listening(port), "a worker pool")
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def descendants(number: int) -> dict[int, str]:
    """The processes below one and their commands."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            # What stands in parentheses may hold anything.
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
    found = {number}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: commands[child] for child in found - {number} if child in commands}


def workers(job: StreamingJob) -> list[int]:
    """The workers themselves, and not the shells that watch over them."""
    python = f"{sys.executable} "
    found = descendants(job.process.pid).items()
    return [number for number, command in found if command.startswith(python) and WORKER in command]


def kill_a_worker(job: StreamingJob, drawn: random.Random) -> None:
    """Kills it at a random moment, and waits until its successor has filed something."""
    time.sleep(drawn.uniform(0, 3))
    job.wait(lambda: bool(workers(job)), "a worker", PATIENCE)
    number = drawn.choice(workers(job))
    os.kill(number, signal.SIGKILL)
    job.wait(lambda: bool(set(workers(job)) - {number}), "another worker", PATIENCE)
    job.wait_more(seconds=PATIENCE)


def jobs_of(endpoint: str) -> list[str]:
    """The states of a job server's jobs, in words."""
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        found = service.GetJobs(beam_job_api_pb2.GetJobsRequest()).job_info
    return [beam_job_api_pb2.JobState.Enum.Name(job.state) for job in found]


def test_scores_and_alerts_are_a_batch_jobs_after_a_worker_and_the_whole_job_were_killed(
    kafka: Any, topic: str, processes: tuple[str, ...], tmp_path: Path, is_long: bool
) -> None:
    if not is_long:
        pytest.skip("the same law holds on Prism in the default run; on Flink with --long")
    config, alerts = scoring(kafka, topic, tmp_path / "stream")
    servers = kafka.bootstrap_servers
    messages = spread(of_six_devices(), 3, seed=1)
    half = len(messages) // 2
    drawn = random.Random(6)
    send(servers, topic, messages[:half])
    with running(config, *processes) as job:
        job.wait_more(half // 2, PATIENCE)
        job.wait(lambda: bool(workers(job)), "a worker", PATIENCE)
        os.kill(drawn.choice(workers(job)), signal.SIGKILL)
        job.wait(lambda: filed_rows(job.lake) == half, "the first half", PATIENCE)
        job.kill()
    send(servers, topic, messages[half:])
    with running(config, "--set", "source.kafka.until=end", *processes) as job:
        assert job.end(PATIENCE) == 0, job.text
    found = made(job.lake)
    assert found == by_batch(job, config, tmp_path / "batch")
    assert len(found["scores"]) == 2 * len(messages)
    filed = {(row["alert_id"], row["state"]) for row in found["alerts"]}
    sent = said(servers, alerts, len(filed))
    assert set(sent) == filed
    assert set(sent.values()) == {1}


def test_nothing_is_lost_or_there_twice_when_workers_and_the_whole_job_are_killed(
    kafka: Any, topic: str, processes: tuple[str, ...], tmp_path: Path, is_long: bool
) -> None:
    drawn = random.Random(4)
    kafka.create_topic(topic, 4)
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic)
    messages = Fleet(60, Mix(duplicates=0.1), seed=4).messages()
    with LiveProducer(kafka.bootstrap_servers, topic, 400, messages) as producer:
        with running(config, *processes) as job:
            job.wait_more(seconds=PATIENCE)
            for _ in range(5 if is_long else 1):
                kill_a_worker(job, drawn)
            orphans = list(descendants(job.process.pid))
            job.kill()
            wait_until(lambda: not any(Path(f"/proc/{each}").exists() for each in orphans), "all end with the job")
        with running(config, *processes) as job:
            before = filed_rows(job.lake)
            job.wait_more(500, PATIENCE)
            acknowledged = list(producer.finish())
            job.settle(acknowledged)
            code, seconds, summary = job.stop()
    assert (code, seconds < DRAIN_SECONDS) == (0, True), (seconds, job.text)
    assert job.said[1:] == []
    assert summary["balance"]["in"] == filed_rows(job.lake) - before
    assert_exact(tmp_path / "lake", acknowledged, stored=read_topic(kafka.bootstrap_servers, [topic]))
    counts = [journal["counts"] for journal in journals(tmp_path / "lake").values()]
    assert sum(each["rows_in"] for each in counts) == rows_in(acknowledged)


def cancelled(endpoint: str, before: list[str]) -> int:
    """How many jobs more than before are cancelled; -1 while one is running."""
    found = jobs_of(endpoint)
    return -1 if "RUNNING" in found else found.count("CANCELLED") - before.count("CANCELLED")


def test_a_job_server_of_the_users_gives_what_a_batch_gives_and_keeps_no_job(
    kafka: Any, topic: str, flink: Any, pool: str, tmp_path: Path
) -> None:
    messages = history()
    kafka.create_topic(topic, 4)
    acknowledged = send(kafka.bootstrap_servers, topic, spread(messages, 4, seed=4))
    config = kafka_config(tmp_path / "stream", kafka.bootstrap_servers, topic, **SETTINGS)
    server = ("--", f"--job_endpoint={flink.job_endpoint}", f"--artifact_endpoint={flink.artifact_endpoint}")
    external = ("--environment_type=EXTERNAL", f"--environment_config={pool}")
    before = jobs_of(flink.job_endpoint)  # the server is other tests', too
    with running(config, "--set", "source.kafka.until=end", *server, *external) as job:
        assert job.end(PATIENCE) == 0, job.text
    assert job.said[1:] == []
    assert_exact(job.lake, acknowledged, LENGTHS)
    lines = tmp_path / "in.jsonl"
    lines.write_bytes(b"".join(payload + b"\n" for *_, payload in acknowledged))
    assert_same(rows_of(job.lake.parent, *ORIGIN), rows_of(batch(tmp_path / "batch", "jsonl", lines), *ORIGIN))
    wait_until(lambda: cancelled(flink.job_endpoint, before) == 1, lambda: str(jobs_of(flink.job_endpoint)))
    # A job that is told to end is not left behind either.
    more = send(kafka.bootstrap_servers, topic, spread(messages[:100], 4, seed=5))
    with running(config, *server) as job:
        job.wait_filed(more, PATIENCE)
        assert job.stop().code == 0, job.text
    assert job.said[1:] == []
    wait_until(lambda: cancelled(flink.job_endpoint, before) == 2, lambda: str(jobs_of(flink.job_endpoint)))
    assert_exact(job.lake, acknowledged + more, LENGTHS)
