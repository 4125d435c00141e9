"""The data lake: ``Lake`` reads it without Beam; ``telebeam.io.lake.ptransforms`` writes it."""

from telebeam.io.lake.reader import Lake

__all__ = ["Lake"]
