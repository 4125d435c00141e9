"""Writing lines to InfluxDB 2 through its own client: retries, and bisection of what it refuses."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np
from influxdb_client import InfluxDBClient, WriteService
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError

from telebeam.io.influxdb.lines import PRECISION, Lines
from telebeam.io.influxdb.retry import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, BoundedRetry
from telebeam.io.influxdb.spec import InfluxSpec
from telebeam.io.secrets import resolve_secret
from telebeam.transforms.errors import SinkError, UnreachableError

GZIP_LEVEL = 1
"""The client's own gzip is level 9, measured at five times the time for a fifth fewer bytes of line protocol."""

_SPLIT = (400, 413, 422)  # a line is malformed, the body is too large, some points were dropped
_DROPPED = re.compile(r"dropped=(\d+)$|partial write: dropped (\d+) points")
_HINTS = {
    401: "the token is not valid there: look at what {token} names",
    403: "the token may not write to the bucket {bucket!r}: give it write permission, or name another in {token}",
    404: "make the bucket {bucket!r} in the organisation {org!r}, or correct sinks.influxdb.org and .bucket",
}


@dataclass(frozen=True)
class Refused:
    """A line that the server does not take.

    Args:
        index: Its place in the lines that were to be written.
        words: What the server says about it.
    """

    index: int
    words: str


class InfluxWriter:
    """A live connection that writes lines to one bucket; it holds the token, so it can be neither printed nor pickled.

    Args:
        spec: Where to write; its secret is resolved here.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds between tries.

    Raises:
        ConfigurationError: The token's reference names nothing.
    """

    def __init__(
        self,
        spec: InfluxSpec,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._sleep = sleep
        milliseconds = max(1, round(spec.timeout.total_seconds() * 1000))
        token = resolve_secret(spec.token)
        self._client = InfluxDBClient(url=spec.url, token=token, org=spec.org, timeout=milliseconds)
        self._service = WriteService(self._client.api_client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"InfluxWriter({self._spec.url}, org={self._spec.org!r}, bucket={self._spec.bucket!r})"

    def __getstate__(self) -> NoReturn:
        raise TypeError("an InfluxWriter holds a token and a connection; send its InfluxSpec and make one there")

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._client.close()

    def write(self, lines: Lines) -> list[Refused]:
        """Write the lines, ``spec.batch_points`` a request; returns those that the server refuses, by their index.

        When it returns, every other line is stored.  Writing a line twice is writing it once, so all of them may be
        written again after an error.

        Raises:
            SinkError: The server can't be reached or answers 429 or 5xx until ``max_retries`` or ``max_retry_time`` is
                used up, or it does not know the token, the bucket or the organisation.
        """
        refused: list[Refused] = []
        for start in range(0, len(lines), self._spec.batch_points):
            batch = lines.slice(start, start + self._spec.batch_points)
            refused += [Refused(start + place, words) for place, words in sorted(self._write_batch(batch))]
        return refused

    def check(self) -> None:
        """Try address, token, organisation, bucket and the right to write, by a request without any point.

        Raises:
            SinkError: One of them is wrong.
        """
        self._post(b"")

    def _write_batch(self, batch: Lines) -> Iterator[tuple[int, str]]:
        answer = self._post(batch.body())
        if answer is None:
            return
        # Old points beyond the retention and shards that hold a field as another type are runs of time: in the order of
        # time few halves hold both good and bad lines.
        order = np.argsort(batch.times, kind="stable")
        for places, words in self._bisect(batch, order, answer):
            yield from ((int(place), words) for place in places)

    def _bisect(self, batch: Lines, places: Any, answer: ApiException) -> Iterator[tuple[Any, str]]:
        """The refused ones of these lines, which the server has just answered so; the others get written."""
        words = _words(answer)
        if len(places) == 1 or (answer.status == 422 and _dropped(words) == len(places)):
            yield places, words
            return
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            again = self._post(batch.take(half).body())
            if again is not None:
                yield from self._bisect(batch, half, again)

    def _post(self, body: bytes) -> ApiException | None:
        """Send one request; returns the answer if it is about the lines themselves."""
        begun = self._clock()
        pauses: list[float] = []
        try:
            self._service.post_write(
                org=self._spec.org,
                bucket=self._spec.bucket,
                body=_gzip(body),
                precision=PRECISION,
                content_encoding="gzip",
                content_type="text/plain; charset=utf-8",
                # The client's own default follows redirects once it retries: a token would go where nobody sent it.
                urlopen_kw={"retries": self._retry(begun, pauses.append), "redirect": False},
            )
        except ApiException as error:
            if error.status in _SPLIT and body:
                return error
            raise self._refusal(error, len(pauses) + 1, begun) from error
        except HTTPError as error:
            cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            raise self._failure(str(cause), len(pauses) + 1, begun) from error
        return None

    def _retry(self, begun: float, count: Callable[[float], None]) -> BoundedRetry:
        def pause(seconds: float) -> None:
            count(seconds)
            self._sleep(seconds)

        # One for each request: the client's strategy runs out for good a while after it was made.
        seconds = self._spec.max_retry_time.total_seconds()
        return BoundedRetry(
            deadline=begun + seconds,
            clock=self._clock,
            sleep=pause,
            total=self._spec.max_retries,
            retry_interval=FIRST_PAUSE_SECONDS,
            max_retry_delay=LONGEST_PAUSE_SECONDS,
            max_retry_time=seconds,
            allowed_methods=["POST"],
        )

    def _refusal(self, error: ApiException, tries: int, begun: float) -> SinkError:
        status = error.status or 0
        if status == 429 or status >= 500:
            return self._failure(f"it answers {status}: {_words(error)}", tries, begun)
        hint = _HINTS.get(status, "").format(**self._spec.model_dump(include={"token", "org", "bucket"}))
        if 300 <= status < 400:
            hint = f"redirects are not followed; set sinks.influxdb.url to {(error.headers or {}).get('Location')}"
        return SinkError(f"InfluxDB at {self._spec.url} answers {status}: {_words(error)}", hint)

    def _failure(self, cause: str, tries: int, begun: float) -> UnreachableError:
        times = "once" if tries == 1 else f"{tries} times"
        took = self._clock() - begun
        return UnreachableError(
            f"InfluxDB at {self._spec.url} can't be written to: {cause}; tried {times} in {took:.1f} s",
            hint="see that it runs and is reachable from here, then run the job again: writing twice changes nothing",
        )


def probe(spec: InfluxSpec) -> None:
    """Try the address, the token, the bucket and the right to write, without writing or retrying.

    Raises:
        ConfigurationError: The token's reference names nothing.
        SinkError: The server can't be reached, or refuses the token, the organisation or the bucket.
    """
    with InfluxWriter(spec.model_copy(update={"max_retries": 0})) as writer:
        writer.check()


def _gzip(body: bytes) -> bytes:
    squeezer = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    return squeezer.compress(body) + squeezer.flush()


def _words(error: ApiException) -> str:
    """The server's own words, without its JSON."""
    text = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or error.reason)
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()


def _dropped(words: str) -> int:
    """How many points a partial write says that it left out; 0 if it does not say."""
    found = _DROPPED.search(words)
    return int(found[1] or found[2]) if found else 0
