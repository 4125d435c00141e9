"""Which runner really runs: ``DirectRunner`` is a silent switch between three in Beam, so telebeam names its own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from telebeam.transforms.errors import ConfigurationError

BATCH, STREAM = "batch", "stream"
PRISM = "go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"


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
        name: direct | prism | a name that Beam knows.
        mode: batch | stream.
        options: What the user hands through to Beam; it wins over ours.

    Raises:
        ConfigurationError: The runner can't do it, or isn't there.
    """
    if mode != BATCH:
        raise ConfigurationError(
            f"--mode {mode}: this version runs batch jobs", "leave --mode out; a stream has no source here yet"
        )
    if name == "direct":
        workers = _option(options, "direct_num_workers") or str(os.cpu_count() or 1)
        ours = (f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading")
        description = f"FnApiRunner, Beam's local batch runner, {workers} threads"
        return RunnerChoice(name, description, "FnApiRunner", (*ours, *options))
    if name == "prism":
        location = _option(options, "prism_location") or find_prism()
        return RunnerChoice(
            name, f"Prism, Beam's portable local runner, {location}", "PrismRunner",
            (f"--prism_location={location}", *options),
        )  # fmt: skip
    return RunnerChoice(name, f"{name}, as Beam knows it", name, tuple(options))


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


def _option(options: list[str], name: str) -> str | None:
    return next((text.split("=", 1)[1] for text in options if text.startswith(f"--{name}=")), None)


def pipeline_options(choice: RunnerChoice) -> PipelineOptions:
    """Beam's options; an option that nobody knows is refused, for Beam would drop it in silence.

    Raises:
        ConfigurationError: Beam has no such option.
    """
    options = PipelineOptions([f"--runner={choice.beam_runner}", *choice.options])
    known: dict[str, Any] = options.get_all_options(drop_default=False)
    for text in choice.options:
        name = text.removeprefix("--").split("=")[0]
        if text.startswith("--") and name not in known and name.replace("-", "_") not in known:
            raise ConfigurationError(f"{text}: Beam has no option --{name}", "see the runner's page in Beam's manual")
    return options
