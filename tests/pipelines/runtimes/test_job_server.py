"""A job lives longer than a request to its job server, and one that is not there is said at once."""

from __future__ import annotations

import socket

import grpc
import pytest
from apache_beam.options.pipeline_options import PortableOptions

from telebeam.pipelines.batch import readable
from telebeam.pipelines.runners import RunnerChoice, choose_runner, pipeline_options
from telebeam.pipelines.runtimes import engines
from telebeam.pipelines.runtimes.engines import engine, hold_that_it_answers
from telebeam.transforms.errors import JobError

YEAR = 365 * 24 * 3600


def choice(*options: str) -> RunnerChoice:
    return RunnerChoice("flink", "Flink", "PortableRunner", options)


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(engines, "ANSWER_SECONDS", 0.3)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


def limit(chosen: RunnerChoice) -> int:
    seconds: int = pipeline_options(chosen).view_as(PortableOptions).job_server_timeout
    return seconds


@pytest.mark.parametrize(
    "chosen", [choice(), RunnerChoice("prism", "Prism", "PrismRunner", ()), choose_runner("flink", "stream", [])]
)
def test_beam_does_not_end_a_job_that_takes_longer_than_its_requests_may(chosen: RunnerChoice):
    assert limit(chosen) > YEAR


def test_who_sets_the_limit_has_it():
    assert limit(choice("--job_server_timeout=60")) == 60


def test_a_job_server_that_does_not_answer_is_said_with_its_address(closed_port: str):
    chosen = choice(f"--job_endpoint={closed_port}")
    with pytest.raises(JobError, match=f"no job server answers at {closed_port}") as failed, engine(chosen):
        pass
    assert "--job_endpoint" in failed.value.hint


def test_nothing_is_asked_where_no_job_server_is_named():
    hold_that_it_answers(choice())
    hold_that_it_answers(choice("--job_endpoint=embed"))


def test_what_a_job_server_says_when_it_goes_is_told_in_its_words(closed_port: str):
    with grpc.insecure_channel(closed_port) as channel, pytest.raises(grpc.RpcError) as failed:
        list(channel.unary_stream("/jobs/state")(b""))
    assert "Failed to connect" in readable(failed.value).message
