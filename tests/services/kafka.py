"""A real Kafka for tests: one broker in KRaft mode, its jars fetched once a machine, run on free local ports.

``python tests/services/kafka.py`` installs it if needed, starts it, prints its bootstrap servers and stays until it is
told to stop; with ``--install`` it only installs it.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from telebeam.pipelines.runtimes.installs import java
from telebeam.pipelines.runtimes.maven import Artifact, classpath, jars
from telebeam.pipelines.runtimes.processes import ServerProcess, ServerStartError, free_port, is_listening, serve

VERSION = "4.1.2"
ARTIFACTS = (
    Artifact("org.apache.kafka", "kafka_2.13", VERSION),
    Artifact("org.slf4j", "slf4j-simple", "1.7.36"),  # without a logger of its own a broker dies in silence
)
READY_SECONDS = 90
ANSWER_SECONDS = 30
USER, PASSWORD = "tester", "only-for-tests"


def kafka_jars() -> Path:
    """The folder of the broker's jars, fetched if they aren't there (up to a minute)."""
    return jars(f"kafka-{VERSION}", ARTIFACTS, f"Kafka {VERSION}, up to a minute")


@dataclass
class Kafka:
    """A broker that this process started, over one folder and with one address as often as it is started again."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    sasl_port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    process: ServerProcess = field(init=False)

    def __post_init__(self) -> None:
        program = java("Kafka", 17)
        logging = [
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.log.state.change.logger=warn",
        ]
        where = ["-cp", classpath(kafka_jars())]
        server = [program, "-Xmx768m", "-XX:+ExitOnOutOfMemoryError", *logging, *where, "kafka.Kafka"]
        self.process = ServerProcess("Kafka", [*server, str(self._properties)], self.log)
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in self._all_settings().items()))
        tool = [program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *where, "kafka.tools.StorageTool"]
        format_it = [*tool, "format", "-t", _cluster_id(), "-c", str(self._properties)]
        with self.log.open("ab") as log:
            done = subprocess.run(format_it, stdout=log, stderr=log, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise ServerStartError(f"Kafka's folder can't be made:\n{self.log.read_text(errors='replace')}")

    @property
    def bootstrap_servers(self) -> str:
        """Where anybody may connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_bootstrap_servers(self) -> str:
        """Where only who knows the password may."""
        return f"127.0.0.1:{self.sasl_port}"

    def login(self, password: str = PASSWORD) -> dict[str, str]:
        """A client's settings for ``sasl_bootstrap_servers``."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "log"

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _all_settings(self) -> dict[str, str]:
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            "node.id": "1",
            "process.roles": "broker,controller",
            "listeners": f"PLAIN://127.0.0.1:{self.port},LOGIN://127.0.0.1:{self.sasl_port},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            "listener.security.protocol.map": "PLAIN:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAIN",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "log.dirs": str(self.folder / "data"),
            "num.partitions": "1",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After a kill the controller waits until the dead broker's session is over before it takes the new one.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self.settings,
        }

    def start(self) -> None:
        """Start the broker over its folder and wait until it answers."""
        self.process.start(self._is_ready, READY_SECONDS)

    start_again = start

    def stop(self) -> None:
        """Stop it in order; its data stays until the folder goes."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once, by SIGKILL."""
        self.process.kill()

    def pause(self) -> None:
        """Connections stay and nothing answers, until ``resume``."""
        self.process.pause()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self.process.resume()

    @cached_property
    def admin(self) -> AdminClient:
        """A client for topics; one for the broker's whole life, whose complaints while it is away nobody needs."""
        quiet = {"log_level": 0, "error_cb": lambda error: None, "reconnect.backoff.max.ms": 200}
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, **quiet})

    def _is_ready(self) -> bool:
        if not (is_listening(self.port) and is_listening(self.sasl_port)):
            return False
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Make a topic, wait until every partition has a leader, and give its name back."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        _done(self.admin.create_topics([topic], operation_timeout=ANSWER_SECONDS))
        self._wait(lambda: self._partitions(name) == partitions, f"topic {name} with {partitions} partitions")
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone; one of the same name may be made then."""
        _done(self.admin.delete_topics([name], operation_timeout=ANSWER_SECONDS))
        self._wait(lambda: self._partitions(name) == 0, f"no topic {name}")

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions, ``total`` of them, and wait until each has a leader."""
        _done(self.admin.create_partitions([NewPartitions(name, total)], operation_timeout=ANSWER_SECONDS))
        self._wait(lambda: self._partitions(name) == total, f"topic {name} with {total} partitions")

    def delete_records(self, name: str, before: Mapping[int, int]) -> None:
        """Delete what lies before an offset, by partition, as retention does."""
        _done(self.admin.delete_records([TopicPartition(name, part, offset) for part, offset in before.items()]))

    def _partitions(self, name: str) -> int:
        """How many partitions of a topic have a leader."""
        # Asking for the one topic by name would make the client wait for it; asking for all tells what there is.
        topic = self.admin.list_topics(timeout=ANSWER_SECONDS).topics.get(name)
        return sum(part.leader >= 0 and part.error is None for part in topic.partitions.values()) if topic else 0

    def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise ServerStartError(f"Kafka has {what} not within {ANSWER_SECONDS} s")
            time.sleep(0.02)


def _done(futures: Mapping[object, object]) -> None:
    for future in futures.values():
        future.result(ANSWER_SECONDS)  # type: ignore[attr-defined]


def _cluster_id() -> str:
    # The tool takes one that begins with a hyphen for an option.
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


@contextmanager
def running_kafka(settings: Mapping[str, str] | None = None) -> Iterator[Kafka]:
    """A broker of its own in a temporary folder, ready; stopped and removed at the end.

    Args:
        settings: The broker's, beside ours and before them, such as ``log.retention.check.interval.ms``.

    Raises:
        TelebeamError: Java or Maven is missing, or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="telebeam-kafka-", ignore_cleanup_errors=True) as folder:
        kafka = Kafka(Path(folder), settings or {})
        try:
            kafka.start()
            yield kafka
        finally:
            kafka.kill()  # nobody reads its folder any more


if __name__ == "__main__":
    sys.exit(serve(kafka_jars, running_kafka, lambda kafka: kafka.bootstrap_servers))
