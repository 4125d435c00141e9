"""A reader's share of a stream as a restriction of a splittable DoFn."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.io.iobase import RestrictionProgress, RestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.utils.timestamp import MAX_TIMESTAMP, MIN_TIMESTAMP, Timestamp

Positions = dict[str, int]
"""``stream/number`` → the first offset that was not given."""


class PositionsTracker(RestrictionTracker):
    """Follows one reader through its partitions; a runner may stop it between two bundles, and never split it.

    The restriction is all partitions that a reader has, from these offsets on without end; those that it does not name
    begin where the source's settings say.
    """

    def __init__(self, positions: Positions) -> None:
        self._positions = dict(positions)
        self._stopped = False

    def current_restriction(self) -> Positions:
        """The positions so far."""
        return self._positions

    def try_claim(self, position: Positions) -> bool:
        """Whether all below these offsets may be given."""
        if self._stopped:
            return False
        self._positions = dict(position)
        return True

    def try_split(self, fraction_of_remainder: float) -> tuple[Positions, Positions] | None:
        """Everything from here on to the remainder; nothing else can be parted."""
        if fraction_of_remainder != 0 or self._stopped:
            return None
        self._stopped = True
        return self._positions, dict(self._positions)

    def check_done(self) -> bool:
        """A reader may end whenever it likes: what it did not give is not claimed."""
        return True

    def current_progress(self) -> RestrictionProgress:
        """Always half way: a stream has no end."""
        return RestrictionProgress(fraction=0.5)

    def is_bounded(self) -> bool:
        """Never, as far as a runner knows: a bounded read ends by itself."""
        return False


class PositionsProvider(RestrictionProvider):
    """Begins with no positions at all."""

    def create_tracker(self, restriction: Positions) -> PositionsTracker:
        """The tracker of a restriction."""
        return PositionsTracker(restriction)

    def initial_restriction(self, element: str) -> Positions:
        """Nothing is known of a reader's partitions before it is connected."""
        del element
        return {}

    def restriction_size(self, element: str, restriction: Positions) -> int:
        """All readers are alike."""
        del element, restriction
        return 1

    def truncate(self, element: str, restriction: Positions) -> None:
        """A runner that drains needs nothing more: what was read is filed."""
        del element, restriction


TRACKER = beam.DoFn.RestrictionParam(PositionsProvider())
WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


def timestamp(micros: int) -> Timestamp:
    """µs since 1970 as Beam has them, held within what Beam can say."""
    return max(MIN_TIMESTAMP, min(MAX_TIMESTAMP, Timestamp(micros=micros)))
