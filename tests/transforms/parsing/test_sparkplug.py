"""Sparkplug B: births, data by name and by alias, deaths, and what is bounded."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from telebeam.transforms.parsing.births import Births, Metric
from telebeam.transforms.parsing.found import Known
from telebeam.transforms.parsing.kernel import parse
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.tahu import payload_class

NOW = 1_767_225_600_000


def payload(*metrics: dict[str, Any], **members: Any) -> bytes:
    message = payload_class()(timestamp=NOW, **members)
    for metric in metrics:
        properties = metric.pop("properties", {})
        added = message.metrics.add(**metric)
        for name, text in properties.items():
            added.properties.keys.append(name)
            added.properties.values.add(type=12, string_value=text)
    return message.SerializeToString()


@pytest.fixture
def read(envelopes) -> Any:
    """Reads (topic, payload) pairs: (pairs…, known=) → (readings as (device, measurement, value), rejects)."""

    def run(*pairs: tuple[str, bytes], known: Known | None = None, form: str = "sparkplug") -> Any:
        batch = envelopes([body for _, body in pairs], keys=[key for key, _ in pairs])
        batch = batch.append_column("published_at", pa.array([NOW * 1000 + 7_000_000] * len(pairs)))
        parsed = parse(batch, ParseSpec(format=form), 0, known)
        return (sorted((r["device_id"], r["measurement_type"], r["value"]) for r in parsed.readings.to_pylist()),
                parsed.rejects.to_pylist(), parsed.readings.to_pylist())  # fmt: skip

    return run


BIRTH = payload(
    {
        "name": "Sensors/Temperature",
        "alias": 1,
        "datatype": 10,
        "double_value": 21.5,
        "properties": {"engUnit": "celsius"},
    },
    {"name": "Firmware", "alias": 2, "datatype": 12, "string_value": "1.2"},
    {"name": "bdSeq", "datatype": 8, "long_value": 0},
)


@pytest.mark.parametrize("form", ["sparkplug", "auto"])
def test_a_birth_names_aliases_for_the_data_that_follows_also_in_another_batch(form: str, read):
    known = Known()
    found, rejects, rows = read(("spBv1.0/plant/DBIRTH/edge/press", BIRTH), known=known, form=form)
    assert found == [("plant/edge/press", "Sensors/Temperature", 21.5), ("plant/edge/press", "online", 1.0)]
    temperature = next(row for row in rows if row["measurement_type"] != "online")
    assert (temperature["sensor_type"], temperature["unit"]) == ("temperature", "celsius")
    assert temperature["metadata"] == '{"Firmware":"1.2","bdSeq":0}'
    data = payload({"alias": 1, "double_value": 22.5})
    assert read(("spBv1.0/plant/DDATA/edge/press", data), known=known)[0] == [
        ("plant/edge/press", "Sensors/Temperature", 22.5)
    ]
    assert rejects == []


def test_data_before_a_birth_is_refused_as_schema_and_named_metrics_are_not(read):
    body = payload({"alias": 9, "double_value": 1.0}, {"name": "humidity", "datatype": 10, "double_value": 40.0})
    found, rejects, _ = read(("spBv1.0/plant/NDATA/edge", body))
    assert found == [("plant/edge", "humidity", 40.0)]
    assert [(row["reason"], row["payload"]) for row in rejects] == [("schema", body)]


def test_a_death_marks_the_device_offline_and_a_nodes_death_all_its_devices(read):
    known = Known()
    births = [
        ("spBv1.0/plant/NBIRTH/edge", BIRTH),
        ("spBv1.0/plant/DBIRTH/edge/a", BIRTH),
        ("spBv1.0/plant/DBIRTH/edge/b", BIRTH),
    ]
    read(*births, known=known)
    assert read(("spBv1.0/plant/DDEATH/edge/a", payload()), known=known)[0] == [("plant/edge/a", "online", 0.0)]
    found, _, rows = read(("spBv1.0/plant/NDEATH/edge", payload()), known=known)
    assert found == [("plant/edge", "online", 0.0), ("plant/edge/b", "online", 0.0)]
    # A node's death is its will, written when it connected: the broker's time counts.
    assert {row["timestamp"].timestamp() for row in rows} == {NOW / 1000 + 7}
    assert (
        read(("spBv1.0/plant/NDATA/edge", payload({"alias": 1, "double_value": 1.0})), known=known)[1][0]["reason"]
        == "schema"
    )
    assert len(known.births) == 0


@pytest.mark.parametrize(("datatype", "member", "value"), [
    (1, {"int_value": 0xFFFFFFFE}, -2), (1, {"int_value": 0xFE}, -2), (2, {"int_value": 0xFFFF8000}, -32768),
    (3, {"int_value": 0xFFFFFFFF}, -1), (4, {"long_value": 2**64 - 5}, -5), (7, {"int_value": 2**32 - 1}, 2**32 - 1),
    (8, {"long_value": 2**64 - 1}, 2.0**64), (9, {"float_value": 0.5}, 0.5), (10, {"double_value": 1e308}, 1e308),
    (11, {"boolean_value": True}, 1), (11, {"boolean_value": False}, 0),
])  # fmt: skip
def test_a_value_is_read_by_its_type(datatype: int, member: dict[str, Any], value: float, read):
    assert read(("spBv1.0/p/NDATA/e", payload({"name": "x", "datatype": datatype, **member})))[0] == [
        ("p/e", "x", value)
    ]


@pytest.mark.parametrize(("body", "reason"), [
    (payload({"name": "x", "datatype": 10, "is_null": True}), "missing_value"), (payload(), "missing_value"),
    (payload({"name": "x", "datatype": 10, "double_value": float("nan")}), "bad_value"),
    (payload({"name": "x", "datatype": 16, "dataset_value": b""}), "bad_value"), (b"\xff", "malformed"),
    (payload({"name": "x", "datatype": 10, "double_value": 1.0})[:-1], "malformed"),
    (payload(uuid="SPBV1.0_COMPRESSED", body=b"x"), "schema"),
    (payload({"name": "x", "datatype": 10, "double_value": 1.0, "timestamp": 2**64 - 1}), "bad_timestamp"),
])  # fmt: skip
def test_what_is_no_value_is_refused_with_its_exact_bytes(body: bytes, reason: str, read):
    found, rejects, _ = read(("spBv1.0/p/NDATA/e", body))
    assert found == []
    assert [(row["reason"], row["payload"]) for row in rejects] == [(reason, body)]


@pytest.mark.parametrize("topic", [None, "", "spBv1.0/p/NCMD/e", "spBv1.0/STATE/host", "spBv1.0/p/NDATA/e/d",
"spBv1.0/p/DDATA/e",
                                   "spAv1.0/p/NDATA/e", "spBv1.0//NDATA/e", "spBv1.0/p/DDATA/e/d/x"])  # fmt: skip
def test_another_topic_is_refused_as_schema(topic: str | None, read):
    assert [row["reason"] for row in read((topic, BIRTH))[1]] == ["schema"]


def test_the_order_of_messages_counts_and_how_they_are_cut_does_not(read):
    data = payload({"alias": 1, "double_value": 22.5})
    pairs = [("spBv1.0/p/NDATA/e", data), ("spBv1.0/p/NBIRTH/e", BIRTH), ("spBv1.0/p/NDATA/e", data),
    ("spBv1.0/p/NDEATH/e", b""),
             ("spBv1.0/p/NDATA/e", data)]  # fmt: skip
    together = read(*pairs, known=Known())
    known, alone = Known(), [[], []]
    for pair in pairs:
        found, rejects, _ = read(pair, known=known)
        alone[0] += found
        alone[1] += [row["reason"] for row in rejects]
    assert (together[0], [row["reason"] for row in together[1]]) == (sorted(alone[0]), alone[1])
    assert alone[1] == ["schema", "schema"]


def test_births_are_bounded_and_the_longest_silent_are_forgotten():
    births = Births(max_metrics=10)
    for node in range(20):
        births.born(("g", str(node)), "", {n: Metric(f"m{n}", 10) for n in range(4)})
        births.metric(("g", "0"), "", 1)
    assert len(births) <= 10
    assert births.metric(("g", "0"), "", 1) == Metric("m1", 10)
    assert births.metric(("g", "5"), "", 1) is None
    births.born(("g", "0"), "", {})
    births.died(("g", "19"), "")
    assert len(births) == 0
