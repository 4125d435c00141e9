"""Pub/Sub's own client, its errors in words, and every call with an end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grpc
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PullResponse

from telebeam.transforms.errors import AwayError, JobError, SinkError, SourceError

EMULATOR = "PUBSUB_EMULATOR_HOST"
CONTROL_SECONDS = 5.0
"""Calls that are answered at once: what is open after this is asked again."""
PULL_SECONDS = 20.0
"""How long a pull waits.  A message that the service sends just then is delivered again when its lease is over."""
TRY_SECONDS = 2.0
"""How long a pull waits that only finds out whether pulling is allowed."""
ACKS_A_REQUEST = 1000
"""An ack id has some 200 bytes and a request at most 512 KiB."""

# Responses of 1,000 large messages are beyond gRPC's 4 MB; a peer that is gone without a word is found by its silence.
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
]
_TRANSIENT = (
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.TooManyRequests,
    exceptions.GatewayTimeout,  # DEADLINE_EXCEEDED
    exceptions.Unknown,
    exceptions.Aborted,
    exceptions.Cancelled,
    exceptions.RetryError,
)
_LOGIN = "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or log in: gcloud auth application-default login"
_PLUGIN = "Getting metadata from plugin failed"
"""How gRPC says that a login could not be used: as a service that is not available."""
_TOO_LARGE = "larger than max"
"""How gRPC says that a message will never do: as a resource that is exhausted for now."""

Error = TypeVar("Error", bound=JobError)
Answer = TypeVar("Answer")


class PubSubAwayError(SourceError, AwayError):
    """Pub/Sub can't be reached, or can't answer for now."""


def subscriber_client(endpoint: str | None) -> SubscriberClient:
    """A client for reading.

    Raises:
        SourceError: There is no login on this machine.
    """
    host = _emulator(endpoint)
    if host is not None:
        return SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(host, _CHANNEL)))
    try:
        return SubscriberClient(client_options=ClientOptions(api_endpoint=endpoint))
    except GoogleAuthError as error:
        raise _no_login(SourceError, error) from error


def publisher_client(endpoint: str | None) -> PublisherClient:
    """A client for writing.

    Raises:
        SinkError: There is no login on this machine.
    """
    host = _emulator(endpoint)
    if host is not None:
        return PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(host, _CHANNEL)))
    try:
        return PublisherClient(client_options=ClientOptions(api_endpoint=endpoint))
    except GoogleAuthError as error:
        raise _no_login(SinkError, error) from error


def _emulator(endpoint: str | None) -> str | None:
    """The address to talk to without TLS and login, if it is one."""
    if endpoint is None:
        return os.environ.get(EMULATOR) or None
    return endpoint.removeprefix("http://") if endpoint.startswith("http://") else None


def _no_login(kind: type[Error], error: GoogleAuthError) -> Error:
    words = str(error).partition("To set up Application Default")[0].strip()
    hint = f"{_LOGIN}; for an emulator set {EMULATOR}=HOST:PORT"
    return kind(f"there is no login for Pub/Sub on this machine: {words}", hint)


class Subscription:
    """A connection to one subscription.

    Args:
        path: ``projects/…/subscriptions/…``.
        endpoint: Another address than Google's.

    Raises:
        SourceError: There is no login on this machine.
    """

    def __init__(self, path: str, endpoint: str | None) -> None:
        self.path = path
        self._client = subscriber_client(endpoint)
        self._closed = False

    def close(self) -> None:
        """Ends the connection and the calls that wait; a second time does nothing."""
        self._closed = True
        self._client.transport.close()  # type: ignore[no-untyped-call]

    def check(self) -> int | None:
        """Finds out that the subscription is there and may be pulled from; returns its ack deadline if it is told.

        Raises:
            PubSubAwayError: The service can't be asked now.
            SourceError: There is no such subscription, or it may not be read.
        """
        try:
            found = self._call(self._client.get_subscription, subscription=self.path)
        except exceptions.Forbidden:
            # A subscriber's role may pull without seeing what it pulls from.
            self._try_to_pull()
            return None
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise self._failure(error) from error
        if found.push_config.push_endpoint:
            hint = "make a subscription of the delivery type pull"
            raise SourceError(f"{self.path} pushes its messages to {found.push_config.push_endpoint}", hint)
        if found.detached:
            raise SourceError(f"{self.path} is detached from its topic", "make a new subscription of the topic")
        return int(found.ack_deadline_seconds) or None

    def _try_to_pull(self) -> None:
        try:
            answer = self._call(self._client.pull, TRY_SECONDS, subscription=self.path, max_messages=1)
        except exceptions.DeadlineExceeded:
            return
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise self._failure(error) from error
        self.extend([each.ack_id for each in answer.received_messages], 0)

    def pull(self, most: int) -> list[Any] | None:
        """Some messages as protocol buffers of ``ReceivedMessage``; None where no answer came for a while.

        Raises:
            PubSubAwayError: The service can't be reached.
            SourceError: As :meth:`check`.
        """
        try:
            answer = self._call(self._client.pull, PULL_SECONDS, subscription=self.path, max_messages=most)
        except exceptions.DeadlineExceeded:
            return None
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise self._failure(error) from error
        return list(PullResponse.pb(answer).received_messages)

    def answers(self) -> None:
        """Returns if the service answers, whatever it says.

        Raises:
            PubSubAwayError: It does not.
        """
        try:
            self._call(self._client.get_subscription, subscription=self.path)
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            failure = self._failure(error)
            if isinstance(failure, PubSubAwayError):
                raise failure from error

    def acknowledge(self, ack_ids: Sequence[str]) -> list[str]:
        """Says that messages need not be delivered again; returns those for which it should be said again.

        Raises:
            PubSubAwayError: Nothing is known; say all of it again.
            SourceError: As :meth:`check`.
        """
        return self._confirmed(ack_ids, self._client.acknowledge)

    def extend(self, ack_ids: Sequence[str], seconds: float) -> list[str]:
        """Leaves messages with this job for so long from now; 0 gives them back.

        Returns and raises as :meth:`acknowledge`.
        """
        return self._confirmed(ack_ids, self._client.modify_ack_deadline, ack_deadline_seconds=round(seconds))

    def _confirmed(self, ack_ids: Sequence[str], method: Callable[..., Any], **arguments: Any) -> list[str]:
        if not ack_ids:
            return []
        try:
            self._call(method, subscription=self.path, ack_ids=list(ack_ids), **arguments)
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            verdicts = getattr(error, "metadata", None)
            if verdicts and not verdicts.keys().isdisjoint(ack_ids):
                # Of a subscription with exactly-once delivery; what is gone for good is delivered again.
                return [each for each in ack_ids if verdicts.get(each, "").startswith("TRANSIENT")]
            raise self._failure(error) from error
        return []

    def _call(self, method: Callable[..., Answer], seconds: float = CONTROL_SECONDS, **arguments: Any) -> Answer:
        try:
            return method(request=arguments, timeout=seconds, retry=None)
        except ValueError as error:
            if not self._closed:
                raise
            raise PubSubAwayError(f"the connection to {self.path} is closed") from error

    def _failure(self, error: exceptions.GoogleAPICallError | GoogleAuthError) -> SourceError:
        return failure(error, self.path)


def failure(error: exceptions.GoogleAPICallError | GoogleAuthError, path: str) -> SourceError:
    """What went wrong in words; a PubSubAwayError where it may go well the next time."""
    words = str(getattr(error, "message", error)).strip().rstrip(".")
    kind = "subscription" if "/subscriptions/" in path else "topic"
    if (isinstance(error, RefreshError) and not error.retryable) or (_PLUGIN in words and "RefreshError" in words):
        return SourceError(f"the login for Pub/Sub is not accepted: {words}", _LOGIN)
    if _TOO_LARGE in words:
        return SourceError(f"a message is too large for {path}: {words}", "Pub/Sub takes messages of up to 10 MB")
    if isinstance(error, (GoogleAuthError, *_TRANSIENT)):
        return PubSubAwayError(f"Pub/Sub does not answer for {path}: {words}")
    if isinstance(error, exceptions.NotFound):
        return SourceError(
            f"Pub/Sub knows no {kind} {path}", f"correct its name or make it: gcloud pubsub {kind}s create {path}"
        )
    if isinstance(error, exceptions.Unauthorized):
        return SourceError(f"Pub/Sub does not know who asks for {path}: {words}", _LOGIN)
    if isinstance(error, exceptions.Forbidden):
        role = "roles/pubsub.subscriber" if kind == "subscription" else "roles/pubsub.publisher"
        return SourceError(
            f"this login may not use {path}, or there is no such {kind}: {words}", f"give it {role} for the {kind}"
        )
    return SourceError(f"Pub/Sub refuses {path}: {words}", f"see what kind of {kind} it is, and its project")
