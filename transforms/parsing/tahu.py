"""The messages of Sparkplug B, built from the field numbers of the public definition (Eclipse Tahu, sparkplug_b.proto).

Data sets, templates and metadata are left as bytes: on the wire a message and bytes are the same, and none is a value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from telebeam.transforms.extras import needing

_TYPES = {"double": 1, "float": 2, "uint64": 4, "bool": 8, "string": 9, "bytes": 12, "uint32": 13}
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "PropertyValue": {
        "type": (1, "uint32"), "is_null": (2, "bool"), "int_value": (3, "uint32"), "long_value": (4, "uint64"),
        "float_value": (5, "float"), "double_value": (6, "double"), "boolean_value": (7, "bool"),
        "string_value": (8, "string"),
    },
    "PropertySet": {"keys": (1, "*string"), "values": (2, "*PropertyValue")},
    "Metric": {
        "name": (1, "string"), "alias": (2, "uint64"), "timestamp": (3, "uint64"), "datatype": (4, "uint32"),
        "is_historical": (5, "bool"), "is_transient": (6, "bool"), "is_null": (7, "bool"), "metadata": (8, "bytes"),
        "properties": (9, "PropertySet"), "int_value": (10, "uint32"), "long_value": (11, "uint64"),
        "float_value": (12, "float"), "double_value": (13, "double"), "boolean_value": (14, "bool"),
        "string_value": (15, "string"), "bytes_value": (16, "bytes"), "dataset_value": (17, "bytes"),
        "template_value": (18, "bytes"), "extension_value": (19, "bytes"),
    },
    "Payload": {
        "timestamp": (1, "uint64"), "metrics": (2, "*Metric"), "seq": (3, "uint64"), "uuid": (4, "string"),
        "body": (5, "bytes"),
    },
}  # fmt: skip


@lru_cache(maxsize=1)
def payload_class() -> Any:
    """The class of ``Payload``."""
    with needing("formats", "Sparkplug B"):
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="org.eclipse.tahu.protobuf")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            inner = kind.lstrip("*")
            added = message.field.add(name=field, number=number, label=3 if kind.startswith("*") else 1)
            added.type = _TYPES.get(inner, 11)  # type: ignore[assignment]  # an enum whose numbers these are
            if inner not in _TYPES:
                added.type_name = f".{file.package}.{inner}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.Payload"))
