"""``telebeam rejects …``: dead letters that can be looked at, fixed and replayed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from telebeam.io import storage
from telebeam.pipelines.shell import Bar, Config, Json, Overrides, examples, load, report_console
from telebeam.pipelines.training import lake_of
from telebeam.transforms.errors import ConfigurationError

rejects_app = typer.Typer(name="rejects", help="Look at refused records, and replay them.", no_args_is_help=True)

Conditions = Annotated[
    list[str],
    typer.Option("--where", metavar="COLUMN OP VALUE", help="Only these, as reason=too_old; all given have to hold."),
]


@rejects_app.command(
    "ls", epilog=examples("telebeam rejects ls fleet.yaml", "telebeam rejects ls fleet.yaml --where 'detail~zone'")
)
def list_groups(
    config: Config,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    where: Conditions = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """List rejects by reason and source with a sample of each, the most frequent first."""
    from telebeam.dashboards.report import print_reject_groups
    from telebeam.pipelines.rejects_views import groups
    from telebeam.pipelines.rejects_where import parse_where

    asked = parse_where(where)
    root = _lake(config, set_)
    with Bar(None) as bar:
        found = groups(root, asked, bar.advance)
    if as_json:
        _print_json({"groups": found})
    else:
        print_reject_groups(report_console(), found)


@rejects_app.command(
    epilog=examples(
        "telebeam rejects show fleet.yaml --where reason=malformed --limit 3",
        "telebeam rejects show fleet.yaml --where source_offset=42 --where source=iot --raw > payload.bin",
    )
)
def show(
    config: Config,
    set_: Overrides = [],  # noqa: B006
    where: Conditions = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 10,
    raw: Annotated[bool, typer.Option("--raw", help="Write the exact bytes of the one payload that is meant.")] = False,
    as_json: Json = False,
) -> None:
    """Show whole rejects; what is no printable character in them is escaped."""
    from telebeam.dashboards.report import print_rejects
    from telebeam.pipelines.rejects_views import raw_payloads, rejects
    from telebeam.pipelines.rejects_where import parse_where

    if raw and as_json:
        raise ConfigurationError("--raw and --json are two outputs; expected one of them", "leave one out")
    asked = parse_where(where)
    root = _lake(config, set_)
    with Bar(None) as bar:
        if raw:
            payloads = raw_payloads(root, asked, bar.advance)
        else:
            found = rejects(root, asked, limit, bar.advance)
    if raw:
        if len(payloads) != 1:
            number = "none is" if not payloads else "more than one are"
            raise ConfigurationError(
                f"--raw: {number} meant; expected exactly one reject", "narrow it by --where, as in source_offset=42"
            )
        sys.stdout.buffer.write(payloads[0])
        sys.stdout.buffer.flush()
    elif as_json:
        _print_json({"rejects": found})
    else:
        print_rejects(report_console(), found)


@rejects_app.command(
    epilog=examples(
        "telebeam rejects stats fleet.yaml", "telebeam rejects stats fleet.yaml --where 'rejected_at>=2026-01-01'"
    )
)
def stats(
    config: Config,
    set_: Overrides = [],  # noqa: B006
    where: Conditions = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Count rejects by reason, hour, device and source, and those that were replayed."""
    from telebeam.dashboards.report import print_reject_stats
    from telebeam.pipelines.rejects_views import stats as count
    from telebeam.pipelines.rejects_where import parse_where

    asked = parse_where(where)
    root = _lake(config, set_)
    with Bar(None) as bar:
        found = count(root, asked, bar.advance)
    if as_json:
        _print_json(found)
    else:
        print_reject_stats(report_console(), found)


@rejects_app.command(
    epilog=examples(
        "telebeam rejects replay fleet.yaml --where reason=bad_timestamp --dry-run",
        "telebeam rejects replay fleet.yaml --with-config fixed.yaml",
    )
)
def replay(
    config: Config,
    set_: Overrides = [],  # noqa: B006
    where: Conditions = [],  # noqa: B006
    with_config: Annotated[
        Path | None, typer.Option(metavar="NEW", help="Parse and check as this configuration says.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Parse rejects again and file what now succeeds; what still fails stays as it is."""
    from telebeam.dashboards.report import print_replay
    from telebeam.pipelines.rejects_where import parse_where
    from telebeam.pipelines.replay import replay as run
    from telebeam.pipelines.replay_tally import LEFT

    asked = parse_where(where)
    spec = load(config, set_, secrets=not dry_run)
    settings = spec if with_config is None else load(with_config, [], secrets=False)
    with Bar(None) as bar:
        done = run(spec, settings, asked, dry_run=dry_run, advance=bar.advance)
    if as_json:
        _print_json(done.as_dict())
    else:
        print_replay(report_console(), done.as_dict(), LEFT)


def _lake(config: Path, overrides: list[str]) -> storage.Location:
    return storage.locate(lake_of(load(config, overrides, secrets=False)))


def _print_json(value: Any) -> None:
    """One JSON object on stdout, in ASCII without control characters: what devices send may be meant for terminals."""
    sys.stdout.write(json.dumps(value, default=str).replace("\x7f", "\\u007f") + "\n")
