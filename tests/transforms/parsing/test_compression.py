"""gzip and zstd around a payload of any format: its records, and bombs."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable

import cbor2
import pytest
import zstandard

RECORD = b'{"device_id":"device-1","timestamp":1767225600,"metric":"temperature","value":21.5}'
PACKERS = {"gzip": gzip.compress, "zstd": lambda data: zstandard.ZstdCompressor().compress(data)}


@pytest.fixture(params=PACKERS)
def pack(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return PACKERS[request.param]


def test_a_compressed_payload_gives_the_rows_of_its_content(pack, parse_json):
    contents = [RECORD, RECORD + b"\n" + RECORD, b"[" + RECORD + b"]", b'{"a":1}', b"x"]
    packed, plain = parse_json(*map(pack, contents)), parse_json(*contents)
    assert packed.readings == plain.readings
    assert packed.reasons == plain.reasons
    assert parse_json(pack(cbor2.dumps({"device_id": "device-1", "timestamp": 1, "temperature": 5}))).reasons == []


def test_a_record_that_is_the_whole_payload_is_refused_with_the_bytes_that_came(pack, parse_json):
    bad = pack(b'{"device_id":"device-1"}')
    two = pack(RECORD + b'\n{"device_id":')
    assert [row["payload"] for row in parse_json(bad, two, RECORD).rejects] == [bad, b'{"device_id":']


def test_every_truncation_is_malformed_with_its_exact_bytes(pack, parse_json):
    data = pack(RECORD)
    broken = [data[:length] for length in range(4, len(data))]
    found = parse_json(*broken, format="json")
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", part) for part in broken]


def test_what_follows_a_content_is_content_or_malformed(pack, parse_json):
    assert len(parse_json(pack(RECORD + b"\n") + pack(RECORD)).readings) == 2
    assert parse_json(pack(RECORD) + b"x", pack(b"") * 100 + b"y").reasons == ["malformed"] * 2


def test_a_bomb_is_too_large_and_is_never_held(pack, parse_json):
    bomb = pack(b"[" + b" " * 300_000_000)
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    found = parse_json(bomb, RECORD)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found.readings), found.reasons) == (1, ["too_large"])
    assert peak < 100_000_000


def test_content_may_be_larger_than_a_payload_by_the_declared_factor(pack, parse_json):
    content = RECORD + b" " * 2_000
    assert parse_json(pack(content), max_payload_bytes=1_000, max_expansion=3).reasons == []
    assert parse_json(pack(content), max_payload_bytes=1_000, max_expansion=2).reasons == ["too_large"]
    assert parse_json(content, max_payload_bytes=1_000, max_expansion=3).reasons == ["too_large"]


def test_what_is_compressed_twice_is_not_unpacked_twice(pack, parse_json):
    assert parse_json(pack(pack(RECORD))).reasons == ["malformed"]
