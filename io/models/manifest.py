"""What is written beside a model's arrays: where it comes from, when it is valid, and checksums."""

from __future__ import annotations

import hashlib

import msgspec

FORMAT = 1
"""Of manifest and arrays; others are refused."""


class Moments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A feature in the training sample."""

    mean: float
    std: float


class Forest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A forest, what it was grown from, and how it did on what came later."""

    tenant: str
    sensor_type: str
    device_id: str | None
    """None for the sensor type's."""
    readings: int
    """It was grown from a sample of so many."""
    features: dict[str, Moments]
    held_out: int
    """Readings of the held-out part."""
    alert_rate: float | None
    """The share of these above the threshold."""
    quantiles: dict[str, float]
    """Quantile → score of these."""
    device_type: str | None = None
    """None for the sensor type's; left out of the text there, as it was before there were others."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One version of a model; times are RFC 3339 in UTC."""

    format: int
    name: str
    version: str
    valid_from: str
    created_at: str
    start: str
    """The first instant of the training part."""
    held_out_from: str
    """Its end, where the held-out part begins."""
    end: str
    per: str
    threshold: float
    """What ``alert_rate`` was measured by."""
    features_version: int
    features: tuple[str, ...]
    forests: tuple[Forest, ...]
    sha256: str
    """Of the arrays' file."""
    bytes: int
    """Of the arrays' file."""
    fingerprint: str = ""
    """SHA-256 of the manifest with this field empty."""


def sealed(manifest: Manifest) -> Manifest:
    """The manifest with its fingerprint."""
    return msgspec.structs.replace(manifest, fingerprint=_checksum(manifest))


def encode(manifest: Manifest) -> bytes:
    """JSON text for people and programs."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes) -> Manifest:
    """What :func:`encode` wrote.

    Raises:
        ValueError: It is no manifest of this format, or was changed.
    """
    try:
        head = msgspec.json.decode(text)
        if isinstance(head, dict) and head.get("format", FORMAT) != FORMAT:
            raise ValueError(f"format {head['format']!r}; expected {FORMAT}")
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if manifest.fingerprint != _checksum(manifest):
        raise ValueError("its fingerprint does not fit: it was changed after it was written")
    return manifest


def _checksum(manifest: Manifest) -> str:
    bare = msgspec.structs.replace(manifest, fingerprint="")
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()
