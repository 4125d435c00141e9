"""The limit: a confluent-kafka consumer, well set, that parses each message with orjson and keeps nothing.

It prints one JSON object: the messages and readings after the first poll, and the seconds from its end to the end of
the last; how many messages and bytes there were in all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import orjson
from confluent_kafka import Consumer, TopicPartition

CONSUMER = {
    "group.id": "limit",
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    # Measured: with the client's own settings a Python consumer gets a seventh of what it gets with these.
    "fetch.min.bytes": 1 << 16,
    "fetch.queue.backoff.ms": 10,
    "fetch.max.bytes": 1 << 26,
    "max.partition.fetch.bytes": 1 << 20,
    "queued.min.messages": 100_000,  # more are no longer in the processor's cache when they are taken
    "queued.max.messages.kbytes": 1 << 18,
}
MESSAGES_A_POLL = 10_000


def spans(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """For each partition of a topic its first offset and the one behind its last."""
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    return {part: consumer.get_watermark_offsets(TopicPartition(topic, part), timeout=10) for part in partitions}


def consume(bootstrap_servers: str, topic: str, *, parses: bool, poll_messages: int) -> dict[str, float]:
    """Reads a topic to its present end."""
    consumer = Consumer({**CONSUMER, "bootstrap.servers": bootstrap_servers})
    ends = spans(consumer, topic)
    wanted = sum(high - low for low, high in ends.values())
    consumer.assign([TopicPartition(topic, part, low) for part, (low, _) in ends.items()])
    messages = readings = size = 0
    first: tuple[float, int, int] | None = None
    while messages < wanted:
        polled = consumer.consume(poll_messages, 1.0)
        for message in polled:
            payload = message.value()
            size += len(payload)
            if parses:
                parsed = orjson.loads(payload)
                readings += len(parsed) if type(parsed) is list else 1
        messages += len(polled)
        if polled and first is None:
            first = time.perf_counter(), messages, readings
    begun, *before = first or (time.perf_counter(), 0, 0)
    seconds = time.perf_counter() - begun
    consumer.close()
    after = {"messages": messages - before[0], "readings": readings - before[1]}
    return {"total": messages, "bytes": size, "seconds": seconds, **after}


def main() -> int:
    """Prints what was read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count-only", action="store_true", help="don't parse")
    parser.add_argument("--poll-messages", type=int, default=MESSAGES_A_POLL)
    options = parser.parse_args()
    found = consume(
        options.bootstrap_servers, options.topic, parses=not options.count_only, poll_messages=options.poll_messages
    )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
