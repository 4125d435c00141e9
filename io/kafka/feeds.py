"""How many readers make their feeds of one source, and whether they could."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from telebeam.io.kafka.cluster import PROBE_SECONDS, Cluster, Topic, patiently
from telebeam.io.kafka.feed import KafkaFeed
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.transforms.errors import AwayError, SourceError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class KafkaFeeds:
    """Makes the feeds of a source; small, without a connection and without secrets, so it travels to workers.

    Args:
        spec: The topics.
        group_id: Whose offsets are committed, where the spec names none.
    """

    spec: KafkaSourceSpec
    group_id: str

    def __call__(self, index: int, readers: int) -> KafkaFeed:
        """The feed of one of so many readers, not yet open."""
        return KafkaFeed(self.spec, self.spec.group_id or self.group_id, index, readers)

    def partition_count(self) -> int:
        """How many partitions the topics have now: more readers than the largest number have nothing to do.

        Raises:
            SourceError: As :func:`probe`.
        """
        return sum(topic.partitions for topic in probe(self.spec).values())

    def probe(self) -> str:
        """Reaches the broker and finds the topics; says what was found.

        Raises:
            SourceError: As :func:`probe`.
        """
        found = probe(self.spec).values()
        return ", ".join(f"topic {topic.name} with {topic.partitions} partition(s)" for topic in found)


def probe(spec: KafkaSourceSpec, seconds: float = PROBE_SECONDS) -> Mapping[str, Topic]:
    """Reaches the broker, logs in and finds the topics, within a time.

    Raises:
        SourceError: No broker answers, the login is refused, or a topic is unknown.
        ConfigurationError: A secret is not there, or the client does not take its settings.
    """
    cluster = Cluster(spec.bootstrap_servers, spec.config)
    try:
        return patiently(
            lambda: cluster.topics(cluster.ask_topics(spec.topics)), _LOG.debug, threading.Event().wait, seconds
        )
    except AwayError as error:
        raise SourceError(
            f"{error.message} (tried for {seconds:g} s)", "check source.kafka.bootstrap_servers, and security.protocol"
        ) from error
