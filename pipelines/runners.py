"""Which runner really runs: ``DirectRunner`` is a silent switch between three in Beam, so telebeam names its own."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)

from telebeam.pipelines.problems import did_you_mean
from telebeam.pipelines.runtimes import flink_options
from telebeam.pipelines.runtimes.prism import find_prism
from telebeam.transforms.errors import ConfigurationError

BATCH, STREAM = "batch", "stream"
MAX_WORKERS = 256
"""Threads of the local runner; more than this is a slip of the finger, and each costs memory."""

_HERE = ("127.0.0.1", "localhost")

_LOCAL_RUNNER = "telebeam.pipelines.local_runner.LocalRunner"

_OURS = {"runner": "--runner NAME", "streaming": "--mode"}
"""Beam's options that telebeam has its own for."""


PRISM_SERVER, EMBEDDED_FLINK = "prism", "flink"
"""Engines that a streaming job starts for itself."""

_PATIENCE = "--job_server_timeout=315360000"
"""Ten years in seconds.  Left alone, Beam ends a job on a portable runner after 300: it watches the job's state by a
request that has the time limit of all its requests to the job server."""

_QUICK_START = "--experiments=disable_logging_submission_environment"
"""Beam asks pip for a list of all that is installed, to be logged: two seconds for a worker that is this process."""


@dataclass(frozen=True)
class RunnerChoice:
    """A runner, its options and what to say of it.

    Args:
        name: As the command line has it.
        description: For people.
        beam_runner: As Beam has it.
        options: For Beam.
        engine: What has to be started first: PRISM_SERVER, EMBEDDED_FLINK or nothing.
        location: Where the engine's program is.
        boots_workers: Whether the script that starts workers is to be written.
    """

    name: str
    description: str
    beam_runner: str
    options: tuple[str, ...]
    engine: str = ""
    location: str = ""
    boots_workers: bool = False


def choose_runner(name: str, mode: str, options: list[str]) -> RunnerChoice:
    """The runner that a name stands for.

    Args:
        name: direct | prism | a name that Beam knows, or the full name of a class.
        mode: batch | stream; a stream asks more of a runner.
        options: What the user hands through to Beam; it wins over ours.

    Raises:
        ConfigurationError: The runner can't do it, or isn't there, or Beam does not know an option.
    """
    if mode not in (BATCH, STREAM):
        raise ConfigurationError(f"--mode {mode!r} is unknown; expected {BATCH} or {STREAM}", "leave --mode out")
    given = _parsed(options)
    if mode == STREAM:
        return _streaming(name, given, options)
    if name == "direct":
        return _direct(given, options)
    if name == "prism":
        location = given.prism_location or find_prism()
        ours = (f"--prism_location={location}", *options)
        return RunnerChoice(name, f"Prism, Beam's portable local runner, {location}", "PrismRunner", ours)
    return RunnerChoice(name, f"{name}, as Beam knows it", _known_to_beam(name), tuple(options))


def _streaming(name: str, given: Namespace, options: Sequence[str]) -> RunnerChoice:
    if name == "direct":
        raise ConfigurationError(
            "--runner direct runs batch jobs only: FnApiRunner never emits a window of a stream",
            "--runner prism streams on this machine, --runner flink on this or another",
        )
    if name == "prism":
        location = given.prism_location or find_prism()
        ours = ("--streaming", "--environment_type=LOOPBACK", _QUICK_START, *options)
        description = f"Prism, Beam's portable local runner, {location}"
        return RunnerChoice(name, description, "PortableRunner", ours, PRISM_SERVER, location)
    if name == "flink":
        return _flink(given, options)
    return RunnerChoice(name, f"{name}, as Beam knows it", _known_to_beam(name), ("--streaming", *options))


def _flink(given: Namespace, options: Sequence[str]) -> RunnerChoice:
    """A job server that runs, a cluster by its address, or an embedded Flink for this machine."""
    ours: tuple[str, ...] = ("--environment_type=LOOPBACK", *flink_options.STREAMING)
    boots = _boots_workers(given)
    if given.job_endpoint:
        description, runner, engine = f"Flink behind the job server {given.job_endpoint}", "PortableRunner", ""
    elif _is_given(options, "flink_master") and given.flink_master not in ("[local]", "[auto]"):
        description, runner, engine = f"Flink at {given.flink_master}", "FlinkRunner", ""
    else:
        description, runner, engine = "an embedded Flink on this machine", "PortableRunner", EMBEDDED_FLINK
    if not engine:
        ours = (*ours, *flink_options.RETRIES)
    whole = ("--streaming", _QUICK_START, *flink_options.unless_given(ours, options), *options)
    return RunnerChoice("flink", description, runner, whole, engine, boots_workers=boots)


