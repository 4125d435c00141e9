"""The ``telebeam`` command: results go to stdout, everything else to stderr.

Exit codes: 0 done, 1 the job failed, 2 the request was wrong, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback as traceback_module
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from telebeam.io.models.source import check_models
from telebeam.pipelines.devices_command import devices_app
from telebeam.pipelines.record_command import record_app
from telebeam.pipelines.rejects_commands import rejects_app
from telebeam.pipelines.rules_commands import rules_app
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
from telebeam.pipelines.spec import PipelineSpec
from telebeam.pipelines.train_commands import train_app
from telebeam.transforms.errors import ConfigurationError, TelebeamError
from telebeam.transforms.extras import needing

if TYPE_CHECKING:
    from telebeam.pipelines.graph import Run

DEFAULT_RUNNERS = {"batch": "direct", "stream": "prism"}

app = typer.Typer(
    name="telebeam",
    help="Columnar pipelines for IoT telemetry: streams and archives to a data lake and InfluxDB.",
    epilog="Exit codes: 0 done, 1 the job failed, 2 the request was wrong, 130 interrupted. See docs/commands.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(rejects_app)
app.add_typer(rules_app)
app.add_typer(train_app)
app.add_typer(devices_app)
app.add_typer(record_app)

Runner = Annotated[
    str | None,
    typer.Option(help="direct (local; batch jobs), prism (local; streams), flink, dataflow, or a runner of Beam's."),
]
Mode = Annotated[str | None, typer.Option(help="batch or stream; what the source is, unless given.")]
BeamOptions = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- BEAM OPTIONS]", help="Behind --: options for Beam, as --direct_num_workers=4."),
]


@app.command(
    epilog=examples(
        "telebeam run fleet.yaml",
        "telebeam run fleet.yaml --start 2026-01-01T00:00:00Z --end 2026-01-02T00:00:00Z --json",
        "telebeam run fleet.yaml --set source.parquet.path='archive/2026/*.parquet' -- --direct_num_workers=4",
        "telebeam run live.yaml --mode stream --runner flink -- --flink_master=localhost:8081",
    )
)
def run(
    config: Config,
    beam_options: BeamOptions = None,
    mode: Mode = None,
    runner: Runner = None,
    set_: Overrides = [],  # noqa: B006 - typer reads it, nobody changes it
    start: Annotated[str | None, typer.Option(help="Only readings from this time on, as 2026-01-01T00:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option(help="Only readings before this time.")] = None,
    status_every: Annotated[str, typer.Option(help="How often a stream tells how it is doing.")] = "1m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the configuration and stop.")] = False,
    as_json: Json = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where in the code an error came from.")] = False,
) -> None:
    """Run a pipeline and print the balance of its rows: an archive to its end, a stream until SIGTERM or Ctrl-C."""
    from telebeam.pipelines.logs import show_logs, without_tracebacks

    show_logs(tracebacks=traceback)  # before Beam is imported, which warns of clients that nobody asked for
    from telebeam.pipelines.runners import STREAM, choose_runner, is_dataflow, pipeline_options

    spec = load(config, set_)
    mode = mode or spec.source.natural_mode
    job = _run_of(spec, mode, start, end)
    choice = choose_runner(runner or DEFAULT_RUNNERS.get(mode, "direct"), mode, beam_options or [])
    on_dataflow = is_dataflow(choice)
    if on_dataflow:
        with needing("dataflow", "--runner dataflow"):
            from telebeam.pipelines.dataflow import check_dataflow, submit

        check_dataflow(spec, pipeline_options(choice))
    if spec.sinks.lake is not None:
        check_models(spec.anomalies, spec.sinks.lake.path, has_devices=spec.devices is not None)
    if spec.devices is not None:
        from telebeam.pipelines.preflight import check_devices

        check_devices(spec)
    if dry_run:
        _say(f"{config} is fine; {choice.description} would run it")
        if as_json:
            print_json({"pipeline": spec.pipeline, "runner": choice.description, "dry_run": True})
        return
    _say(f"{spec.pipeline}: {spec.source.words} on {choice.description}")
    try:
        with nullcontext() if traceback else without_tracebacks():
            if mode == STREAM and on_dataflow:
                submitted = submit(spec, pipeline_options(choice))
                print_json(submitted.as_dict()) if as_json else _say(submitted.words)
                return
            if mode == STREAM:
                from telebeam.pipelines.stream import run_stream

                every = duration("--status-every", status_every).total_seconds()
                outcome = run_stream(spec, choice, status_every=every)
            else:
                from telebeam.pipelines.batch import run_batch

                outcome = run_batch(spec, job, choice)
    except TelebeamError:
        if traceback:
            traceback_module.print_exc()
        raise
    except KeyboardInterrupt:
        _say("interrupted; running it again completes it")
        raise typer.Exit(130) from None
    summary = {
        "pipeline": spec.pipeline,
        "runner": outcome.runner,
        "seconds": round(outcome.seconds, 3),
        "balance": outcome.balance.as_dict(),
        "windows": outcome.windows,
        "made": outcome.made,
        "points": outcome.points,
        "refused_points": outcome.refused_points,
    }
    print_json(summary) if as_json else _report(spec, None if mode == STREAM else job, summary)


def _run_of(spec: PipelineSpec, mode: str, start: str | None, end: str | None) -> Run:
    from telebeam.pipelines.graph import Run
    from telebeam.pipelines.runners import BATCH, STREAM

    if mode == BATCH and spec.source.is_stream:
        raise ConfigurationError(
            f"--mode batch: source.{spec.source.kind} is a stream",
            "leave --mode out; source.kafka.until: end makes it a read that finishes",
        )
    if mode == STREAM and not spec.source.is_stream:
        raise ConfigurationError(
            f"--mode stream: source.{spec.source.kind} is an archive, which ends",
            "leave --mode out for a batch job; streams are source.kafka and source.pubsub",
        )

    job = Run(datetime.now(UTC), moment("--start", start), moment("--end", end))
    if job.start is not None and job.end is not None and job.start >= job.end:
        raise ConfigurationError(f"--start {start} is not before --end {end}")
    if mode == STREAM and job.span is not None:
        raise ConfigurationError(
            "--start and --end are of archives: a stream has no rows to leave out",
            "set source.kafka.start and source.kafka.until to read a part of a topic",
        )
    return job


def _report(spec: PipelineSpec, job: Run | None, summary: dict[str, Any]) -> None:
    from telebeam.dashboards.report import print_run_report
    from telebeam.io.lake.writer import LakeWriter
    from telebeam.pipelines.graph import report_unit

    lake = spec.sinks.lake
    quality = None if lake is None or job is None else LakeWriter(lake, "quality").written(report_unit(spec, job))
    print_run_report(report_console(), summary, quality, lake.path if lake is not None else None)


@app.command(epilog=examples("telebeam check fleet.yaml", "telebeam check fleet.yaml --runner prism --json"))
def check(
    config: Config,
    beam_options: BeamOptions = None,
    mode: Mode = None,
    runner: Runner = None,
    set_: Overrides = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Validate a configuration, then try every endpoint that it names."""
    from telebeam.pipelines.logs import show_logs

    show_logs(tracebacks=False)
    from telebeam.pipelines.preflight import preflight
    from telebeam.pipelines.runners import choose_runner

    spec = load(config, set_)
    mode = mode or spec.source.natural_mode
    name = runner or DEFAULT_RUNNERS.get(mode, "direct")
    findings = preflight(spec, lambda: choose_runner(name, mode, beam_options or []))
    failed = [finding.error for finding in findings if finding.error is not None]
    if as_json:
        checks = [
            {"what": f.what, "ok": f.error is None, "result": f.result, "hint": f.error.hint if f.error else ""}
            for f in findings
        ]
        print_json({"ok": not failed, "checks": checks})
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.error is None else 'FAIL'}  {finding.what}: {finding.result}")  # noqa: T201
            if finding.error is not None and finding.error.hint:
                print(f"      hint: {finding.error.hint}")  # noqa: T201
    if failed:
        raise typer.Exit(max(error.exit_code for error in failed))


