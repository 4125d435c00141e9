"""Line protocol: every escape of the specification, what is none, its precision, and what we write ourselves."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telebeam.io.influxdb.lines import reading_lines
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.transforms.parsing import separators
from telebeam.transforms.parsing.points import Point, parse_point
from telebeam.transforms.parsing.records import RefusedRecord

NANOS = 1_767_225_600_000_000_000

POINTS = {
    r"m f=1": Point("m", {}, {"f": 1.0}, None),
    r"m,a=b f=1 5": Point("m", {"a": "b"}, {"f": 1.0}, 5),
    r"my\ room,a=b f=1": Point("my room", {"a": "b"}, {"f": 1.0}, None),
    r"my\,room f=1": Point("my,room", {}, {"f": 1.0}, None),
    r"my=room f=1": Point("my=room", {}, {"f": 1.0}, None),
    r"my\=room f=1": Point(r"my\=room", {}, {"f": 1.0}, None),
    r"m,tag\ key=a\ b f=1": Point("m", {"tag key": "a b"}, {"f": 1.0}, None),
    r"m,tag\,key=a\,b f=1": Point("m", {"tag,key": "a,b"}, {"f": 1.0}, None),
    r"m,tag\=key=a\=b f=1": Point("m", {"tag=key": "a=b"}, {"f": 1.0}, None),
    r"m f\ \,\=k=1": Point("m", {}, {"f ,=k": 1.0}, None),
    r'm f="a \"quoted\" \\ word"': Point("m", {}, {"f": r'a "quoted" \ word'}, None),
    r'm f="a, b=c d"': Point("m", {}, {"f": "a, b=c d"}, None),
    r'm f="\n\,\="': Point("m", {}, {"f": r"\n\,\="}, None),
    r'm f=""': Point("m", {}, {"f": ""}, None),
    r'm f="\\\\"': Point("m", {}, {"f": r"\\"}, None),
    r"m,a=\b\c f=1": Point("m", {"a": r"\b\c"}, {"f": 1.0}, None),
    r"m,a=b\\ c f=1": Point("m", {"a": r"b\ c"}, {"f": 1.0}, None),
    r'm,a="b" f=1': Point("m", {"a": '"b"'}, {"f": 1.0}, None),
    r'm,a=b"c f"k=1': Point("m", {"a": 'b"c'}, {'f"k': 1.0}, None),
    r"m f=1i": Point("m", {}, {"f": 1}, None),
    r"m f=-9223372036854775808i": Point("m", {}, {"f": -(2**63)}, None),
    r"m f=18446744073709551615u": Point("m", {}, {"f": 2**64 - 1}, None),
    r"m f=-1u": None,
    r"m f=1.0i": None,
    r"m f=1e3i": None,
    r"m f=007i": Point("m", {}, {"f": 7}, None),
    r"m f=.5": Point("m", {}, {"f": 0.5}, None),
    r"m f=5.": Point("m", {}, {"f": 5.0}, None),
    r"m f=+1.5E-3": Point("m", {}, {"f": 0.0015}, None),
    r"m f=-1e+3": Point("m", {}, {"f": -1000.0}, None),
    r"m f=NaN": None,
    r"m f=Inf": None,
    r"m f=0x1F": None,
    r"m f=1_000": None,
    r"m f=٣": None,
    **{f"m f={word}": Point("m", {}, {"f": 1}, None) for word in ("t", "T", "true", "True", "TRUE")},
    **{f"m f={word}": Point("m", {}, {"f": 0}, None) for word in ("f", "F", "false", "False", "FALSE")},
    r"m f=tRUE": None,
    r"m f=1,g=2i,h=t 7": Point("m", {}, {"f": 1.0, "g": 2, "h": 1}, 7),
    r"m f=1,f=2": Point("m", {}, {"f": 2.0}, None),
    r"m,a=1,a=2 f=1": None,
    r"m  f=1   7 ": Point("m", {}, {"f": 1.0}, 7),
    r"m f=1 -7": Point("m", {}, {"f": 1.0}, -7),
    r"m f=1 7.5": None,
    r"m f=1 7i": None,
    r"m f=1 7 8": None,
    r"m": None,
    r"m ": None,
    r"m f": None,
    r"m f=": None,
    r"m =1": None,
    r"m,a f=1": None,
    r"m,a= f=1": None,
    r"m,=b f=1": None,
    r"m, f=1": None,
    r"m,a=b": None,
    r",a=b f=1": None,
    r"m f=1,": None,
    r"m f=1,,g=2": None,
    r'm f="a': None,
    r'm f="a\"': None,
    r'm f="a"b': None,
    r"m f=1 2a": None,
    "m\ttab f=1": Point("m\ttab", {}, {"f": 1.0}, None),
    "mé,ø=ü å=1": Point("mé", {"ø": "ü"}, {"å": 1.0}, None),
}


@pytest.mark.parametrize("line", POINTS)
def test_a_line_is_the_point_that_the_specification_says(line: str):
    expected = POINTS[line]
    if expected is None:
        with pytest.raises(RefusedRecord, match="malformed"):
            parse_point(line.encode())
    else:
        assert repr(parse_point(line.encode())) == repr(expected)


@pytest.mark.parametrize("line", [line for line, point in POINTS.items() if point is None])
def test_a_line_that_is_none_is_malformed_and_costs_itself_only(line: str, parse_json):
    payload = f"room,device_id=dev-1 temperature=21.5 {NANOS}\n{line}\nroom,device_id=dev-1 temperature=22.5 {NANOS}"
    found = parse_json(payload, format="line_protocol")
    assert [row["value"] for row in found.readings] == [21.5, 22.5]
    lines = [part for part in line.split("\n") if part]
    assert [(row["reason"], row["payload"].decode()) for row in found.rejects] == [("malformed", lines[0].strip(" "))]


@pytest.mark.parametrize("payload", [b"m f=\xff", b"m,a=\xc3 f=1", b"\xed\xa0\x80 f=1", b'm f="\x80"'])
def test_what_is_no_utf8_is_malformed(payload: bytes, parse_json):
    assert parse_json(payload, format="line_protocol").reasons == ["malformed"]


def kinds(found: Any) -> list[tuple[str, str, float]]:
    return [(row["sensor_type"], row["measurement_type"], row["value"]) for row in found.readings]


def test_each_number_is_a_reading_and_texts_are_metadata(parse_json):
    line = f'cpu,device_id=srv-1,location=hall,rack=r\\ 7 usage_idle=98.5,temperature=40i,on=t,note="x" {NANOS}'
    found = parse_json(line, format="line_protocol")
    assert kinds(found) == [("cpu", "on", 1.0), ("temperature", "temperature", 40.0), ("cpu", "usage_idle", 98.5)]
    assert {row["metadata"] for row in found.readings} == {'{"note":"x","rack":"r 7","measurement":"cpu"}'}
    assert {(row["device_id"], row["location"]) for row in found.readings} == {("srv-1", "hall")}


def test_a_field_named_value_makes_one_reading_of_a_line(parse_json):
    found = parse_json(
        f"temperature,device_id=dev-1,unit=celsius value=21.5,quality_score=0.5 {NANOS}",
        f"iot,device_id=dev-1,sensor_type=humidity value=40i,battery=87i {NANOS}",
        format="line_protocol",
    )
    assert kinds(found) == [("temperature", "temperature", 21.5), ("humidity", "humidity", 40.0)]
    assert [row["quality_score"] for row in found.readings] == [0.5, 1.0]
    assert found.readings[1]["metadata"] == '{"battery":87,"measurement":"iot"}'


def test_tags_of_other_names_are_mapped(parse_json):
    found = parse_json(f"cpu,host=srv-1 idle=5 {NANOS}", format="line_protocol", fields={"device_id": "host"})
    assert [row["device_id"] for row in found.readings] == ["srv-1"]
    assert parse_json(f"cpu,host=srv-1 idle=5 {NANOS}", format="line_protocol").reasons == ["missing_device_id"]


def test_comments_and_empty_lines_say_nothing_and_a_payload_of_them_lacks_a_value(parse_json):
    found = parse_json(
        "# a comment\n\n  \nm,device_id=dev-1 f=1 5\r\n #x\n", "# only", "", "\n\n", format="line_protocol"
    )
    assert (len(found.readings), found.reasons) == (1, ["missing_value"] * 3)
    assert parse_json('m,device_id=dev-1 note="x"', format="line_protocol", keys=["x"]).reasons == ["missing_timestamp"]
    assert parse_json('m,device_id=dev-1 note="x" 5', format="line_protocol").reasons == ["missing_value"]


def test_a_line_feed_within_a_string_ends_no_line(parse_json):
    found = parse_json(
        'm,device_id=dev-1 f=1,n="a\nb" 5\nm,device_id=dev-1 f=2 5\n# it"s\nm,device_id=dev-1 f=3 5',
        format="line_protocol",
    )
    assert [row["value"] for row in found.readings] == [1, 2, 3]
    assert found.rejects == []


@pytest.mark.parametrize(("precision", "time", "micros"), [
    ("ns", 1_999, 1), ("ns", -1, -1), ("us", 7, 7), ("ms", 7, 7_000), ("s", 7, 7_000_000), ("s", 10**12, None),
    ("ns", 4_102_444_800_000_000_001, 4_102_444_800_000_000), ("ns", 10**25, None), ("s", 2**63, None),
    ("us", 2**63 - 1, None), ("ms", -(2**63), None),
])  # fmt: skip
def test_a_time_is_in_the_declared_precision(precision: str, time: int, micros: int | None, parse_json):
    plain, quoted = f"m,device_id=dev-1 f=1 {time}", f'm,device_id=dev-1 f=1,n="" {time}'
    found = parse_json(plain, quoted, format="line_protocol", precision=precision)
    assert [round(row["timestamp"].timestamp() * 1e6) for row in found.readings] == [micros] * 2 * (micros is not None)
    assert found.reasons == ["bad_timestamp"] * 2 * (micros is None)


KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\\\n\r", min_codepoint=32), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    texts=st.lists(KEYS.map(lambda text: text.strip() or "x"), min_size=2, max_size=2),
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
)
def test_what_we_write_is_read_back(texts: list[str], values: list[float], parse_json):
    spec = InfluxSpec(url="http://localhost:8086", org="iot", bucket="telemetry", token="env:TOKEN")
    rows = [
        {"tenant": "default", "device_id": f"dev {texts[0]}", "timestamp": NANOS // 1000 + n,
        "sensor_type": "temperature",
         "measurement_type": texts[1], "value": value, "unit": "celsius", "location": None, "quality_score": 1.0}
        for n, value in enumerate(values)
    ]  # fmt: skip
    lines, refused = reading_lines(pa.RecordBatch.from_pylist(rows), spec)
    found = parse_json(lines.body(), format="line_protocol", precision="us")
    assert found.reasons == [] if len(lines) else ["missing_value"]
    kept = sorted(set(range(len(rows))) - set(refused.rows.tolist()))
    read = sorted((row["device_id"], row["measurement_type"], row["value"]) for row in found.readings)
    assert read == sorted((rows[n]["device_id"], texts[1], rows[n]["value"]) for n in kept)


VALUES = st.sampled_from(
    ["1", "2.5", "-3i", "7u", "t", '"x"', "1e400", "-0", "007", "x", "", "1 ", "9" * 30 + "i", "1=2"]
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(
        st.builds(
            lambda name, tag, field, value, time: f"{name},device_id=dev-1,{tag}=b {field}={value},g=1{time}",
            st.sampled_from(["m", "né", r"a\ b", "a b", ""]), st.sampled_from(["a", "unit", r"a\=b", "é", "a,b",
            "device_id"]),
            st.sampled_from(["f", "value", "g", "temperature"]), VALUES, st.sampled_from(["", " 5", " -5", " x",
            f" {NANOS}", " 5 "]),
        ),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_lines_give_the_same_rows_together_and_singly(lines: list[str], parse_json):
    payload = "\n".join(lines).encode()
    together = parse_json(payload, format="line_protocol")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separators, "_MAX_FORMS", 0)
        assert repr(parse_json(payload, format="line_protocol")) == repr(together)
