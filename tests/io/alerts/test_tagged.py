"""Each tagged reading is one message with an id of its own."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from telebeam.io.alerts.messages import Key, keys_of, payloads, wanted
from telebeam.io.alerts.spec import TaggedSinkSpec, check_sinks, check_tags
from telebeam.io.alerts.tagged import SEGMENT_SECONDS, TAGGED, TAGGED_ROWS, kept_for, tagged_rows
from telebeam.transforms.schema import READINGS, READINGS_IN_FLIGHT, conform
from tests.io.alerts.samples import FIRST

KAFKA = {"bootstrap_servers": "localhost:9092", "topic": "hot"}
TOPIC = "projects/my-fleet/topics/hot"
TEXTS = st.text(max_size=3)
VALUES = st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324])
ROWS = st.lists(
    st.fixed_dictionaries({"device_id": TEXTS, "unit": TEXTS, "location": st.none() | TEXTS, "value": VALUES,
                           "source_offset": st.integers(0, 1)}),
    max_size=8,
)  # fmt: skip


def readings(*rows: dict[str, Any]) -> pa.RecordBatch:
    base = {"tenant": "default", "device_id": "boiler-1", "timestamp": FIRST, "sensor_type": "temperature",
            "measurement_type": "temperature", "value": 81.5, "unit": "celsius", "location": None, "quality_score": 1.0,
            "issues": [], "metadata": None, "is_late": False, "source": "iot", "source_partition": 0,
            "source_offset": 7}  # fmt: skip
    return pa.RecordBatch.from_pylist([{**base, **row} for row in rows], schema=READINGS)


def ids(rows: pa.RecordBatch) -> list[str]:
    found: list[str] = rows.column("tagged_id").to_pylist()
    return found


def test_a_message_is_the_reading_with_its_tag_and_without_its_id():
    rows = tagged_rows(readings({"issues": ["out_of_range"], "metadata": '{"a": 1}'}), "hot")
    (text,) = payloads(rows, TAGGED)
    assert json.loads(text) == {
        "tenant": "default", "device_id": "boiler-1", "timestamp": "2026-01-01T00:00:00.000000Z",
        "sensor_type": "temperature", "measurement_type": "temperature", "value": 81.5, "unit": "celsius",
        "quality_score": 1.0, "issues": ["out_of_range"], "metadata": '{"a": 1}', "is_late": False, "source": "iot",
        "source_partition": 0, "source_offset": 7, "tag": "hot",
    }  # fmt: skip
    assert keys_of(rows, TAGGED) == [Key(ids(rows)[0], "", int(FIRST.timestamp()) // SEGMENT_SECONDS)]


def test_readings_in_flight_give_the_same_rows():
    plain = readings({}, {"location": "hall"}, {"device_id": "b"})
    assert tagged_rows(conform(plain, READINGS_IN_FLIGHT), "hot").equals(tagged_rows(plain, "hot"))
    assert tagged_rows(plain.slice(1), "hot").to_pylist() == tagged_rows(plain, "hot").slice(1).to_pylist()
    assert tagged_rows(plain.slice(0, 0), "hot").schema.equals(TAGGED_ROWS)


def test_whatever_tells_two_readings_apart_tells_their_ids_apart():
    base = readings({})
    others = [
        readings({name: value})
        for name, value in {
            "tenant": "acme", "device_id": "boiler-2", "timestamp": FIRST.replace(microsecond=1), "sensor_type": "t",
            "measurement_type": "m", "value": -81.5, "unit": "", "location": "", "source": "iot2",
            "source_partition": 1, "source_offset": 8,
        }.items()
    ]  # fmt: skip
    found = [ids(tagged_rows(rows, "hot"))[0] for rows in (base, *others)] + ids(tagged_rows(base, "cold"))
    assert len(set(found)) == len(found) == 13
    zeros = [ids(tagged_rows(readings({"value": value}), "hot"))[0] for value in (0.0, -0.0)]
    assert zeros[0] != zeros[1]


def test_readings_that_are_alike_in_all_have_ids_of_their_own_which_are_the_same_again():
    rows = tagged_rows(readings({}, {}, {}), "hot")
    assert len(set(ids(rows))) == 3
    assert ids(tagged_rows(readings({}, {"device_id": "b"}, {}, {}), "hot"))[::2][0] == ids(rows)[0]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(ROWS, st.randoms(use_true_random=False))
def test_ids_are_distinct_and_do_not_depend_on_order(rows: list[dict[str, Any]], shuffler: Any):
    found = ids(tagged_rows(readings(*rows), "hot"))
    assert len(set(found)) == len(rows)
    shuffler.shuffle(rows)
    assert sorted(ids(tagged_rows(readings(*rows), "hot"))) == sorted(found)


def test_the_log_goes_back_as_far_as_readings_come_out_of_order():
    assert kept_for(0) * SEGMENT_SECONDS >= SEGMENT_SECONDS
    for seconds in (1, SEGMENT_SECONDS, 86_401):
        assert (kept_for(seconds) - 1) * SEGMENT_SECONDS >= seconds


def test_a_sink_gets_the_tags_that_it_names_or_all():
    rows = pa.concat_batches([tagged_rows(readings({}), tag) for tag in ("hot", "cold", "odd")])
    some = TaggedSinkSpec(kafka=KAFKA, tags=("hot", "odd"))
    assert wanted(some, rows).column("tag").to_pylist() == ["hot", "odd"]
    assert wanted(TaggedSinkSpec(kafka=KAFKA), rows) is rows


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "found none; expected exactly one of kafka, pubsub"),
        ({"kafka": KAFKA, "pubsub": {"topic": TOPIC}}, "found kafka and pubsub"),
        ({"kafka": {"bootstrap_servers": "localhost:9092"}}, "topic"),
        ({"webhook": {"url": "https://a.org/b"}}, "webhook"),
        ({"kafka": KAFKA, "tags": []}, "at least 1"),
        ({"kafka": KAFKA, "tags": ["a", "b", "a"]}, "'a' is given twice"),
        ({"kafka": KAFKA, "rules": ["a"]}, "rules"),
    ],
)
def test_a_sink_that_could_get_nothing_is_refused(settings: dict[str, Any], words: str):
    with pytest.raises(ValidationError) as refused:
        TaggedSinkSpec.model_validate(settings)
    said = [f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in refused.value.errors()]
    assert any(words in each for each in said), said


def test_a_tag_that_no_rule_gives_is_refused_with_those_that_there_are():
    sinks = [TaggedSinkSpec(kafka=KAFKA), TaggedSinkSpec(pubsub={"topic": TOPIC}, tags=("hot", "cold"))]
    check_tags(sinks, {"hot", "cold"})
    with pytest.raises(ValueError, match="no rule gives the tag 'cold'; rules give hot") as refused:
        check_tags(sinks, {"hot"})
    assert "then: {tag: cold}" in refused.value.args[1]
    with pytest.raises(ValueError, match="no rule gives a tag"):
        check_tags(sinks, ())


def test_each_topic_is_given_once():
    with pytest.raises(ValueError, match="given twice") as refused:
        check_sinks([TaggedSinkSpec(kafka=KAFKA), TaggedSinkSpec(kafka=KAFKA, tags=("hot",))])
    assert "tags of both" in refused.value.args[1]
