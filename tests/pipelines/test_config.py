from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from telebeam.pipelines.config import load_config
from telebeam.pipelines.spec import PipelineSpec, SinksSpec, SourceSpec
from telebeam.transforms.errors import ConfigurationError

CONFIGS = Path(__file__).resolve().parent.parent / "fixtures" / "configs"
MINIMAL = (CONFIGS / "minimal.yaml").read_text(encoding="utf-8")
FULL = (CONFIGS / "full.yaml").read_text(encoding="utf-8")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


# What is taken


def test_the_smallest_configuration_takes_all_defaults(config):
    spec = load_config(config(MINIMAL))
    assert spec.source.kind == "parquet"
    assert spec.source.files.path == "archive/**/*.parquet"
    assert spec.source.on_bad_file == "fail"
    assert [window.seconds for window in spec.windows] == [60]
    assert spec.quality.max_age_days == 365
    assert spec.sinks.influxdb is None


def test_a_full_configuration_says_what_it_says(config):
    spec = load_config(config(FULL))
    assert spec.source.kind == "jsonl"
    assert spec.source.on_bad_file == "reject"
    assert spec.parse.fields == {"device_id": "device.id"}
    assert spec.quality.max_age_days is None
    assert [(w.every, w.allowed_lateness) for w in spec.windows] == [
        (timedelta(minutes=1), timedelta(minutes=10)),
        (timedelta(hours=1), timedelta(0)),
    ]
    assert spec.sinks.influxdb is not None
    assert spec.sinks.influxdb.write == ("windows",)


def test_the_same_text_gives_equal_settings(config):
    assert load_config(config(FULL)) == load_config(config(FULL))


def test_settings_can_not_be_changed(config):
    spec = load_config(config(MINIMAL))
    with pytest.raises(Exception, match="frozen"):
        spec.pipeline = "other"


def test_an_empty_section_takes_its_defaults(config):
    spec = load_config(config(MINIMAL + "parse:\nquality:\n  # max_age_days: 1\n"))
    assert spec == load_config(config(MINIMAL))


def test_an_empty_list_of_windows_computes_none(config):
    assert load_config(config(MINIMAL + "windows: []\n")).windows == ()


def test_anchors_aliases_and_merge_keys_work(config):
    text = MINIMAL + (
        "quality:\n  limits:\n    temperature: &wide {min: -50, max: 100}\n"
        "    humidity: *wide\n    voltage: {<<: *wide, max: 50}\n"
    )
    limits = load_config(config(text)).quality.limits
    assert limits["humidity"] == limits["temperature"]
    assert (limits["voltage"].min, limits["voltage"].max) == (-50, 50)


def test_words_of_yaml_1_1_stay_text(config):
    text = replaced(FULL, "org: iot", "org: no").replace("bucket: telemetry", "bucket: 2026-01-01")
    influxdb = load_config(config(text)).sinks.influxdb
    assert influxdb is not None
    assert (influxdb.org, influxdb.bucket) == ("no", "2026-01-01")


def test_a_byte_order_mark_and_dos_line_ends_are_taken(config):
    data = b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode()
    assert load_config(config(data)) == load_config(config(MINIMAL))


def test_the_sources_properties_follow_the_kind():
    spec = SourceSpec.model_validate({"csv": {"path": "a.csv"}})
    assert (spec.kind, spec.files.path) == ("csv", "a.csv")


