"""The files that device types name: JSON Schemas and codecs."""

from __future__ import annotations

import msgspec

from telebeam.io.devices.codecs import Codec
from telebeam.io.storage import Location, locate, read, shown
from telebeam.transforms.devices.validation import Validator
from telebeam.transforms.errors import ConfigurationError, TelebeamError

MAX_BYTES = 4 * 2**20
"""A published codec has some kilobytes; a longer file is something else."""


def load_schema(path: str) -> Validator:
    """The JSON Schema that a file holds, compiled.

    Raises:
        ConfigurationError: It can't be read, is no JSON or no schema.
    """
    data = _read(path, "a JSON Schema")
    try:
        return Validator(msgspec.json.decode(data))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{shown(path)}: {error}", "devices.types.….schema names it") from error


def load_codec(path: str) -> Codec:
    """The codec that a file holds; whether it is one is seen when it is loaded by :class:`~.codecs.Codecs`.

    Raises:
        ConfigurationError: It can't be read or is no text.
    """
    data = _read(path, "a codec")
    try:
        return Codec(data.decode("utf-8-sig"), shown(path))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{shown(path)}: byte 0x{data[error.start]:02x} is not UTF-8") from error


def _read(path: str, what: str) -> bytes:
    try:
        found = locate(path)
        folder, _, name = found.path.rpartition("/")
        content = read(Location(found.filesystem, folder), name)
    except TelebeamError as error:
        raise ConfigurationError(error.message, error.hint) from error
    if content is None:
        raise ConfigurationError(f"{shown(path)}: there is no such file; expected {what}")
    if content.size > MAX_BYTES:
        raise ConfigurationError(f"{shown(path)}: larger than {MAX_BYTES // 2**20} MiB; expected {what}")
    data: bytes = content.to_pybytes()
    return data
