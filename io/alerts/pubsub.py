"""Alerts to a Pub/Sub topic."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, NoReturn

import pyarrow as pa
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from telebeam.io.alerts.messages import Key, Kind, keys_of, payloads, texts
from telebeam.io.alerts.sender import Failed, Sent
from telebeam.io.pubsub.client import CONTROL_SECONDS, PubSubAwayError, failure, publisher_client
from telebeam.io.pubsub.sink import BYTES_A_REQUEST, CALL_SECONDS, LARGEST_MESSAGE, MESSAGES_A_REQUEST
from telebeam.io.pubsub.spec import PubSubSinkSpec
from telebeam.transforms.errors import SinkError, UnreachableError

AT_ONCE = 500
_TEXT_BYTES = 1024
"""What Pub/Sub takes for an attribute or an ordering key."""
_OVERHEAD = 4_096


class _Row(NamedTuple):
    key: Key
    ordering: str
    message: Any
    size: int


class PubSubSender:
    """Publishes one message a row: JSON, with id, state, rule and severity as attributes.

    The ordering key is the device, so that a subscription with ordering sees ``firing`` before ``resolved``; a row
    without a device has its id.  At least once: a request that is not answered may have been published.

    Args:
        spec: The topic.
        kind: What the rows are.
        pipeline: Its name, which is an attribute too.

    Raises:
        SinkError: There is no login on this machine.
    """

    def __init__(self, spec: PubSubSinkSpec, kind: Kind, pipeline: str) -> None:
        self.at_once = AT_ONCE
        self._spec, self._kind, self._pipeline = spec, kind, pipeline
        self._client = publisher_client(spec.endpoint)

    def __repr__(self) -> str:
        return f"PubSubSender({self._spec.topic})"

    def __getstate__(self) -> NoReturn:
        raise TypeError("a PubSubSender holds a login and a connection; send its spec and make one there")

    def close(self) -> None:
        """Ends the connection; a second time does nothing."""
        self._client.transport.close()  # type: ignore[no-untyped-call]

    def send(self, rows: pa.RecordBatch) -> Sent:
        """Publishes the rows, those of one ordering key together; stops at the first trouble."""
        delivered: list[Key] = []
        failed: list[Failed] = []
        for group in self._groups(rows, failed):
            sent = self._publish(group)
            delivered += sent.delivered
            failed += sent.failed
            if sent.trouble is not None:
                return Sent(tuple(delivered), tuple(failed), sent.trouble)
        return Sent(tuple(delivered), tuple(failed))

    def _groups(self, rows: pa.RecordBatch, failed: list[Failed]) -> list[list[_Row]]:
        """The messages of each request: Pub/Sub wants one ordering key in it."""
        groups: dict[str, list[list[_Row]]] = {}
        sizes: dict[str, int] = {}
        for row in self._messages(rows):
            if row.size > LARGEST_MESSAGE:
                failed.append(Failed(row.key, f"it has {row.size} bytes; Pub/Sub takes {LARGEST_MESSAGE}"))
                continue
            own = groups.setdefault(row.ordering, [[]])
            size = sizes.get(row.ordering, 0) + row.size
            if own[-1] and (len(own[-1]) == MESSAGES_A_REQUEST or size > BYTES_A_REQUEST):
                own.append([])
                size = row.size
            own[-1].append(row)
            sizes[row.ordering] = size
        return [group for own in groups.values() for group in own]

    def _messages(self, rows: pa.RecordBatch) -> list[_Row]:
        attributes = [(name, texts(rows, name)) for name in self._kind.attributes]
        found = []
        devices = texts(rows, "device_id")
        for place, (key, text) in enumerate(zip(keys_of(rows, self._kind), payloads(rows, self._kind), strict=True)):
            message = PubsubMessage.pb(PubsubMessage())
            message.data = text
            ordering = _fitting(devices[place] or key.id)
            message.ordering_key = ordering
            message.attributes["pipeline"] = self._pipeline
            for name, column in attributes:
                # Pub/Sub refuses a request of which one attribute is empty or too long.
                value = column[place] or ""
                if 0 < len(value.encode()) <= _TEXT_BYTES:
                    message.attributes[name] = value
            found.append(_Row(key, ordering, message, len(text) + _OVERHEAD))
        return found

    def _publish(self, group: Sequence[_Row]) -> Sent:
        request = PublishRequest.pb(PublishRequest())
        request.topic = self._spec.topic
        request.messages.extend([row.message for row in group])
        try:
            # One try: who calls us knows when the next one is due.
            self._client.publish(request=PublishRequest.wrap(request), retry=None, timeout=CALL_SECONDS)
        except exceptions.InvalidArgument as error:
            return self._parted(group, error)
        except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
            return Sent(trouble=_trouble(error, self._spec.topic))
        except ValueError as error:
            return Sent(trouble=UnreachableError(f"the connection to {self._spec.topic} is closed: {error}"))
        return Sent(delivered=tuple(row.key for row in group))

    def _parted(self, group: Sequence[_Row], error: Exception) -> Sent:
        """One request a message, so that one that is refused condemns no others."""
        if len(group) == 1:
            words = str(getattr(error, "message", error))
            return Sent(failed=(Failed(group[0].key, f"Pub/Sub refuses it: {words}"),))
        sent = []
        for row in group:
            sent.append(self._publish([row]))
            if sent[-1].trouble is not None:
                break
        return Sent(
            tuple(key for each in sent for key in each.delivered),
            tuple(failed for each in sent for failed in each.failed),
            sent[-1].trouble,
        )


def probe(spec: PubSubSinkSpec) -> str:
    """Reaches Pub/Sub and finds the topic; says what was found.

    A login that may publish but not look passes.

    Raises:
        SinkError: There is no login, no answer or no such topic.
    """
    client = publisher_client(spec.endpoint)
    try:
        client.get_topic(topic=spec.topic, retry=None, timeout=CONTROL_SECONDS)
    except exceptions.Forbidden:
        return f"topic {spec.topic}, which this login may not look at"
    except (exceptions.GoogleAPICallError, GoogleAuthError) as error:
        raise _trouble(error, spec.topic) from error
    finally:
        client.transport.close()  # type: ignore[no-untyped-call]
    return f"topic {spec.topic}"


def _trouble(error: exceptions.GoogleAPICallError | GoogleAuthError, topic: str) -> SinkError:
    found = failure(error, topic)
    kind = UnreachableError if isinstance(found, PubSubAwayError) else SinkError
    return kind(found.message, found.hint)


def _fitting(text: str) -> str:
    if len(text.encode()) <= _TEXT_BYTES:
        return text
    return blake2b(text.encode(), digest_size=16).hexdigest()
