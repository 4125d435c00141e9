"""``telebeam rejects``: what is told of rejects, and what of them reaches a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telebeam.dashboards.report import printable
from telebeam.io.lake.spec import LakeSpec
from telebeam.io.lake.writer import LakeWriter
from telebeam.pipelines.cli import main
from telebeam.pipelines.rejects_where import parse_where
from telebeam.pipelines.replay_tally import LEFT, Replay
from telebeam.transforms.batches import UNIT
from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.schema import REJECTS

CONFIG = """
pipeline: fleet
source: {jsonl: {path: in.jsonl}}
sinks: {lake: {path: lake}}
"""
START = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = b'{"\x1b[2J\x1b]0;owned\x07 [bold red]\xc2\x9b31m \xe2\x80\xae\x7f'
Telebeam = Callable[..., tuple[int, str, str]]


def reject(number: int, **columns: object) -> dict[str, object]:
    return {
        "reason": "malformed", "detail": "[/bold] \x1b[1m", "payload": HOSTILE, "device_id": None, "timestamp": None,
        "source": "in.jsonl", "source_partition": 0, "source_offset": number,
        "rejected_at": START + timedelta(minutes=40 * number), **columns,
    }  # fmt: skip


ROWS = [
    reject(0),
    reject(1, reason="bad_value", device_id="dev-1", payload=b"\xff\xfe", timestamp=START),
    reject(2, reason="bad_value", device_id="dev-2"),
    reject(3, device_id="dev-1"),
    reject(4, source="b.jsonl", key="k", content_type="application/json", published_at=START),
]


@pytest.fixture
def telebeam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Telebeam:
    """The command in a folder with a configuration and a lake of some rejects: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(CONFIG)
    write(ROWS)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            main(["rejects", *arguments])
        except SystemExit as stop:
            out, err = capfdbinary.readouterr()
            return int(stop.code or 0), out.decode("latin-1"), err.decode()
        raise AssertionError("the command did not end")

    return call


def write(rows: list[dict[str, object]], unit: str = "u") -> None:
    batch = pa.RecordBatch.from_pylist(rows, schema=REJECTS)
    LakeWriter(LakeSpec(path="lake"), "rejects").write(batch.replace_schema_metadata({UNIT: unit.encode()}))


def no_control(text: str) -> bool:
    return all(ord(c) >= 32 or c == "\n" for c in text.encode("latin-1").decode()) and not any(
        c in text.encode("latin-1").decode() for c in "\x7f\x9b\u202e"
    )


@pytest.mark.parametrize("command", ["ls", "show", "stats"])
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["table", "json"])
def test_what_a_device_sent_does_nothing_to_a_terminal(telebeam: Telebeam, command: str, form: tuple[str, ...]):
    write([reject(0, device_id="dev\x1b[31m\x9b", source="[red]\x1b[7m.jsonl")], "other")
    code, out, _ = telebeam(command, "fleet.yaml", *form)
    assert code == 0
    assert no_control(out)


def test_markup_is_shown_as_it_stands(telebeam: Telebeam):
    _, out, _ = telebeam("show", "fleet.yaml", "--where", "source_offset=0")
    assert "[bold red]" in out
    assert "[/bold]" in out
    assert "\\x1b[2J" in out


def test_groups_are_by_reason_and_source_the_largest_first(telebeam: Telebeam):
    _, out, _ = telebeam("ls", "fleet.yaml", "--json")
    groups = json.loads(out)["groups"]
    assert [(group["reason"], group["source"], group["count"]) for group in groups] == [
        ("bad_value", "in.jsonl", 2), ("malformed", "in.jsonl", 2), ("malformed", "b.jsonl", 1),
    ]  # fmt: skip
    assert (groups[1]["first"], groups[1]["last"]) == ("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z")
    _, out, _ = telebeam("ls", "fleet.yaml")
    assert sum("malformed" in line or "bad_value" in line for line in out.splitlines()) == 3


