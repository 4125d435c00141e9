"""What the metadata of an Arrow IPC message says of its compression, read from the flatbuffer before Arrow acts on it.

Arrow allocates what each compressed buffer claims to unpack to.  The layout is that of format/Message.fbs: a table
begins with the distance back to its table of fields, whose entries are the fields' places within the table.
"""

from __future__ import annotations

import struct

_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
_HEADER_TYPE, _HEADER = 1, 2
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3
_DICTIONARY_DATA = 1
_BUFFER_BYTES = 16
_UNSIGNED, _SIGNED, _SHORT = struct.Struct("<I"), struct.Struct("<i"), struct.Struct("<H")


def claimed_bytes(metadata: bytes, body: memoryview) -> int:
    """What the compressed buffers of a message claim to unpack to; 0 where none is compressed.

    Raises:
        struct.error: The metadata leads out of itself.
    """
    table = _at(_UNSIGNED, metadata, 0)
    kind = _field(metadata, table, _HEADER_TYPE)
    place = _field(metadata, table, _HEADER)
    if not kind or not place or metadata[kind] not in (_RECORD_BATCH, _DICTIONARY_BATCH):
        return 0
    batch = place + _at(_UNSIGNED, metadata, place)
    if metadata[kind] == _DICTIONARY_BATCH:
        data = _field(metadata, batch, _DICTIONARY_DATA)
        if not data:
            return 0
        batch = data + _at(_UNSIGNED, metadata, data)
    buffers = _field(metadata, batch, _BATCH_BUFFERS)
    if not buffers or not _field(metadata, batch, _BATCH_COMPRESSION):
        return 0
    return _sum(metadata, buffers + _at(_UNSIGNED, metadata, buffers), body)


def _sum(metadata: bytes, vector: int, body: memoryview) -> int:
    total = 0
    for number in range(_at(_UNSIGNED, metadata, vector)):
        offset, length = struct.unpack_from("<qq", metadata, vector + 4 + number * _BUFFER_BYTES)
        if length >= 8 and 0 <= offset <= len(body) - 8:
            # −1 says that this buffer is as it is.
            total += max(0, struct.unpack_from("<q", body, offset)[0])
    return total


def _at(form: struct.Struct, data: bytes, place: int) -> int:
    if place < 0:
        raise struct.error("a place before the beginning")
    value: int = form.unpack_from(data, place)[0]
    return value


def _field(data: bytes, table: int, number: int) -> int:
    """A field's place; 0 where the table has none."""
    fields = table - _at(_SIGNED, data, table)
    entry = 4 + 2 * number
    if entry + 2 > _at(_SHORT, data, fields):
        return 0
    offset = _at(_SHORT, data, fields + entry)
    return table + offset if offset else 0
