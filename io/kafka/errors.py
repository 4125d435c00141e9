"""What the Kafka client reports, in words: what ends a job, and what is waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from telebeam.transforms.errors import JobError, SourceError

COMPLAINT_SECONDS = 10.0
"""At most so often does a wait say that it goes on."""

_LOGIN = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.UNSUPPORTED_SASL_MECHANISM}
_RIGHTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
UNKNOWN = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.UNKNOWN_TOPIC_ID,
}
"""There is no such topic or partition, or not at this moment."""
OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}
"""The log does not reach from its begin to its end over the offset that was asked for."""
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_DAMAGED = {KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG}
_DEFECTS = {KafkaError._FATAL, KafkaError._INVALID_ARG, KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}
_AWAY = ("transport failure", "Disconnected", "Timed out", "timed out", "Connection refused")
_REFUSED_TLS = ("verify", "certificate", "wrong version", "alert", "unknown ca")


def refusal(error: KafkaError, where: str, kind: type[JobError] = SourceError) -> JobError | None:
    """The error that a job ends with, or None where waiting may help.

    Args:
        error: What the client says.
        where: What it was said of, as in ``Kafka at host:9092``.
        kind: What is raised.
    """
    code, text = error.code(), error.str()
    if code in _LOGIN and not any(word in text for word in _AWAY):
        # A broker that goes down in the middle of a login reports that as a failed login, too.
        hint = "check sasl.mechanism, sasl.username and the secret of sasl.password in config"
        return kind(f"{where} refuses the login: {text}", hint)
    if code == KafkaError._SSL and any(word in text for word in _REFUSED_TLS):
        return kind(f"{where}: the encrypted connection is refused: {text}", "check the ssl.* settings in config")
    if code in _RIGHTS:
        return kind(f"{where}: {text}", "the login needs the rights to describe and read, or write, this topic")
    if code in UNKNOWN or code == KafkaError.TOPIC_EXCEPTION:
        return kind(f"{where}: there is no such topic: {text}", "create it, or check the spelling")
    if code in _TOO_LARGE:
        return kind(f"{where}: a message is too large: {text}", "raise message.max.bytes, receive.message.max.bytes")
    if code in _DAMAGED:
        return kind(f"{where}: a message is damaged: {text}", "look at the broker's disk and log")
    if code in _DEFECTS or error.fatal():
        return kind(f"{where}: {text}")
    return None


class Complaints:
    """Says what is waited for, at most once in :data:`COMPLAINT_SECONDS`.

    Args:
        log: Where it is said.
        clock: Seconds that only grow.
    """

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._next = 0.0

    def say(self, text: str) -> None:
        """Says it, unless something was said a moment ago."""
        now = self._clock()
        if now >= self._next:
            self._next = now + COMPLAINT_SECONDS
            self._log.warning("%s", text)


class ErrorListener:
    """Takes what a client reports beside its answers: the last trouble, and the one that ends all.

    Args:
        where: Named in errors, as in ``Kafka at host:9092``.
        kind: What is raised.
    """

    def __init__(self, where: str, kind: type[JobError] = SourceError) -> None:
        self._where, self._kind = where, kind
        self._refused: JobError | None = None
        self.trouble = ""
        """What was wrong the last time."""
        self.count = 0
        """How much was reported; grows."""

    def __call__(self, error: KafkaError) -> None:
        """The client's callback."""
        self.count += 1
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self.trouble:
            self.trouble = error.str()
        # A topic that is unknown for a moment is the reader's business, which knows whether it was there before.
        if error.code() not in UNKNOWN:
            self._refused = self._refused or refusal(error, self._where, self._kind)

    def check(self) -> None:
        """Raises what can't be waited for.

        Raises:
            JobError: Of the kind that was asked for.
        """
        if self._refused is not None:
            raise self._refused
