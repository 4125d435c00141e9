"""How many files a steady stream makes; the long form watches it for a minute."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.integration.streaming.conftest import Start
from tests.integration.streaming.fleet import Fleet, LiveProducer, Mix
from tests.integration.streaming.harness import assert_exact, kafka_config

PARTITIONS, FILE_EVERY, WINDOW = 4, 5, 10
STEADY = Mix(poison=0, duplicates=0, many=0, behind=0, hours_late=0)


def test_a_steady_stream_makes_a_file_a_partition_each_five_seconds_and_one_a_window(
    kafka: Any, topic: str, start: Start, tmp_path: Path, is_long: bool
) -> None:
    seconds = 60 if is_long else 20
    kafka.create_topic(topic, PARTITIONS)
    windows = [{"every": f"{WINDOW}s", "allowed_lateness": "10m"}]
    config = kafka_config(tmp_path, kafka.bootstrap_servers, topic, windows=windows, time={"idle_after": "2s"})
    fleet = Fleet(100, STEADY).messages()
    with start(config) as job, LiveProducer(kafka.bootstrap_servers, topic, 1000, fleet) as producer:
        job.wait_more()
        begun = time.time()
        job.wait(lambda: time.time() - begun > seconds, "a while")
        ended = time.time()
        acknowledged = producer.finish()
        job.settle(acknowledged, [WINDOW])
        job.kill()
    files = Counter(
        re.findall(r"-p(\d{4})-o\d+", path.name)[-1]
        for path in job.lake.glob("readings/**/*.parquet")
        if begun <= path.stat().st_mtime <= ended
    )
    assert len(files) == PARTITIONS
    # One more at either edge of the time, and one where the hour changes.
    most = (ended - begun) / FILE_EVERY + (ended - begun) / WINDOW + 3
    assert max(files.values()) <= most, files
    assert min(files.values()) >= (ended - begun) / FILE_EVERY / 4, files
    assert_exact(job.lake, acknowledged, [WINDOW])
