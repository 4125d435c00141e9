"""What a configuration will do, in words."""

from __future__ import annotations

from collections.abc import Iterator

from telebeam.pipelines.settings import format_duration
from telebeam.pipelines.spec import PipelineSpec
from telebeam.transforms.devices.spec import DeviceType
from telebeam.transforms.rules.spec import immediate


def explain(spec: PipelineSpec) -> str:
    """The flow from source to sinks, a step a line, with the steps' labels in the graph."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(_lines(spec), 1)) + "\n"


def _lines(spec: PipelineSpec) -> Iterator[str]:
    parse, quality = spec.parse, spec.quality
    yield _source(spec)
    mapped = f", with {_pairs(parse.fields)}" if parse.fields else ""
    defaults = f", and {_pairs(parse.defaults)} where a record says nothing" if parse.defaults else ""
    zone = f"; text timestamps without an offset are in {parse.timezone}" if parse.timezone else ""
    yield f"[Parse] as {parse.format} for tenant {parse.tenant}{mapped}{defaults}{zone}"
    if spec.devices is not None:
        unknown = {"accept": "kept", "flag": "flagged", "reject": "rejected"}[spec.devices.unknown]
        types = "; ".join(_device_type(name, kind) for name, kind in sorted(spec.devices.types.items()))
        yield f"[Enrich] by {spec.devices.registry}, as of each reading's time; unknown devices are {unknown}" + (
            f"; types: {types}" if types else ""
        )
    units = {name: limit.unit for name, limit in quality.limits.items() if limit.unit}
    yield f"[Cleanse] trim and lower-case names; convert to canonical units ({_pairs(units)}, and the usual ones)"
    age = "however old" if quality.max_age_days is None else f"at most {quality.max_age_days:g} days old"
    limits = ", ".join(f"{name} {_range(limit.min, limit.max)}" for name, limit in sorted(quality.limits.items()))
    ahead = f"at most {quality.max_future_seconds:g} s ahead"
    yield f"[CheckQuality] {ahead}, {age}; flag what is outside of {limits or 'nothing'}"
    yield from _stream_sinks(spec) if spec.source.is_stream else _sinks(spec)


def _device_type(name: str, kind: DeviceType) -> str:
    said = {"codec": kind.codec, "schema": kind.data_schema, "format": kind.format}
    words = [f"{key} {value}" for key, value in said.items() if value is not None]
    words += [f"{sensor} {_range(limit.min, limit.max)}" for sensor, limit in sorted(kind.limits.items())]
    return f"{name} ({', '.join(words)})" if words else name


def _source(spec: PipelineSpec) -> str:
    source = spec.source
    if source.kafka is not None:
        end = f"until {source.kafka.until}" if source.kafka.until else "without end"
        return f"[Stream] topics {source.words}, from the lake's last offset or else {source.kafka.start}, {end}"
    if source.is_stream:
        return f"[Stream] the subscription {source.words}, without end"
    bad = "stop the job" if source.on_bad_file == "fail" else "become one reject each"
    return f"[Read] {source.kind} files: {source.files.path}; unreadable ones {bad}"


def _stream_sinks(spec: PipelineSpec) -> Iterator[str]:
    lake, influx, time = spec.sinks.lake, spec.sinks.influxdb, spec.time
    every = format_duration(time.file_every)
    where = "a lake, which this file does not name" if lake is None else f"the lake at {lake.path}"
    yield f"[Stream] files readings and rejects in {where} every {every} or when a window closes, and then goes on"
    late = f"{format_duration(time.max_out_of_orderness)} behind a partition's newest reading"
    for window in spec.windows:
        again = f", and change for {format_duration(window.allowed_lateness)}" if window.allowed_lateness else ""
        yield f"[Windows] of {window.words} close {late}{again}; from the lake, into the lake"
    yield from _in_order(spec, f"{late}, and again when a step has closed for good")
    yield from _senders(spec)
    if influx is not None:
        what = " and ".join(influx.write)
        yield f"[InfluxDB] {what} to bucket {influx.bucket} at {influx.url}, at once; what fails, later from the lake"


def _in_order(spec: PipelineSpec, when: str) -> Iterator[str]:
    if spec.order is not None:
        made = {
            "scores by": [each.label for each in spec.anomalies],
            "alerts by": [rule.name for rule in spec.rules],
            "statistics of the last": [f"{number:,}" for number in spec.last],
        }
        words = "; ".join(f"{what} {', '.join(by)}" for what, by in made.items() if by)
        yield f"[InOrder] of event time, {when}: {words}{' readings' * bool(spec.last)}; from the lake, into the lake"


def _senders(spec: PipelineSpec) -> Iterator[str]:
    at_once = [rule.name for rule in immediate(spec.rules)]
    for name, sinks in (("alerts", spec.sinks.alerts), ("commands", spec.sinks.commands)):
        if sinks:
            first = f"; those of {', '.join(at_once)} as soon as they are read" if at_once and name == "alerts" else ""
            yield f"[InOrder] sends {name} to {', '.join(sink.name for sink in sinks)}, each once{first}"
    for sink in spec.sinks.tagged:
        which = "all tags" if sink.tags is None else f"the tags {', '.join(sink.tags)}"
        yield f"[InOrder] sends readings with {which} to {sink.name}, each once"


def _sinks(spec: PipelineSpec) -> Iterator[str]:
    lake, influx = spec.sinks.lake, spec.sinks.influxdb
    windows = ", ".join(window.words for window in spec.windows)
    if lake is not None:
        yield f"[WriteReadings] and rejects, to the lake at {lake.path}, by hour of the event time"
        if windows:
            yield f"[Windows] of {windows}, aligned to the epoch in UTC, from the lake's readings, into the lake"
        yield from _in_order(spec, "from the first hour to the last")
        yield "[ReportQuality] a report of the run into the lake"
    else:
        if windows:
            yield f"[Windows] of {windows}, aligned to the epoch in UTC, from the readings in flight"
        yield "[Rejects] are counted only: there is no lake to keep them"
    if influx is not None:
        when = "once the lake is complete, " if lake is not None else ""
        yield f"[InfluxDB] {when}{' and '.join(influx.write)} to bucket {influx.bucket} at {influx.url}"


def _pairs(names: dict[str, str]) -> str:
    return ", ".join(f"{ours} = {theirs}" for ours, theirs in sorted(names.items()))


def _range(low: float | None, high: float | None) -> str:
    return f"{'…' if low is None else f'{low:g}'} to {'…' if high is None else f'{high:g}'}"
