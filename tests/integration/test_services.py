"""The servers that other tests rely on: each does what it is for, and comes back after a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from google.cloud import pubsub_v1

from telebeam.pipelines.runtimes.flink import FlinkJobServer
from telebeam.pipelines.runtimes.installs import RuntimeUnavailableError, tail
from telebeam.pipelines.runtimes.processes import ServerStartError, is_listening
from telebeam.pipelines.runtimes.workers import process_options, worker_boot
from tests.integration.conftest import SERVICES, load_service, running, unavailable

QUIET = {"log_level": 0}
SECONDS = 30
"""How long anything here may take to answer."""


def until(is_so: Callable[[], bool], seconds: float = SECONDS, log: Path | None = None) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s{f'; {tail(log)}' if log else ''}"
        time.sleep(0.05)


# Kafka


@pytest.fixture(scope="module")
def restless_kafka() -> Iterator[Any]:
    """A broker that tests may stop, kill and pause; each leaves it running."""
    with running("kafka") as server:
        yield server


@pytest.fixture
def topic(kafka: Any) -> str:
    return str(kafka.create_topic(f"topic-{uuid4().hex[:8]}", 2))


def produce(servers: str, topic: str, values: list[bytes]) -> None:
    """Sends values and holds that the broker acknowledged each."""
    refused: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, **QUIET})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: refused.append(error) if error else None)
    assert producer.flush(SECONDS) == 0
    assert not refused


def consume(servers: str, topic: str, partitions: int, login: dict[str, str] | None = None) -> list[bytes]:
    """All that a topic holds, sorted."""
    errors: list[KafkaError] = []
    settings = {
        "bootstrap.servers": servers, "group.id": "all", "enable.partition.eof": True, "enable.auto.commit": False,
        "error_cb": errors.append, **QUIET, **(login or {}),
    }  # fmt: skip
    values: list[bytes] = []
    ended: set[int] = set()
    deadline = time.monotonic() + SECONDS
    with closing(Consumer(settings)) as consumer:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
        while len(ended) < partitions:
            assert time.monotonic() < deadline, errors
            for error in errors:
                if error.code() == KafkaError._AUTHENTICATION:
                    raise KafkaException(error)
            for message in consumer.consume(1000, timeout=0.2):
                if message.error() is None:
                    values.append(message.value())
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
    return sorted(values)


def numbers(start: int, end: int) -> list[bytes]:
    return [b"%06d" % number for number in range(start, end)]


def test_what_kafka_acknowledged_is_there_after_a_stop_and_after_a_kill(restless_kafka: Any):
    restless_kafka.create_topic("kept", 2)
    produce(restless_kafka.bootstrap_servers, "kept", numbers(0, 500))
    address = restless_kafka.bootstrap_servers
    restless_kafka.kill()
    assert not is_listening(restless_kafka.port)
    restless_kafka.start_again()
    produce(restless_kafka.bootstrap_servers, "kept", numbers(500, 1000))
    restless_kafka.stop()
    restless_kafka.start_again()
    assert restless_kafka.bootstrap_servers == address
    assert consume(address, "kept", 2) == numbers(0, 1000)


def test_kafka_lets_in_who_knows_the_password(kafka: Any, topic: str):
    produce(kafka.bootstrap_servers, topic, numbers(0, 10))
    assert consume(kafka.sasl_bootstrap_servers, topic, 2, kafka.login()) == numbers(0, 10)


def test_kafka_refuses_a_wrong_password(kafka: Any, topic: str):
    with pytest.raises(KafkaException, match="Invalid username or password"):
        consume(kafka.sasl_bootstrap_servers, topic, 2, kafka.login("wrong"))


def test_a_topic_made_anew_is_empty(kafka: Any, topic: str):
    produce(kafka.bootstrap_servers, topic, numbers(0, 10))
    kafka.delete_topic(topic)
    kafka.create_topic(topic, 3)
    assert consume(kafka.bootstrap_servers, topic, 3) == []


def test_added_partitions_take_messages(kafka: Any, topic: str):
    kafka.add_partitions(topic, 3)
    produce(kafka.bootstrap_servers, topic, numbers(0, 1000))
    assert consume(kafka.bootstrap_servers, topic, 3) == numbers(0, 1000)


def test_deleted_records_are_gone_and_the_rest_stays(kafka: Any):
    topic = kafka.create_topic(f"topic-{uuid4().hex[:8]}")
    produce(kafka.bootstrap_servers, topic, numbers(0, 10))
    kafka.delete_records(topic, {0: 4})
    assert consume(kafka.bootstrap_servers, topic, 1) == numbers(4, 10)


def test_a_paused_broker_keeps_its_port_and_answers_when_it_goes_on(restless_kafka: Any):
    restless_kafka.pause()
    impatient = AdminClient({"bootstrap.servers": restless_kafka.bootstrap_servers, **QUIET})
    with pytest.raises(KafkaException):
        impatient.list_topics(timeout=1)
    assert is_listening(restless_kafka.port)
    restless_kafka.resume()
    assert impatient.list_topics(timeout=SECONDS).brokers


def test_a_broker_that_does_not_start_tells_why(kafka: Any):
    with pytest.raises(ServerStartError, match=r"log\.retention\.ms"), running("kafka", {"log.retention.ms": "x"}):
        pass


# Pub/Sub


@pytest.fixture
def subscription(pubsub: Any) -> Iterator[tuple[str, str]]:
    """A topic and its subscription, as paths."""
    yield from _subscribe()


def _subscribe() -> Iterator[tuple[str, str]]:
    project = load_service("pubsub").PROJECT
    topic, path = f"projects/{project}/topics/t", f"projects/{project}/subscriptions/s"
    with pubsub_v1.SubscriberClient() as subscriber:
        pubsub_v1.PublisherClient().create_topic(name=topic)
        subscriber.create_subscription(name=path, topic=topic, ack_deadline_seconds=10)
        yield topic, path


def publish(topic: str, values: list[bytes]) -> None:
    publisher = pubsub_v1.PublisherClient()
    for future in [publisher.publish(topic, value, origin="test") for value in values]:
        future.result(SECONDS)
    publisher.stop()


def pull(subscription: str, count: int, *, acknowledge: bool) -> list[bytes]:
    """So many messages as there should be, sorted."""
    values: dict[str, bytes] = {}
    with pubsub_v1.SubscriberClient() as subscriber:
        deadline = time.monotonic() + SECONDS
        while len(values) < count:
            assert time.monotonic() < deadline
            pulled = subscriber.pull(subscription=subscription, max_messages=1000, timeout=SECONDS).received_messages
            values |= {message.message.message_id: message.message.data for message in pulled}
            tickets = [message.ack_id for message in pulled]
            if tickets and acknowledge:
                subscriber.acknowledge(subscription=subscription, ack_ids=tickets)
            elif tickets:
                subscriber.modify_ack_deadline(subscription=subscription, ack_ids=tickets, ack_deadline_seconds=0)
    return sorted(values.values())


def test_pubsub_delivers_again_what_was_not_acknowledged(subscription: tuple[str, str]):
    topic, path = subscription
    publish(topic, numbers(0, 100))
    assert pull(path, 100, acknowledge=False) == numbers(0, 100)
    assert pull(path, 100, acknowledge=True) == numbers(0, 100)
    publish(topic, [b"last"])
    assert pull(path, 1, acknowledge=True) == [b"last"]


def test_a_killed_pubsub_comes_back_empty_at_its_address(pubsub: Any):
    endpoint = pubsub.endpoint
    for _ in _subscribe():
        pubsub.kill()
    pubsub.start_again()
    assert pubsub.endpoint == endpoint
    for topic, path in _subscribe():
        publish(topic, [b"new"])
        assert pull(path, 1, acknowledge=True) == [b"new"]


# Prism and Flink


def write_sums(folder: Path, options: list[str]) -> None:
    """A job whose result can be read without a runner: a file a key, with the sum of its values."""
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        sums = pipeline | beam.Create([(key, key * step) for key in range(3) for step in range(10)])
        sums = sums | beam.CombinePerKey(sum)
        _ = sums | "Write" >> beam.MapTuple(lambda key, total: (folder / str(key)).write_text(str(total)) and None)


def sums_of(folder: Path) -> dict[str, int]:
    return {path.name: int(path.read_text()) for path in folder.iterdir()}


SUMS = {"0": 0, "1": 45, "2": 90}


@pytest.mark.filterwarnings("ignore")
def test_prism_runs_a_job(prism: Path, tmp_path: Path):
    # Prism's server is shared by a process, made as whoever came first has asked for it.
    own = "--experiments=disable_prism_server_singleton"
    write_sums(tmp_path, ["--runner=PrismRunner", f"--prism_location={prism}", own])
    assert sums_of(tmp_path) == SUMS


def on_flink(server: FlinkJobServer, *options: str) -> list[str]:
    return ["--runner=PortableRunner", f"--job_endpoint={server.job_endpoint}", "--parallelism=1", *options]


@pytest.mark.filterwarnings("ignore")
def test_flink_runs_a_job_with_workers_in_this_process(flink: Any, tmp_path: Path):
    write_sums(tmp_path, on_flink(flink, "--environment_type=LOOPBACK"))
    assert sums_of(tmp_path) == SUMS


def slow_job(marks: Path, server: FlinkJobServer, boot: Path) -> subprocess.Popen[bytes]:
    """A job in a process of its own that would go on for minutes; each of its workers leaves its number."""
    program = """
