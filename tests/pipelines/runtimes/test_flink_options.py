"""What a stream asks of Flink, and what of it a user may change."""

from __future__ import annotations

import pytest

from telebeam.pipelines.runners import choose_runner, pipeline_options
from telebeam.transforms.errors import ConfigurationError


def options_of(*given: str) -> dict[str, object]:
    found: dict[str, object] = pipeline_options(choose_runner("flink", "stream", list(given))).get_all_options()
    return found


def test_what_the_job_server_takes_is_known_before_one_is_asked(caplog: pytest.LogCaptureFixture):
    found = options_of("--savepoint_path=/tmp/savepoint")
    assert (found["checkpointing_interval"], found["savepoint_path"]) == (2000, "/tmp/savepoint")
    assert found["finish_bundle_before_checkpointing"] is True
    assert not caplog.records


def test_the_users_options_win_over_ours():
    found = options_of("--checkpointing_interval=500", "--job_endpoint=flink:8099", "--number_of_execution_retries=1")
    assert (found["checkpointing_interval"], found["number_of_execution_retries"]) == (500, 1)
    assert options_of("--job_endpoint=flink:8099")["number_of_execution_retries"] == 20
    assert options_of()["number_of_execution_retries"] is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--environment_type=EXTERNAL"], "--environment_config"),
        (["--environment_type=PROCESS", "--job_endpoint=flink:8099"], "flink:8099"),
        (["--environment_type=PROCESS", "--flink_master=http://flink:8081"], "flink:8081"),
        (["--checkpointing_interval=often"], "invalid int value"),
    ],
)
def test_workers_that_nobody_can_start_are_refused(given: list[str], words: str):
    with pytest.raises(ConfigurationError, match=r"expected|invalid") as refused:
        choose_runner("flink", "stream", given)
    assert words in str(refused.value)


@pytest.mark.parametrize("given", [[], ["--job_endpoint=127.0.0.1:8099"], ["--flink_master=localhost:8081"]])
def test_on_this_machine_the_script_that_starts_workers_is_ours_to_write(given: list[str]):
    assert choose_runner("flink", "stream", ["--environment_type=PROCESS", *given]).boots_workers
    own = ["--environment_type=PROCESS", '--environment_config={"command": "boot.sh"}']
    assert not choose_runner("flink", "stream", [*own, *given]).boots_workers