@app.command(epilog=examples("telebeam explain fleet.yaml", "telebeam explain fleet.yaml --set windows=[]"))
def explain(config: Config, set_: Overrides = []) -> None:  # noqa: B006
    """Say in words what a configuration does."""
    from telebeam.pipelines.explain import explain as words

    sys.stdout.write(words(load(config, set_, secrets=False)))


@app.command(
    epilog=examples(
        "telebeam simulate --profile office --to jsonl:office.jsonl.zst",
        "telebeam simulate --devices 1000 --duration 1d --faults spike=0.001,stuck=0.01 --to parquet:archive",
        "telebeam simulate --devices 1000 --duration 2m --live --rate 20000 --to kafka:localhost:9092/iot-telemetry",
    )
)
def simulate(
    to: Annotated[str, typer.Option(help="jsonl:PATH, csv:PATH (or .gz, .zst), parquet:FOLDER, kafka:SERVERS/TOPIC.")],
    devices: Annotated[int | None, typer.Option(help="How many devices; their types take turns.")] = None,
    profile: Annotated[str | None, typer.Option(help="home, office or factory: 9, 16 or 30 devices.")] = None,
    interval: Annotated[str, typer.Option(help="The time between two reports of a device.")] = "10s",
    duration: Annotated[str, typer.Option(help="How long the fleet reports.")] = "1h",
    start: Annotated[str, typer.Option(help="When it begins.")] = "2026-01-01T00:00:00Z",
    seed: Annotated[int, typer.Option(help="Another seed, another fleet; equal settings give equal bytes.")] = 1,
    shape: Annotated[str, typer.Option(help="Payloads: reading, metric, data, flat or mixed.")] = "reading",
    units: Annotated[str, typer.Option(help="canonical, or mixed to exercise conversion.")] = "canonical",
    faults: Annotated[str, typer.Option(help="NAME=RATE,… as spike=0.001,late=0.01; see docs/simulation.md.")] = "",
    files: Annotated[int | None, typer.Option(help="Files of a Parquet archive; one an hour unless given.")] = None,
    live: Annotated[bool, typer.Option("--live", help="To Kafka: at the present time, as fast as time goes.")] = False,
    rate: Annotated[float | None, typer.Option(help="To Kafka: readings/s; with --live it sets --interval.")] = None,
    acknowledged: Annotated[Path | None, typer.Option(help="To Kafka: a file for what the brokers have taken.")] = None,
    as_json: Json = False,
) -> None:
    """Make a deterministic fleet's data, with labelled faults whose truth is written beside it."""
    from telebeam.pipelines.simulation import Pace, parse_faults, planned_readings, simulation_spec
    from telebeam.pipelines.simulation import simulate as make

    if rate is not None and not 0 < rate < float("inf"):
        raise ConfigurationError(f"--rate {rate:g} is no rate; expected readings a second, more than 0")
    by_rate = live and rate is not None  # the rate decides on the interval, once the number of sensors is known
    spec = simulation_spec(
        devices=devices, profile=profile, interval="1ms" if by_rate else interval, duration=duration,
        start=moment("--start", start), seed=seed, shape=shape, units=units, faults=parse_faults(faults), files=files,
    )  # fmt: skip
    pace = Pace(live, rate) if live or rate is not None else None
    planned = round((rate or 0) * spec.duration.total_seconds()) if by_rate else planned_readings(spec)
    with Bar(planned) as bar:
        report = make(spec, to, bar.advance, pace=pace, acknowledged=acknowledged)
    if as_json:
        print_json(report.as_dict())
    else:
        kinds = ", ".join(f"{name} {count:,}" for name, count in sorted(report.faults.items())) or "none"
        print(f"{report.readings:,} readings in {report.records:,} records, {report.bytes / 1e6:,.1f} MB")  # noqa: T201
        if report.acknowledged is not None:
            print(f"{report.acknowledged:,} records acknowledged in {report.seconds:,.1f} s")  # noqa: T201
        print(f"faults: {kinds}; their truth is in {report.truth}")  # noqa: T201


def _say(text: str) -> None:
    sys.stderr.write(f"telebeam: {text}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script's entry: errors become a message and an exit code.

    Args:
        arguments: What stands behind ``telebeam``; the process's own unless given.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="telebeam")
    except TelebeamError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