import os, sys, time
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

def work(value):
    import os, pathlib, time
    pathlib.Path(os.environ["MARKS"], str(os.getpid())).touch()
    time.sleep(300)

with beam.Pipeline(options=PipelineOptions(sys.argv[1:])) as pipeline:
    _ = pipeline | beam.Create([1]) | beam.Map(work)
"""
    options = on_flink(server, *process_options(boot))
    with (marks.parent / "job.log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", program, *options], stdout=log, stderr=subprocess.STDOUT)


def is_there(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """The script that starts workers."""
    try:
        return worker_boot(tmp_path / "a folder's workers")
    except RuntimeUnavailableError as error:
        unavailable(str(error))


@pytest.mark.filterwarnings("ignore")
def test_flink_runs_a_job_with_workers_of_its_own(flink: Any, boot: Path, tmp_path: Path):
    here = sorted(Path.cwd().iterdir())
    out = tmp_path / "out"
    out.mkdir()
    write_sums(out, on_flink(flink, *process_options(boot)))
    assert sums_of(out) == SUMS
    assert sorted(Path.cwd().iterdir()) == here


def test_flinks_own_workers_end_with_a_killed_server(
    boot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
):
    """Some 25 s, for a server and a worker start anew: in the long form only."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("a server and a worker of its own take 25 s; --long does it, and the script's own tests always")
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("MARKS", str(marks))
    with running("flink") as server:
        job = slow_job(marks, server, boot)
        try:
            until(lambda: any(marks.iterdir()), 180, marks.parent / "job.log")
            server.kill()
            workers = [int(mark.name) for mark in marks.iterdir()]
            until(lambda: not any(is_there(worker) for worker in workers))
        finally:
            job.kill()
            job.wait()
        server.start()
        assert is_listening(int(server.job_endpoint.partition(":")[2]))


