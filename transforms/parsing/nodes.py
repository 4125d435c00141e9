"""The outline of a record: which members it has and of what kind, without their values.

Records of one outline are read as a *group*, a column at a time.  What a source's groups have in common is the
:class:`Group` protocol; who asks it for which member is decided once a group, in :mod:`.shapes`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

Path = tuple[str, ...]
"""The names that lead to a member: ``("device", "id")``."""

Form = Literal["json", "csv", "table"]
"""In ``csv`` a number may stand where a text is expected; in ``csv`` and ``table`` a wide row's empty fields were not
measured; a ``table`` is read with projection, so what is not asked for is no metadata."""


@dataclass(frozen=True)
class Node:
    """A member's kind: ``string``, ``number``, ``true``, ``false``, ``null``, ``array``, ``object``, ``timestamp``.

    ``mended`` is a number that was given in another type, ``json`` an object as JSON text; formats have further kinds,
    which are no values.

    ``place`` is the group's own business: where the member stands in it.
    """

    kind: str
    children: tuple[tuple[str, Node], ...] = ()
    place: Any = field(default=None, compare=False)

    def find(self, path: Path) -> Node | None:
        """The member at the end of a path; None where there is none."""
        node: Node | None = self
        for name in path:
            node = next((child for key, child in node.children if key == name), None) if node else None
        return node


@dataclass(frozen=True)
class Times:
    """Event times in µs since the epoch, and why some are none."""

    microseconds: np.ndarray
    bad: np.ndarray
    missing: np.ndarray | None = None


class Group(Protocol):
    """Records of one outline."""

    rows: np.ndarray
    """int64[n]: the records' positions in the batch that was parsed, ascending."""
    outline: Node
    """An ``object`` node."""
    form: Form
    """What the records are, for the rules that differ."""

    def text(self, node: Node) -> pa.Array:
        """The members' text: string or dictionary, null where there is none."""

    def raw(self, node: Node) -> pa.Array:
        """The members as JSON text; null where there is none."""

    def doubles(self, node: Node) -> tuple[np.ndarray, np.ndarray | None]:
        """The members of kind number as doubles (±inf beyond their range), and where they are null."""

    def times(self, node: Node, zone: str | None) -> Times:
        """The members as event times."""
