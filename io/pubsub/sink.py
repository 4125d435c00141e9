"""Publishing rows, one message each."""

from __future__ import annotations

from google.api_core import exceptions, retry
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.types import PublishRequest, PubsubMessage
from pyarrow import RecordBatch

from telebeam.io.json_rows import json_rows
from telebeam.io.pubsub.client import PubSubAwayError, failure, publisher_client
from telebeam.io.pubsub.spec import PubSubSinkSpec
from telebeam.transforms.errors import SinkError
from telebeam.transforms.schema import TEXT, cast

MESSAGES_A_REQUEST = 1000
BYTES_A_REQUEST = 3_000_000
"""Pub/Sub takes 1,000 messages and 10 MB a request, emulators 4 MB."""
LARGEST_MESSAGE = 10_000_000
CALL_SECONDS = 20.0
RETRY_SECONDS = 60.0
_ATTRIBUTE_BYTES = 1024
_MESSAGE_OVERHEAD = 32


class RowPublisher:
    """Publishes each row as one JSON object with the attribute ``device_id``, where it has one.

    Args:
        spec: The topic.
        retry_seconds: How long a request is tried again while Pub/Sub is away.

    Raises:
        SinkError: There is no login on this machine.
    """

    def __init__(self, spec: PubSubSinkSpec, retry_seconds: float = RETRY_SECONDS) -> None:
        self._spec = spec
        self._client = publisher_client(spec.endpoint)
        self._retry = retry.Retry(_may_go_well, initial=0.25, maximum=10.0, timeout=retry_seconds)
        self.discard()

    def discard(self) -> None:
        """Forgets what waits."""
        self._waiting: list[PubsubMessage] = []
        self._size = 0

    def add(self, batch: RecordBatch) -> None:
        """Takes the rows of a batch, and publishes what is enough for a request.

        Raises:
            SinkError: Pub/Sub does not take them.
        """
        devices = [None] * batch.num_rows
        if "device_id" in batch.schema.names:
            devices = cast(batch.column("device_id"), TEXT).to_pylist()
        for text, device in zip(json_rows(batch), devices, strict=True):
            # Pub/Sub refuses a request of which one attribute is empty or too long.
            fits = device and len(device.encode()) <= _ATTRIBUTE_BYTES
            size = len(text) + (len(device.encode()) if fits else 0) + _MESSAGE_OVERHEAD
            if size > LARGEST_MESSAGE:
                raise SinkError(
                    f"a row has {len(text)} bytes as JSON; Pub/Sub takes {LARGEST_MESSAGE}", "filter such rows out"
                )
            if len(self._waiting) == MESSAGES_A_REQUEST or (self._waiting and self._size + size > BYTES_A_REQUEST):
                self.flush()
            message = PubsubMessage.pb(PubsubMessage())
            message.data = text
            if fits:
                message.attributes["device_id"] = device
            self._waiting.append(message)
            self._size += size

    def flush(self) -> None:
        """Publishes all that waits; when it returns, Pub/Sub has it.

        Raises:
            SinkError: Pub/Sub does not take it; some of it may have been published.
        """
        waiting = self._waiting
        self.discard()
        if not waiting:
            return
        request = PublishRequest.pb(PublishRequest())
        request.topic = self._spec.topic
        request.messages.extend(waiting)
        try:
            self._client.publish(request=PublishRequest.wrap(request), retry=self._retry, timeout=CALL_SECONDS)
        except exceptions.RetryError as error:
            raise self._failure(error.cause) from error
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SinkError:
        if not isinstance(error, (exceptions.GoogleAPICallError, GoogleAuthError)):
            return SinkError(f"Pub/Sub refuses {self._spec.topic}: {error}")
        found = failure(error, self._spec.topic)
        hint = "publishing again is safe where readers leave out repeats" if _away(found) else found.hint
        return SinkError(found.message, hint)

    def close(self) -> None:
        """Ends the connection; a second time does nothing."""
        self._client.transport.close()  # type: ignore[no-untyped-call]


def _away(error: Exception) -> bool:
    return isinstance(error, PubSubAwayError)


def _may_go_well(error: BaseException) -> bool:
    return isinstance(error, (exceptions.GoogleAPICallError, GoogleAuthError)) and _away(failure(error, ""))
