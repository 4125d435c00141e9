"""The command's own behaviour: what stands on stdout and stderr, and which exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from telebeam.pipelines.cli import main
from tests.pipelines.jobs import Job, job, json_lines, simulated, tree

GOOD = [
    {"device_id": f"device-{n % 3}", "timestamp": 1_767_225_600 + n, "sensor_type": "temperature", "value": n}
    for n in range(300)
]


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def telebeam(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs the command within this process; whatever it is given, no traceback comes out."""

    def call(*arguments: object) -> Said:
        capfd.readouterr()
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err, err
        return Said(code, out, err)

    return call


@pytest.fixture
def good(tmp_path: Path) -> Job:
    return job(tmp_path, "jsonl", json_lines(tmp_path / "in.jsonl", GOOD))


def objects(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_object_on_stdout_and_nothing_else(telebeam: Callable[..., Said], good: Job):
    said = telebeam("run", good.config, "--json")
    (summary,) = objects(said.out)
    assert said.code == 0
    assert summary["balance"] == {"in": 300, "readings": 300, "rejects": 0, "duplicates": 0, "late": 0}
    assert set(summary) == {"pipeline", "runner", "seconds", "balance", "windows", "made", "points", "refused_points"}


def test_progress_is_json_lines_whose_last_one_has_the_whole(telebeam: Callable[..., Said], good: Job):
    said = telebeam("run", good.config)
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert [line["done"] for line in lines] == [*[False] * (len(lines) - 1), True]
    assert (lines[-1]["rows_in"], lines[-1]["readings"], lines[-1]["rejects"]) == (300, 300, 0)
    assert lines[-1]["rows_per_second"] > 0


def test_the_report_fits_a_page_and_its_query_runs_as_it_stands(telebeam: Callable[..., Said], good: Job):
    import duckdb

    said = telebeam("run", good.config)
    *page, command = said.out.splitlines()
    assert max(map(len, page[:-1])) <= 100
    query = re.sub(r'^  (duckdb -c )?"?|"$', "", command)
    assert duckdb.sql(query).fetchall()[0] == ("device-2", "temperature", 299.0)


def test_a_terminal_gets_one_live_line_and_no_json(good: Job):
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "telebeam.pipelines.cli", "run", str(good.config), "--json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    seen = b""
    while True:
        try:
            block = os.read(controller, 65536)
        except OSError:  # how a pty tells that the other side is gone
            break
        if not block:
            break
        seen += block
    assert child.stdout is not None
    out = child.stdout.read()
    assert child.wait() == 0
    os.close(controller)
    child.stdout.close()
    assert json.loads(out)["balance"]["in"] == 300
    assert b"\r\x1b[K" in seen
    assert b"rows/s" in seen
    assert b"rows in 300" in seen
    assert b'{"seconds"' not in seen


def test_a_dry_run_checks_and_writes_nothing(telebeam: Callable[..., Said], good: Job):
    said = telebeam("run", good.config, "--dry-run", "--json")
    assert said.code == 0
    assert objects(said.out)[0]["dry_run"] is True
    assert telebeam("run", good.config, "--dry-run", "--", "--nosuch=1").code == 2
    assert not good.lake.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode", "stream"], "is an archive, which ends"),
        (["--mode", "btch"], "'btch'"),
        (["--runner", "flnk"], "did you mean flink?"),
        (["--start", "2026-01-01"], "write 2026-01-01T00:00:00Z"),
        (["--start", "tomorrow"], "is not a time"),
        (["--start", "2026-01-02T00:00:00Z", "--end", "2026-01-01T00:00:00Z"], "is not before --end"),
        (["--set", "source.jsonl.pth=x"], "did you mean path?"),
        (["--set", "nonsense"], "expected KEY=VALUE"),
        (["--", "--no_such_option=1"], "Beam has no option --no_such_option"),
        (["--", "--direct_num_wokers=1"], "did you mean --direct_num_workers?"),
        (["--", "--direct_num_workers=many"], "invalid int value"),
        (["--", "--direct_num_workers=-1"], "expected 1 to"),
        (["--", "--direct_running_mode=fast"], "invalid choice"),
        (["--", "--runner=FlinkRunner"], "use --runner NAME"),
        (["--", "--streaming"], "use --mode"),
        (["--", "stray"], "it is no option"),
        (["--bogus"], "--bogus"),
    ],
)
def test_a_wrong_request_says_so_and_starts_nothing(
    telebeam: Callable[..., Said], good: Job, arguments: list[str], words: str
):
    said = telebeam("run", good.config, *arguments)
    assert said.code == 2
    assert words in said.err
    assert not said.out
    assert not good.lake.exists()