def _boots_workers(given: Namespace) -> bool:
    """Whether the script that starts workers is ours to write.

    Raises:
        ConfigurationError: The user has to say where workers come from, and has not.
    """
    if given.environment_config or given.environment_options or given.environment_type not in ("PROCESS", "EXTERNAL"):
        return False
    if given.environment_type == "EXTERNAL":
        raise ConfigurationError(
            "--environment_type=EXTERNAL: expected the address of a worker pool in --environment_config",
            "python -m apache_beam.runners.worker.worker_pool_main --service_port=50000, "
            "and --environment_config=127.0.0.1:50000",
        )
    where = given.job_endpoint or ("" if given.flink_master in ("[local]", "[auto]") else given.flink_master)
    if where and where.removeprefix("http://").rpartition(":")[0] not in _HERE:
        raise ConfigurationError(
            f"--environment_type=PROCESS: a script at {where} has to start workers; expected --environment_config",
            """--environment_config='{"command": "/path/to/boot.sh"}', or leave it out for a Flink on this machine""",
        )
    return True


def _direct(given: Namespace, options: Sequence[str]) -> RunnerChoice:
    cores = os.cpu_count() or 1
    asked = given.direct_num_workers if _is_given(options, "direct_num_workers") else 0
    if not 0 <= asked <= MAX_WORKERS:
        raise ConfigurationError(
            f"--direct_num_workers={asked} can't be; expected 1 to {MAX_WORKERS}, or 0 for one a core",
            f"leave it out for one a core: {cores} here",
        )
    workers = asked or cores
    ours = (f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading")
    kind = "processes" if given.direct_running_mode == "multi_processing" else "threads"
    description = f"FnApiRunner, Beam's local batch runner, {workers} {kind if workers > 1 else kind[:-1]}"
    return RunnerChoice("direct", description, _LOCAL_RUNNER, (*ours, *options))


def _known_to_beam(name: str) -> str:
    """The name as Beam takes it.

    Raises:
        ConfigurationError: It would not.
    """
    if "." in name:
        return name
    known: dict[str, str] = {runner.lower(): runner for runner in StandardOptions.KNOWN_RUNNER_NAMES}
    found = known.get(name.lower()) or known.get(f"{name.lower()}runner")
    if found is None:
        names = ["direct", "prism", *sorted(runner.removesuffix("runner") for runner in known)]
        raise ConfigurationError(
            f"--runner {name!r} is unknown; expected direct, prism, a runner of Beam's or the full name of a class",
            did_you_mean(name, names) or "leave --runner out for direct",
        )
    return found


def is_flink(choice: RunnerChoice) -> bool:
    """Whether a job runs on Flink."""
    return choice.name == "flink" or choice.beam_runner.rpartition(".")[2] == "FlinkRunner"


def is_dataflow(choice: RunnerChoice) -> bool:
    """Whether a job is handed over to Dataflow."""
    return choice.beam_runner.rpartition(".")[2] == "DataflowRunner"


def pipeline_options(choice: RunnerChoice) -> PipelineOptions:
    """Beam's options for a runner that was chosen."""
    patience = flink_options.unless_given([_PATIENCE], choice.options)
    return PipelineOptions([f"--runner={choice.beam_runner}", *patience, *choice.options])


class _Parser(_BeamArgumentParser):
    """Beam's parser prints a screenful of usage and exits; this one says what is wrong."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"Beam's options behind --: {message}", "see the runner's page in Beam's manual")


def _parsed(options: Sequence[str]) -> Namespace:
    """The options as Beam will read them; what it would drop in silence is refused.

    Raises:
        ConfigurationError: Beam has no such option, or does not take the value, or telebeam has its own for it.
    """
    for option, instead in _OURS.items():
        if _is_given(options, option):
            raise ConfigurationError(f"--{option} behind -- would work against telebeam's own", f"use {instead}")
    parser = _Parser(allow_abbrev=False)
    for group in PipelineOptions.__subclasses__():
        group._add_argparse_args(parser)
    given: Namespace
    given, unknown = parser.parse_known_args(list(options))
    if unknown:
        word = unknown[0].split("=")[0]
        what = f"Beam has no option {word}" if word.startswith("-") else "it is no option"
        names = [action.option_strings[-1] for action in parser._actions if action.option_strings]
        hint = did_you_mean(word, names) or "options for Beam are written --name=value, behind --"
        raise ConfigurationError(f"{unknown[0]}: {what}", hint)
    return given


def _is_given(options: Sequence[str], name: str) -> bool:
    return flink_options.given(options, name)
