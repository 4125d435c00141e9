"""Payloads that an archive of telemetry should not hold, seeded, among good ones."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

START = 1_767_225_600  # 2026-01-01T00:00:00Z
HUGE_EVERY = 20_000
"""One payload in so many is 10 MB long: more of them would only make the test slow."""

IDS = (
    "../../etc/passwd", "..", "a/../../b", "/abs/olute", "C:\\\\windows", "nul\\u0000byte", "line\\u000afeed",
    "tab\\u0009",
    "\\u001b[31mred", "%2e%2e%2f", "date=2026-01-01", "_staging", ".hidden", "x" * 300, "ab", "", "   ",
    "[bold]id[/bold]",
    "a,b=c d", "'; drop table readings; --", "\\ud83d\\ude00\\ud83d\\ude00", "\\u202eevil", "\\ud800lone", "device\\\\",
)  # fmt: skip
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e400", "1180591620717411303424", "null", "true",
    '"21.5"', '"abc"',
    "[]", "[1,2]", "{}", "0x10", "+1", "01", "1.", ".5", "1e", "--1", "1_000", "-0", "1e-400", "9" * 400,
)  # fmt: skip
TIMES = (
    '"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00Z"', '"2026-02-30T00:00:00Z"', '"2026-01-01 00:00:00"', '""', "null",
    "1e30", "-1", "0", '"yesterday"', "[]", "{}", "true", '"2026-01-01T24:00:00Z"', '"2026-06-30T23:59:60Z"', "NaN",
    '"2026-01-01T00:00:00+99:00"', "1767225600000", "1767225600000000000", "1767225600.123456789",
)  # fmt: skip
NOISE = (
    b"", b" ", b"\t", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"[[]]", b"[null]", b"[1,2,3]", b"{", b"}", b"]",
    b",",
    b"{]", b'{"a":}', b'{"a" 1}', b'{"a":1,}', b"[1,]", b"{'a':1}", b"// comment", b"<xml/>", b"\xef\xbb\xbf{}",
    b"\x00",
    b"\xff\xfe\x00{", b"PAR1", b"nan", b'{"device_id":', b"\\", b'"\\ud800"', b"undefined",
)  # fmt: skip


def hostile_payloads(count: int, seed: int = 7) -> Iterator[bytes]:
    """So many payloads without line feeds in them; the same seed gives the same ones."""
    chance = random.Random(seed)
    for number in range(count):
        if number % HUGE_EVERY == HUGE_EVERY // 2:
            yield b'{"device_id":"huge","pad":"' + b"x" * 10_000_000 + b'"}'
            continue
        yield chance.choice(_FORMS)(chance, number).replace(b"\n", b" ")


def _good(chance: random.Random, number: int) -> bytes:
    record = {
        "device_id": f"device-{number % 50:03d}", "timestamp": START + number % 7000, "sensor_type": "temperature",
        "value": round(chance.gauss(20, 3), 3), "unit": chance.choice(["celsius", "C", "fahrenheit", "parsec"]),
    }  # fmt: skip
    return json.dumps(record).encode()


def _with(name: str, choices: tuple[str, ...], quote: str = "") -> Callable[[random.Random, int], bytes]:
    def make(chance: random.Random, number: int) -> bytes:
        fields = {
            "device_id": f'"device-{number % 50}"', "timestamp": str(START + number % 7000),
            "sensor_type": '"temperature"', "value": "21.5",
        }  # fmt: skip
        fields[name] = f"{quote}{chance.choice(choices)}{quote}"
        members = list(fields.items())
        chance.shuffle(members)
        return ("{" + ",".join(f'"{key}":{value}' for key, value in members) + "}").encode()

    return make


def _truncated(chance: random.Random, number: int) -> bytes:
    whole = _good(chance, number)
    return whole[: chance.randrange(len(whole))]


def _bad_bytes(chance: random.Random, number: int) -> bytes:
    whole = bytearray(_good(chance, number))
    for _ in range(chance.randrange(1, 4)):
        whole[chance.randrange(len(whole))] = chance.randrange(128, 256)
    return bytes(whole)


def _nested(chance: random.Random, number: int) -> bytes:
    depth = chance.choice([3, 127, 128, 129, 1_000, 20_000])
    opening, closing = chance.choice([(b"[", b"]"), (b'{"a":', b"}")])
    body = opening * depth + b"1" + closing * depth
    return chance.choice(
        [body, b'{"device_id":"deep","timestamp":1767225600,"temperature":1,"metadata":' + body + b"}"]
    )


def _array(chance: random.Random, number: int) -> bytes:
    some = [chance.choice([_good, _VALUE, _ID, _noise])(chance, number + i) for i in range(chance.randrange(6))]
    return b"[" + b",".join(some) + b"]"


def _many(chance: random.Random, number: int) -> bytes:
    values = {name: chance.choice([21.5, None, "x", [], True]) for name in ("temperature", "humidity", "voltage")}
    record = {
        "device_id": f"many-{number % 9}",
        "timestamp": START,
        chance.choice(["data", "flat", "metadata"]): values,
    }
    return json.dumps(record).encode()


def _duplicate_keys(chance: random.Random, number: int) -> bytes:
    return b'{"device_id":"first","device_id":"second","timestamp":1767225600,"temperature":1,"temperature":2}'


def _noise(chance: random.Random, number: int) -> bytes:
    return chance.choice(NOISE)


_ID = _with("device_id", IDS, '"')
_VALUE = _with("value", VALUES)
_TIME = _with("timestamp", TIMES)
_FORMS = (
    _good, _good, _good, _good, _good, _good, _good, _good, _ID, _VALUE, _TIME, _truncated, _bad_bytes, _array, _many,
    _duplicate_keys, _noise, _nested, _with("sensor_type", IDS, '"'), _with("sensor_type", VALUES),
    _with("device_id", VALUES), _with("unit", IDS, '"'), _with("location", IDS, '"'), _with("metadata", VALUES),
    _with("quality_score", VALUES),
)  # fmt: skip
