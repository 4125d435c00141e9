"""The servers that streaming needs, started by the scripts that the tests start them with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from telebeam.transforms.errors import JobError
from tests.services.influxdb import InfluxServer, InfluxUnavailableError, running_influxdb
from tests.services.kafka import Kafka, running_kafka

PARTITIONS = 4
BROKER = {"log.retention.ms": "-1", "log.segment.bytes": str(1 << 28), "log.message.timestamp.type": "CreateTime"}


@dataclass(frozen=True)
class Servers:
    """A broker, and a database where one is wanted."""

    kafka: Kafka
    influxdb: InfluxServer | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address."""
        return self.kafka.bootstrap_servers

    def influx_settings(self, **more: Any) -> dict[str, Any]:
        """The section ``sinks.influxdb`` of a configuration; its token is in the variable of :meth:`environment`."""
        if self.influxdb is None:
            return {}
        where = {"url": self.influxdb.url, "org": self.influxdb.org, "bucket": self.influxdb.bucket}
        return {"influxdb": {**where, "token": "env:INFLUX_TOKEN", **more}}

    @property
    def environment(self) -> dict[str, str]:
        """What a job needs to log in."""
        return {} if self.influxdb is None else {"INFLUX_TOKEN": self.influxdb.token}


@contextmanager
def running_servers(*, influxdb: bool = False) -> Iterator[Servers]:
    """Servers of their own in temporary folders, stopped and removed at the end, whatever happens.

    Raises:
        JobError: One is not here and can't be had.
    """
    with ExitStack() as stack:
        kafka = stack.enter_context(running_kafka(BROKER))
        try:
            database = stack.enter_context(running_influxdb()) if influxdb else None
        except InfluxUnavailableError as error:
            raise JobError(str(error)) from error
        yield Servers(kafka, database)
