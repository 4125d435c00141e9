"""What is known of devices at one moment: a registry's snapshot, and how each type's payloads are read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from telebeam.transforms.devices.decoded import Decoded, Payloads
from telebeam.transforms.devices.registry import Registry
from telebeam.transforms.devices.spec import DevicesSpec
from telebeam.transforms.devices.validation import Validated

Decode = Callable[[Payloads], Decoded]
"""A codec: what it makes of each message."""
Validate = Callable[[pa.LargeBinaryArray], Validated]
"""A JSON Schema: which JSON texts it allows."""


@dataclass(frozen=True)
class Fleet:
    """A snapshot; the same one gives the same rows.

    Args:
        spec: The types, and what becomes of unknown devices.
        registry: The devices.
        codecs: Device type → its codec, for those that have one.
        schemas: Device type → its JSON Schema, for those that have one.
    """

    spec: DevicesSpec
    registry: Registry
    codecs: Mapping[str, Decode] = field(default_factory=dict)
    schemas: Mapping[str, Validate] = field(default_factory=dict)

    @cached_property
    def formats(self) -> Mapping[str, str]:
        """Device type → the format of its payloads, ``codec`` for those that its codec reads; without the others."""
        formats: dict[str, str] = dict.fromkeys(self.codecs, "codec")
        for name, kind in self.spec.types.items():
            if kind.format is not None:
                formats.setdefault(name, kind.format)
        return formats


FleetOf = Callable[[], Fleet]
"""Gives the snapshot to use, on the worker, once for each batch."""
