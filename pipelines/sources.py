"""The stream that a configuration names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from telebeam.io import storage
from telebeam.io.registry.client import SchemaRegistry
from telebeam.io.streams.feed import Partition
from telebeam.io.streams.job import Feeds
from telebeam.pipelines.spec import PipelineSpec, SourceSpec
from telebeam.transforms.aggregation.spec import WindowSpec
from telebeam.transforms.checking import Checks
from telebeam.transforms.devices.fleet import FleetOf
from telebeam.transforms.devices.spec import CAYENNE_LPP, DevicesSpec
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.extras import needing
from telebeam.transforms.order import OrderSpec
from telebeam.transforms.parsing.wire import SchemaOf

MOST_READERS = 16
"""Threads of one worker; each has a consumer of its own."""

Lag = Callable[[Mapping[Partition, int]], int | None]
"""Positions → how many records the broker has beyond them, None where it can't tell."""


class StreamFeeds(Feeds, Protocol):
    """Makes the feeds of a source's readers, and finds out whether it is there."""

    def probe(self) -> object:
        """Reaches the broker, logs in and finds the stream; raises a SourceError in words."""

    def partition_count(self) -> int:
        """How many partitions there are now."""


def feeds_of(spec: PipelineSpec) -> StreamFeeds:
    """The feeds of a pipeline's source.

    Raises:
        ConfigurationError: Its source is no stream.
    """
    source = spec.source
    if source.kafka is not None:
        with needing("kafka", "source.kafka"):
            from telebeam.io.kafka.feeds import KafkaFeeds

        return KafkaFeeds(source.kafka, source.kafka.group_id or spec.pipeline)
    if source.pubsub is not None:
        with needing("pubsub", "source.pubsub"):
            from telebeam.io.pubsub.feed import PubSubFeeds

        return PubSubFeeds(source.pubsub)
    raise ConfigurationError(
        f"--mode stream: source.{source.kind} is an archive, which ends; expected source.kafka or source.pubsub",
        "leave --mode out for a batch job, or swap the source: --set source.kafka.bootstrap_servers=…",
    )


def schemas_of(spec: PipelineSpec) -> SchemaOf | None:
    """The schema registry that a pipeline's parsing asks; None where none is declared."""
    return None if spec.parse.registry is None else SchemaRegistry(spec.parse.registry)


def fleet_of(spec: PipelineSpec, *, refreshes: bool = False) -> FleetOf | None:
    """What gives workers the devices that a pipeline declares; None where it declares none.

    Args:
        spec: The pipeline.
        refreshes: Whether the registry is read again when its file has changed, as a stream does.
    """
    if spec.devices is None:
        return None
    from telebeam.io.devices.fleet import FleetFiles

    return FleetFiles(_with_full_paths(spec.devices), uuid.uuid4().hex, refreshes)


def _with_full_paths(devices: DevicesSpec) -> DevicesSpec:
    """The same files under names that are the same in every folder: a worker elsewhere has its own."""
    types = {
        name: kind.model_copy(
            update={
                "data_schema": _in_full(kind.data_schema),
                "codec": kind.codec if kind.codec == CAYENNE_LPP else _in_full(kind.codec),
            }
        )
        for name, kind in devices.types.items()
    }
    return devices.model_copy(update={"registry": _in_full(devices.registry), "types": types})


def _in_full(path: str | None) -> str | None:
    if path is None:
        return None
    found = storage.locate(path)
    return found.path if found.is_local else path


def windows_of(spec: PipelineSpec, fleet: FleetOf | None) -> tuple[WindowSpec, ...]:
    """A pipeline's windows; those of the registry's groups know it."""
    return tuple(
        window.with_fleet(fleet) if fleet is not None and window.grouping == "group" else window
        for window in spec.windows
    )


def order_of(spec: PipelineSpec, fleet: FleetOf | None) -> OrderSpec | None:
    """What a pipeline does in the order of event time, where anything, by what the registry says of devices."""
    return None if spec.order is None else spec.order.with_fleet(fleet)


def checks_of(spec: PipelineSpec, fleet: FleetOf | None = None) -> Checks:
    """All that a pipeline does to records before they are filed.

    Args:
        spec: The pipeline.
        fleet: From :func:`fleet_of`; made here, and not refreshed, unless given.
    """
    return Checks(spec.parse, spec.quality, schemas_of(spec), fleet or fleet_of(spec))


def readers_of(source: SourceSpec, feeds: StreamFeeds) -> int:
    """How many readers a source gets on this machine: what it asks for, else one a core and none without a partition.

    Raises:
        SourceError: The broker does not say how many partitions there are.
    """
    if source.kafka is not None and source.kafka.readers is not None:
        return source.kafka.readers
    return max(1, min(feeds.partition_count(), os.cpu_count() or 1, MOST_READERS))


def lag_of(source: SourceSpec) -> Lag:
    """What tells a source's lag; of a source without offsets nothing is known."""
    if source.kafka is None:
        return lambda positions: None

    from telebeam.io.kafka.lag import KafkaLag

    return KafkaLag(source.kafka)
