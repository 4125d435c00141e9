"""Alerts to an HTTP address."""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, NoReturn

import pyarrow as pa
import urllib3
from urllib3.exceptions import HTTPError

from telebeam.io.alerts.messages import Key, Kind, keys_of, payloads, runs
from telebeam.io.alerts.sender import Failed, Sent
from telebeam.io.alerts.signing import SENT_AT, SIGNATURE, signature
from telebeam.io.alerts.spec import WebhookSpec, check_header_value, check_url, place_of
from telebeam.io.kafka.spec import REFERENCE
from telebeam.io.patience import Patience
from telebeam.io.secrets import resolve_secret
from telebeam.transforms.errors import ConfigurationError, SinkError, TelebeamError, UnreachableError

TRIES = 4
"""Of one call, before it is left for later."""
TRYING_SECONDS = 20.0
"""No try of a call begins later than this after its first one."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0
ANSWER_BYTES = 16_384
"""So much of an answer is read; the rest is not waited for."""
_WORDS = 200
_SHORTEST_HIDDEN = 4
_AGAIN = frozenset({408, 425, 429})
_PARTS = frozenset({400, 413, 422})
"""Answers that may be about one alert among several."""


class _Answer(NamedTuple):
    status: int
    words: str
    location: str
    pause_seconds: float


class WebhookSender:
    """Calls one address, one call after the other.

    A call is a POST with ``{"alerts": [...]}``.  2xx means delivered; 408, 425, 429, 5xx, no answer and a broken one
    are tried again; any other 4xx is final.  A redirect is not followed: it is trouble until the address is corrected.

    Args:
        spec: The address; its secrets are resolved here.
        kind: What the rows are.
        clock: Monotonic seconds.
        now: Seconds since 1970: signed, so that a receiver can tell an old call.
        sleep: Waits for so many seconds between tries; true where waiting is to end.
        jitter: Draws from [0, 1), for the pauses.

    Raises:
        ConfigurationError: A reference names nothing, or something that can't be sent.
    """

    def __init__(
        self,
        spec: WebhookSpec,
        kind: Kind,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], bool | None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.at_once = spec.batch
        self._spec, self._kind = spec, kind
        self._clock, self._now, self._sleep, self._jitter = clock, now, sleep, jitter
        self._url = resolved_url(spec)
        self._secret = resolve_secret(spec.secret) if spec.secret is not None else None
        own = resolved_headers(spec)
        self._headers = {"User-Agent": "telebeam", **own, "Content-Type": "application/json"}
        secrets = [text for name, text in own.items() if REFERENCE.match(spec.headers[name])]
        hidden = [self._url, self._url.removeprefix(place_of(self._url)), self._secret or "", *secrets]
        self._hide = [text for text in hidden if len(text) >= _SHORTEST_HIDDEN]
        self._pool = urllib3.PoolManager(
            num_pools=1,
            maxsize=1,
            timeout=urllib3.Timeout(total=spec.timeout.total_seconds()),
            cert_reqs="CERT_REQUIRED",
            ca_certs=spec.ca_file,
        )

    def __repr__(self) -> str:
        return f"WebhookSender({self._spec.place})"

    def __getstate__(self) -> NoReturn:
        raise TypeError("a WebhookSender holds secrets and a connection; send its WebhookSpec and make one there")

    def close(self) -> None:
        """Ends the connection; a second time does nothing."""
        self._pool.clear()

    def send(self, rows: pa.RecordBatch) -> Sent:
        """Calls once for each run of rows of one rule, instant and state; stops at the first trouble."""
        keys, texts = keys_of(rows, self._kind), payloads(rows)
        same = tuple(name for name in ("rule", "timestamp", "state") if name in rows.schema.names)
        delivered: list[Key] = []
        failed: list[Failed] = []
        for start, end in runs(rows, same, self._spec.batch):
            sent = self._deliver(keys[start:end], texts[start:end])
            delivered += sent.delivered
            failed += sent.failed
            if sent.trouble is not None:
                return Sent(tuple(delivered), tuple(failed), sent.trouble, sent.pause_seconds)
        return Sent(tuple(delivered), tuple(failed))

    def _deliver(self, keys: Sequence[Key], texts: Sequence[bytes]) -> Sent:
        """One call, and where it is refused for what is in it, one for each alert, so that one condemns no others."""
        answer = self._call(keys, texts)
        if isinstance(answer, Sent):
            return answer
        if answer.status in _PARTS and len(keys) > 1:
            return self._one_by_one(keys, texts)
        reason = f"{self._spec.place} answers {answer.status}: {answer.words}"
        return Sent(failed=tuple(Failed(key, reason) for key in keys))

    def _one_by_one(self, keys: Sequence[Key], texts: Sequence[bytes]) -> Sent:
        sent = [Sent()]
        for key, text in zip(keys, texts, strict=True):
            sent.append(self._deliver([key], [text]))
            if sent[-1].trouble is not None:
                break
        return Sent(
            tuple(key for each in sent for key in each.delivered),
            tuple(failed for each in sent for failed in each.failed),
            sent[-1].trouble,
            sent[-1].pause_seconds,
        )

    def _call(self, keys: Sequence[Key], texts: Sequence[bytes]) -> Sent | _Answer:
        """Calls until there is an answer; what is no success and no trouble is final."""
        body = b'{"%b":[%b]}' % (self._kind.name.encode(), b",".join(texts))
        patience = Patience(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, clock=self._clock, jitter=self._jitter)
        begun, tries = self._clock(), 0
        while True:
            tries += 1
            asked = 0.0
            try:
                answer = self._post(body, idempotency_key(keys))
            except HTTPError as error:
                words = _shortened(self._hidden(str(error)))
            else:
                if 200 <= answer.status < 300:
                    return Sent(delivered=tuple(keys))
                if 300 <= answer.status < 400:
                    return Sent(trouble=self._redirected(answer))
                if answer.status not in _AGAIN and answer.status < 500:
                    return answer
                words, asked = f"it answers {answer.status}: {answer.words}", answer.pause_seconds
            pause = patience.failed(asked)
            late = self._clock() + pause - begun > TRYING_SECONDS
            if tries == TRIES or late or self._sleep(pause):
                return Sent(trouble=self._away(words, tries, self._clock() - begun), pause_seconds=asked)

    def _post(self, body: bytes, key: str) -> _Answer:
        headers = {**self._headers, "Idempotency-Key": key, SENT_AT: str(int(self._now()))}
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, headers[SENT_AT], body)
        # urllib3 itself retries nothing and follows nothing: a signed call would go where nobody sent it.
        answer = self._pool.request(
            "POST", self._url, body=body, headers=headers,
            retries=False, redirect=False, preload_content=False, decode_content=False,
        )  # fmt: skip
        words = self._read(answer)
        asked = answer.headers.get("Retry-After")
        location = answer.headers.get("Location", "")
        return _Answer(answer.status, _shortened(words or str(answer.reason or "")), location, self._asked(asked))

    def _read(self, answer: Any) -> str:
        """The begin of an answer's text; a connection with more to come than anybody wants is closed."""
        deadline, read = self._clock() + self._spec.timeout.total_seconds(), bytearray()
        ended = False
        try:
            while len(read) < ANSWER_BYTES and self._clock() < deadline:
                # One read of the socket at a time: a server that drips byte by byte is not waited for.
                piece = answer.read1(ANSWER_BYTES - len(read))
                read += piece
                if not piece:
                    ended = True
                    break
        except HTTPError:
            # The status has come, and it is what counts.
            ended = False
        if ended:
            answer.release_conn()
        else:
            answer.close()
        return self._hidden(read.decode("utf-8", "replace"))

    def _hidden(self, words: str) -> str:
        """What is said without the address's path and the secrets, which servers and clients like to repeat."""
        for text in self._hide:
            words = words.replace(text, "…")
        return words

    def _asked(self, text: str | None) -> float:
        if not text:
            return 0.0
        if text.strip().isdecimal():
            return float(text.strip()[:9])
        found = email.utils.parsedate_tz(text)
        return max(0.0, email.utils.mktime_tz(found) - self._now()) if found else 0.0

    def _redirected(self, answer: _Answer) -> TelebeamError:
        to = place_of(answer.location) if "://" in answer.location else "another path"
        return SinkError(
            f"{self._spec.place} answers {answer.status}: it redirects to {_shortened(to)}",
            "redirects are not followed; set the webhook's url to the address that answers",
        )

    def _away(self, words: str, tries: int, seconds: float) -> TelebeamError:
        times = "once" if tries == 1 else f"{tries} times"
        return UnreachableError(
            f"{self._spec.place} does not take {self._kind.name}: {words}; tried {times} in {seconds:.1f} s",
            "see that it runs and is reachable from here; what it misses is sent when it is back",
        )


