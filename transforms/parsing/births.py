"""What the edge nodes of Sparkplug have said of themselves: the names behind their aliases."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_METRICS = 1_000_000
"""Aliases that are kept by default: some 100 MB of names, those of a hundred thousand devices of ten."""

Node = tuple[str, str]
"""(group, edge node)."""


class Metric(NamedTuple):
    """What a birth says of a metric."""

    name: str
    datatype: int


@dataclass
class Births:
    """The metrics by alias of each device, until it is born again; of too many, the nodes longest silent are forgotten.

    Messages of a partition must be given in their order; then how they are cut into batches makes no difference.

    Args:
        max_metrics: How many are kept; at least those of the last node that was born.
    """

    max_metrics: int = MAX_METRICS
    _nodes: OrderedDict[Node, dict[str, dict[int, Metric]]] = field(default_factory=OrderedDict)
    _metrics: int = 0

    def __len__(self) -> int:
        return self._metrics

    def born(self, node: Node, device: str, metrics: Mapping[int, Metric]) -> None:
        """Takes a device's birth; the node's own (device ``""``) says that its devices are to be born again."""
        if not device:
            self.forget(node)
        devices = self._nodes.setdefault(node, {})
        self._metrics += len(metrics) - len(devices.get(device, {}))
        devices[device] = dict(metrics)
        self._nodes.move_to_end(node)
        while self._metrics > self.max_metrics and len(self._nodes) > 1:
            self.forget(next(iter(self._nodes)))

    def metric(self, node: Node, device: str, alias: int) -> Metric | None:
        """What an alias stands for; None where no birth has said so."""
        devices = self._nodes.get(node)
        if devices is None:
            return None
        self._nodes.move_to_end(node)
        return devices.get(device, {}).get(alias)

    def devices(self, node: Node) -> list[str]:
        """The devices of a node that were born and have not died, by name; without the node itself."""
        return sorted(device for device in self._nodes.get(node, {}) if device)

    def died(self, node: Node, device: str) -> None:
        """Forgets a device, or with the node's own death all of its devices."""
        if not device:
            self.forget(node)
        elif device in self._nodes.get(node, {}):
            self._metrics -= len(self._nodes[node].pop(device))

    def forget(self, node: Node) -> None:
        """Forgets a node and its devices."""
        self._metrics -= sum(map(len, self._nodes.pop(node, {}).values()))
