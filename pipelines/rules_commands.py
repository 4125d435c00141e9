"""``telebeam rules …``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from telebeam.pipelines.shell import Bar, Config, Json, Overrides, examples, load, moment, print_json, report_console

rules_app = typer.Typer(name="rules", help="Look at rules before they are let loose.", no_args_is_help=True)


@rules_app.command(
    "test",
    epilog=examples(
        "telebeam rules test fleet.yaml",
        "telebeam rules test fleet.yaml --start 2026-01-01T00:00:00Z --end 2026-01-08T00:00:00Z --json",
    ),
)
def try_out(
    config: Config,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    start: Annotated[str | None, typer.Option(help="From this time on, as 2026-01-01T00:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    as_json: Json = False,
) -> None:
    """Run detectors and rules over the lake's history and say how often each would have fired; sends nothing."""
    from telebeam.dashboards.report import print_trial
    from telebeam.pipelines.trial import try_rules

    spec = load(Path(config), set_, secrets=False)
    with Bar(None) as bar:
        trial = try_rules(spec, moment("--start", start), moment("--end", end), bar.advance)
    if as_json:
        print_json(trial.as_dict())
    else:
        print_trial(report_console(), trial.as_dict())
