"""A sink that can't work, or that would give something away, is refused before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from telebeam.io.alerts.messages import wanted
from telebeam.io.alerts.spec import AlertSinkSpec, CommandSinkSpec, WebhookSpec, check_sinks
from tests.io.alerts.samples import alerts, ids

HOOK = "https://hooks.example.org/services/T0/very-secret"
KAFKA = {"kafka": {"bootstrap_servers": "localhost:9092"}}
PUBSUB = {"pubsub": {"topic": "projects/my-fleet/topics/iot-alerts"}}


@pytest.mark.parametrize(
    "url",
    [HOOK, "https://10.0.0.1:8443/", "https://host", "http://localhost:9/a", "http://127.0.0.1", "http://[::1]:8000/x"],
)
def test_https_anywhere_and_http_on_this_machine_may_be_called(url: str):
    assert WebhookSpec(url=url).url == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://hooks.example.org/a", "unencrypted"),
        ("http://127.0.0.1.example.org/a", "unencrypted"),
        ("http://localhost.example.org/a", "unencrypted"),
        ("https://me:very-secret@host/a", "user or a password"),
        ("https://very-secret@host", "user or a password"),
        ("ftp://host/very-secret", "scheme ftp"),
        ("file:///etc/very-secret", "scheme file"),
        ("javascript:alert(1)", "scheme javascript"),
        ("hooks.example.org/very-secret", "scheme"),
        ("https:///very-secret", "no host"),
        ("https://", "no host"),
        ("https://host:99999/very-secret", "not understood"),
        ("https://host:0/", "no host"),
        ("https://[::1/", "not understood"),
        ("https://ho st/very-secret", "spaces"),
        ("https://host/very-secret\r\nX: y", "spaces"),
        ("https://höst/very-secret", "beyond ASCII"),
        ("https://good.example.org\\@evil.example.org/very-secret", "user or a password"),
        ("https://good.example.org\\.evil.example.org/", "no host"),
        ("https://host/a#very-secret", "fragment"),
        ("", "empty"),
    ],
)
def test_an_address_that_is_none_or_gives_something_away_is_refused(url: str, words: str):
    with pytest.raises(ValidationError, match=words) as refused:
        WebhookSpec(url=url)
    assert "very-secret" not in str(refused.value.errors()[0]["msg"])


def test_plain_http_elsewhere_needs_a_word():
    assert WebhookSpec(url="http://hooks.lan/a", allow_http=True).allow_http


def test_an_address_may_be_a_reference_and_its_path_is_never_shown():
    assert WebhookSpec(url="env:SLACK_URL").place == "env:SLACK_URL"
    spec = AlertSinkSpec(webhook={"url": HOOK})
    assert spec.webhook is not None
    assert spec.webhook.place == "https://hooks.example.org"
    assert "secret" not in spec.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"secret": "abc"}, "given by reference"),
        ({"headers": {"Authorization": "Bearer abc"}}, "given by reference"),
        ({"headers": {"X-Api-Key": "abc"}}, "given by reference"),
        ({"headers": {"x-telebeam-signature": "abc"}}, "sets it itself"),
        ({"headers": {"Content-Length": "3"}}, "sets it itself"),
        ({"headers": {"Host": "other"}}, "sets it itself"),
        ({"headers": {"X Y": "a"}}, "can't name a header"),
        ({"headers": {"X-A": "a\r\nX-B: c"}}, "can't carry"),
        ({"headers": {"X-A": ""}}, "can't carry"),
        ({"headers": {"X-A": "ü"}}, "can't carry"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "given twice"),
        ({"timeout": 0}, "can't be waited for"),
        ({"timeout": "1h"}, "can't be waited for"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"batch": 101}, "less than or equal to 100"),
        ({"min_severity": "fatal"}, "'info', 'warning' or 'critical'"),
        ({"retries": 3}, "not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=words):
        WebhookSpec(url=HOOK, **change)


@pytest.mark.parametrize("kind", [AlertSinkSpec, CommandSinkSpec])
@pytest.mark.parametrize("given", [{}, {**KAFKA, **PUBSUB}, {**KAFKA, "webhook": {"url": HOOK}}])
def test_a_sink_is_exactly_one_thing(kind: type[AlertSinkSpec], given: dict[str, Any]):
    with pytest.raises(ValidationError, match="exactly one of"):
        kind(**given)


def test_topics_have_the_names_that_are_known():
    alert, command = AlertSinkSpec(**KAFKA), CommandSinkSpec(**KAFKA)
    assert alert.kafka is not None
    assert command.kafka is not None
    assert (alert.kafka.topic, command.kafka.topic) == ("iot-alerts", "device-commands")


def test_commands_have_no_severity():
    with pytest.raises(ValidationError, match="no severity"):
        CommandSinkSpec(webhook={"url": HOOK, "min_severity": "info"})


def test_names_tell_targets_apart_and_stay_what_they_are():
    specs = [AlertSinkSpec(**KAFKA), AlertSinkSpec(**PUBSUB), AlertSinkSpec(webhook={"url": HOOK})]
    specs += [AlertSinkSpec(webhook={"url": HOOK + "2"}), AlertSinkSpec(webhook={"url": "env:SLACK_URL"})]
    assert [spec.name for spec in specs] == [
        "kafka-iot-alerts-19d4ac", "pubsub-iot-alerts-b8caa6", "webhook-hooks-example-org-d33e98",
        "webhook-hooks-example-org-c0d977", "webhook-env-SLACK_URL-10e54b",
    ]  # fmt: skip
    check_sinks(specs)


def test_one_target_is_given_once():
    twice = [AlertSinkSpec(webhook={"url": HOOK}, rules=(rule,)) for rule in ("a", "b")]
    with pytest.raises(ValueError, match="given twice") as refused:
        check_sinks(twice)
    assert "very-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("sink", "hook", "expected"),
    [
        ({}, {}, ["a0", "a1", "a2", "a3"]),
        ({"min_severity": "warning"}, {}, ["a1", "a2"]),
        ({}, {"min_severity": "critical"}, ["a2"]),
        ({"min_severity": "critical"}, {"min_severity": "info"}, ["a2"]),
        ({"rules": ["cold"]}, {}, ["a1", "a3"]),
        ({"rules": ["cold", "absent"], "min_severity": "warning"}, {}, ["a1"]),
    ],
)
def test_a_sink_gets_what_is_severe_enough_and_of_its_rules(
    sink: dict[str, Any], hook: dict[str, Any], expected: list[str]
):
    rows = alerts(
        {"severity": "info"}, {"severity": "warning", "rule": "cold"}, {}, {"severity": "info", "rule": "cold"}
    )
    spec = AlertSinkSpec(webhook={"url": HOOK, **hook}, **sink)
    assert ids(wanted(spec, rows).to_pylist()) == expected
    encoded = rows.set_column(1, "rule", rows.column("rule").dictionary_encode())
    assert ids(wanted(spec, encoded).to_pylist()) == expected


def test_nothing_of_a_secret_is_in_what_is_printed(monkeypatch: pytest.MonkeyPatch):
    spec = AlertSinkSpec(webhook={"url": "env:U", "secret": "env:S", "headers": {"Authorization": "file:/a"}})
    monkeypatch.setenv("S", "very-secret")
    assert "very-secret" not in repr(spec) + spec.model_dump_json()
