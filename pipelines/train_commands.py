"""``telebeam train``, ``telebeam drift`` and ``telebeam maintenance``."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from telebeam.pipelines.shell import Bar, Config, Json, Overrides, examples, load, moment, print_json, report_console
from telebeam.transforms.errors import ConfigurationError

if TYPE_CHECKING:
    from telebeam.pipelines.spec import PipelineSpec
    from telebeam.transforms.anomaly.labels import Labels
    from telebeam.transforms.anomaly.training import Per

train_app = typer.Typer()

Start = Annotated[str | None, typer.Option(help="From this time on, as 2026-01-01T00:00:00Z.")]
End = Annotated[str | None, typer.Option(help="Before this time.")]


@train_app.command(
    epilog=examples(
        "telebeam train fleet.yaml --start 2026-01-01T00:00:00Z --end 2026-01-08T00:00:00Z",
        "telebeam train fleet.yaml --from archive-lake --name fleet-week --valid-from 2026-02-01T00:00:00Z --json",
    )
)
def train(
    config: Config,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    from_: Annotated[
        str | None, typer.Option("--from", help="Another lake to learn from; ours takes the model.")
    ] = None,
    start: Start = None,
    end: End = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the pipeline's unless given.")] = None,
    valid_from: Annotated[
        str | None, typer.Option(help="From which event time on it scores; from --end on unless given.")
    ] = None,
    per: Annotated[str, typer.Option(help="sensor_type; or device, device_type for their own forests besides.")] = (
        "sensor_type"
    ),
    trees: Annotated[int, typer.Option(min=10, max=500, help="How many trees a forest has.")] = 64,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV file of known faults, device_id,start,end: not learned from.")
    ] = None,
    without_alerts: Annotated[
        bool, typer.Option("--without-alerts", help="Learn nothing from while the lake's alerts of a device fired.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train isolation forests on the lake's readings, try them on the last fifth of the time, and publish them."""
    from telebeam.pipelines.training import Request
    from telebeam.pipelines.training import train as run

    spec = load(Path(config), set_, secrets=False)
    begin, until = moment("--start", start), moment("--end", end)
    known = _labels(spec, labels, from_, without_alerts, until)
    request = Request(
        from_, begin, until, name, moment("--valid-from", valid_from), _per(per), trees, known,
    )  # fmt: skip
    with Bar(None) as bar:
        outcome = run(spec, request, datetime.now(UTC), _say, bar.advance)
    manifest = outcome.manifest
    words = "published" if outcome.is_new else "was there already"
    _say(f"{manifest.name}, version {manifest.version}, {words}; it scores from {manifest.valid_from} on")
    if outcome.is_new and datetime.fromisoformat(manifest.valid_from) <= datetime.now(UTC):
        _say("a job that is running scores with it from its next step on; --valid-from ahead of now fixes the moment")
    if as_json:
        print_json(outcome.as_dict())
    else:
        _print_forests(outcome.as_dict())


@train_app.command(
    epilog=examples(
        "telebeam drift fleet.yaml --last 24h",
        "telebeam drift fleet.yaml --start 2026-02-01T00:00:00Z --dry-run --fail-on-drift --json",
    )
)
def drift(
    config: Config,
    set_: Overrides = [],  # noqa: B006
    start: Start = None,
    end: End = None,
    last: Annotated[str | None, typer.Option(help="So much time before the end, as 24h, in place of --start.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the pipeline's unless given.")] = None,
    threshold: Annotated[float, typer.Option(min=0.0, help="The PSI above which a feature has drifted.")] = 0.25,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--no-write", help="File nothing in the lake, and send no alert.")
    ] = False,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit with 1 where a feature has drifted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say how far the readings' features have moved from those that the model was trained on; file it, and alert."""
    from telebeam.pipelines.drift import Request, watch_drift

    spec = load(Path(config), set_, secrets=False)
    span = None if last is None else timedelta(seconds=_seconds("--last", last))
    if not math.isfinite(threshold):
        raise ConfigurationError(f"--threshold {threshold} is no number", "write 0.25")
    request = Request(name, moment("--start", start), moment("--end", end), span, threshold, dry_run)
    with Bar(None) as bar:
        found = watch_drift(spec, request, bar.advance)
    if as_json:
        print_json(found.as_dict())
    else:
        whole = [row for row in found.drifts if row["hour"] is None]
        typed = ("device_type",) if any(row["device_type"] is not None for row in whole) else ()
        figures = ("version", "feature", "readings", "psi", "ks", "worst_hour_psi", "is_drift")
        heads = ("tenant", "sensor_type", *typed, *figures)
        _print(whole, heads)
    for alert in found.alerts:
        _say(alert["message"])
    for sink, count in found.sent.items():
        _say(f"{count} alert(s) sent to {sink}")
    if fail_on_drift and found.drifted:
        _say(f"a feature's PSI is above {threshold:g}: the readings are no longer those that the model knows")
        raise typer.Exit(1)


