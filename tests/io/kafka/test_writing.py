"""Writing, against the client's own cluster of this process."""

import json
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that, equal_to
from confluent_kafka import Consumer, Producer, TopicPartition

from telebeam.io.kafka.acknowledged import ACKNOWLEDGED, AcknowledgedFile
from telebeam.io.kafka.producer import KafkaWriter
from telebeam.io.kafka.ptransforms import WriteToKafka, device_keys
from telebeam.io.kafka.spec import KafkaSinkSpec
from telebeam.pipelines.runtimes.processes import free_port
from telebeam.transforms.errors import SinkError


@pytest.fixture
def servers() -> Iterator[str]:
    """The address of a cluster that lives as long as this client."""
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    cluster.flush(0)


def messages(servers: str, topic: str, count: int) -> list[tuple[bytes | None, bytes]]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "g", "log_level": 0})
    parts = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, part, 0) for part in parts])
    found = [(it.key(), it.value()) for it in consumer.consume(count, 20)]
    consumer.close()
    return found


def rows(count: int) -> pa.RecordBatch:
    devices = pa.array([f"dev-{n % 7}" for n in range(count)]).dictionary_encode()
    return pa.RecordBatch.from_pydict({"device_id": devices, "value": [float(n) for n in range(count)]})


def test_every_row_is_one_message_with_its_device_for_a_key(servers: str):
    spec = KafkaSinkSpec(bootstrap_servers=servers, topic="out")
    with StrictPipeline() as pipeline:
        written = pipeline | beam.Create([rows(10), rows(300)]) | WriteToKafka(spec)
        assert_that(written, equal_to([]))
    found = messages(servers, "out", 310)
    assert len(found) == 310
    assert all(json.loads(value)["device_id"].encode() == key for key, value in found)
    assert sorted(json.loads(value)["value"] for _, value in found) == sorted(
        [*map(float, range(10)), *map(float, range(300))]
    )


@pytest.mark.parametrize(
    ("column", "keys"),
    [
        (pa.array(["a", None]), [b"a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), [b"a", None, b"a"]),
        (pa.array(["ä"], pa.large_string()), ["ä".encode()]),
    ],
)
def test_keys_are_device_ids_in_any_of_their_forms(column: pa.Array, keys: list[bytes | None]):
    assert device_keys(pa.RecordBatch.from_arrays([column], ["device_id"])) == keys


def test_rows_without_devices_have_no_keys():
    assert device_keys(pa.RecordBatch.from_pydict({"x": [1, 2]})) == [None, None]


def test_a_message_that_is_not_taken_is_an_error(servers: str):
    writer = KafkaWriter(servers, {})
    with pytest.raises(SinkError, match="too large"):
        writer.write("out", [bytes(2_000_000)], [None])
    writer.close()


def test_a_broker_that_is_away_is_an_error_in_words():
    writer = KafkaWriter(f"127.0.0.1:{free_port()}", {"message.timeout.ms": 500})
    writer.write("out", [b"x"], [None])
    with pytest.raises(SinkError):
        writer.flush(10)
    writer.close()


def test_the_file_of_what_was_acknowledged_holds_where_each_message_is(servers: str, tmp_path):
    with AcknowledgedFile(tmp_path / "deep" / "acks.arrow") as file:
        writer = KafkaWriter(servers, {}, file.add)
        writer.write("out", [b"%d" % n for n in range(1000)], [b"k"] * 1000)
        writer.flush()
        writer.close()
    table = pa.ipc.open_stream(tmp_path / "deep" / "acks.arrow").read_all()
    assert table.schema == ACKNOWLEDGED
    assert file.count == table.num_rows == 1000
    assert len({(row["partition"], row["offset"]) for row in table.to_pylist()}) == 1000
    assert sorted(value for _, value in messages(servers, "out", 1000)) == sorted(table["payload"].to_pylist())
