"""Messages as envelopes: keys, headers, times and ids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given
from hypothesis import strategies as st

from telebeam.io.pubsub.messages import HEADERS, Messages, envelopes_of, ids_of, messages_of, times_of
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.schema import ENVELOPES

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
ATTRIBUTES = st.none() | st.dictionaries(TEXT, TEXT, max_size=3)


def messages(*attributes: Mapping[str, str] | None, key: str = "") -> Messages:
    rows = len(attributes)
    return Messages([b"{}"] * rows, attributes, [key] * rows, [str(n) for n in range(rows)], np.arange(rows) + 7)


def key_of(attributes: Mapping[str, str] | None, key: str = "") -> str | None:
    batch = envelopes_of(messages(attributes, key=key), "telemetry", np.arange(1))
    return batch.column("key")[0].as_py()  # type: ignore[no-any-return]


def test_the_parts_of_protocol_buffers_are_columns():
    stamp = {"seconds": 1767225600, "nanos": 123456789}
    raw = PubsubMessage.pb(
        PubsubMessage(data=b"\0\xff", attributes={"a": "é"}, message_id="17", ordering_key="k", publish_time=stamp)
    )
    batch = envelopes_of(messages_of([raw]), "telemetry", np.array([42]))
    assert batch.to_pylist() == [
        {
            "payload": b"\0\xff",
            "key": "k",
            "source": "telemetry",
            "source_partition": 0,
            "source_offset": 42,
            "headers": [("a", "é".encode())],
        }
    ]
    assert batch.schema == ENVELOPES.append(HEADERS)
    assert messages_of([raw]).published.tolist() == [1767225600123456]


def test_no_messages_are_no_rows():
    assert envelopes_of(messages_of([]), "telemetry", np.arange(0)).num_rows == 0
    assert times_of(messages_of([]), "made").tolist() == []


@given(st.lists(ATTRIBUTES, min_size=1, max_size=6))
def test_headers_are_the_attributes_and_null_where_there_are_none(attributes: list[dict[str, str] | None]):
    batch = envelopes_of(messages(*attributes), "telemetry", np.arange(len(attributes)))
    batch.validate(full=True)
    if not any(attributes):
        assert batch.schema == ENVELOPES
        return
    expected = [{name: value.encode() for name, value in each.items()} if each else None for each in attributes]
    found = batch.column("headers").to_pylist()
    assert [dict(each) if each is not None else None for each in found] == expected


@pytest.mark.parametrize(
    ("attributes", "ordering_key", "key"),
    [
        (None, "", None),
        (None, "line 7", "line 7"),
        ({"x": "y"}, "line 7", "line 7"),
        ({"device_id": "b"}, "devices/a/telemetry", "devices/a/telemetry"),
        ({"device_id": "b"}, "line 7", "devices/b/telemetry"),
        ({"deviceId": "b"}, "", "devices/b/telemetry"),
        ({"topic": "site/devices/c/telemetry", "device_id": "b"}, "", "site/devices/c/telemetry"),
        ({"key": "not/a/device", "device_id": "b"}, "", "devices/b/telemetry"),
        ({"device_id": "x/devices/other"}, "", None),
        ({"device_id": ""}, "line 7", "line 7"),
    ],
)
def test_the_key_names_the_device_where_anything_does(attributes: dict[str, str] | None, ordering_key: str, key: str):
    assert key_of(attributes, ordering_key) == key


def test_the_parser_takes_the_device_from_the_key_and_leaves_headers_alone():
    batch = envelopes_of(
        Messages(
            [b'{"timestamp":"2026-01-01T00:00:00Z","temperature":20}'] * 2,
            [{"device_id": "boiler-1"}, {"x": "y"}],
            ["", "devices/boiler-2/telemetry"],
            ["1", "2"],
            np.zeros(2, np.int64),
        ),
        "telemetry",
        np.arange(2),
    )
    parsed = parse(batch, ParseSpec(), now=0)
    assert parsed.readings.column("device_id").to_pylist() == ["boiler-1", "boiler-2"]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01T00:00:00Z", 1767225600000000),
        ("2026-01-01T01:00:00.5+01:00", 1767225600500000),
        ("1767225600123", 1767225600123000),
        ("0", 0),
        ("-1", -1000),
        ("2026-01-01T00:00:00", 7),
        ("yesterday", 7),
        ("", 7),
        ("1.5", 7),
        ("999999999999999", 7),
        ("9" * 40, 7),
        ("１７", 7),
    ],
)
def test_an_attribute_is_the_time_where_it_can_be_read(text: str, time: int):
    assert times_of(messages({"made": text}), "made").tolist() == [time]


def test_without_the_attribute_the_time_of_publication_counts():
    assert times_of(messages({"made": "0"}, None, {}), "made").tolist() == [0, 8, 9]
    assert times_of(messages({"made": "0"}), None).tolist() == [7]


def test_ids_are_the_attribute_where_there_is_one_and_never_another_messages_id():
    assert list(ids_of(messages({"n": "1"}, None, {"n": ""}), "n")) == ["n=1", "1", "n="]
    assert list(ids_of(messages({"n": "1"}, None), None)) == ["0", "1"]


def test_rows_are_taken_by_a_mask():
    taken = messages({"a": "1"}, None, {"a": "3"}).rows(np.array([True, False, True]))
    assert (list(taken.ids), taken.published.tolist(), len(taken)) == (["0", "2"], [7, 9], 2)
    assert isinstance(envelopes_of(taken, "telemetry", np.arange(2)), pa.RecordBatch)
