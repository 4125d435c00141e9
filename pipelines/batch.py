"""A batch job from its first check to its balance."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import apache_beam as beam
import grpc
import pyarrow as pa

from telebeam.io import storage
from telebeam.pipelines.graph import Run, build
from telebeam.pipelines.preflight import check_lake
from telebeam.pipelines.progress import Progress
from telebeam.pipelines.runners import RunnerChoice, pipeline_options
from telebeam.pipelines.runtimes.engines import hold_that_it_answers
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms import errors
from telebeam.transforms.errors import BalanceError, JobError, TelebeamError
from telebeam.transforms.metrics import counts_of

_OURS = re.compile(r"^telebeam\.transforms\.errors\.(\w+): (.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)
"""An error of ours within the text of tracebacks; a blank line ends it."""
_STEP = re.compile(r" \[while running '([^']*)'\]")


@dataclass(frozen=True)
class Balance:
    """Where the rows of a run went: ``rows_in = readings + rejects + duplicates``."""

    rows_in: int
    readings: int
    rejects: int
    duplicates: int = 0
    late: int = 0

    def check(self) -> None:
        """Raises a BalanceError where the sum does not hold."""
        out = self.readings + self.rejects + self.duplicates
        if self.rows_in != out:
            raise BalanceError(
                f"{self.rows_in:,} rows came in and {out:,} are accounted for",
                "this is a defect of telebeam's: report it",
            )

    def as_dict(self) -> dict[str, int]:
        """The balance as ``--json`` has it."""
        return {
            "in": self.rows_in,
            "readings": self.readings,
            "rejects": self.rejects,
            "duplicates": self.duplicates,
            "late": self.late,
        }


@dataclass(frozen=True)
class Outcome:
    """What a finished run tells."""

    runner: str
    seconds: float
    balance: Balance
    windows: int
    points: int
    refused_points: int
    made: dict[str, int]
    """Rows of what is made in order: scores, alerts, commands, last_n; those that there are."""


MADE = ("scores", "alerts", "commands", "last_n")


def made_of(counts: Mapping[str, int]) -> dict[str, int]:
    """What was made in order, of a run's counts."""
    return {name: counts[name] for name in MADE if counts.get(name)}


def run_batch(spec: PipelineSpec, run: Run, choice: RunnerChoice, *, quiet: bool = False) -> Outcome:
    """Runs a job to its end.

    Raises:
        TelebeamError: What stopped it, in words; never a bare traceback.
    """
    # Units come and go in hundreds of megabytes.  The C library's allocator keeps them mapped; Arrow's own gives them
    # back and faults them in again, which was an eighth of the job's time.
    pa.set_memory_pool(pa.system_memory_pool())
    storage.find(spec.source.files.path)
    if spec.sinks.lake is not None:
        check_lake(spec.sinks.lake.path)
    began = time.monotonic()
    with Progress(quiet=quiet) as progress:
        counts = _counts(spec, run, choice)
        progress.finish(counts)
    balance = Balance(counts["rows_in"], counts["readings"], counts["rejects"])
    balance.check()
    if spec.sinks.lake is not None:
        storage.clean_staging(storage.locate(spec.sinks.lake.path), run.now())
    return Outcome(
        choice.description,
        time.monotonic() - began,
        balance,
        counts["windows"],
        counts["points"],
        counts["refused_points"],
        made_of(counts),
    )


def _counts(spec: PipelineSpec, run: Run, choice: RunnerChoice) -> dict[str, int]:
    """What a job counted by its end."""
    hold_that_it_answers(choice)
    try:
        pipeline = beam.Pipeline(options=pipeline_options(choice))
        build(pipeline, spec, run)
        result = pipeline.run()
        result.wait_until_finish()
        return counts_of(result)
    except Exception as error:
        raise readable(error) from error


def readable(error: BaseException) -> TelebeamError:
    """What went wrong in a worker, in words: runners hand errors over as the text of a traceback."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TelebeamError):
            return seen
        seen = seen.__cause__ or seen.__context__
    found = _OURS.findall(str(error))
    if found:
        kind, text = found[-1]
        step = _STEP.search(text)
        message, _, hint = _STEP.sub("", text).strip().partition("\n  hint: ")
        where = f" (in the step {step[1]})" if step else ""
        return getattr(errors, kind, JobError)(message + where, hint)
    text = error.details() if isinstance(error, grpc.Call) else str(error)  # the other is a block of lines
    last = text.strip().splitlines()[-1] if text and text.strip() else type(error).__name__
    return JobError(f"the job failed: {last}", "run again with --traceback for the whole of it")
