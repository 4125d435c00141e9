"""What the commands of ``telebeam`` have in common."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from telebeam.pipelines.config import check_secrets, load_config
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.errors import ConfigurationError

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The pipeline's YAML file; see docs/configuration.md.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be given several times.")
]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on stdout.")]


PAGE_COLUMNS = 100
"""How wide tables may be where stdout is no terminal, or a wider one."""


def report_console() -> Console:
    """Where tables are printed."""
    console = Console()
    return Console(width=PAGE_COLUMNS) if not console.is_terminal or console.width > PAGE_COLUMNS else console


def examples(*lines: str) -> str:
    """An epilog: a blank line between lines, for one feed alone would join them."""
    return "\n\n".join(["Examples:", *lines])


class Bar:
    """A progress bar on a terminal's stderr, nothing elsewhere."""

    def __init__(self, total: int | None) -> None:
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bar.add_task("readings", total=total)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        """Says that so much more is done."""
        self._bar.advance(self._task, count)


def load(config: Path, overrides: list[str], *, secrets: bool = True) -> PipelineSpec:
    """The checked configuration, whose secrets are there."""
    spec = load_config(config, overrides)
    if secrets:
        check_secrets(spec, config, overrides)
    return spec


def moment(option: str, text: str | None) -> datetime | None:
    """An option's time, in UTC.

    Raises:
        ConfigurationError: It is no time, or names no zone.
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"{option} {text!r} is not a time", "write 2026-01-01T00:00:00Z") from error
    if found.tzinfo is None:
        raise ConfigurationError(f"{option} {text!r} names no zone", f"write {found.isoformat()}Z for UTC")
    return found.astimezone(UTC)


def duration(option: str, text: str) -> timedelta:
    """An option's length of time, more than none.

    Raises:
        ConfigurationError: It is none.
    """
    from telebeam.transforms.spec import parse_duration

    try:
        found: timedelta = parse_duration(text)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error
    if found <= timedelta(0):
        raise ConfigurationError(f"{option} {text} is no time", "write 10s, 1m or 1d")
    return found


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
