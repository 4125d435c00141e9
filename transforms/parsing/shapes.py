"""The shapes of payloads that exist in the field, told apart by the names and kinds of a record's members.

==========  =====================================================================================================
reading     ``{"device_id", "timestamp", "sensor_type", "measurement_type", "value", "unit", …}``: one value
metric      ``{"device_id", "timestamp", "metric", "value", "unit", …}``: one value; the metric is both types
data        ``{"device_id", "timestamp", "data": {"temperature": 21.5, …}, …}``: a value a member of ``data``
flat        ``{"timestamp", "temperature": 21.5, "battery": 87, …}``: a value a member that is a number
==========  =====================================================================================================

What a shape does not use goes to ``metadata``.  A member of ``data`` that is no number is a reject of its own.  In the
flat shape a member that is no number is context, unless its name is a sensor type of the field
(:data:`SENSOR_TYPES`): then it is a value that is missing (null) or bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from telebeam.transforms.parsing.nodes import Form, Node, Path
from telebeam.transforms.parsing.spec import FIELDS, ParseSpec
from telebeam.transforms.schema import Issue, Reason

SENSOR_TYPES = frozenset({
    "temperature", "humidity", "pressure", "voltage", "current", "power", "energy", "vibration", "motion", "battery",
    "illuminance", "co2", "rssi",
})  # fmt: skip

_TEXTS = ("sensor_type", "measurement_type", "unit", "location")


@dataclass(frozen=True)
class Measure:
    """A value of each record: the name that it gives to both types (None: the record says), and why it is none."""

    name: str | None
    path: Path
    reason: Reason | None = None


@dataclass(frozen=True)
class Plan:
    """Which member is what, for all records of one outline."""

    device_id: Path | None
    timestamp: Path | None
    measures: tuple[Measure, ...]
    texts: tuple[tuple[str, Path], ...]
    quality_score: Path | None
    metadata: Path | None
    """An object whose members become metadata."""
    extras: tuple[tuple[str, Path], ...]
    """Further members of metadata, by name."""
    issues: tuple[Issue, ...]
    refusal: tuple[Reason, str] | None = None
    """Why no record of this outline holds a value."""


@lru_cache(maxsize=4096)
def plan(outline: Node, spec_fields: tuple[tuple[str, str], ...], form: Form) -> Plan:
    """The plan for records of an outline.

    Args:
        outline: The record's members, an ``object`` node.
        spec_fields: ``parse.fields`` as sorted pairs.
        form: What the records are.
    """
    return _Planner(outline, dict(spec_fields), form).plan()


def mapping(spec: ParseSpec) -> tuple[tuple[str, str], ...]:
    """``parse.fields`` as :func:`plan` takes it."""
    return tuple(sorted(spec.fields.items()))


class _Planner:
    def __init__(self, outline: Node, fields: dict[str, str], form: Form) -> None:
        self.outline = outline
        self.form = form
        self.members: dict[str, tuple[Path, Node]] = {}
        for name in FIELDS:
            path = tuple(fields[name].split(".")) if name in fields else (name,)
            # A name with a dot in it is a member's own name before it is a path.
            for candidate in ((fields.get(name, name),), path):
                node = outline.find(candidate)
                if node is not None:
                    self.members[name] = (candidate, node)
                    break
        self.used: set[Path] = set()
        self.issues: list[Issue] = []

    def plan(self) -> Plan:
        device = self._use("device_id")
        moment = self._use("timestamp")
        measures, texts = self._measures()
        score = self._score()
        metadata = self._use("metadata") if self._kind("metadata") in ("object", "json", "null") else None
        return Plan(
            device_id=device,
            timestamp=moment,
            measures=measures,
            texts=tuple(texts),
            quality_score=score,
            metadata=metadata,
            extras=() if self.form == "table" else self._extras(),
            issues=tuple(dict.fromkeys(self.issues)),
            refusal=None if measures else (Reason.MISSING_VALUE, self._what_is_missing()),
        )

    def _kind(self, name: str) -> str | None:
        return self.members[name][1].kind if name in self.members else None

    def _use(self, name: str) -> Path | None:
        if self._kind(name) in (None, "null"):
            if name in self.members:
                self.used.add(self.members[name][0])
            return None
        self.used.add(self.members[name][0])
        return self.members[name][0]

    def _is_text(self, name: str) -> bool:
        return self._kind(name) == "string" or (self.form == "csv" and self._kind(name) == "number")

    def _texts(self, names: tuple[str, ...]) -> list[tuple[str, Path]]:
        found = []
        for name in names:
            if self._is_text(name) or self._kind(name) == "null":
                path = self._use(name)
                if path is not None:
                    found.append((name, path))
            elif name in self.members:
                self.issues.append(Issue.WRONG_TYPE)
        return found

    def _measures(self) -> tuple[tuple[Measure, ...], list[tuple[str, Path]]]:
        if "value" in self.members:
            texts = self._texts(_TEXTS)
            if self._is_text("metric"):
                texts += [("metric", self._use("metric"))]  # type: ignore[list-item]  # a text has a path
            path, node = self.members["value"]
            self.used.add(path)
            if node.kind == "mended":
                self.issues.append(Issue.WRONG_TYPE)
            return (Measure(None, path, _reason(node.kind)),), texts
        if self._kind("data") == "object":
            path, node = self.members["data"]
            self.used.add(path)
            return tuple(Measure(n, (*path, n), _reason(c.kind)) for n, c in node.children), self._texts(("location",))
        if "data" in self.members or "metric" in self.members or "sensor_type" in self.members:
            return (), []
        texts = self._texts(("location",))
        return tuple(self._flat_measures()), texts

    def _flat_measures(self) -> list[Measure]:
        taken = {path[0] for path in self.used} | {path[0] for path, _ in self.members.values()}
        measures = []
        for name, node in self.outline.children:
            if name in taken or (node.kind == "null" and self.form != "json"):
                continue
            if node.kind == "number" or name in SENSOR_TYPES:
                measures.append(Measure(name, (name,), _reason(node.kind)))
                self.used.add((name,))
        return measures

    def _score(self) -> Path | None:
        if self._kind("quality_score") == "number":
            return self._use("quality_score")
        if self._kind("quality_score") not in (None, "null"):
            self.issues.append(Issue.BAD_QUALITY_SCORE)
            return None
        self._use("quality_score")
        return None

    def _extras(self) -> tuple[tuple[str, Path], ...]:
        """What no other column took, from the outside in: of an object of which a part was taken, the rest."""
        extras: list[tuple[str, Path]] = []

        def walk(prefix: Path, node: Node) -> None:
            for name, child in node.children:
                path = (*prefix, name)
                if path in self.used:
                    continue
                if any(used[: len(path)] == path for used in self.used):
                    walk(path, child)
                else:
                    extras.append((".".join(path), path))

        walk((), self.outline)
        return tuple(extras)

    def _what_is_missing(self) -> str:
        if "data" in self.members:
            kind = self._kind("data")
            return "data is an empty object" if kind == "object" else f"data is of kind {kind}, expected an object"
        return "no value, no data object and no member that is a number"


def _reason(kind: str) -> Reason | None:
    if kind in ("number", "mended"):
        return None
    return Reason.MISSING_VALUE if kind == "null" else Reason.BAD_VALUE
