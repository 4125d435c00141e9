"""Which records rejects are of, and what of them is missing in the lake."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from telebeam.transforms.checking import Checked, Checks
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.quality.spec import QualitySpec
from telebeam.transforms.rejects import ORIGIN
from telebeam.transforms.replaying import NOTHING, VALUE, DeadRecords, InLake, Settled, dead_records, settle
from telebeam.transforms.schema import READINGS, REJECTS, conform

NOW = 1_767_225_600_000_000
COLUMNS = pa.schema([READINGS.field(name) for name in (*ORIGIN, *VALUE)])


def payload(**members: Any) -> bytes:
    return json.dumps({"device_id": "dev-1", "timestamp": "2026-01-01T00:00:00Z", **members}).encode()


def rejects(*rows: tuple[int, str, bytes], detail: str = "x") -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {"reason": reason, "detail": detail, "payload": text, "source": "a", "source_partition": 0,
             "source_offset": offset, "rejected_at": NOW}
            for offset, reason, text in rows
        ],
        schema=REJECTS,
    )  # fmt: skip


def said(dead: DeadRecords, *, zone: str | None = None) -> Checked:
    checks = Checks(ParseSpec(timezone=zone), QualitySpec(max_age_days=None))
    return checks(dead.envelopes(np.arange(len(dead))), NOW)


def in_lake(*values: tuple[int, str], replayed: bool = False) -> InLake:
    rows = [
        {"source": "a", "source_partition": 0, "source_offset": offset, "device_id": "dev-1", "timestamp": NOW,
         "sensor_type": kind, "measurement_type": kind}
        for offset, kind in values
    ]  # fmt: skip
    return InLake(pa.RecordBatch.from_pylist(rows, schema=COLUMNS), np.full(len(values), replayed))


def settled(refused: pa.RecordBatch, lake: InLake = in_lake(), before: Checked | None = None) -> Settled:  # noqa: B008
    dead = dead_records(refused)
    return settle(dead, said(dead), lake, before)


def missing(found: Settled) -> list[tuple[int, str]]:
    rows = conform(found.readings, READINGS)
    return list(zip(rows["source_offset"].to_pylist(), rows["sensor_type"].to_pylist(), strict=True))


def test_a_record_refused_for_two_values_is_one_record():
    text = payload(temperature=1, humidity=2)
    found = settled(rejects((7, "bad_value", text), (7, "bad_value", text)))
    assert sorted(missing(found)) == [(7, "humidity"), (7, "temperature")]
    assert found.moved.tolist() == found.new.tolist() == [True, True]


def test_equal_lines_that_were_refused_whole_are_records_of_their_own():
    text = payload(temperature=1)
    found = settled(rejects((7, "malformed", text), (7, "malformed", text)))
    assert missing(found) == [(7, "temperature")] * 2


def test_what_is_there_is_not_asked_for_again():
    text = payload(temperature=1, humidity=2)
    found = settled(rejects((7, "bad_value", text)), in_lake((7, "temperature")))
    assert missing(found) == [(7, "humidity")]
    assert found.moved.tolist() == [True]


def test_of_values_alike_each_that_is_there_counts_for_one():
    text = payload(temperature=1)
    both = rejects((7, "too_old", text), (7, "too_old", text + b" "))
    assert missing(settled(both, in_lake((7, "temperature")))) == [(7, "temperature")]
    assert missing(settled(both, in_lake((7, "temperature"), (7, "temperature")))) == []


@pytest.mark.parametrize("offset", [7, 8])
def test_only_values_of_the_same_origin_count(offset: int):
    found = settled(rejects((7, "too_old", payload(temperature=1))), in_lake((offset, "temperature")))
    assert len(missing(found)) == (offset != 7)
    assert found.new.tolist() == [offset != 7]
    assert found.moved.tolist() == [True]


def test_what_was_refused_whole_has_nothing_in_the_lake_but_by_a_replay():
    refused = rejects((7, "malformed", payload(temperature=1)))
    assert missing(settled(refused, in_lake((7, "temperature")))) == [(7, "temperature")]
    again = settled(refused, in_lake((7, "temperature"), replayed=True))
    assert (missing(again), again.moved.tolist(), again.new.tolist()) == ([], [True], [False])
    assert again.times.tolist() == [NOW]


def test_of_a_record_that_is_refused_in_part_as_many_stay_as_are_refused():
    text = payload(temperature=1, humidity="x")
    refused = rejects((7, "bad_value", text), (7, "bad_value", text))
    found = settled(refused)
    assert missing(found) == [(7, "temperature")]
    assert found.moved.tolist() == [True, False]
    assert found.why.tolist() == ["bad_value"] * 2


def test_the_reject_that_is_said_again_is_the_one_that_stays():
    text = payload(temperature=1, humidity="x")
    detail = said(dead_records(rejects((7, "bad_value", text)))).rejects["detail"][0].as_py()
    rows = pa.concat_arrays([rejects((7, "bad_value", text), detail=detail).to_struct_array(),
                             rejects((7, "bad_value", text)).to_struct_array()])  # fmt: skip
    assert settled(pa.RecordBatch.from_struct_array(rows).cast(REJECTS)).moved.tolist() == [False, True]


def test_a_record_of_which_one_reject_stays_gives_its_good_values_once():
    refused = rejects((7, "malformed", payload(temperature=1, humidity="x")))
    first = settled(refused)
    assert (missing(first), first.moved.tolist()) == ([(7, "temperature")], [False])
    assert missing(settled(refused, in_lake((7, "temperature"), replayed=True))) == []


def test_a_record_that_says_nothing_stays():
    found = settled(rejects((7, "malformed", b"{")))
    assert (found.moved.tolist(), found.why.tolist()) == ([False], ["malformed"])
    dead = dead_records(rejects((7, "malformed", b"{")))
    empty = said(dead)
    nothing = settle(dead, Checked(empty.readings, empty.rejects.slice(0, 0)), in_lake())
    assert (nothing.moved.tolist(), nothing.why.tolist()) == ([False], [NOTHING])


def test_more_missing_than_was_refused_means_that_other_values_read_otherwise():
    found = settled(rejects((7, "bad_value", payload(temperature=1, humidity=2))), in_lake((7, "renamed")))
    assert (missing(found), found.changed.tolist(), found.moved.tolist()) == ([], [True], [False])


def test_a_value_that_the_record_does_not_say_any_more_means_it_too():
    refused = rejects((7, "bad_value", payload(temperature=1)))
    former = dead_records(rejects((7, "bad_value", payload(humidity=1))))
    found = settled(refused, in_lake((7, "humidity")), said(former))
    assert (missing(found), found.changed.tolist()) == ([], [True])
    assert settled(refused, in_lake((7, "other")), said(former)).changed.tolist() == [False]


def test_no_rejects_settle_to_nothing():
    found = settled(rejects())
    assert (found.readings.num_rows, len(found.moved)) == (0, 0)


def test_the_order_of_rejects_decides_nothing():
    rows = [
        (number, "bad_value", payload(temperature=number, humidity="x" if number % 2 else 1)) for number in range(9)
    ]
    lake = in_lake((3, "temperature"), (4, "humidity"), (5, "temperature"))
    forth, back = settled(rejects(*rows), lake), settled(rejects(*rows[::-1]), lake)
    assert sorted(missing(forth)) == sorted(missing(back))
    assert forth.moved.tolist() == back.moved.tolist()[::-1]
