"""How far a topic is ahead of who reads it."""

from __future__ import annotations

from collections.abc import Mapping

from telebeam.io.kafka.cluster import Cluster, Place
from telebeam.io.kafka.spec import KafkaSourceSpec
from telebeam.io.streams.feed import Partition
from telebeam.transforms.errors import AwayError, TelebeamError


class KafkaLag:
    """Asks the brokers how many records they have beyond some offsets; keeps one connection.

    Args:
        spec: The topics.
    """

    def __init__(self, spec: KafkaSourceSpec) -> None:
        self._spec = spec
        self._cluster: Cluster | None = None

    def __call__(self, positions: Mapping[Partition, int]) -> int | None:
        """The records beyond these offsets, of all partitions of the topics; None where no broker answers.

        Args:
            positions: The first offset that was not read; a partition that it does not name was not read at all.
        """
        try:
            self._cluster = self._cluster or Cluster(self._spec.bootstrap_servers, self._spec.config)
            topics = self._cluster.topics(self._cluster.ask_topics(self._spec.topics)).values()
            of_place = {
                Place(topic.name, number): Partition(topic.stream, number)
                for topic in topics
                for number in range(topic.partitions)
            }
            first, end = self._cluster.edges(of_place)
        except (AwayError, TelebeamError):
            return None
        return sum(max(0, end[place] - positions.get(partition, first[place])) for place, partition in of_place.items())
