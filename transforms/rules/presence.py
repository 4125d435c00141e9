"""When tracks appear and when they have been silent for so long that they are forgotten."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telebeam.transforms.rules.rows import EXPIRE_AFTER, Rows
from telebeam.transforms.rules.steps import EARLIEST, NO_INTEGERS, Integers, Span
from telebeam.transforms.rules.tracks import Tracks


class Presence(NamedTuple):
    """Comings and goings of one call; moments in half microseconds."""

    appeared: tuple[Integers, Integers]
    """(track, moment): it has a first reading, or one after it was forgotten."""
    returned: tuple[Integers, Integers]
    """(track, moment) of being forgotten, where readings follow within the call."""
    left: tuple[Integers, Integers]
    """(track, moment) of being forgotten, where none follow."""


def presence(tracks: Tracks, several: list[Rows], span: Span) -> Presence:
    """What a call's rows say of who is there, and what their absence does; before the tracks remember the rows.

    Args:
        tracks: The tracks, as they were before the call.
        several: The rows of readings, and perhaps of scores.
        span: What the call decides.
    """
    appeared: list[tuple[Integers, Integers]] = []
    returned: list[tuple[Integers, Integers]] = []
    last = tracks.time[: len(tracks)].copy()
    for rows in several:
        fresh = last[rows.owners] == tracks.time[rows.owners]  # a track of an earlier batch has had its say
        owners, first = rows.owners[fresh], rows.time[rows.starts][fresh]
        before = tracks.time[owners]
        back = (before != EARLIEST) & (first - before > EXPIRE_AFTER)
        begins = (before == EARLIEST) | back
        appeared.append((owners[begins], 2 * first[begins]))
        returned.append((owners[back], 2 * (before[back] + EXPIRE_AFTER) + 1))
        gaps = rows.gaps[fresh[np.searchsorted(rows.starts, rows.gaps, "right") - 1]]
        appeared.append((rows.track[gaps], 2 * rows.time[gaps]))
        returned.append((rows.track[gaps - 1], 2 * (rows.time[gaps - 1] + EXPIRE_AFTER) + 1))
        last[rows.owners] = np.maximum(last[rows.owners], rows.time[rows.ends])
    gone = np.flatnonzero((last != EARLIEST) & (2 * (last + EXPIRE_AFTER) + 1 < span.horizon))
    return Presence(_joined(appeared), _joined(returned), (gone, 2 * (last[gone] + EXPIRE_AFTER) + 1))


def _joined(parts: list[tuple[Integers, Integers]]) -> tuple[Integers, Integers]:
    if not parts:
        return NO_INTEGERS, NO_INTEGERS
    return np.concatenate([track for track, _ in parts]), np.concatenate([moment for _, moment in parts])
