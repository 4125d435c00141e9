"""What is JSON and what isn't, by the productions of RFC 8259: as payload, as member on the fast way, in metadata."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

GOOD = {
    # section 2: white space
    "spaces": b'{ "a" : 1 , "b" : 2 }', "tabs": b'{\t"a"\t:\t1}', "returns": b'{\r"a":\r1}', "feeds": b'{\n"a":\n1\n}',
    "around": b' \t\r\n{"a":1} \t\r\n',
    # section 3: values
    "true": b'{"a":true}', "false": b'{"a":false}', "null": b'{"a":null}',
    # section 4: objects
    "empty object": b"{}", "empty name": b'{"":1}', "equal names": b'{"a":1,"a":2}', "nested": b'{"a":{"b":{"c":{}}}}',
    "name of escapes": b'{"\\u0061\\n":1}',
    # section 5: arrays
    "empty array": b'{"a":[]}', "mixed array": b'{"a":[1,"x",null,true,{},[]]}', "spaced array": b'{"a":[ 1 , 2 ]}',
    # section 6: numbers
    "zero": b'{"a":0}', "minus zero": b'{"a":-0}', "negative": b'{"a":-12}', "fraction": b'{"a":0.5}',
    "exponent": b'{"a":1e5}',
    "capital exponent": b'{"a":1E5}', "plus exponent": b'{"a":1e+5}', "minus exponent": b'{"a":1.5e-5}',
    "zero exponent": b'{"a":0e0}', "zeros in exponent": b'{"a":1e005}', "huge": b'{"a":1e400}', "tiny": b'{"a":1e-400}',
    "2^70": b'{"a":1180591620717411303424}', "many digits": b'{"a":0.' + b"1" * 400 + b"}",
    "long integer": b'{"a":' + b"9" * 400 + b"}",
    # section 7: strings
    "escapes": rb'{"a":"\" \\ \/ \b \f \n \r \t \u00e9"}', "pair": rb'{"a":"\ud83d\ude00"}',
    "capital hex": rb'{"a":"\u00E9"}',
    "escaped NUL": rb'{"a":"\u0000"}', "delete is no control": b'{"a":"\x7f"}', "two bytes": '{"a":"é"}'.encode(),
    "three bytes": '{"a":"€"}'.encode(), "four bytes": '{"a":"😀"}'.encode(),
    "line separators": '{"a":"\u2028\u2029"}'.encode(),
    "noncharacter": '{"a":"\uffff"}'.encode(), "mark in a string": '{"a":"\ufeff"}'.encode(),
    "last": '{"a":"\U0010ffff"}'.encode(),
}  # fmt: skip

BAD_VALUES = {
    # section 3: values
    "NaN": b"NaN", "Infinity": b"Infinity", "-Infinity": b"-Infinity", "nan": b"nan", "True": b"True", "TRUE": b"TRUE",
    "None": b"None",
    "nul": b"nul", "nulll": b"nulll", "undefined": b"undefined", "nothing": b"", "bare word": b"abc",
    # section 4: objects
    "trailing comma": b'{"a":1,}', "only a comma": b"{,}", "two commas": b'{"a":1,,"b":2}', "no colon": b'{"a" 1}',
    "two colons": b'{"a"::1}',
    "no value": b'{"a":}', "bare name": b"{a:1}", "single quotes": b"{'a':1}", "name is a number": b"{1:1}",
    "no comma": b'{"a":1 "b":2}',
    "unclosed": b'{"a":1', "closed twice": b'{"a":1}}', "closed wrongly": b'{"a":1]', "comment": b'{"a":/*x*/1}',
    "line comment": b'{"a":1//x\n}',
    # section 5: arrays
    "comma at the end": b"[1,]", "comma at the start": b"[,1]", "comma twice": b"[1,,2]",
    "no comma in an array": b"[1 2]",
    "unclosed array": b"[1", "array closed wrongly": b"[1}", "colon in an array": b"[1:2]",
    # section 6: numbers
    "leading zero": b"01", "negative leading zero": b"-01", "two zeros": b"00", "plus": b"+1", "no integer": b".5",
    "no fraction": b"5.",
    "minus alone": b"-", "two minuses": b"--1", "no exponent": b"1e", "no exponent digits": b"1e+",
    "fraction of exponent": b"1e1.5",
    "hex": b"0x1F", "two points": b"1.2.3", "minus point": b"-.5", "point exponent": b"1.e5", "thousands": b"1,000.5.",
    "underscore": b"1_000",
    "suffix": b"1f", "full-width digit": "１".encode(), "space within": b"1 2", "minus space": b"- 1",
    # section 7: strings
    "single-quoted": b"'a'", "unclosed string": b'"a', "raw feed": b'"a\nb"', "raw tab": b'"a\tb"',
    "raw NUL": b'"a\x00b"', "raw 1f": b'"\x1f"',
    "unknown escape": rb'"\x41"', "escaped a": rb'"\a"', "short unicode": rb'"\u12"', "bad hex": rb'"\u12G4"',
    "capital U": rb'"\U0041"',
    "ends with a backslash": rb'"a\"', "lone high": rb'"\ud83d"', "lone low": rb'"\ude00"',
    "high twice": rb'"\ud83d\ud83d"',
    "low first": rb'"\ude00\ud83d"', "high and letter": rb'"\ud83dx"', "high and escape": rb'"\ud83d\n"',
    # section 8.1: UTF-8
    "latin 1": b'"\xe9"', "continuation alone": b'"\x80"', "cut": b'"\xe2\x82"', "overlong slash": b'"\xc0\xaf"',
    "overlong 3": b'"\xe0\x80\xaf"',
    "overlong NUL": b'"\xc0\x80"', "surrogate half": b'"\xed\xa0\x80"', "surrogate pair": b'"\xed\xa0\xbd\xed\xb8\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"', "five bytes": b'"\xf8\x88\x80\x80\x80"', "ff": b'"\xff"', "fe": b'"\xfe"',
}  # fmt: skip

BAD_TEXTS = {
    "empty": b"", "white space": b" \t\r\n", "mark": b"\xef\xbb\xbf" + b'{"a":1}', "mark alone": b"\xef\xbb\xbf",
    "two values": b"{} {}",
    "UTF-16": '{"a":1}'.encode("utf-16"), "UTF-32": '{"a":1}'.encode("utf-32"), "NUL behind": b'{"a":1}\x00',
    "NUL": b"\x00",
    "comma behind": b'{"a":1},', "form feed": b'\x0c{"a":1}', "no-break space": '\xa0{"a":1}'.encode(),
    "comment before": b"/* x */ {}",
    "bracket": b"[", "brace": b"{", "closing": b"}", "quote": b'"', "backslash": b"\\", "csv": b"a,b,c",
    "xml": b"<a/>", "yaml": b"a: 1",
}  # fmt: skip

RECORD = (
    b'{"device_id":"device-1","timestamp":1767225600,"metric":"temperature","value":21.5,"metadata":{"site":"oslo"}}'
)


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_the_grammar_allows_is_not_malformed(text: bytes, parse_json):
    found = parse_json(text)
    assert "malformed" not in found.reasons
    assert found.reasons


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_the_grammar_allows_may_be_metadata(text: bytes, parse_json):
    found = parse_json(RECORD.replace(b'{"site":"oslo"}', text))
    assert found.rejects == []
    metadata = found.readings[0]["metadata"]
    assert (json.loads(metadata) if metadata else {}) == json.loads(text)


@pytest.mark.parametrize("text", [b"{" + b'"a":%s}' % text for text in BAD_VALUES.values()], ids=BAD_VALUES)
def test_what_breaks_the_grammar_is_malformed_with_its_exact_bytes(text: bytes, parse_json):
    found = parse_json(text)
    assert found.readings == []
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", text)]
    assert found.rejects[0]["detail"]


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_what_is_no_json_text_at_all_is_malformed(text: bytes, parse_json):
    found = parse_json(text)
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", text)]


def thousand_with(bad: bytes) -> list[bytes]:
    return [*[RECORD.replace(b"21.5", b"%d.5" % (n % 40)) for n in range(1000)], bad]


@pytest.mark.parametrize(
    "replaced", [b"21.5", b'"device-1"', b"1767225600", b'"temperature"', b'"oslo"', b'{"site":"oslo"}']
)
def test_one_broken_member_among_a_thousand_good_records_of_its_outline_is_malformed(replaced: bytes, parse_json):
    bad = [RECORD.replace(replaced, value) for value in BAD_VALUES.values()]
    found = parse_json(*thousand_with(RECORD)[:-1], *bad)
    assert len(found.readings) == 1000
    assert [(row["reason"], row["payload"]) for row in found.rejects] == [("malformed", text) for text in bad]


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_one_text_that_is_no_json_among_a_thousand_good_records_costs_itself_only(text: bytes, parse_json):
    found = parse_json(*thousand_with(text))
    assert (len(found.readings), found.reasons) == (1000, ["malformed"])


def test_a_reason_says_where_a_text_broke(parse_json):
    details = [row["detail"] for row in parse_json(b"", b'{"a":1,}', b'{"a":"\xff"}', b"[" * 200).rejects]
    assert details == [
        "empty",
        "trailing comma in object (byte 7)",
        "not UTF-8: invalid start byte at byte 6",
        "nested deeper than 128 levels",
    ]


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return RECORD.replace(b'{"site":"oslo"}', b'{"a":' + opening * (levels - 2) + b"1" + closing * (levels - 2) + b"}")


@pytest.mark.parametrize("depth", [3, 128, 512])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b' [ "[[", ', b"]")])
def test_as_many_levels_as_are_allowed_are_read_and_one_more_is_malformed(depth: int, opening, closing, parse_json):
    good, deep = nested(depth, opening, closing), nested(depth + 1, opening, closing)
    found = parse_json(good, good, deep, max_depth=depth)
    assert (len(found.readings), found.reasons) == (2, ["malformed"])
    assert found.rejects[0]["detail"] == f"nested deeper than {depth} levels"


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"[{}," * 50_000, b"[]" * 100_000]
)
def test_a_hundred_thousand_levels_are_malformed_and_nothing_worse(text: bytes, parse_json):
    assert parse_json(text, RECORD).reasons == ["malformed"]


@pytest.mark.parametrize(
    "text",
    [rb'{"a":"' + rb"\"[{" * 300 + b'"}', b'{"a":"' + b"[" * 300 + b'"}', rb'{"a":"\\","b":"' + b"[" * 300 + b'"}'],
)
def test_brackets_in_strings_are_no_levels(text: bytes, parse_json):
    assert "malformed" not in parse_json(text).reasons


def test_the_deepest_allowed_nesting_is_read_from_a_deep_stack(parse_json):
    def deeper(frames: int) -> Any:
        return deeper(frames - 1) if frames else parse_json(nested(512), max_depth=512)

    assert len(deeper(sys.getrecursionlimit() // 4).readings) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [("-0", -0.0), ("1180591620717411303424", 2.0**70), ("9007199254740993", 9007199254740992.0), ("1e-400", 0.0),
     ("5e-324", 5e-324), ("1.7976931348623157e308", sys.float_info.max), ("0.1", 0.1), ("1E+2", 100.0), ("-1e-400",
     -0.0)],
)  # fmt: skip
def test_a_number_is_the_nearest_double(text: str, value: float, parse_json):
    payload = RECORD.replace(b"21.5", text.encode())
    assert [repr(row["value"]) for row in parse_json(payload, RECORD, payload).readings] == [
        repr(value),
        "21.5",
        repr(value),
    ]


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1.7976931348623159e308", "9" * 400, "1e99999999999999999999"])
def test_a_number_beyond_double_is_a_bad_value_and_costs_its_record_only(text: str, parse_json):
    found = parse_json(*thousand_with(RECORD.replace(b"21.5", text.encode())))
    assert (len(found.readings), found.reasons) == (1000, ["bad_value"])
    assert found.rejects[0]["device_id"] == "device-1"


def test_of_equal_names_the_last_counts(parse_json):
    found = parse_json(
        RECORD[:-1] + b',"value":7}', RECORD[:-1] + b',"val\\u0075e":8}', RECORD[:-1] + b',"value":null}'
    )
    assert [row["value"] for row in found.readings] == [7, 8]
    assert found.reasons == ["missing_value"]
