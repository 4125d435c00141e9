"""What stages behind the readers have done for good: small files of the lake, each written by one stage alone."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.streams.notices import NEVER, OwedWindows
from telebeam.transforms.errors import SourceError


class WindowReceipt(msgspec.Struct, frozen=True):
    """Of one window length: each window with an end ≤ ``until`` holds all readings below ``offsets``."""

    until: int = NEVER
    offsets: dict[str, int] = {}
    """``stream/number`` → offset."""
    sequence: int = 0
    """The last one given to an :class:`OwedWindows`."""
    owed: tuple[OwedWindows, ...] = ()


class InfluxReceipt(msgspec.Struct, frozen=True):
    """What is in InfluxDB."""

    readings: dict[str, int] = {}
    """``stream/number`` → the ``end`` of the last :class:`.notices.Owed` that was delivered."""
    windows: dict[int, int] = {}
    """Window length in seconds → the sequence of the last :class:`OwedWindows` that was delivered."""


def windows_path(pipeline: str, seconds: int) -> str:
    """Where a window length's receipt stands."""
    return f"_commits/receipts/{pipeline}/windows-{seconds}.json"


def order_path(pipeline: str) -> str:
    """Where the receipt of what is made in order stands."""
    return f"_commits/receipts/{pipeline}/order.json"


def influxdb_path(pipeline: str) -> str:
    """Where InfluxDB's receipt stands."""
    return f"_commits/receipts/{pipeline}/influxdb.json"


Receipt = TypeVar("Receipt", WindowReceipt, InfluxReceipt)


def load(root: storage.Location, path: str, kind: type[Receipt]) -> Receipt:
    """A receipt; an empty one where none was written.

    Raises:
        SourceError: It is damaged.
    """
    content = storage.read(root, path)
    if content is None:
        return kind()
    try:
        return msgspec.json.decode(content.to_pybytes(), type=kind)
    except msgspec.MsgspecError as error:
        hint = "remove it: what it says is then done once more, which changes nothing"
        raise SourceError(f"{root.child(path)} is damaged: {error}", hint) from error


def save(root: storage.Location, path: str, receipt: WindowReceipt | InfluxReceipt) -> None:
    """Writes a receipt in one atomic step.

    Raises:
        SinkError: The lake does not take it.
    """
    storage.publish(root, path, pa.py_buffer(msgspec.json.encode(receipt)))
