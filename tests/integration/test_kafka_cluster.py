"""What is asked of brokers again and again leaves nothing behind."""

from __future__ import annotations

import gc
from typing import Any

from confluent_kafka import Uuid

from telebeam.io.kafka.cluster import Cluster


def ids() -> int:
    gc.collect()
    return sum(isinstance(each, Uuid) for each in gc.get_objects())


def test_questions_about_topics_leave_no_ids_behind(kafka: Any):
    names = ["ids-one", "ids-two"]
    for name in names:
        kafka.create_topic(name, 1)
    cluster = Cluster(kafka.bootstrap_servers, {})
    before = ids()
    found = [cluster.topics(cluster.ask_topics(names)) for _ in range(50)]
    assert ids() - before < 10
    answer = cluster.ask_topics(names)
    assert [cluster.topics(answer) for _ in range(5)] == found[:5]
    assert len({topic.id for topics in found for topic in topics.values()}) == 2