def test_a_missing_secret_is_a_wrong_request(telebeam: Callable[..., Said], good: Job, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOT_SET_HERE", raising=False)
    influx = '{url: "http://localhost:1", org: o, bucket: b, token: "env:NOT_SET_HERE"}'
    said = telebeam("run", good.config, "--set", f"sinks.influxdb={influx}")
    assert said.code == 2
    assert "NOT_SET_HERE" in said.err


def test_prism_that_is_not_there_is_a_wrong_request_with_how_to_get_it(
    telebeam: Callable[..., Said], good: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("HOME", str(good.folder))
    monkeypatch.delenv("TELEBEAM_PRISM", raising=False)
    said = telebeam("run", good.config, "--runner", "prism")
    assert said.code == 2
    assert "go install" in said.err


def damaged(folder: Path) -> Path:
    """A Parquet file with a flipped bit in its first page."""
    path = folder / "damaged.parquet"
    pq.write_table(pa.table({"device_id": ["abc"] * 500, "value": range(500)}), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[20] ^= 4
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "make", "words"),
    [
        ("jsonl", lambda folder: folder / "missing.jsonl", "missing.jsonl: there is no such file"),
        ("jsonl", lambda folder: folder / "*.nothing", "no file matches"),
        ("parquet", lambda folder: json_lines(folder / "no.parquet", GOOD), "no.parquet is no readable Parquet file"),
        ("csv", lambda folder: json_lines(folder / "bad.csv.gz", GOOD), "bad.csv.gz can't be read"),
        ("parquet", lambda folder: foreign(folder), "foreign.parquet is no archive of readings"),
    ],
)
def test_a_source_that_cannot_be_read_is_named(
    telebeam: Callable[..., Said], tmp_path: Path, kind: str, make: Callable[[Path], Path], words: str
):
    made = job(tmp_path, kind, make(tmp_path))
    said = telebeam("run", made.config)
    assert said.code == 1
    assert words in said.err
    assert not said.out
    assert len(said.err.splitlines()) < 12, said.err


def foreign(folder: Path) -> Path:
    path = folder / "foreign.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    return path


def test_a_bad_file_among_good_ones_becomes_a_reject_and_the_rest_goes_on(
    telebeam: Callable[..., Said], tmp_path: Path
):
    report = simulated(f"parquet:{tmp_path / 'in'}", faults="", profile="home", duration="20m")
    foreign(tmp_path / "in")
    damaged(tmp_path / "in")
    (tmp_path / "in" / "cut.parquet").write_bytes(report.paths[0].read_bytes()[:3000])
    made = job(tmp_path, "parquet", tmp_path / "in", source={"parquet": {"path": str(tmp_path / "in")}})
    assert telebeam("run", made.config).code == 1
    said = telebeam("run", made.config, "--set", "source.on_bad_file=reject", "--json")
    assert said.code == 0
    assert objects(said.out)[0]["balance"] == {
        "in": report.readings + 3, "readings": report.readings, "rejects": 3, "duplicates": 0, "late": 0,
    }  # fmt: skip
    rejects = made.rejects()
    assert rejects["reason"].to_pylist() == ["bad_file"] * 3
    assert sorted(rejects["source"].to_pylist()) == ["cut.parquet", "damaged.parquet", "foreign.parquet"]


def test_nothing_but_bad_files_is_a_lake_of_rejects(telebeam: Callable[..., Said], tmp_path: Path):
    made = job(tmp_path, "parquet", foreign(tmp_path))
    said = telebeam("run", made.config, "--set", "source.on_bad_file=reject")
    assert said.code == 0
    assert made.rejects().num_rows == 1


@pytest.mark.parametrize("lake", ["in.jsonl", "in.jsonl/below", "/proc/telebeam"])
def test_a_lake_that_takes_no_files_is_named_before_anything_starts(
    telebeam: Callable[..., Said], good: Job, lake: str
):
    path = good.folder / lake
    said = telebeam("run", good.config, "--set", f"sinks.lake.path={path}")
    assert said.code == 1
    assert str(path) in said.err
    assert "hint: check sinks.lake.path" in said.err


def test_check_tries_every_endpoint_and_leaves_nothing(telebeam: Callable[..., Said], good: Job):
    before = tree(good.folder)
    said = telebeam("check", good.config, "--json")
    (found,) = objects(said.out)
    assert said.code == 0
    assert found["ok"] is True
    assert tree(good.folder) == before
    assert not good.lake.exists()


def test_check_names_each_endpoint_that_fails(
    telebeam: Callable[..., Said], good: Job, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOME_TOKEN", "x")
    influx = '{url: "http://127.0.0.1:1", org: o, bucket: b, token: "env:SOME_TOKEN"}'
    said = telebeam(
        "check", good.config, "--set", "source.jsonl.path=/nowhere/*.jsonl", "--set", f"sinks.influxdb={influx}",
        "--set", f"sinks.lake.path={good.config}",
    )  # fmt: skip
    assert said.code == 1
    assert said.out.count("FAIL") == 3
    assert said.out.count("ok  ") == 1
    runner = telebeam("check", good.config, "--runner", "nosuch")
    assert runner.code == 2
    assert "FAIL  runner" in runner.out


def test_explain_names_every_step_and_needs_no_secret(telebeam: Callable[..., Said], good: Job, root: Path):
    said = telebeam("explain", root / "tests/fixtures/configs/full.yaml")
    assert said.code == 0
    for words in (
        "[Read]",
        "[Parse]",
        "[Cleanse]",
        "[CheckQuality]",
        "[WriteReadings]",
        "[Windows] of 1m, 1h",
        "[InfluxDB]",
    ):
        assert words in said.out
    without_lake = telebeam("explain", good.config, "--set", "windows=[]")
    assert "[Windows]" not in without_lake.out


def test_simulate_takes_all_of_its_options(telebeam: Callable[..., Said], tmp_path: Path):
    said = telebeam(
        "simulate", "--to", f"parquet:{tmp_path / 'a'}", "--devices", 4, "--interval", "30s", "--duration", "10m",
        "--start", "2026-02-01T00:00:00Z", "--seed", 3, "--shape", "reading", "--units", "mixed",
        "--faults", "late=0.1",
        "--files", 2, "--json",
    )  # fmt: skip
    (report,) = objects(said.out)
    assert said.code == 0
    assert len(list((tmp_path / "a").glob("*.parquet"))) == 2
    assert report["expected"]["in"] == report["readings"]
    words = telebeam("simulate", "--to", f"jsonl:{tmp_path / 'b.jsonl'}", "--profile", "home", "--duration", "1m")
    assert words.code == 0
    assert "readings in" in words.out


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--to", "xml:a"], ["--to", "a.jsonl"], ["--devices", "0"], ["--devices", "3", "--profile", "home"],
        ["--profile", "ship"], ["--interval", "0s"], ["--duration", "1s"], ["--start", "soon"], ["--seed", "-1"],
        ["--shape", "cube"], ["--units", "imperial"], ["--faults", "spikes=0.1"], ["--faults", "spike=2"],
        ["--files", "2"], ["--nosuch", "1"],
    ],
)  # fmt: skip
def test_simulate_refuses_what_cannot_be_simulated(
    telebeam: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
):
    monkeypatch.chdir(tmp_path)
    target = [] if not arguments or "--to" in arguments else ["--to", "jsonl:a.jsonl"]
    said = telebeam("simulate", *target, *arguments)
    assert said.code == 2
    assert said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["run"], ["nosuch"], ["run", "missing.yaml"], ["check"], ["explain", "--x"]])
