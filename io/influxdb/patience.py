"""What a failure of InfluxDB's says: how long to leave it alone, and what to tell."""

from __future__ import annotations

from influxdb_client.rest import ApiException
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from telebeam.transforms.errors import TelebeamError


def asked_seconds(error: TelebeamError) -> float:
    """What the server's ``Retry-After`` asks for; 0 where it asks for nothing that can be read."""
    cause = error.__cause__
    if not isinstance(cause, ApiException):
        return 0.0
    asked = (cause.headers or {}).get("Retry-After")
    try:
        return float(Retry().parse_retry_after(asked)) if asked else 0.0
    except InvalidHeader:
        return 0.0


def cause_of(error: TelebeamError) -> str:
    """What to say in the log: with the hint where a setting is wrong, without the advice to run a job again."""
    cause = error.__cause__
    refused = isinstance(cause, ApiException) and 300 <= (cause.status or 0) < 429
    return f"{error.message}; {error.hint}" if error.hint and (refused or error.exit_code == 2) else error.message