def test_stats_count_each_reject_once_a_table(telebeam: Telebeam):
    _, out, _ = telebeam("stats", "fleet.yaml", "--json")
    found = json.loads(out)
    assert found["rejects"] == 5
    assert found["by_reason"] == {"malformed": 3, "bad_value": 2}
    assert found["by_hour"] == {"2026-01-01T00:00:00Z": 2, "2026-01-01T01:00:00Z": 1, "2026-01-01T02:00:00Z": 2}
    assert (found["by_device"], found["without_device"]) == ({"dev-1": 2, "dev-2": 1}, 2)
    assert found["by_source"] == {"in.jsonl": 4, "b.jsonl": 1}


def test_show_gives_text_or_hexadecimal_digits_and_no_more_than_asked(telebeam: Telebeam):
    _, out, _ = telebeam("show", "fleet.yaml", "--json", "--limit", "2")
    first, second = json.loads(out)["rejects"]
    assert first["payload"].encode() == HOSTILE
    assert (second["payload"], second["payload_is"], second["timestamp"]) == ("fffe", "hex", "2026-01-01T00:00:00Z")
    assert [*first] == [*REJECTS.names[:3], "payload_is", *REJECTS.names[3:]]


def test_raw_gives_the_exact_bytes_of_one_reject(telebeam: Telebeam):
    code, out, _ = telebeam("show", "fleet.yaml", "--raw", "--where", "source_offset=0")
    assert (code, out.encode("latin-1")) == (0, HOSTILE)
    for where in ("source=in.jsonl", "source=nowhere"):
        code, out, err = telebeam("show", "fleet.yaml", "--raw", "--where", where)
        assert (code, out) == (2, "")
        assert "exactly one reject" in err


@pytest.mark.parametrize(
    ("where", "offsets"),
    [
        ("reason=bad_value", [1, 2]), ("reason!=bad_value", [0, 3, 4]), ("device_id=dev-1", [1, 3]),
        ("device_id!=dev-1", [0, 2, 4]), ("device_id~^dev-[2-9]$", [2]), ("source_offset>=3", [3, 4]),
        ("source_offset < 1", [0]), ("rejected_at>=2026-01-01T01:20:00Z", [2, 3, 4]),
        ("rejected_at<2026-01-01T02:20:00+01:00", [0, 1]), ("rejected_at=2026-01-01", [0, 1, 2, 3, 4]),
        ("rejected_at>2026-01-01", []), ("rejected_at<=9999-12-31", [0, 1, 2, 3, 4]), ("timestamp<2027-01-01", [1]),
        ("payload~bold", [0, 2, 3, 4]), ("content_type~json", [4]), ("published_at=2026-01-01", [4]), ("key=k", [4]),
        ("detail~\\[/bold\\]", [0, 1, 2, 3, 4]), ("source_partition=1", []), ("source>in", [0, 1, 2, 3]),
    ],
)  # fmt: skip
def test_a_condition_means_the_rejects_for_which_it_holds(telebeam: Telebeam, where: str, offsets: list[int]):
    code, out, err = telebeam("show", "fleet.yaml", "--json", "--where", where)
    assert (code, err) == (0, "")
    assert sorted(each["source_offset"] for each in json.loads(out)["rejects"]) == offsets


def test_all_conditions_have_to_hold(telebeam: Telebeam):
    _, out, _ = telebeam("stats", "fleet.yaml", "--json", "--where", "reason=bad_value", "--where", "device_id=dev-1")
    assert json.loads(out)["rejects"] == 1


