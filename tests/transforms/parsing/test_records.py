"""Records within payloads: exact bytes, arrays, lines, keys, ids, limits, and what rejects say."""

from __future__ import annotations

import json

import pytest

from telebeam.transforms.parsing.records import check_json, inner_records
from telebeam.transforms.schema import Reason

GOOD = b'{"device_id":"device-1","timestamp":1767225600,"metric":"temperature","value":21.5}'


def good(**changed: object) -> bytes:
    members = {**json.loads(GOOD), **changed}
    return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()


PAYLOADS = {
    "missing_device_id": good(device_id=...),
    "bad_device_id": good(device_id=42),
    "missing_timestamp": good(timestamp=None),
    "bad_timestamp": good(timestamp="yesterday"),
    "missing_value": good(value=None),
    "bad_value": good(value="x"),
    "not_an_object": b" 42 ",
    "malformed": b'{"device_id": "device-1",}',
}


@pytest.mark.parametrize(("reason", "payload"), PAYLOADS.items())
def test_a_reject_holds_its_payloads_exact_bytes(reason: str, payload: bytes, parse_json):
    for spaced in (payload, b"  " + payload, payload + b" \t", payload.replace(b":", b" :\t")):
        found = parse_json(GOOD, spaced, GOOD)
        assert [(row["reason"], row["payload"], row["source_offset"]) for row in found.rejects] == [(reason, spaced, 1)]
        assert len(found.readings) == 2


@pytest.mark.parametrize(
    ("order", "changed"),
    [
        ("missing_device_id", {"device_id": " ", "timestamp": None, "value": None}),
        ("bad_device_id", {"device_id": [], "timestamp": "x", "value": None}),
        ("missing_timestamp", {"timestamp": None, "value": "x"}),
        ("bad_timestamp", {"timestamp": "x", "value": None}),
        ("missing_value", {"value": None}),
        ("missing_value", {"value": ..., "metric": "temperature"}),
    ],
)
def test_of_several_reasons_the_first_in_order_counts(order: str, changed: dict[str, object], parse_json):
    assert parse_json(good(**changed)).reasons == [order]


def test_a_reject_names_device_and_time_once_they_are_known(parse_json):
    found = parse_json(good(value="x"), good(timestamp="x"), good(device_id=...))
    known = {
        row["reason"]: (row["device_id"], row["timestamp"] and row["timestamp"].timestamp()) for row in found.rejects
    }
    assert known == {
        "bad_value": ("device-1", 1767225600.0), "bad_timestamp": ("device-1", None), "missing_device_id": (None, None),
    }  # fmt: skip


DETAILS = {
    good(device_id=...): "no device_id in the record, nor in its key",
    good(device_id="  "): "device_id is empty",
    good(device_id=7): "device_id is of kind number, expected a string",
    good(timestamp=...): "no timestamp in the record, or it is null",
    good(timestamp=None): "no timestamp in the record, or it is null",
    good(timestamp=True): "timestamp is of kind true, expected text of RFC 3339 or an epoch within the years 1 to 9999",
    good(
        timestamp="x"
    ): "expected text of RFC 3339 or an epoch within the years 1 to 9999; text without an offset needs parse.timezone",
    good(value=None): "value is null",
    good(value="21.5"): "value is of kind string, expected a number",
    good(value=...): "no value, no data object and no member that is a number",
    good(metric=..., value=..., data=[]): "data is of kind array, expected an object",
    good(metric=..., value=..., data={}): "data is an empty object",
    good(metric=..., value=..., data={"humidity": None}): "humidity is null",
    good(metric=..., value=..., data={"humidity": "x"}): "humidity is of kind string, expected a number",
    GOOD.replace(b"21.5", b"1e400"): "value is not a finite double",
    b"42": "expected an object, found b'42'",
    b"[]": "an empty array",
    b"{} {}": "trailing characters (byte 4)",
}


@pytest.mark.parametrize(("payload", "detail"), DETAILS.items())
def test_a_detail_says_what_was_found_and_what_was_expected(payload: bytes, detail: str, parse_json):
    assert [row["detail"] for row in parse_json(payload).rejects] == [detail]


def test_the_elements_of_an_array_are_records_of_their_own(parse_json):
    broken = [b"42", b"null", b'"x"', b"[]", b"[" + GOOD + b"]", good(value=None), b"{}"]
    found = parse_json(b" [ " + b" ,\n".join([GOOD, *broken, GOOD]) + b" ] ", GOOD)
    assert [row["source_offset"] for row in found.readings] == [0, 0, 1]
    assert sorted((row["payload"], row["reason"]) for row in found.rejects) == sorted(
        [
            *((text, "not_an_object") for text in broken[:5]),
            (broken[5], "missing_value"),
            (broken[6], "missing_device_id"),
        ]
    )


def test_a_malformed_element_spoils_its_array_as_a_whole(parse_json):
    payload = b"[" + GOOD + b",{,}]"
    found = parse_json(payload, GOOD)
    assert (len(found.readings), [(row["reason"], row["payload"]) for row in found.rejects]) == (
        1,
        [("malformed", payload)],
    )