def test_what_is_no_command_line_ends_with_two(telebeam: Callable[..., Said], arguments: list[str]):
    assert telebeam(*arguments).code == 2


@pytest.mark.parametrize("command", ["run", "check", "explain", "simulate"])
def test_every_command_helps_with_examples(telebeam: Callable[..., Said], command: str):
    said = telebeam(command, "--help")
    assert said.code == 0
    assert f"telebeam {command} " in said.out.partition("Examples:")[2]


def test_a_file_that_was_bad_and_is_mended_takes_its_reject_along(telebeam: Callable[..., Said], tmp_path: Path):
    report = simulated(f"parquet:{tmp_path / 'in'}", faults="", profile="home", duration="20m")
    whole = report.paths[0].read_bytes()
    report.paths[0].write_bytes(whole[:3000])
    made = job(tmp_path, "parquet", tmp_path / "in", source={"parquet": {"path": str(tmp_path / "in")}})
    assert telebeam("run", made.config, "--set", "source.on_bad_file=reject").code == 0
    assert made.rejects()["reason"].to_pylist() == ["bad_file"]
    report.paths[0].write_bytes(whole)
    assert telebeam("run", made.config, "--set", "source.on_bad_file=reject").code == 0
    assert made.rejects().num_rows == 0
    assert made.readings().num_rows == report.readings
