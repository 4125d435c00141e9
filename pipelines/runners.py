"""Which runner really runs: ``DirectRunner`` is a silent switch between three in Beam, so telebeam names its own."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)

from telebeam.pipelines.problems import did_you_mean
from telebeam.transforms.errors import ConfigurationError

BATCH, STREAM = "batch", "stream"
PRISM = "go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"
MAX_WORKERS = 256
"""Threads of the local runner; more than this is a slip of the finger, and each costs memory."""

_LOCAL_RUNNER = "telebeam.pipelines.local_runner.LocalRunner"

_OURS = {"runner": "--runner NAME", "streaming": "--mode"}
"""Beam's options that telebeam has its own for."""


@dataclass(frozen=True)
class RunnerChoice:
    """A runner, its options and what to say of it."""

    name: str
    description: str
    beam_runner: str
    options: tuple[str, ...]


def choose_runner(name: str, mode: str, options: list[str]) -> RunnerChoice:
    """The runner that a name stands for.

    Args:
        name: direct | prism | a name that Beam knows, or the full name of a class.
        mode: batch | stream.
        options: What the user hands through to Beam; it wins over ours.

    Raises:
        ConfigurationError: The runner can't do it, or isn't there, or Beam does not know an option.
    """
    if mode == STREAM:
        raise ConfigurationError(
            "--mode stream: this version runs batch jobs", "leave --mode out; a stream has no source here yet"
        )
    if mode != BATCH:
        raise ConfigurationError(f"--mode {mode!r} is unknown; expected {BATCH}", "leave --mode out")
    given = _parsed(options)
    if name == "direct":
        return _direct(given, options)
    if name == "prism":
        location = given.prism_location or find_prism()
        ours = (f"--prism_location={location}", *options)
        return RunnerChoice(name, f"Prism, Beam's portable local runner, {location}", "PrismRunner", ours)
    return RunnerChoice(name, f"{name}, as Beam knows it", _known_to_beam(name), tuple(options))


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


def find_prism() -> str:
    """Where Prism is on this machine.

    Raises:
        ConfigurationError: It is not there.
    """
    places = [os.environ.get("TELEBEAM_PRISM"), shutil.which("prism"), str(Path.home() / "go" / "bin" / "prism")]
    for place in places:
        if place and Path(place).is_file():
            return place
    raise ConfigurationError("Prism is not on this machine", f"{PRISM}, or set TELEBEAM_PRISM to where it is")


def pipeline_options(choice: RunnerChoice) -> PipelineOptions:
    """Beam's options for a runner that was chosen."""
    return PipelineOptions([f"--runner={choice.beam_runner}", *choice.options])


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
    return any(text.split("=")[0] == f"--{name}" for text in options)