def test_an_array_of_a_hundred_readings_is_a_hundred_readings(parse_json):
    payloads = [b"[" + b",".join(good(value=n * 100 + i) for i in range(100)) + b"]" for n in range(3)]
    found = parse_json(*payloads)
    assert sorted(row["value"] for row in found.readings) == list(range(300))
    assert all(row["source_offset"] == row["value"] // 100 for row in found.readings)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b" \n\t\n"])
def test_lines_are_records_of_their_own_and_a_broken_one_costs_itself(end: bytes, parse_json):
    broken = b'{"device_id":"device-1"'
    payload = end.join([GOOD, broken, b"[" + GOOD + b",7]", b"[]", GOOD]) + end
    found = parse_json(payload)
    assert len(found.readings) == 3
    assert sorted((row["payload"].strip(), row["reason"]) for row in found.rejects) == sorted(
        [(broken, "malformed"), (b"7", "not_an_object"), (b"[]", "missing_value")]
    )


def test_lines_of_which_none_is_json_are_one_malformed_payload(parse_json):
    payload = b'{"a":\n1,\n}\n'
    found = parse_json(payload)
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", payload)]


def test_a_record_over_several_lines_is_one_record(parse_json):
    pretty = json.dumps(json.loads(GOOD), indent=2).encode()
    found = parse_json(pretty, pretty.replace(b"\n", b"\r\n"), pretty + b"\n")
    assert (len(found.readings), found.rejects) == (3, [])


@pytest.mark.parametrize(
    ("key", "device"),
    [("devices/boiler-1/telemetry", "boiler-1"), ("eu/devices/ boiler 1 /telemetry", "boiler 1"),
    ("devices/a.b:c/telemetry", "a.b:c"),
     ("devices//telemetry", None), ("devices/boiler-1/telemetry/x", None), ("mydevices/boiler-1/telemetry", None),
     ("devices/a/b/telemetry", None), ("devices/boiler-1", None), ("", None), (None, None), ("devices/   /telemetry",
     None)],
)  # fmt: skip
def test_a_key_names_the_device_where_the_record_does_not(key: str | None, device: str | None, parse_json):
    flat = b'{"timestamp":1767225600,"temperature":21.5}'
    found = parse_json(flat, good(device_id=None), GOOD, keys=[key] * 3)
    assert [row["device_id"] for row in found.readings] == [device] * 2 * (device is not None) + ["device-1"]
    assert found.reasons == ["missing_device_id"] * 2 * (device is None)


def test_keys_of_which_some_name_a_device_serve_their_own_records(parse_json):
    flat = b'{"timestamp":1767225600,"temperature":21.5}'
    found = parse_json(*[flat] * 3, keys=["devices/dev-0/telemetry", None, "devices/dev-2/telemetry"])
    assert [(row["source_offset"], row["device_id"]) for row in found.readings] == [(0, "dev-0"), (2, "dev-2")]
    assert found.reasons == ["missing_device_id"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(" boiler-1\t", "boiler-1"), ("\u00a0boiler\u2003", "boiler"), ("Boiler 1", "Boiler 1"), ("../a/b", "../a/b"),
    ("a,\"b'", "a,\"b'"),
     ("\r\nboiler\r\n", "boiler"), ("é😀x", "é😀x")],
)  # fmt: skip
def test_an_id_is_trimmed_and_otherwise_kept(given: str, kept: str, parse_json):
    raw = json.dumps({**json.loads(GOOD), "device_id": given}, ensure_ascii=False).encode()
    assert {row["device_id"] for row in parse_json(good(device_id=given), raw, GOOD).readings} <= {kept, "device-1"}
    assert parse_json(good(device_id=given)).readings[0]["device_id"] == kept


def test_ids_that_are_equal_once_trimmed_are_one_device(parse_json):
    found = parse_json(*[good(device_id=text) for text in ("dev-1", " dev-1", "dev-1 ", "", "dev-2", " ")])
    assert [row["device_id"] for row in found.readings] == ["dev-1"] * 3 + ["dev-2"]
    assert found.reasons == ["missing_device_id"] * 2


@pytest.mark.parametrize("extra", [0, 1])
def test_a_record_of_more_bytes_than_are_allowed_is_too_large(extra: int, parse_json):
    for payload in (GOOD, b"[" + GOOD + b"]", b"x" * len(GOOD), b"\n" + GOOD):
        found = parse_json(payload, max_payload_bytes=len(payload) - extra)
        assert ("too_large" in found.reasons) == bool(extra)
    assert found.rejects[0]["payload"] == b"\n" + GOOD if extra else not found.rejects


def test_no_payload_at_all_is_malformed(parse_json):
    found = parse_json(None, b"", GOOD)
    assert [(row["reason"], row["detail"], row["payload"]) for row in found.rejects] == [
        ("malformed", "empty", b"")
    ] * 2


def test_the_tenant_is_the_sources_and_never_the_payloads(parse_json):
    found = parse_json(good(tenant="other", issues=["out_of_range"], is_late=True), tenant="ours")
    assert [(row["tenant"], row["issues"], row["is_late"]) for row in found.readings] == [("ours", [], False)]
    assert json.loads(found.readings[0]["metadata"]) == {"tenant": "other", "issues": ["out_of_range"], "is_late": True}


@pytest.mark.parametrize(
    "payload",
    [
        GOOD,
        b"[]",
        b"[ ]",
        b"[1,[2]]",
        b"1",
        b"\xef\xbb\xbf1",
        b"",
        b"\n",
        b"1\n2",
        b"[1\n,2]\n[3]",
        b"{\n",
        b'"\\',
        b'[{"a":"]"}]',
    ],
)
def test_every_byte_of_a_payload_is_accounted_for(payload: bytes):
    texts, refused = inner_records(payload, 8)
    assert texts
    assert all(text in payload for text in texts)
    assert all(0 <= place < len(texts) for place, _ in refused)
    open_ = set(range(len(texts))) - {place for place, _ in refused}
    for place in open_:
        check_json(texts[place], 8)


def test_reasons_given_are_of_the_closed_list(parse_json):
    assert set(parse_json(*PAYLOADS.values()).reasons) <= set(Reason)
