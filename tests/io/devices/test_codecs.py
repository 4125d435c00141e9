"""Codecs of the field, and hostile ones: what a message gives, and that a bad one costs itself alone."""

from __future__ import annotations

import json
import math
import os
import signal
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.io.devices import codecs as module
from telebeam.io.devices.codecs import Codec, Codecs
from telebeam.io.devices.host import LATE
from telebeam.io.devices.process import Answer, Process
from telebeam.transforms.devices.decoded import Decoded, Payloads
from telebeam.transforms.errors import ConfigurationError

Decode = Callable[..., Decoded]
RECEIVED = datetime(2026, 1, 1, tzinfo=UTC)


def values(decoded: Decoded) -> list[tuple[Any, ...]]:
    return list(zip(decoded.message.tolist(), decoded.name.to_pylist(), decoded.value.tolist(), strict=True))


def details(decoded: Decoded) -> list[str]:
    return [refusal.detail for refusal in decoded.refused]


def moment(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


FIELD: list[tuple[str, int, bytes, dict[str, float], dict[str, str] | None]] = [
    ("climate-es5", 1, bytes.fromhex("FF38 5A 96 03 01"),
     {"temperature": -2.0, "humidity": 45.0, "battery_voltage": 3.0, "door_open": 1, "tamper": 1}, {"mode": "normal"}),
    ("tag-length-value", 85, bytes.fromhex("01 75 64 03 67 0F01 04 68 5A"),
     {"battery": 100, "temperature": 27.1, "humidity": 45}, None),
    ("ports", 1, b"\x07\x80", {"level": 7, "unit_alarm": 1}, None),
    ("ports", 2, bytes.fromhex("07EF5CFEB9A1"), {"gps_latitude": 52.0028, "gps_longitude": -8.3551}, None),
    ("ports", 3, b"hello", {"characters": 5}, {"message": "hello"}),
    ("bit-fields", 1, bytes([0b010_1_1000, 0b100111_01, 0b10000_001, 0b10010000]),
     {"version": 2, "occupied": 1, "temperature": 551 / 10 - 40, "humidity": 48, "co2": 800}, None),
    ("text-payload", 1, b"T=21.5;H=48;S=ok", {"temperature": 21.5, "humidity": 48}, {"state": "ok"}),
    ("float-registers", 1, struct.pack(">ffHh", 1234.5, 80.25, 2301, -1500),
     {"energy": 1234.5, "power": 80.25, "voltage": 230.1, "current": -1.5}, None),
    ("older-decoder", 1, bytes.fromhex("0BB8 0FA0"), {"soil_moisture_1": 30, "soil_moisture_2": 40}, None),
    ("older-decode", 1, bytes.fromhex("0898 5A 96"), {"TempC_SHT": 22, "Hum_SHT": 45, "BatV": 3}, None),
    ("module", 1, bytes.fromhex("2775"), {"pressure": 10101 * 0.1}, None),
    ("polyfills", 1, bytes([10, 0, 255, 50]), {"temperature": 18.56}, {"serial": "0a00ff"}),
    ("normalized", 1, bytes([0, 215, 48, 31, 12, 11, 36]),
     {"air_temperature": 21.5, "air_relativeHumidity": 48, "soil_moisture": 31, "soil_depths_0_depth": 10,
      "soil_depths_0_temperature": 12, "soil_depths_1_depth": 20, "soil_depths_1_temperature": 11, "battery": 3.6},
     None),
    ("normalized", 1, bytes(7),
     {"air_temperature": 0, "air_relativeHumidity": 0, "soil_moisture": 0, "soil_depths_0_depth": 10,
      "soil_depths_0_temperature": 0, "soil_depths_1_depth": 20, "soil_depths_1_temperature": 0}, None),
    ("big-switch", 1, bytes.fromhex("10 0001000000"), {"pulses": 16777216}, None),
    ("big-switch", 1, bytes([0x20, 1, 3]), {"leak": 1}, {"last_reset": "2023-01-01T00:00:00.000Z"}),
]  # fmt: skip


def source_of(root: Path, name: str) -> str:
    return (root / "examples" / "codecs" / f"{name}.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "port", "payload", "expected", "texts"), FIELD)
def test_a_codec_of_the_field_gives_its_values(
    name: str,
    port: int,
    payload: bytes,
    expected: dict[str, float],
    texts: dict[str, str] | None,
    root: Path,
    decode: Decode,
):
    found = decode(source_of(root, name), payload, payload, port=port)
    assert found.refused == []
    assert values(found) == [(message, *each) for message in range(2) for each in expected.items()]
    metadata = [None if text is None else json.loads(text) for text in found.metadata.to_pylist()]
    assert metadata == [texts, texts]
    assert found.timestamp.null_count == len(found.value)


@pytest.mark.parametrize("name", [*dict.fromkeys(case[0] for case in FIELD), "state-machine"])
def test_each_codec_refuses_an_empty_message_or_decodes_it(name: str, root: Path, decode: Decode):
    found = decode(source_of(root, name), b"", b"")
    assert set(found.message.tolist()) | {refusal.message for refusal in found.refused} == {0, 1}


def test_every_example_is_tested(root: Path):
    files = {path.stem for path in (root / "examples" / "codecs").glob("*.js")}
    assert files == {case[0] for case in FIELD} | {"state-machine"}
    assert len(files) >= 12


def test_records_of_the_past_have_their_own_times_and_the_names_of_the_present(root: Path, decode: Decode):
    record = struct.pack("<IhB", 1_700_000_000, -15, 90)
    found = decode(source_of(root, "tag-length-value"), b"\x03\x67\x64\x00" + b"\x20\xce" + record)
    assert values(found) == [(0, "temperature", 10.0), (0, "temperature", -1.5), (0, "humidity", 45.0)]
    past = moment(2023, 11, 14, 22, 13, 20)
    assert found.timestamp.to_pylist() == [None, past, past]


def test_a_codecs_clock_is_the_moment_of_the_message(root: Path, decode: Decode):
    found = decode(source_of(root, "state-machine"), bytes([10, 4, 8]))
    assert values(found) == [(0, "interval_minutes", 10), (0, "flow_rate", 1), (0, "flow_rate", 2)]
    assert found.timestamp.to_pylist() == [None, moment(2025, 12, 31, 23, 50), RECEIVED]


def test_units_beside_values_are_units(root: Path, decode: Decode):
    found = decode(source_of(root, "float-registers"), struct.pack(">ffHh", 1, 2, 3, 4))
    assert found.unit.to_pylist() == ["kWh", "W", "V", "A"]


def test_errors_refuse_a_message_and_warnings_do_not(root: Path, decode: Decode):
    found = decode(source_of(root, "climate-es5"), b"\x00" * 5, bytes.fromhex("0064 5A 64 00 01"))
    assert found.refused == [(0, "malformed", "expected 6 bytes, got 5")]
    assert found.warnings.to_pylist() == [None, "battery low"]
    none = decode(source_of(root, "big-switch"), b"\x90", b"\xf0\x07")
    assert none.refused == [
        (0, "missing_value", "the codec gave no number; type 9 is not known"),
        (1, "malformed", "device fault 7"),
    ]


def uplink(body: str) -> str:
    return f"function decodeUplink(input) {{ {body} }}"


ENDLESS = "for (;;) {}"
BOMBS = [
    ENDLESS,
    "var a = []; for (;;) a.push({x: 1, y: [1, 2, 3]});",
    "new Array(3e8).fill(0);",
    "[].indexOf.call({length: 2 ** 53 - 1}, 1);",
    "var a = []; for (;;) a.push(new Uint8Array(1e8).fill(1));",
    "/(a+)+$/.test('a'.repeat(40) + 'b');",
    "var x = 2n; for (;;) x = x * x;",
    "var a = []; for (;;) { var s = 'x'.repeat(1 << 26) + a.length; a.push(s.split('x')); }",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_takes_all_time_or_memory_costs_itself_alone(bomb: str, decode: Decode):
    source = uplink(f"if (input.bytes[0] === 9) {{ {bomb} }} return {{data: {{v: input.bytes[0]}}}};")
    found = decode(source, *[b"\x01"] * 600, b"\x09", *[b"\x02"] * 3)
    assert [(refusal.message, refusal.reason) for refusal in found.refused] == [(600, "malformed")]
    assert details(found)[0].startswith("stopped: ")
    assert found.value.tolist() == [1.0] * 600 + [2.0] * 3
    assert found.message.tolist() == [*range(600), 601, 602, 603]


def test_a_message_that_is_late_once_is_decoded_again(codecs: Codecs, monkeypatch: pytest.MonkeyPatch):
    codec, ask, asked = Codec(uplink("return {data: {v: 1}};")), Process.ask, []

    def away(self: Process, header: dict[str, Any], body: bytes = b"") -> Answer:
        asked.append(header.get("count"))
        return Answer({"stuck": 2, "detail": f"{LATE} 20 ms"}, b"", 0) if asked[-1] == 5 else ask(self, header, body)

    monkeypatch.setattr(Process, "ask", away)
    found = codecs.decode(
        codec, Payloads(pa.array([b""] * 5, pa.large_binary()), np.zeros(5, np.int64), np.zeros(5, np.int64))
    )
    assert found.message.tolist() == [0, 1, 2, 3, 4]
    assert asked == [None, 5, 2, 1, 2]


def test_a_codec_that_is_stopped_again_and_again_is_given_up(codecs: Codecs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_STOPS", 3)
    batch = Payloads(pa.array([b""] * 200, pa.large_binary()), np.zeros(200, np.int64), np.zeros(200, np.int64))
    found = codecs.decode(Codec(uplink(ENDLESS)), batch)
    assert len(found.refused) == 200
    assert sum(detail.startswith("stopped: ") for detail in details(found)) == 3


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("throw new Error('bad')", "Error: bad"),
        ("throw 'bad'", "bad"),
        ("throw null", "null"),
        ("throw {toJSON() { throw 1; }}", "an error without words"),
        ("undefined.x", "TypeError: Cannot read properties of undefined (reading 'x')"),
        ("(function f() { f(); })()", "RangeError: Maximum call stack size exceeded"),
        ("return null", "the codec returned no object"),
        ("return 7", "the codec returned no object"),
        ("return {}", "the codec returned no data"),
        ("return {data: 'x'}", "the codec returned no data"),
        ("return {data: {}, errors: 'odd'}", "odd"),
        ("return {data: {v: 1}, errors: [{code: 7}]}", '{"code":7}'),
        ("var d = {}; d.d = d; return {data: d}", "nested deeper than 8 levels, or in a circle"),
        ("var a = []; a.push(a); return {data: {a: a}}", "nested deeper than 8 levels, or in a circle"),
        ("return {data: {a: new Array(5000).fill(1)}}", "more than 4096 values"),
        ("return {data: {a: new Array(3e9 >>> 0)}}", "more than 4096 values"),
        ("var d = {}; for (var i = 0; i < 5000; i++) d['k' + i] = i; return {data: d}", "more than 4096 values"),
        ("return {data: {['x'.repeat(300)]: 1}}", "a name longer than 200 characters"),
        ("return {data: {s: 'x'.repeat(70000)}}", "more than 65536 characters of text"),
        ("return {data: {get v() { throw new Error('got'); }}}", "Error: got"),
        ("return {data: new Proxy({}, {ownKeys() { throw new Error('keys'); }})}", "Error: keys"),
    ],
)
def test_a_message_that_gives_nothing_of_use_is_refused_with_the_cause(body: str, detail: str, decode: Decode):
    found = decode(uplink(f"if (input.bytes[0]) return {{data: {{v: 1}}}}; {body}"), b"\x01", b"\x00", b"\x01")
    assert found.refused == [(1, "malformed", detail)]
    assert values(found) == [(0, "v", 1.0), (2, "v", 1.0)]


def test_numbers_come_as_they_are(decode: Decode):
    found = decode(
        uplink("return {data: {a: NaN, b: -Infinity, c: -0, d: 1e308, e: 5e-324, f: 2n ** 70n, g: null}}"), b""
    )
    assert found.name.to_pylist() == ["a", "b", "c", "d", "e", "f"]
    assert math.isnan(found.value[0])
    assert found.value[1:].tolist() == [-math.inf, 0.0, 1e308, 5e-324, 2.0**70]
    assert math.copysign(1, found.value[2]) == -1


@pytest.mark.parametrize(
    "body",
    [
        "counter = (typeof counter === 'undefined' ? 0 : counter) + 1; return {data: {v: counter}}",
        "globalThis.c = (globalThis.c || 0) + 1; return {data: {v: c}}",
        "this.c = (this.c || 0) + 1; return {data: {v: this.c}}",
        "top = (top || 0) + 1; return {data: {v: top}}",
        "Array.prototype.c = ([].c || 0) + 1; return {data: {v: [].c}}",
        "Object.prototype.c = ({}.c || 0) + 1; return {data: {v: ({}).c}}",
        "Math.c = (Math.c || 0) + 1; return {data: {v: Math.c}}",
        "decodeUplink.c = (decodeUplink.c || 0) + 1; return {data: {v: decodeUplink.c}}",
        "var v = JSON.parse ? 1 : 2; JSON.parse = null; return {data: {v: v}}",
        "var v = [3, 1].map ? 1 : 2; Array.prototype.map = null; return {data: {v: v}}",
        "var v = typeof Math === 'object' ? 1 : 2; Math = null; return {data: {v: v}}",
        "var v = Object.keys({a: 1}).length; Object.keys = () => []; return {data: {v: v}}",
        "var v = new Date(0).getTime() + 1; Date.prototype.getTime = () => 7; return {data: {v: v}}",
        "console.c = (console.c || 0) + 1; return {data: {v: console.c}}",
    ],
)
def test_no_message_sees_what_another_one_left_behind(body: str, decode: Decode):
    found = decode("var top;" + uplink(body), *[b""] * 5)
    assert found.value.tolist() == [1.0] * 5


def test_what_is_random_or_now_is_the_same_each_time(decode: Decode):
    source = uplink(
        "return {data: {r: Math.random(), n: Date.now(), m: new Date().getTime(), z: new Date(0).getHours()}}"
    )
    first, again = decode(source, b"", b""), decode(source, b"")
    assert first.value.tolist() == again.value.tolist() * 2
    assert again.value[1:].tolist() == [1_767_225_600_000.0, 1_767_225_600_000.0, 0.0]


@pytest.mark.parametrize(
    "name",
    ["setTimeout", "require", "fetch", "XMLHttpRequest", "process", "WebAssembly", "Atomics", "SharedArrayBuffer"],
)
def test_a_codec_has_no_way_out(name: str, decode: Decode):
    found = decode(uplink(f"return {{data: {{v: typeof {name} === 'undefined'}}}}"), b"")
    assert found.value.tolist() == [1.0]


def test_results_may_have_members_named_like_built_in_ones(decode: Decode):
    source = uplink("'use strict'; var d = {}; d.toString = 1; d.valueOf = 2; d.constructor = 3; return {data: d}")
    assert decode(source, b"").name.to_pylist() == ["toString", "valueOf", "constructor"]


def test_however_a_batch_is_cut_it_gives_the_same(root: Path, codecs: Codecs):
    random = np.random.default_rng(5)
    payloads = pa.array([random.bytes(int(n)) for n in random.integers(0, 12, 1500)], pa.large_binary())
    batch = Payloads(payloads, random.integers(1, 4, 1500), np.full(1500, 1_767_225_600_000_000))
    codec = Codec(source_of(root, "ports"))
    whole = codecs.decode(codec, batch)
    parts = []
    for first, end in ((0, 1), (1, 700), (700, 1500)):
        part = codecs.decode(codec, Payloads(*(column[first:end] for column in batch)))
        parts += [(message + first, *rest) for message, *rest in values(part)]
        parts += [refusal._replace(message=refusal.message + first) for refusal in part.refused]
    assert sorted(map(repr, parts)) == sorted(map(repr, [*values(whole), *whole.refused]))


@pytest.mark.parametrize("payloads", [[], [None], [b"", None]])
def test_an_empty_batch_and_empty_messages_are_fine(payloads: list[bytes | None], codecs: Codecs):
    count = len(payloads)
    batch = Payloads(pa.array(payloads, pa.large_binary()), np.zeros(count, np.int64), np.zeros(count, np.int64))
    found = codecs.decode(Codec(uplink("return {data: {n: input.bytes.length}}")), batch)
    assert found.value.tolist() == [0.0] * count
    assert len(found.metadata) == count


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("function decodeUplink(", "SyntaxError"),
        ("var x = 1;", "none of the functions decodeUplink, Decode and Decoder"),
        ("", "none of the functions"),
        ("import x from 'y'; export function decodeUplink() {}", "SyntaxError"),
        ("throw new Error('at once')", "at once"),
        (ENDLESS, "took longer than"),
        ("require('fs')", "require is not defined"),
    ],
)
def test_what_is_no_codec_is_refused_before_it_runs(source: str, words: str, codecs: Codecs):
    with pytest.raises(ConfigurationError, match=words):
        codecs.check(Codec(source, "door.js"))
    codecs.check(Codec(uplink("return {data: {}}")))


def test_closing_ends_the_processes_and_the_next_batch_starts_others():
    with Codecs() as made:
        made.check(Codec(uplink("return {}")))
        first = made.process_id()
        os.kill(first, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    made.check(Codec(uplink("return {}")))
    assert made.process_id() != first
    made.close()


def test_a_process_that_is_killed_costs_no_message(root: Path):
    with Codecs() as made:
        codec = Codec(uplink("return {data: {v: 1}}"))
        made.check(codec)
        os.kill(made.process_id(), signal.SIGKILL)
        batch = Payloads(pa.array([b""] * 5, pa.large_binary()), np.zeros(5, np.int64), np.zeros(5, np.int64))
        found = made.decode(codec, batch)
    assert found.value.tolist() == [1.0] * 5
