"""How fast a simulation is sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from telebeam.pipelines.simulation.spec import SimulationSpec
from telebeam.transforms.errors import ConfigurationError


@dataclass(frozen=True)
class Pace:
    """How fast records are sent."""

    live: bool = False
    """Events carry the present time and are sent when it comes; else they carry the simulation's own."""
    rate: float | None = None
    """Readings a second; live, it sets the interval between two reports of a device."""
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def live_spec(spec: SimulationSpec, pace: Pace, rows: int) -> SimulationSpec:
    """The simulation from this moment on, with the interval that the rate asks for.

    Raises:
        ConfigurationError: No interval gives this rate.
    """
    if not pace.live:
        return spec
    changes: dict[str, Any] = {"start": datetime.fromtimestamp(int(pace.now() * 1000) / 1000, UTC)}
    if pace.rate is not None:
        milliseconds = round(rows / pace.rate * 1000)
        if not 1 <= milliseconds <= min(spec.duration, timedelta(days=1)) // timedelta(milliseconds=1):
            raise ConfigurationError(
                f"{rows:,} sensors can't send {pace.rate:g} readings/s for {spec.duration}: "
                "each would report less than once, or more than a thousand times a second",
                "give more --devices or another --rate",
            )
        changes["interval"] = timedelta(milliseconds=milliseconds)
    return spec.model_copy(update=changes)
