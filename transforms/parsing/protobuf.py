"""Protobuf messages by descriptors, as a registry or a file holds them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.extras import needing
from telebeam.transforms.parsing.columns import NO_INSTANT, Instant
from telebeam.transforms.parsing.records import RefusedRecord
from telebeam.transforms.parsing.timestamps import FIRST, LAST
from telebeam.transforms.parsing.wire import Schema

_MOMENT = "google.protobuf.Timestamp"
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_KNOWN = ("timestamp", "duration", "wrappers", "struct", "any", "empty", "field_mask")
_MOST_INDEXES = 32

Decode = Callable[[bytes], Any]


@lru_cache(maxsize=1024)
def protobuf_decoder(schema: Schema, indexes: tuple[int, ...]) -> Decode:
    """What reads messages of a schema: bytes → object; it raises RefusedRecord ``malformed``.

    Args:
        schema: Its text and its references are ``FileDescriptorProto`` in base64.
        indexes: Which message of the file, and which within that.

    Raises:
        RefusedRecord: ``schema``.
    """
    with needing("formats", "Protobuf"):
        from google.protobuf import descriptor_pb2
        from google.protobuf.message import DecodeError
    try:
        files = []
        for name, text in (*schema.references, ("", schema.text)):
            file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
            file.name = name or file.name or "message.proto"
            files.append(file)
        pool = _pool(files)
        path = _path(files[-1], indexes)
        return _decoder(pool, f"{files[-1].package}.{path}".lstrip("."))
    except (binascii.Error, DecodeError, TypeError, KeyError, IndexError, ValueError) as error:
        what = "no descriptor in base64; the registry has to serve format=serialized"
        raise RefusedRecord("schema", f"{what}: {str(error)[:160]}") from error


@lru_cache(maxsize=64)
def descriptor_decoder(file: str, message: str | None) -> Decode:
    """What reads messages by a file that holds a ``FileDescriptorSet``.

    Args:
        file: Its path.
        message: The message's full name; None for the first one of the last file.

    Raises:
        ConfigurationError: The file or the message isn't there.
    """
    with needing("formats", "Protobuf"):
        from google.protobuf import descriptor_pb2
        from google.protobuf.message import DecodeError
    hint = "write it with: protoc --include_imports -o FILE reading.proto"
    try:
        found = descriptor_pb2.FileDescriptorSet.FromString(Path(file).read_bytes())
        last = found.file[-1]
        name = message or f"{last.package}.{last.message_type[0].name}".lstrip(".")
        return _decoder(_pool(found.file), name)
    except OSError as error:
        raise ConfigurationError(f"parse.descriptor: {file} can't be read: {error}", hint) from error
    except (DecodeError, TypeError, KeyError, IndexError) as error:
        raise ConfigurationError(f"parse.descriptor: {file} has no message {message or ''}: {error}", hint) from error


def split_indexes(payload: bytes) -> tuple[tuple[int, ...], bytes]:
    """Which message of its file a payload is, and the message behind that.

    Raises:
        RefusedRecord: ``malformed``.
    """
    numbers = _varints(payload)
    count, at = next(numbers)
    if not 0 <= count <= _MOST_INDEXES:
        raise RefusedRecord("malformed", f"{count} message indexes")
    indexes = []
    for _ in range(count):
        number, at = next(numbers)
        indexes.append(number)
    return tuple(indexes) or (0,), payload[at:]


def _varints(payload: bytes) -> Iterator[tuple[int, int]]:
    """Numbers in zigzag, and where each ends."""
    value = shift = 0
    for at, byte in enumerate(payload):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield (value >> 1) ^ -(value & 1), at + 1
            value = shift = 0
        elif shift > 63:
            break
    raise RefusedRecord("malformed", "cut short within its message indexes")


def _path(file: Any, indexes: tuple[int, ...]) -> str:
    if min(indexes) < 0:
        raise IndexError(f"no message {indexes}")
    found = file.message_type[indexes[0]]
    names = [found.name]
    for index in indexes[1:]:
        found = found.nested_type[index]
        names.append(found.name)
    return ".".join(names)


def _pool(files: Iterable[Any]) -> Any:
    import importlib

    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    own = {file.name for file in files}
    for name in _KNOWN:
        known = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(f"google.protobuf.{name}_pb2").DESCRIPTOR.CopyToProto(known)
        if known.name not in own:
            pool.Add(known)
    for file in files:
        pool.Add(file)
    return pool


def _decoder(pool: Any, name: str) -> Decode:
    from google.protobuf import message_factory
    from google.protobuf.message import DecodeError

    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    def decode(payload: bytes) -> Any:
        try:
            return members(kind.FromString(payload))
        except (DecodeError, UnicodeDecodeError) as error:
            raise RefusedRecord("malformed", f"not of its Protobuf schema: {str(error)[:200]}") from error

    return decode


def members(message: Any) -> dict[str, Any]:
    """A message as an object; a field without presence that is not there has its default, as its writer means it."""
    return {field.name: _member(message, field) for field in message.DESCRIPTOR.fields}


def _member(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            return {str(key): _single(value[key], inner) for key in sorted(value, key=str)}
        return [_single(item, field) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _single(value, field)


def _single(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        name = field.message_type.full_name
        if name == _MOMENT:
            micros = value.seconds * 1_000_000 + value.nanos // 1_000
            return Instant(micros) if FIRST <= micros <= LAST else NO_INSTANT
        return value.value if name in _WRAPPERS else members(value)
    # Of a definition in the syntax of proto2 a text that is no UTF-8 is given as bytes.
    if isinstance(value, bytes) and field.type == field.TYPE_STRING:
        raise RefusedRecord("malformed", f"{field.name} is not UTF-8")
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value