def idempotency_key(keys: Sequence[Key]) -> str:
    """One value for the same alerts however often they are sent.

    >>> idempotency_key([Key("a1b2", "firing", 0)])
    'a1b2-firing'

    Several, and ids that a header can't carry, are hashed.
    """
    names = [f"{key.id}-{key.state}" if key.state else key.id for key in keys]
    if len(names) == 1 and re.fullmatch(r"[\x21-\x7e]{1,200}", names[0]):
        return names[0]
    return blake2b("\0".join(sorted(names)).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def resolved_url(spec: WebhookSpec) -> str:
    """The address, of a reference what it names.

    Raises:
        ConfigurationError: It names nothing, or no address that may be called.
    """
    if not REFERENCE.match(spec.url):
        return spec.url
    url = resolve_secret(spec.url)
    try:
        check_url(url, allow_http=spec.allow_http)
    except ValueError as error:
        raise ConfigurationError(f"what {spec.url} names can't be called: {error.args[0]}") from error
    return url


def resolved_headers(spec: WebhookSpec) -> dict[str, str]:
    """The headers with their secrets in place of the references.

    Raises:
        ConfigurationError: A reference names nothing, or what no header can carry.
    """
    found = {name: resolve_secret(text) if REFERENCE.match(text) else text for name, text in spec.headers.items()}
    for name, text in found.items():
        try:
            check_header_value(name, text)
        except ValueError as error:
            raise ConfigurationError(f"{error.args[0]}: see what {spec.headers[name]} names") from error
    return found


def _shortened(words: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= _WORDS else f"{line[:_WORDS]}…"
