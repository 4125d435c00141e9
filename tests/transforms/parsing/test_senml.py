"""SenML: the examples of RFC 8428, and what its resolution asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import cbor2
import pyarrow as pa
import pytest

from telebeam.transforms.parsing import cbor

PUBLISHED = 1_767_225_600_000_000


@pytest.fixture
def read(envelopes, parse_batch) -> Any:
    """Reads packs: (packs…, published=, format=) → outcome."""

    def run(*packs: Any, published: int | None = PUBLISHED, form: str = "senml") -> Any:
        dumps = cbor2.dumps if form == "senml_cbor" else lambda pack: json.dumps(pack).encode()
        batch = envelopes([pack if isinstance(pack, bytes) else dumps(pack) for pack in packs])
        if published is not None:
            moment = pa.array([published] * len(packs), pa.timestamp("us", "UTC"))
            batch = batch.append_column("published_at", moment)
        return parse_batch(batch, format=form)

    return run


def rows(found: Any) -> list[tuple[Any, ...]]:
    order = sorted(found.readings, key=lambda row: (row["timestamp"], row["measurement_type"], row["value"]))
    return [
        (row["device_id"], row["measurement_type"], row["value"], row["unit"], row["timestamp"].timestamp())
        for row in order
    ]


NOW = PUBLISHED / 1e6


def test_section_5_1_1_a_single_value(read):
    found = read([{"n": "urn:dev:ow:10e2073a01080063", "u": "Cel", "v": 23.1}])
    assert rows(found) == [("urn:dev:ow:10e2073a01080063", "temperature", 23.1, "celsius", NOW)]


def test_section_5_1_2_several_values_of_a_device(read):
    pack = [{"bn": "urn:dev:ow:10e2073a01080063:", "n": "voltage", "u": "V", "v": 120.1},
            {"n": "current", "u": "A", "v": 1.2}]  # fmt: skip
    assert rows(read(pack)) == [("urn:dev:ow:10e2073a01080063", "current", 1.2, "amperes", NOW),
                                ("urn:dev:ow:10e2073a01080063", "voltage", 120.1, "volts", NOW)]  # fmt: skip


def test_section_5_1_2_a_base_time_and_times_relative_to_it(read):
    pack = [{"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e9, "bu": "A", "bver": 5, "n": "voltage",
    "u": "V",
             "v": 120.1}, *[{"n": "current", "t": t, "v": v} for t, v in [(-5, 1.2), (-4, 1.3), (-3, 1.4), (-2, 1.5),
             (-1, 1.6), (0, 1.7)]]]  # fmt: skip
    found = rows(read(pack, published=None))
    assert [row[4] for row in found] == [1276020071.001, 1276020072.001, 1276020073.001, 1276020074.001, 1276020075.001,
                                         1276020076.001, 1276020076.001]  # fmt: skip
    assert {row[3] for row in found if row[1] == "current"} == {"amperes"}


def test_section_5_1_3_units_tell_what_has_no_name(read):
    pack = [{"bn": "urn:dev:ow:10e2073a01080063", "bt": 1.320067464e9, "bu": "%RH", "v": 20},
            {"u": "lon", "v": 24.30621}, {"u": "lat", "v": 60.07965}, {"t": 60, "v": 20.3},
            {"u": "lon", "t": 60, "v": 24.30622}, {"u": "lat", "t": 60, "v": 60.07965}]  # fmt: skip
    found = rows(read(pack))
    assert [(row[1], row[2]) for row in found] == [("humidity", 20), ("latitude", 60.07965), ("longitude", 24.30621),
        ("humidity", 20.3), ("latitude", 60.07965), ("longitude", 24.30622)]  # fmt: skip
    assert {row[0] for row in found} == {"urn:dev:ow:10e2073a01080063"}


SERIES = [21.2, 21.3, 21.4, 21.4, 21.5, 21.5, 21.5, 21.6, 21.7, 21.5, 21.5, 21.5]
TIMES = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 91, 92]


def test_section_5_1_3_a_base_record_holds_for_those_behind_it(read):
    base = {"bn": "urn:dev:ow:10e2073a01080063", "bt": 1.320067464e9, "bu": "%RH"}
    found = rows(read([base, *({"t": t, "v": v} for t, v in zip(TIMES, SERIES, strict=True))]))
    assert [(row[2], row[4] - 1320067464) for row in found] == list(zip(SERIES, TIMES, strict=True))
    assert {row[:2] + row[3:4] for row in found} == {("urn:dev:ow:10e2073a01080063", "humidity", "percent")}


def test_section_5_1_4_resolved_records_are_what_the_unresolved_ones_are(read):
    base = {"bn": "urn:dev:ow:10e2073a01080063", "bt": 1.320067464e9, "bu": "%RH"}
    resolved = [
        {"n": base["bn"], "u": "%RH", "t": 1.320067464e9 + t, "v": v} for t, v in zip(TIMES, SERIES, strict=True)
    ]
    unresolved = [base, *({"t": t, "v": v} for t, v in zip(TIMES, SERIES, strict=True))]
    assert rows(read(resolved, published=None)) == rows(read(unresolved, published=None))


def test_section_5_1_5_records_of_different_types(read):
    pack = [{"bn": "urn:dev:ow:10e2073a01080063:", "n": "temp", "u": "Cel", "v": 27.2}, {"n": "label",
    "vs": "Machine Room"},
            {"n": "open", "vb": False}, {"n": "nfc-reader", "vd": "aGkgCg"}, {"n": "count", "vs": " 12 "}]  # fmt: skip
    found = read(pack)
    assert {row["measurement_type"]: (row["value"], row["issues"]) for row in found.readings} == {
        "temp": (27.2, []), "open": (0.0, ["wrong_type"]), "count": (12.0, ["wrong_type"]),
    }  # fmt: skip
    assert found.reasons == ["bad_value", "bad_value"]


def test_section_5_1_6_a_collection_of_resources_of_several_devices(read):
    pack = [{"bn": "2001:db8::2/", "bt": 1.320078429e9, "n": "temperature", "u": "Cel", "v": 27.2},
            {"n": "humidity", "u": "%RH", "v": 80}, {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
            {"n": "humidity", "u": "%RH", "v": 67}]  # fmt: skip
    assert sorted(rows(read(pack))) == [
        ("2001:db8::1", "humidity", 67, "percent", 1320078429), ("2001:db8::1", "temperature", 12.3, "celsius",
        1320078429), ("2001:db8::2", "humidity", 80, "percent", 1320078429), ("2001:db8::2", "temperature", 27.2,
        "celsius", 1320078429),
    ]  # fmt: skip


def test_section_5_1_7_settings_of_actuators(read):
    lights = ["http://[2001:db8::3]/", "http://[2001:db8::4]/"]
    first = {"bt": 1.320078429e9, "bu": "/", "n": lights[0], "v": 0.5}
    pack = [first, {"n": lights[1], "v": 0.5}, *({"n": name, "t": 0.1, "v": 0} for name in lights)]
    found = read(pack)
    assert found.rejects == []
    assert sorted((row[0], row[2], round((row[4] - 1320078429) * 10)) for row in rows(found)) == [
        (light.rstrip("/"), *change) for light in lights for change in ((0, 1), (0.5, 0))
    ]


def test_sums_are_readings_of_their_own(read):
    pack = [{"bn": "urn:dev:mac:0024befffe804ff1/", "bt": 1276020076, "bu": "W", "n": "power", "v": 1463, "s": 3600},
            {"n": "flow", "u": "m3/s", "s": 7.5}]  # fmt: skip
    assert rows(read(pack)) == [
        ("urn:dev:mac:0024befffe804ff1", "flow_sum", 7.5, "m3/s*s", 1276020076),
        ("urn:dev:mac:0024befffe804ff1", "power", 1463.0, "watts", 1276020076),
        ("urn:dev:mac:0024befffe804ff1", "power_sum", 3600.0, "joules", 1276020076),
    ]


SECTION_6 = (
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120050067766f6c"
    "7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3006763757272656e7406230"
    "2fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e74062102f93e00a300"
    "6763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333"
)


def test_section_6_the_example_in_cbor(read):
    found = read(bytes.fromhex(SECTION_6), form="senml_cbor")
    assert [(row[1], row[2]) for row in rows(found)] == [("current", 1.2), ("current", 1.3), ("current", 1.4),
        ("current", 1.5), ("current", 1.6), ("current", 1.7), ("voltage", 120.1)]  # fmt: skip
    for length in range(len(SECTION_6) // 2):
        with pytest.raises(ValueError, match="malformed"):
            cbor.decode(bytes.fromhex(SECTION_6)[:length], 128)


def test_a_relative_time_without_a_time_of_the_message_is_missing(read):
    pack = [{"n": "device-1", "u": "Cel", "v": 1}, {"n": "device-1", "u": "Cel", "v": 1, "t": -5},
            {"n": "device-1", "u": "Cel", "v": 1, "t": 2**28}]  # fmt: skip
    found = read(pack, published=None)
    assert found.reasons == ["missing_timestamp", "missing_timestamp"]
    assert found.readings[0]["timestamp"] == datetime.fromtimestamp(2**28, UTC)
    assert [row[4] - NOW for row in rows(read(pack))] == [2**28 - NOW, -5, 0]


@pytest.mark.parametrize(("pack", "reason"), [
    ({"n": "a"}, "not_an_object"), ([1], "not_an_object"), ([], "missing_value"), ([{"bn": "x"}], "missing_value"),
    ([{"n": "dev", "v": "1"}], "schema"), ([{"n": 5, "v": 1}], "schema"), ([{"n": "dev", "v": 1, "vs": "x"}], "schema"),
    ([{"n": "dev", "v": 1, "bver": 11}], "schema"), ([{"n": "dev", "v": 1, "x_": 1}], "schema"),
    ([{"n": "dev", "vb": 1}], "schema"), ([{"n": "dev", "v": True}], "schema"), (b"[{", "malformed"), (b"",
    "malformed"),
    ([{"v": 1}], "missing_device_id"), ([{"n": "dev", "u": "Cel"}], "missing_value"), ([{"n": "dev", "v": None}],
    "schema"),
    (b'[{"n":"dev","v":1e400}]', "bad_value"), ([{"n": "dev", "v": 1, "t": 1e300}], "bad_timestamp"),
    ([{"n": "dev", "v": 1, "t": -1e300}], "bad_timestamp"), ([{"n": "dev", "vs": "NaN"}], "bad_value"),
])  # fmt: skip
def test_what_is_no_pack_is_refused_and_costs_itself_only(pack: Any, reason: str, read):
    good = [{"n": "device-1", "u": "Cel", "v": 1}]
    found = read(good, pack, good)
    assert (len(found.readings), found.reasons) == (2, [reason])


def test_a_base_value_is_added_and_other_labels_are_metadata(read):
    found = read([{"bn": "device-1:", "bv": 20, "bs": 5, "n": "t", "v": 1.5, "s": 2, "ut": 60, "vendor": {"a": 1}}])
    assert sorted(row["value"] for row in found.readings) == [7, 21.5]
    assert {row["metadata"] for row in found.readings} == {'{"update_time":60,"vendor":{"a":1}}'}
