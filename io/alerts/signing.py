"""Signatures of webhooks: how telebeam makes them, and how a receiver checks them."""

from __future__ import annotations

import hashlib
import hmac

SIGNATURE = "X-Telebeam-Signature"
"""The header of the signature."""
SENT_AT = "X-Telebeam-Timestamp"
"""The header of the time of the call, seconds since 1970."""
TOLERANCE_SECONDS = 300.0
"""How far a receiver lets the time of a call be off."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA256 of ``timestamp.body`` in hexadecimal digits.

    >>> signature("key", "1767225600", b"{}")
    'sha256=df344de429b8ee672e1863e0008fdbd0080000536fbccdf0e4f89846acbbe872'

    Args:
        secret: What sender and receiver share.
        timestamp: The header ``X-Telebeam-Timestamp`` as it stands.
        body: The request's body, byte for byte.
    """
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def is_signed(
    secret: str, timestamp: str, body: bytes, given: str, now: float, tolerance: float = TOLERANCE_SECONDS
) -> bool:
    """Whether a call comes from who knows the secret, and is not an old one sent again.

    Args:
        secret: What sender and receiver share.
        timestamp: The header ``X-Telebeam-Timestamp``.
        body: The request's body, byte for byte.
        given: The header ``X-Telebeam-Signature``.
        now: Seconds since 1970.
        tolerance: How many seconds the time of the call may be off.
    """
    known = hmac.compare_digest(signature(secret, timestamp, body).encode(), given.encode())
    return known and timestamp.isdecimal() and abs(now - int(timestamp)) <= tolerance