@pytest.mark.parametrize(
    ("where", "words", "hint"),
    [
        ("resaon=malformed", "no column 'resaon'; expected one of reason, detail", "did you mean reason?"),
        ("reason=malfromed", "is no reason; expected one of malformed", "did you mean malformed?"),
        ("reason==malformed", "can't be compared by ==; expected one of = != ~ < <= > >=", "did you mean =?"),
        ("source_offset~4", "can't be compared by ~; expected one of = != < <= > >=", "~ is for texts"),
        ("source_offset=four", "no whole number of int64", "as 42"),
        ("source_partition=4000000000", "no whole number of int32", "as 42"),
        ("rejected_at>yesterday", "is no time; expected one with an offset, or a date", "2026-01-01T00:00:00Z"),
        ("rejected_at>2026-01-01T00:00:00", "names no zone", "write 2026-01-01T00:00:00Z for UTC"),
        ("detail~(", "is no regular expression", "backslash"),
        ("malformed", "expected COLUMN, one of = != ~ < <= > >= and a value", "reason=bad_timestamp"),
        ("", "expected COLUMN", "reason=bad_timestamp"),
        ("detail=<b", "can't be compared by =<", "did you mean <=?"),
    ],
)
def test_a_condition_that_can_not_hold_is_refused_with_expectation_and_hint(
    telebeam: Telebeam, where: str, words: str, hint: str
):
    for command in ("ls", "stats", "show", "replay"):
        code, out, err = telebeam(command, "fleet.yaml", "--where", where)
        assert (code, out) == (2, "")
        message, _, told = err.partition("hint: ")
        assert words in message
        assert hint in told


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_no_condition_is_taken_half(text: str):
    with suppress(ConfigurationError):
        assert parse_where([text]).conditions[0].column in REJECTS.names


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_what_is_printed_is_printable(text: str):
    assert printable(text).isprintable()


def test_hours_that_are_not_meant_are_not_read(telebeam: Telebeam):
    for path in Path("lake/rejects").rglob("hour=00/*.parquet"):
        path.write_bytes(b"damaged")
    for command in ("ls", "stats", "show"):
        code, _, _ = telebeam(command, "fleet.yaml", "--where", "rejected_at>=2026-01-01T01:00:00Z", "--json")
        assert code == 0
    code, _, err = telebeam("ls", "fleet.yaml")
    assert code == 1
    assert "hour=00" in err


def test_rejects_of_before_are_told_like_others(telebeam: Telebeam):
    for path in Path("lake/rejects").rglob("*.parquet"):
        old = pq.read_table(path, partitioning=None).drop_columns(["key", "content_type", "published_at"])
        pq.write_table(old, path, store_schema=False)
    _, out, _ = telebeam("show", "fleet.yaml", "--json")
    assert {each["key"] for each in json.loads(out)["rejects"]} == {None}
    assert telebeam("ls", "fleet.yaml", "--where", "key=k", "--json")[1] == '{"groups": []}\n'
    assert telebeam("stats", "fleet.yaml")[0] == 0


def test_a_lake_without_rejects_is_told_of_in_words(telebeam: Telebeam):
    for command in ("ls", "stats", "show", "replay"):
        code, _, err = telebeam(command, "fleet.yaml", "--set", "sinks.lake.path=elsewhere")
        assert (code, err) == (0, "")


def test_without_a_lake_the_request_is_wrong(telebeam: Telebeam):
    influx = "sinks={influxdb: {url: 'http://localhost:1', org: o, bucket: b, token: 'env:X'}}"
    code, _, err = telebeam("ls", "fleet.yaml", "--set", influx)
    assert code == 2
    assert "there is no lake" in err


def test_replay_says_why_rejects_are_left(telebeam: Telebeam):
    code, out, _ = telebeam("replay", "fleet.yaml", "--dry-run")
    assert code == 0
    assert "5 left as they are: of another pipeline" in out
    code, out, _ = telebeam("replay", "fleet.yaml", "--json")
    assert json.loads(out)["left"] == {"foreign": 5}


def test_every_key_and_code_of_a_replay_is_documented(root: Path):
    commands = (root / "docs/commands.md").read_text(encoding="utf-8").split("## telebeam rejects replay")[1]
    rejects = (root / "docs/rejects-and-issues.md").read_text(encoding="utf-8").split("## Replaying")[1]
    assert all(f"\n| `{key}` |" in commands.split("\n## ")[0] for key in Replay().as_dict())
    assert re.findall(r"\n\| `(\w+)` \|", rejects) == list(LEFT)
