"""A lake whose disk is full: nothing is lost, and the job goes on when there is room again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import LiveProducer
from tests.integration.streaming.harness import (
    DRAIN_SECONDS,
    assert_exact,
    filed_rows,
    kafka_config,
    unfiled,
    wait_until,
)

SIZE = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of some megabytes in memory.

    A machine that does not let us mount one lacks no server: the test is left out there, on CI as well.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"NOT TESTED ON A FULL DISK: {error}")
    if done.returncode:
        pytest.skip(f"NOT TESTED ON A FULL DISK: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Takes all room that is left."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            while True:
                try:
                    file.write(bytes(size))
                    os.fsync(file.fileno())
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break


def wait_for_more(producer: LiveProducer, messages: int) -> None:
    enough = producer.count + messages
    wait_until(lambda: producer.count >= enough, "more messages")


def test_a_full_disk_loses_nothing_and_the_job_goes_on_when_there_is_room(
    kafka: Any, topic: str, start: Start, small_disk: Path, is_long: bool
) -> None:
    kafka.create_topic(topic, 2)
    config = kafka_config(small_disk, kafka.bootstrap_servers, topic)
    ballast = small_disk / "ballast"
    with LiveProducer(kafka.bootstrap_servers, topic) as producer:
        for killed in (False, True, False) if is_long else (True,):
            with start(config) as job:
                job.wait_more(400)
                fill(ballast)
                job.wait(lambda: "No space left" in job.text, "a word of the full disk")
                before = filed_rows(job.lake)
                wait_for_more(producer, 400)
                assert filed_rows(job.lake) - before <= 1000, "nothing is filed on a full disk"
                if killed:
                    job.kill()
                ballast.unlink()
                if not killed:
                    job.wait_more(400)
                    job.kill()
        with start(config) as job:
            acknowledged = producer.finish()
            job.settle(acknowledged)
            fill(ballast)
            stopped = job.stop()
            assert stopped.code == 0, job.text
            assert stopped.seconds < DRAIN_SECONDS
    assert not unfiled(job.lake, acknowledged)
    assert_exact(job.lake, acknowledged)
