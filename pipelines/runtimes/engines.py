"""The engine of a streaming job: one that runs already, or one that lives as long as the job."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from telebeam.pipelines.runners import EMBEDDED_FLINK, PRISM_SERVER, RunnerChoice
from telebeam.pipelines.runtimes.flink import running_flink
from telebeam.pipelines.runtimes.prism_server import running_prism


@contextmanager
def engine(choice: RunnerChoice) -> Iterator[RunnerChoice]:
    """Starts what a choice needs and gives the choice with its address; stopped at the end.

    Raises:
        TelebeamError: It can't be had, or does not start.
    """
    if choice.engine == PRISM_SERVER:
        with running_prism(choice.location) as server:
            yield replace(choice, options=(f"--job_endpoint={server.job_endpoint}", *choice.options))
    elif choice.engine == EMBEDDED_FLINK:
        with running_flink() as server:
            endpoints = (f"--job_endpoint={server.job_endpoint}", f"--artifact_endpoint={server.artifact_endpoint}")
            with tempfile.TemporaryDirectory(prefix="telebeam-checkpoints-") as checkpoints:
                backend = ("--state_backend=filesystem", f"--state_backend_storage_path={Path(checkpoints).as_uri()}")
                yield replace(choice, options=(*endpoints, *backend, *choice.options))
    else:
        yield choice
