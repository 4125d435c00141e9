"""Which subscriptions and topics can be named, and how a stream is called."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from telebeam.io.pubsub.spec import PubSubSinkSpec, PubSubSourceSpec

GOOD = "projects/my-fleet/subscriptions/telemetry"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"subscription": "telemetry"}, "expected projects/PROJECT/subscriptions/NAME"),
        ({"subscription": "projects/my-fleet/topics/telemetry"}, "expected projects/PROJECT/subscriptions/NAME"),
        ({"subscription": GOOD + "/x"}, "expected projects/PROJECT/subscriptions/NAME"),
        ({"subscription": "projects/p/subscriptions/telemetry"}, "6 to 30"),
        ({"subscription": "projects/../subscriptions/telemetry"}, "6 to 30"),
        ({"subscription": "projects/my-fleet/subscriptions/1st"}, "expected a letter"),
        ({"subscription": "projects/my-fleet/subscriptions/.."}, "expected a letter"),
        ({"subscription": "projects/my-fleet/subscriptions/goog-x"}, "no 'goog'"),
        ({"subscription": GOOD, "lease": "5s"}, "10s to 10m"),
        ({"subscription": GOOD, "lease": "11m"}, "10s to 10m"),
        ({"subscription": GOOD, "lease": "60s", "max_lease": "30s"}, "at least lease"),
        ({"subscription": GOOD, "max_outstanding_messages": 0}, "greater than or equal to 1"),
        ({"subscription": GOOD, "endpoint": "https://pubsub.googleapis.com"}, "is not the address"),
        ({"subscription": GOOD, "endpoint": "http://pubsub.example.org:80"}, "unencrypted"),
        ({"subscription": GOOD, "endpoint": "user:secret@host"}, "holds a user or a password"),
        ({"subscription": GOOD, "timestamp_attribute": ""}, "at least 1 character"),
        ({"subscription": GOOD, "topic": "x"}, "Extra inputs"),
    ],
)
def test_what_can_not_work_is_refused_in_words(settings: dict[str, Any], words: str):
    with pytest.raises(ValidationError, match=re.escape(words)):
        PubSubSourceSpec(**settings)


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(ValidationError) as refused:
        PubSubSourceSpec(subscription=GOOD, endpoint="user:secret@host")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "subscription",
    [GOOD, "projects/example.org:my-fleet/subscriptions/a.b~c+d%25", "projects/abcdef/subscriptions/" + "x" * 255],
)
def test_what_pubsub_allows_is_allowed(subscription: str):
    assert PubSubSourceSpec(subscription=subscription).subscription == subscription


@pytest.mark.parametrize("endpoint", ["europe-west1-pubsub.googleapis.com:443", "http://localhost:8085", None])
def test_endpoints_are_googles_or_an_emulators(endpoint: str | None):
    assert PubSubSinkSpec(topic="projects/my-fleet/topics/alerts", endpoint=endpoint).endpoint == endpoint


def test_a_stream_is_a_plain_word_of_its_own_for_each_subscription():
    names = ["telemetry", "telemetry.eu", "telemetry+eu", "telemetry%2F..", "x" * 255]
    paths = [f"projects/{project}/subscriptions/{name}" for project in ("my-fleet", "your-fleet") for name in names]
    streams = [PubSubSourceSpec(subscription=path).stream for path in paths]
    assert len(set(streams)) == len(paths)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{,80}-[0-9a-f]{6}", stream) for stream in streams)