@train_app.command(
    epilog=examples(
        "telebeam maintenance fleet.yaml --sensor-type vibration --threshold 7.1",
        "telebeam maintenance fleet.yaml --sensor-type vibration --threshold 7.1 --labels failures.csv --json",
    )
)
def maintenance(
    config: Config,
    sensor_type: Annotated[str, typer.Option(help="Which readings.")],
    threshold: Annotated[float, typer.Option(help="What they must not pass, in their unit.")],
    set_: Overrides = [],  # noqa: B006
    start: Start = None,
    end: End = None,
    falling: Annotated[bool, typer.Option("--falling", help="The threshold is a floor.")] = False,
    window: Annotated[str | None, typer.Option(help="Windows of which length; the first of the configuration.")] = None,
    last: Annotated[int, typer.Option(min=3, max=10_000, help="How many windows the trend is of.")] = 24,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV file of failures that happened, device_id,start,end.")
    ] = None,
    ahead: Annotated[str, typer.Option(help="Within how much time a failure is foretold.")] = "24h",
    as_json: Json = False,
) -> None:
    """Say when devices will be at a threshold by their trend, and how probable a failure is by those that happened."""
    from telebeam.io.models.labels import read_labels
    from telebeam.pipelines.maintenance import Request, prospects

    spec = load(Path(config), set_, secrets=False)
    seconds = None if window is None else round(_seconds("--window", window))
    failures = () if labels is None else tuple(read_labels(labels))
    request = Request(
        sensor_type.strip().lower(), threshold, falling, last, seconds, moment("--start", start), moment("--end", end),
        failures, _seconds("--ahead", ahead) / 3600,
    )  # fmt: skip
    found = prospects(spec, request).as_dict()
    if labels is not None and all(row["failure_probability"] is None for row in found["series"]):
        _say("no probabilities: the labels name no failure, or nothing but failures, within the windows")
    if as_json:
        print_json(found)
        return
    _print(
        found["series"],
        ("device_id", "current", "unit", "trend_per_hour", "hours_to_threshold", "earliest_hours", "latest_hours",
         "failure_probability", "alert"),
    )  # fmt: skip
    if found["trial"] is not None:
        _say("on the last 30 % of the time: {called_and_failed} of {failed} windows before a failure found, "
             "{called} of {windows} called".format(**found["trial"]))  # fmt: skip


def _seconds(option: str, text: str) -> float:
    from telebeam.transforms.spec import parse_duration

    try:
        seconds: float = parse_duration(text).total_seconds()
    except ValueError as error:
        raise ConfigurationError(f"{option}: {error}") from error
    if seconds <= 0:
        raise ConfigurationError(f"{option} {text} is no time", "write 1m or 24h")
    return seconds


def _print(rows: list[dict[str, Any]], heads: tuple[str, ...]) -> None:
    from rich.table import Table

    table = Table()
    for head in heads:
        table.add_column(head.replace("_", " "), overflow="fold")
    for row in rows:
        cells = [row[head] for head in heads]
        table.add_row(*("" if c is None else f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells))
    report_console().print(table)


def _per(text: str) -> Per:
    from telebeam.transforms.anomaly.training import Per

    for known in get_args(Per):
        if text == known:
            found: Per = known
            return found
    raise ConfigurationError(f"--per {text} is not known", f"one of {', '.join(get_args(Per))}")


def _labels(spec: PipelineSpec, path: Path | None, lake: str | None, with_alerts: bool, end: datetime | None) -> Labels:
    from telebeam.io.lake import Lake
    from telebeam.io.models.labels import of_alerts, read_labels
    from telebeam.pipelines.training import lake_of, micros
    from telebeam.transforms.anomaly.labels import Labels

    found = [] if path is None else read_labels(path)
    if with_alerts:
        alerts = Lake(lake or lake_of(spec)).alerts(None, end)
        found += of_alerts(alerts, micros(end or datetime.max.replace(tzinfo=UTC)))
    return Labels.of(found)


def _print_forests(found: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=f"{found['name']} {found['version']}")
    whose = "device_type" if found["per"] == "device_type" else "device_id"
    names = ("tenant", "sensor type", whose.removesuffix("_id").replace("_", " "))
    for head in (*names, "readings", "held out", "alert rate", "median", "99 %", "max"):
        table.add_column(head, justify="left" if head in names else "right")
    for each in found["forests"]:
        rate, scores = each["alert_rate"], each["quantiles"]
        table.add_row(
            each["tenant"], each["sensor_type"], each.get(whose) or "", f"{each['readings']:,}",
            f"{each['held_out']:,}", "" if rate is None else f"{rate:.3%}",
            *(f"{scores[q]:.3f}" if scores else "" for q in ("0.5", "0.99", "1")),
        )  # fmt: skip
    report_console().print(table)


def _say(text: str) -> None:
    sys.stderr.write(f"telebeam: {text}\n")
