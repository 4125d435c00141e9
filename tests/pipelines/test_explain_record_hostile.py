"""Records of any kind are explained, and nothing that they hold reaches the terminal raw; wrong requests are not."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from telebeam.dashboards.record import print_record
from telebeam.pipelines.config import load_config
from telebeam.pipelines.record import Record, explain_record
from telebeam.pipelines.spec import PipelineSpec
from tests.pipelines.explaining import CONFIG, HOT, NOW, Ask, asker

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
ARCHIVE = CONFIG.replace('kafka: {bootstrap_servers: "localhost:9092", topics: [iot]}', "jsonl: {path: x}")


@pytest.fixture
def ask(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    return asker(tmp_path, capfd, monkeypatch)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> PipelineSpec:
    config = tmp_path_factory.mktemp("config") / "fleet.yaml"
    config.write_text(CONFIG)
    return load_config(config)


def test_what_a_record_holds_never_reaches_the_terminal_raw(ask: Ask):
    hostile = "\x1b[31m\x9b1m\u202e[red]x[/red]\x07\x7f\n"
    record = {**HOT, "location": hostile, "measurement_type": hostile, hostile: hostile, "unit": hostile}
    for payload in (record, [{**record, "device_id": hostile}] * 2, {**record, "value": hostile}):
        for options in ([], ["--json"]):
            said = ask(json.dumps(payload, ensure_ascii=False).encode(), "--key", hostile, *options)
            assert said.code == 0
            assert not CONTROLS.search(said.out + said.err)
    assert "[red]x[/red]" in ask(record).out


@given(st.binary(max_size=300))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_any_bytes_are_explained(spec: PipelineSpec, payload: bytes):
    said = explain_record(spec, Record(payload, NOW, published_at=NOW))
    assert said["readings"] or said["rejects"]
    page = io.StringIO()
    print_record(Console(file=page, width=100), said)
    assert not CONTROLS.search(page.getvalue())
    json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("payload", [b"", b"\x00" * 50, bytes(range(256)), b"{" * 500, b"\xff\xfe{}"])
def test_rubbish_is_a_reject_that_is_explained(ask: Ask, payload: bytes):
    said = ask(payload)
    assert said.code == 0
    assert "Reject 1 of 1, by step parse: malformed" in said.out
    assert f"bytes: {len(payload):,}" in said.out


def test_a_huge_file_is_not_read_as_a_whole(ask: Ask, tmp_path: Path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    said = ask(Path("huge"), "--json").json
    assert (said["bytes"], said["format"], said["rejects"][0]["reason"]) == (1 << 40, None, "too_large")
    assert "2 of" not in ask(Path("huge")).out
    said = ask(Path("/dev/zero"), "--json").json
    assert (said["bytes"], said["rejects"][0]["reason"]) == (None, "too_large")
    assert ask(Path("huge"), "--json", config=ARCHIVE).json["rejects"][0]["reason"] == "too_large"


def test_stdin_is_a_file_too_and_lines_of_archives_end_without_their_line_end(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    class Piped:
        buffer = io.BytesIO(json.dumps(HOT).encode() + b"\r\n")

    monkeypatch.setattr(sys, "stdin", Piped())
    said = ask(Path("-"), "--json", config=ARCHIVE).json
    assert said["bytes"] == len(json.dumps(HOT))


@pytest.mark.parametrize(
    ("file", "options"),
    [
        (".", []),
        ("nowhere", []),
        ("a\0b", []),
        ("/proc/self/mem", []),
        ("record", ["--at", "soon"]),
        ("record", ["--at", "2026-01-01"]),
        ("record", ["--set", "parse.format=columns"]),
        ("record", ["--set", "parse.nothing=1"]),
    ],
)
def test_a_wrong_request_is_told_from_a_wrong_record(ask: Ask, file: str, options: list[str]):
    ask(HOT)
    said = ask(Path(file), *options)
    assert said.code == 2
    assert said.err.startswith("telebeam: error: ")
    assert not said.out


def test_a_payload_of_thousands_is_told_in_a_page(ask: Ask):
    records = [{**HOT, "value": value} for value in [*range(3000), *["x"] * 500]]
    said = ask(json.dumps(records).encode())
    assert "and 2,990 readings more" in said.out
    assert "and 490 rejects more" in said.out
    assert len(said.out.splitlines()) < 400
