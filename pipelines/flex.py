"""The program of a Dataflow Flex Template: its parameters come as options, and the job that they name is handed over.

``--config`` and ``--set`` are ours; what else the launcher passes are Beam's own options.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from telebeam.io import storage
from telebeam.pipelines.config import load_config
from telebeam.pipelines.dataflow import Submitted, submit
from telebeam.pipelines.runners import STREAM, choose_runner, pipeline_options
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.errors import ConfigurationError, TelebeamError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"the template's parameters: {message}", "see docs/dataflow/README.md")


def parser() -> argparse.ArgumentParser:
    """What is read of the template's parameters, by the names of metadata.json."""
    options = _Parser(prog="telebeam-flex", allow_abbrev=False, add_help=False)
    options.add_argument("--config", required=True, help="The pipeline's YAML file, gs://BUCKET/fleet.yaml.")
    options.add_argument("--set", default="", help="KEY=VALUE overrides of settings, separated by semicolons.")
    return options


def launch(arguments: Sequence[str]) -> Submitted:
    """Hands over the job of a template's parameters, and does not wait for it: the launcher takes over from there.

    Raises:
        TelebeamError: It can't be.
    """
    ours, others = parser().parse_known_args(list(arguments))
    # Which runner it is and that it streams is settled here; the launcher says it, too.
    beams = [text for text in others if text.partition("=")[0] not in ("--runner", "--streaming")]
    spec = fetch_config(ours.config, [text.strip() for text in ours.set.split(";") if text.strip()])
    if not spec.source.is_stream:
        raise ConfigurationError(
            f"source.{spec.source.kind} is an archive; expected source.pubsub or source.kafka",
            "the template is for streams; telebeam run --runner dataflow takes archives as well",
        )
    return submit(spec, pipeline_options(choose_runner("dataflow", STREAM, beams)))


def fetch_config(uri: str, overrides: Sequence[str]) -> PipelineSpec:
    """The pipeline of a configuration that stands in a bucket, or on a disk.

    Secrets are not looked up: they are where the workers are.

    Raises:
        ConfigurationError: There is none, or it is wrong.
        SourceError: It can't be read.
    """
    place = storage.locate(uri)
    folder, _, name = place.path.rpartition("/")
    content = storage.read(storage.Location(place.filesystem, folder), name)
    if content is None:
        raise ConfigurationError(f"{storage.shown(uri)}: there is no such file", "copy the configuration there")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / name
        path.write_bytes(content.to_pybytes())
        return load_config(path, list(overrides))


def main(arguments: Sequence[str] | None = None) -> None:
    """Launches, and says in words what came of it."""
    try:
        submitted = launch(sys.argv[1:] if arguments is None else arguments)
    except TelebeamError as error:
        sys.stderr.write(f"telebeam: error: {error}\n")
        sys.exit(error.exit_code)
    sys.stderr.write(f"telebeam: {submitted.words}\n")
