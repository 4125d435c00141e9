"""What a replay did, or would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from telebeam.pipelines.rejects_views import iso
from telebeam.transforms.replaying import DeadRecords, Settled

LEFT = {
    "sink": "points that a sink refused: their readings are in the lake",
    "bad_file": "files that could not be read: run the job again over them",
    "foreign": "of another pipeline: replay them with its configuration",
    "unnamed": "of batches that bear no unit's name: nothing would keep their job from filing them again",
    "not_filed": "of a stream that may still be filing them: replay them later",
    "header_unknown": "CSV whose file is gone, or is not below this configuration's source: nothing names its fields",
    "changed": "their records' other values would read otherwise now: run the job over the source again",
}
"""Why rejects are left as they are, without being asked whether they succeed."""


@dataclass
class Replay:
    """Rejects by what became of them, and what was written.

    ``looked_at = replayed + already_there + still_refused + left``.
    """

    dry_run: bool = False
    looked_at: int = 0
    replayed: int = 0
    already_there: int = 0
    """All that their records say now stood in the lake already."""
    still_refused: int = 0
    left: Counter[str] = field(default_factory=Counter)
    """By the codes of :data:`LEFT`."""
    readings: int = 0
    windows: int = 0
    points: int = 0
    refused_points: int = 0
    by_reason: dict[str, dict[str, Any]] = field(default_factory=dict)
    late: tuple[int, int] | None = None
    """The first and the last event time of readings of streams, µs since 1970: in no window yet."""

    def leave(self, why: str, rejects: int) -> None:
        """Counts rejects that are left as they are."""
        self.looked_at += rejects
        if rejects:
            self.left[why] += rejects

    def settle(self, dead: DeadRecords, settled: Settled) -> None:
        """Counts rejects that were parsed again."""
        new, moved, changed = settled.new, settled.moved, settled.changed
        self.leave("changed", int(changed.sum()))
        self.looked_at += int((~changed).sum())
        self.replayed += int(new.sum())
        self.already_there += int((moved & ~new).sum())
        self.still_refused += int((~moved & ~changed).sum())
        reasons = np.array(dead.rejects.column("reason").to_pylist(), object)
        for reason in sorted(set(reasons.tolist())):
            of = reasons == reason
            found = self.by_reason.setdefault(
                reason, {"replayed": 0, "already_there": 0, "changed": 0, "still_refused": {}}
            )
            found["replayed"] += int((of & new).sum())
            found["already_there"] += int((of & moved & ~new).sum())
            found["changed"] += int((of & changed).sum())
            why = Counter(settled.why[of & ~moved & ~changed].tolist())
            found["still_refused"] = dict(sorted((Counter(found["still_refused"]) + why).items()))

    def span(self, times: npt.NDArray[np.int64]) -> None:
        """Notes event times of readings of streams."""
        if len(times):
            first, last = int(times.min()), int(times.max())
            self.late = (first, last) if self.late is None else (min(first, self.late[0]), max(last, self.late[1]))

    def as_dict(self) -> dict[str, Any]:
        """As ``--json`` has it."""
        return {
            "dry_run": self.dry_run,
            "looked_at": self.looked_at,
            "replayed": self.replayed,
            "already_there": self.already_there,
            "still_refused": self.still_refused,
            "left": dict(sorted(self.left.items())),
            "readings": self.readings,
            "windows": self.windows,
            "points": self.points,
            "refused_points": self.refused_points,
            "by_reason": self.by_reason,
            "backfill": None if self.late is None else {"start": iso(self.late[0]), "end": iso(self.late[1] + 1)},
        }
