"""What is done in the order of event time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from telebeam.transforms.anomaly.spec import DetectorSpec
from telebeam.transforms.rules.spec import RuleSpec


@dataclass(frozen=True)
class OrderSpec:
    """Detectors and rules of a pipeline.

    Args:
        pipeline: Whose.
        detectors: That score readings.
        rules: Over readings and scores.
    """

    pipeline: str
    detectors: tuple[DetectorSpec, ...]
    rules: tuple[RuleSpec, ...]

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that rules give to readings."""
        found = (action.tag for rule in self.rules for action in rule.then if action.tag is not None)
        return tuple(dict.fromkeys(found))

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits: what is remembered is of these detectors and rules and of no others."""
        said = [spec.model_dump_json() for spec in (*self.detectors, *self.rules)]
        return hashlib.blake2b("\n".join(said).encode(), digest_size=6).hexdigest()
