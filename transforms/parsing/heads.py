"""What the first byte of an item says in CBOR and in MessagePack: the two differ in their tables only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

OTHER, UNSIGNED, NEGATIVE, SIGNED, HALF, FLOAT, DOUBLE = range(7)
TEXT, ARRAY, MAP, TRUE, FALSE, NULL, TAG, MOMENT = range(7, 15)
"""``NEGATIVE``: −1 − the argument.  ``SIGNED``: two's complement.  ``MOMENT``: a time of MessagePack, if of type −1."""

NUMBERS = (UNSIGNED, NEGATIVE, SIGNED, HALF, FLOAT, DOUBLE)


class Heads:
    """Tables by the first byte.

    Args:
        kinds: One of the constants; ``OTHER`` is left to the slow way.
        sizes: How many bytes the argument takes that follow.
        bases: The argument where none follows.
    """

    def __init__(self, kinds: Sequence[int], sizes: Sequence[int], bases: Sequence[int]) -> None:
        self.kinds: npt.NDArray[np.uint8] = np.array(kinds, np.uint8)
        self.sizes: npt.NDArray[np.uint8] = np.array(sizes, np.uint8)
        self.bases: npt.NDArray[np.int64] = np.array(bases, np.int64)
        self.is_number = np.isin(self.kinds, NUMBERS)
        self.is_text = self.kinds == TEXT
