"""The engine of a streaming job: one that runs already, or one that lives as long as the job."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import grpc

from telebeam.pipelines.runners import EMBEDDED_FLINK, PRISM_SERVER, RunnerChoice, is_flink
from telebeam.pipelines.runtimes import flink_options
from telebeam.pipelines.runtimes.flink import running_flink
from telebeam.pipelines.runtimes.prism_server import running_prism
from telebeam.pipelines.runtimes.workers import process_options, worker_boot
from telebeam.transforms.errors import JobError

ANSWER_SECONDS = 10.0
"""How long a job server may take to answer; Beam would wait as long as it waits for a job."""


def hold_that_it_answers(choice: RunnerChoice) -> None:
    """Looks whether the job server that a choice names is there; does nothing for one that names none.

    Raises:
        JobError: It does not answer.
    """
    address = flink_options.value_of(choice.options, "job_endpoint")
    if address in ("", "embed"):  # by the latter Beam starts one in this process
        return
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise JobError(
                f"no job server answers at {address}; tried for {ANSWER_SECONDS:.0f} s",
                "see that it runs and that --job_endpoint names its address, host:port",
            ) from error


@contextmanager
def engine(choice: RunnerChoice, readers: int = 1) -> Iterator[RunnerChoice]:
    """Starts what a choice needs and gives the choice with its address; stopped at the end.

    Args:
        choice: What was chosen.
        readers: How many work side by side.

    Raises:
        TelebeamError: It can't be had, or does not start.
    """
    hold_that_it_answers(choice)
    with ExitStack() as stack:
        ours: tuple[str, ...] = ()
        if choice.engine == PRISM_SERVER:
            ours = (f"--job_endpoint={stack.enter_context(running_prism(choice.location)).job_endpoint}",)
        elif is_flink(choice):
            ours = _side_by_side(readers, choice.options)
        if choice.engine == EMBEDDED_FLINK:
            # It is removed after its Flink, which writes to it as long as it runs.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telebeam-flink-job-")))
            server = stack.enter_context(running_flink())
            endpoints = (f"--job_endpoint={server.job_endpoint}", f"--artifact_endpoint={server.artifact_endpoint}")
            ours += (*endpoints, *flink_options.unless_given(_settings(folder), choice.options))
        if choice.boots_workers:
            workers = stack.enter_context(tempfile.TemporaryDirectory(prefix="telebeam-workers-"))
            _, config = process_options(worker_boot(Path(workers)))
            ours += (config,)
        yield replace(choice, options=(*ours, *choice.options))


def _side_by_side(readers: int, options: Sequence[str]) -> tuple[str, ...]:
    """Options by which each reader has a subtask of its own, and as few key groups as that takes.

    Flink keeps something of each resume of a splittable DoFn, for each key group: 76 kB with the 128 that are usual.
    """
    if flink_options.given(options, "parallelism") or flink_options.given(options, "max_parallelism"):
        return ()
    return (f"--parallelism={readers}", f"--max_parallelism={readers}")


def _settings(folder: Path) -> tuple[str, ...]:
    """Options of an embedded Flink that keeps its checkpoints in files, for a message of Flink's holds 5 MB."""
    flink_options.write_settings(folder)
    checkpoints = f"--state_backend_storage_path={(folder / 'checkpoints').as_uri()}"
    return ("--state_backend=filesystem", checkpoints, f"--flink_conf_dir={folder}")
