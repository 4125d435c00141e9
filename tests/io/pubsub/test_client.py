"""What Pub/Sub's errors mean, and what is said where there is no login."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.auth.exceptions import RefreshError, TransportError

from telebeam.io.pubsub.client import EMULATOR, PubSubAwayError, Subscription, failure
from telebeam.io.pubsub.feed import PubSubFeed, PubSubFeeds
from telebeam.io.pubsub.sink import RowPublisher
from telebeam.io.pubsub.spec import PubSubSinkSpec, PubSubSourceSpec
from telebeam.transforms.errors import ConfigurationError, SinkError, SourceError

PATH = "projects/my-fleet/subscriptions/telemetry"
SPEC = PubSubSourceSpec(subscription=PATH)


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that is nobody at Google."""
    for name in (EMULATOR, "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    return tmp_path


def test_a_machine_without_a_login_is_told_how_to_log_in(no_login: Path):
    begun = time.monotonic()
    for attempt in (lambda: PubSubFeed(SPEC).open(lambda partition: None), PubSubFeeds(SPEC).probe):
        with pytest.raises(SourceError, match=r"no login(?s:.*)hint: .*gcloud auth"):
            attempt()
    with pytest.raises(SinkError, match=r"no login(?s:.*)hint: .*gcloud auth"):
        RowPublisher(PubSubSinkSpec(topic="projects/my-fleet/topics/alerts"))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("content", [None, "", "{}", "not JSON", '{"type": "service_account"}'])
def test_a_key_file_that_is_none_is_refused_in_words(
    no_login: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
):
    if content is not None:
        (no_login / "key.json").write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(no_login / "key.json"))
    with pytest.raises(SourceError, match="no login"):
        PubSubFeeds(SPEC).probe()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NotFound("Resource not found"), "knows no subscription(?s:.*)hint: .*create"),
        (exceptions.PermissionDenied("User not authorized"), "may not use(?s:.*)hint: .*roles/pubsub.subscriber"),
        (exceptions.Unauthenticated("Request had invalid credentials"), "does not know who(?s:.*)hint: .*gcloud"),
        (exceptions.InvalidArgument("Invalid resource name"), "refuses(?s:.*)Invalid resource name"),
        (exceptions.FailedPrecondition("Push"), "refuses"),
        (RefreshError("invalid_grant", retryable=False), "not accepted(?s:.*)hint: .*gcloud"),
        (
            exceptions.ServiceUnavailable("Getting metadata from plugin failed with error: RefreshError('invalid')"),
            "not accepted",
        ),
        (exceptions.ResourceExhausted("received message larger than max (5 vs. 4)"), "too large"),
    ],
)
def test_what_will_not_mend_itself_is_said_with_a_hint(error: Exception, words: str):
    found = failure(error, PATH)  # type: ignore[arg-type]
    assert not isinstance(found, PubSubAwayError)
    with pytest.raises(SourceError, match=words):
        raise found


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ServiceUnavailable("failed to connect"),
        exceptions.DeadlineExceeded("Deadline Exceeded"),
        exceptions.InternalServerError("oops"),
        exceptions.ResourceExhausted("Quota exceeded"),
        exceptions.Unknown("Stream removed"),
        exceptions.Aborted("again"),
        exceptions.Cancelled("cancelled"),
        TransportError("no network"),
        RefreshError("busy", retryable=True),
    ],
)
def test_what_may_mend_itself_is_waited_for(error: Exception):
    assert isinstance(failure(error, PATH), PubSubAwayError)  # type: ignore[arg-type]


def test_of_an_exactly_once_subscription_only_what_may_go_well_is_acknowledged_again():
    subscription = Subscription(PATH, "http://localhost:1")
    verdicts = {"a": "PERMANENT_FAILURE_INVALID_ACK_ID", "b": "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}

    def refuse(**_: object) -> None:
        error = exceptions.FailedPrecondition("Some acknowledgement ids were invalid")
        error._error_info = type("Info", (), {"metadata": verdicts})()
        raise error

    assert subscription._confirmed(["a", "b", "c"], refuse) == ["b"]
    subscription.close()


def test_an_address_where_nobody_listens_is_said_by_a_probe():
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"does not answer(?s:.*)hint: .*localhost:1"):
        PubSubFeeds(SPEC.model_copy(update={"endpoint": "http://localhost:1"})).probe()
    assert time.monotonic() - begun < 10


def test_a_closed_connection_is_away_and_can_be_closed_again():
    subscription = Subscription(PATH, "http://localhost:1")
    subscription.close()
    subscription.close()
    with pytest.raises(PubSubAwayError):
        subscription.pull(1)


def test_a_subscription_has_one_reader():
    feeds = PubSubFeeds(SPEC)
    assert feeds.partition_count() == 1
    assert feeds(0, 1).partitions() == {(SPEC.stream, 0)}
    with pytest.raises(ConfigurationError, match="expected 1 reader"):
        feeds(0, 2)


def test_a_feed_that_is_not_open_says_so():
    feed = PubSubFeed(SPEC)
    with pytest.raises(SourceError, match="not open"):
        feed.poll(0.0)
    feed.close()
    assert feed.behind() == 0
    assert not feed.drained(next(iter(feed.partitions())))
