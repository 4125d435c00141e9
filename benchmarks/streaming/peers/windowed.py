"""What the peers share: the topic's messages as readings, and the aggregates of a window."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

WINDOW_SECONDS = 60
LIMITS = {"temperature": (-50, 100), "humidity": (0, 100), "pressure": (800, 1200), "voltage": (0, 50)}
FIRST_MESSAGES = 10_000
"""Before these nothing is measured: everybody starts in another way."""

Reading = dict[str, Any]
Sums = tuple[int, float, float, float]
"""Count, sum, minimum and maximum."""
NOTHING: Sums = (0, 0.0, float("inf"), float("-inf"))


def in_range(reading: Reading) -> bool:
    """Whether a sensor can have measured that."""
    low, high = LIMITS[reading["sensor_type"]]
    return bool(low <= reading["value"] <= high)


def moment(reading: Reading) -> datetime:
    """When it was measured."""
    return datetime.fromisoformat(reading["timestamp"])


def added(sums: Sums, value: float) -> Sums:
    """With one value more."""
    count, total, low, high = sums
    return count + 1, total + value, min(low, value), max(high, value)


def merged(one: Sums, other: Sums) -> Sums:
    """Both together."""
    return one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3])


def line(device: str, sensor: str, start: datetime, sums: Sums) -> str:
    """A window as a line of JSON."""
    count, total, low, high = sums
    window = {"device_id": device, "sensor_type": sensor, "window_start": start.isoformat()}
    return json.dumps({**window, "count": count, "mean": total / count, "min": low, "max": high})


@dataclass
class Meter:
    """Counts messages, and the seconds from the first ten thousand on to the last."""

    messages: int = 0
    begun: float = 0.0
    ended: float = 0.0

    def count(self) -> None:
        """One more."""
        self.messages += 1
        if self.messages == FIRST_MESSAGES:
            self.begun = time.perf_counter()
        elif self.messages % 1000 == 0:
            self.ended = time.perf_counter()

    def say(self) -> None:
        """Prints what was counted as a JSON object."""
        after = self.messages // 1000 * 1000 - FIRST_MESSAGES
        print(json.dumps({"messages": self.messages, "after_first": after, "seconds": self.ended - self.begun}))


def options() -> argparse.Namespace:
    """Where the messages are, and where the windows go."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--output", required=True, type=Path)
    found = parser.parse_args()
    found.output.mkdir(parents=True)
    return found
