"""``telebeam devices``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from telebeam.pipelines.shell import (
    Bar,
    Config,
    Json,
    Overrides,
    duration,
    examples,
    load,
    moment,
    print_json,
    report_console,
)

devices_app = typer.Typer()


@devices_app.command(
    "devices", epilog=examples("telebeam devices fleet.yaml", "telebeam devices fleet.yaml --look-back 30d --json")
)
def devices(
    config: Config,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    at: Annotated[str | None, typer.Option(help="The moment, as 2026-01-01T00:00:00Z; now unless given.")] = None,
    look_back: Annotated[str, typer.Option(help="How far back the lake is searched for last readings.")] = "7d",
    as_json: Json = False,
) -> None:
    """Say what the registry knows of devices, and which have been silent for longer than their type's interval."""
    from telebeam.dashboards.report import print_inventory
    from telebeam.pipelines.devices import inventory

    spec = load(Path(config), set_, secrets=False)
    with Bar(None) as bar:
        found = inventory(
            spec, moment("--at", at) or datetime.now(UTC), duration("--look-back", look_back), bar.advance
        )
    if as_json:
        print_json(found.as_dict())
    else:
        print_inventory(report_console(), found.as_dict())
