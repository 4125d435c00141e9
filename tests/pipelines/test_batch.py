from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from telebeam.pipelines.batch import Balance, readable
from telebeam.pipelines.preflight import check_lake
from telebeam.pipelines.progress import Progress
from telebeam.pipelines.runners import choose_runner, pipeline_options
from telebeam.transforms.errors import BalanceError, ConfigurationError, JobError, SinkError, SourceError
from tests.pipelines.jobs import tree

WORKER = """Traceback (most recent call last):
  File "units.py", line 7, in process
    raise SourceError(message, hint)
telebeam.transforms.errors.SourceError: a.parquet is damaged: page 3
  hint: bring a sound one

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "common.py", line 12, in process
telebeam.transforms.errors.SourceError: a.parquet is damaged: page 3 [while running 'Read/ReadUnits']
  hint: bring a sound one

"""


def test_a_sum_that_does_not_hold_is_an_error():
    Balance(10, 7, 3).check()
    with pytest.raises(BalanceError, match="10 rows came in and 9 are accounted for"):
        Balance(10, 7, 2).check()


def test_a_workers_error_keeps_kind_words_step_and_hint():
    error = readable(RuntimeError(WORKER))
    assert type(error) is SourceError
    assert error.message == "a.parquet is damaged: page 3 (in the step Read/ReadUnits)"
    assert error.hint == "bring a sound one"


def test_an_error_of_ours_that_is_a_cause_is_the_one_reported():
    outer = RuntimeError("the runner's")
    outer.__cause__ = SinkError("the lake is full")
    assert readable(outer) is outer.__cause__


@pytest.mark.parametrize("text", ["", "ValueError: what was wrong [while running 'Parse']", "one\ntwo"])
def test_any_other_error_is_its_last_line(text: str):
    error = readable(RuntimeError(text))
    assert type(error) is JobError
    assert error.message == f"the job failed: {text.splitlines()[-1] if text else 'RuntimeError'}"


def test_the_users_options_win_over_ours():
    choice = choose_runner("direct", "batch", ["--direct_num_workers", "3", "--direct_running_mode=in_memory"])
    options = pipeline_options(choice).get_all_options()
    assert (options["direct_num_workers"], options["direct_running_mode"]) == (3, "in_memory")
    assert "3 threads" in choice.description


@pytest.mark.parametrize(("name", "known"), [("flink", "FlinkRunner"), ("DataflowRunner", "DataflowRunner")])
def test_beams_own_runners_are_taken_by_either_name(name: str, known: str):
    assert choose_runner(name, "batch", []).beam_runner == known


def test_a_long_name_of_a_class_is_taken_as_it_is():
    assert choose_runner("my.module.Runner", "batch", []).beam_runner == "my.module.Runner"


def test_an_option_may_be_spelt_as_beam_spells_it():
    assert choose_runner("dataflow", "batch", ["--no_use_public_ips"]).options == ("--no_use_public_ips",)


def test_a_tried_lake_is_as_it_was(tmp_path: Path):
    check_lake(str(tmp_path / "a" / "b"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "_staging").mkdir()
    (tmp_path / "_staging" / "of-a-job-that-runs").touch()
    before = tree(tmp_path)
    check_lake(str(tmp_path))
    assert tree(tmp_path) == before


def test_progress_that_nobody_reads_stops_nothing():
    stream = io.StringIO()
    with Progress(stream) as progress:
        stream.close()
        progress.finish({"rows_in": 3})


def test_progress_ends_with_the_jobs_own_counts():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress.finish({"rows_in": 30, "rejects": 1})
    (line,) = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["rows_in"], line["rejects"], line["done"]) == (30, 1, True)


def test_progress_that_is_to_be_quiet_is():
    stream = io.StringIO()
    with Progress(stream, quiet=True) as progress:
        progress.finish({"rows_in": 30})
    assert not stream.getvalue()


def test_a_mode_that_is_unknown_is_not_taken_for_a_stream():
    with pytest.raises(ConfigurationError, match="'btach' is unknown"):
        choose_runner("direct", "btach", [])