# All of them


@pytest.mark.parametrize(
    ("service", "install", "tool"),
    [
        ("kafka", "kafka_jars", "mvn"), ("flink", "flink_jars", "mvn"), ("pubsub", "pubsub_binary", "go"),
        ("prism", "prism_binary", "go"),
    ],
)  # fmt: skip
def test_a_missing_tool_is_named(
    service: str, install: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {"PATH": str(tmp_path), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("TELEBEAM_PRISM", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeUnavailableError, match=rf"not on the PATH: {tool} \(.*\n  hint: install it, or "):
        getattr(load_service(service), install)()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("service", ["kafka", "flink"])
def test_missing_java_is_named(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = load_service(service)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with (
        pytest.raises(RuntimeUnavailableError, match=r"needs Java \d+ or newer, and there is no java in JAVA_HOME"),
        getattr(module, f"running_{service}")(),
    ):
        pass


def script(service: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """A server's script, ready, and the port that it printed."""
    command = [sys.executable, SERVICES / f"{service}.py"]
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rpartition(":")[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_script_serves_until_it_is_told_to_stop(pubsub: Any, tmp_path: Path, number: signal.Signals):
    process, port = script("pubsub", tmp_path)
    with process:
        assert is_listening(port)
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
    assert not is_listening(port)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="without setpriv (Linux) a server can outlive its parent")
def test_a_server_does_not_outlive_a_killed_script(pubsub: Any, tmp_path: Path):
    process, port = script("pubsub", tmp_path)
    with process:
        process.kill()
    until(lambda: not is_listening(port))