# What is refused: each with its line, its key, what was found and what was expected


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pipeline: fleet", "pipeline: 'a b'", "fleet.yaml:1: pipeline: 'a b' is not a pipeline's name"),
        ("pipeline: fleet", "pipeline: 12", "fleet.yaml:1: pipeline: found 12; expected text"),
        ("pipeline: fleet", "pipline: fleet", "fleet.yaml:1: pipline: unknown key; expected one of pipeline, source"),
        ("  jsonl:", "  jsonnl:", "fleet.yaml:3: source.jsonnl: unknown key; expected one of parquet, jsonl, csv"),
        ("  jsonl:", "  csv: {path: x}\n  jsonl:", "fleet.yaml:2: source: found jsonl and csv; expected exactly one"),
        ('{path: "in/*.jsonl.gz"}', "in.jsonl", "fleet.yaml:3: source.jsonl: found text; expected a mapping"),
        ('{path: "in/*.jsonl.gz"}', "{}", "fleet.yaml:3: source.jsonl.path: is missing"),
        ('{path: "in/*.jsonl.gz"}', "{path: ''}", "fleet.yaml:3: source.jsonl.path: found ''; expected at least 1"),
        ("on_bad_file: reject", "on_bad_file: rejct", "fleet.yaml:4: source.on_bad_file: found 'rejct'; expected"),
        ("format: json", "format: jsn", "fleet.yaml:6: parse.format: found 'jsn'; expected one of auto, json, "),
        ("device_id: device.id", "dvice: x", "fleet.yaml:7: parse.fields: 'dvice' is not one of our columns"),
        ("device_id: device.id", "device_id: 5", "fleet.yaml:7: parse.fields.device_id: found 5; expected text"),
        ("timezone: Europe/Oslo", "timezone: Mars/Base", "fleet.yaml:8: parse.timezone: 'Mars/Base' is not a time"),
        ("max_future_seconds: 300", "max_future_seconds: 5m", "fleet.yaml:10: quality.max_future_seconds: found '5m'"),
        ("max_future_seconds: 300", "max_future_seconds: -1", "found -1; expected at least 0"),
        ("max_future_seconds: 300", "max_future_seconds: .inf", "found inf; expected a finite number"),
        ("max_future_seconds: 300", "max_future_seconds: true", "found true; expected a number"),
        ("max_age_days: null", "max_age_days: 0", "fleet.yaml:11: quality.max_age_days: found 0; expected more than 0"),
        ("min: -50", "min: 500", "fleet.yaml:13: quality.limits.temperature: min 500.0 is greater than max 100.0"),
        ("every: 1m", "every: 1 minute", "fleet.yaml:15: windows[0].every: found '1 minute'; expected a duration"),
        ("every: 1m", "every: .nan", "fleet.yaml:15: windows[0].every: found nan; expected a duration"),
        ("every: 1m", "every: [1m]", "fleet.yaml:15: windows[0].every: found a list; expected a duration"),
        ("every: 1m", "every: 1e300", "fleet.yaml:15: windows[0].every: found 1e+300; expected a duration"),
        ("every: 1m", "every: 500ms", "fleet.yaml:15: windows[0].every: 0.5s is not a window; expected whole seconds"),
        ("every: 1m", "every: 60m", "fleet.yaml:14: windows: two windows of 3600 s; expected each length once"),
        ("  - every: 1h", "  - 1h", "fleet.yaml:16: windows[1]: found text; expected a mapping"),
        ("org: iot", "organisation: iot", "fleet.yaml:21: sinks.influxdb.organisation: unknown key"),
        ("org: iot\n    ", "", "fleet.yaml:19: sinks.influxdb.org: is missing"),
        ("write: [windows]", "write: windows", "fleet.yaml:24: sinks.influxdb.write: found 'windows'; expected a list"),
        ("write: [windows]", "write: [window]", "fleet.yaml:24: sinks.influxdb.write[0]: found 'window'; expected one"),
        ("write: [windows]", "max_retries: 1.5", "fleet.yaml:24: sinks.influxdb.max_retries: found 1.5; expected a"),
        ("write: [windows]", "allow_http: yes", "fleet.yaml:24: sinks.influxdb.allow_http: found 'yes'; expected"),
        ("write: [windows]", "batch_points: 9000000", "found 9000000; expected at most 500_000"),
        ("write: [windows]", "measurements: {raw: x}", "sinks.influxdb.measurements.raw: found 'raw'; expected one of"),
        ("http://localhost", "localhost", "sinks.influxdb.url: 'localhost:8086' is not the address"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_file_line_key_finding_and_expectation(config, refusal, old, new, said):
    assert said in refusal(config(replaced(FULL, old, new)))


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("pipeline: fleet", "pipline: fleet", "hint: did you mean pipeline?"),
        ("format: json", "format: jsn", "hint: did you mean json?"),
        ("pipeline: fleet", "pipeline: 12", 'hint: put it into quotes: "12"'),
        ("  jsonl: {path:", "  jsonl: {on_bad_file: reject, path:", "hint: it belongs to source.on_bad_file"),
        ("write: [windows]", "allow_http: yes", "hint: write true"),
        ("max_future_seconds: 300", "max_future_seconds: 300s", "hint: write the number alone"),
        ("org: iot\n    ", "", "hint: it is text: The organisation's name"),
    ],
)
def test_a_hint_says_what_to_do(config, refusal, old, new, hint):
    assert hint in refusal(config(replaced(FULL, old, new)))


