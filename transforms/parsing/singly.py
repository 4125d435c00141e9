"""The sure way through JSON: record by record, for what matches no template.

Slower by a factor of ten or so, and the definition of what the fast way must give: escapes, control white space, equal
names, odd structures and broken records all come here.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
import pyarrow as pa

from telebeam.transforms.parsing.nodes import Form, Node, Path, Times
from telebeam.transforms.parsing.numbers import to_doubles
from telebeam.transforms.parsing.records import RefusedRecord, object_members
from telebeam.transforms.parsing.spec import ParseSpec
from telebeam.transforms.parsing.timestamps import epochs_from_text, parse_timestamps

_KINDS = {
    ord('"'): "string",
    ord("t"): "true",
    ord("f"): "false",
    ord("n"): "null",
    ord("["): "array",
    ord("{"): "object",
}
_TEXT = msgspec.json.Decoder(str)


def inner_paths(spec: ParseSpec) -> frozenset[Path]:
    """The objects that must be looked into: ``data``, and those on the way to a mapped field."""
    paths: set[Path] = set()
    for name, target in {"data": "data", **spec.fields}.items():
        parts = tuple(target.split("."))
        paths.update(parts[:length] for length in range(1, len(parts) + (name == "data")))
    return frozenset(paths)


def outline(payload: bytes, inner: frozenset[Path]) -> tuple[Node, dict[Path, bytes]]:
    """A valid JSON text's outline and its members' bytes.

    Raises:
        RefusedRecord: ``not_an_object``.
    """
    texts: dict[Path, bytes] = {}

    def walk(path: Path, raw: bytes) -> Node:
        children = []
        for name, text in object_members(raw).items():
            place = (*path, name)
            texts[place] = text
            kind = _KINDS.get(text[0], "number")
            if kind == "object" and place in inner:
                children.append((name, walk(place, text)))
            else:
                children.append((name, Node(kind, place=place)))
        return Node("object", tuple(children), place=path)

    return walk((), payload), texts


class SingleGroup:
    """Records of one outline that were read one by one: see :class:`.nodes.Group`."""

    form: Form = "json"

    def __init__(self, outline: Node, rows: list[int], members: list[dict[Path, bytes]]) -> None:
        self.outline = outline
        self.rows = np.array(rows, np.int64)
        self._members = members

    def raw(self, node: Node) -> pa.Array:
        """Members as they stood."""
        return pa.array([texts[node.place].decode() for texts in self._members], pa.large_string())

    def text(self, node: Node) -> pa.Array:
        """String members, their escapes resolved."""
        if node.kind != "string":
            return pa.nulls(len(self.rows), pa.large_string())
        return pa.array([_TEXT.decode(texts[node.place]) for texts in self._members], pa.large_string())

    def doubles(self, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        """Number members."""
        return to_doubles(self.raw(node)), None

    def times(self, node: Node, zone: str | None) -> Times:
        """String or number members as event times."""
        return epochs_from_text(self.raw(node)) if node.kind == "number" else parse_timestamps(self.text(node), zone)


def group_singly(
    payloads: Iterable[tuple[int, bytes]], spec: ParseSpec
) -> tuple[list[SingleGroup], list[tuple[int, RefusedRecord]]]:
    """Groups of records by outline, and the records that are no objects.

    Args:
        payloads: (row, valid JSON text) in ascending order of rows.
        spec: Names the mapped fields.
    """
    inner = inner_paths(spec)
    found: dict[Node, tuple[list[int], list[dict[Path, bytes]]]] = {}
    refused = []
    for row, payload in payloads:
        try:
            node, texts = outline(payload, inner)
        except RefusedRecord as refusal:
            refused.append((row, refusal))
            continue
        rows, members = found.setdefault(node, ([], []))
        rows.append(row)
        members.append(texts)
    return [SingleGroup(node, *content) for node, content in found.items()], refused