def test_every_problem_is_reported_in_the_order_of_the_file(config, refusal):
    text = FULL.replace("format: json", "format: jsn").replace("every: 1h", "every: soon").replace("fleet", "f l")
    message = refusal(config(text), "quality.max_age_days=-1")
    assert message.startswith("4 problems in the configuration")
    places = re.findall(r"fleet\.yaml:(\d+)", message)
    assert places == ["1", "6", "16"]


def test_thousands_of_problems_are_counted_and_the_first_are_listed(config, refusal):
    message = refusal(config(MINIMAL + "".join(f"key{number}: 1\n" for number in range(9000))))
    assert message.startswith("9000 problems")
    assert message.endswith("… and 8960 more")
    assert len(message.splitlines()) < 100


def test_a_misspelt_key_is_one_problem_not_two(config, refusal):
    assert "is missing" not in refusal(config(replaced(FULL, "token:", "tokn:")))


def test_a_key_given_twice_is_refused_with_its_path_beside_other_problems(config, refusal):
    message = refusal(config(replaced(FULL, "max_age_days: null", "max_future_seconds: 1\n  max_age: 1")))
    assert "fleet.yaml:11: quality.max_future_seconds: given twice; the first one stands on line 10" in message
    assert "fleet.yaml:12: quality.max_age: unknown key" in message


def test_no_sink_is_refused(config, refusal):
    assert "sinks: found none; expected at least one of" in refusal(
        config(replaced(MINIMAL, "lake: {path: lake}", "lake:"))
    )


def test_devices_without_a_registry_are_refused(config, refusal):
    message = refusal(config(f"{MINIMAL}devices:\n  types: {{climate: {{codec: cayenne_lpp}}}}\n"))
    assert "devices without devices.registry" in message
    assert "add registry: devices.yaml" in message


def test_uplinks_without_devices_are_refused(config, refusal):
    assert "lorawan needs devices" in refusal(config(f"{MINIMAL}parse: {{format: lorawan}}\n"))


def test_a_codec_that_is_none_is_refused_with_its_place(config, refusal):
    message = refusal(config(f"{MINIMAL}devices: {{registry: r.yaml, types: {{climate: {{codec: x.py}}}}}}\n"))
    assert "devices.types.climate.codec: 'x.py' is no codec" in message
    assert "cayenne_lpp, or the path of a .js file" in message


def test_a_wrong_configuration_ends_with_exit_code_2(config):
    with pytest.raises(ConfigurationError) as caught:
        load_config(config("x: 1"))
    assert caught.value.exit_code == 2


def test_the_specs_can_be_built_from_python():
    spec = PipelineSpec(
        pipeline="p",
        source=SourceSpec.model_validate({"csv": {"path": "a.csv"}}),
        sinks=SinksSpec.model_validate({"lake": {"path": "lake"}}),
    )
    assert spec.windows[0].seconds == 60
