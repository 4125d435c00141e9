"""Scale and offset between two units, compiled once per pair by pint.

pint is imported at the first pair that needs it.  What reaches it has the shape of a product of a few names:
pint evaluates expressions, and a payload's ``10**10**10`` must not be one.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_TEXT = 40
"""Characters of the longest unit text that is looked at."""
_CACHED = 4096
"""Unit texts and pairs that are remembered; devices write whatever they like."""
_RENEW_AFTER = 4096
"""Questions after which the registry is made anew: its own caches never forget a text."""
_EXACT = 2**24
"""Whole numbers up to here are multiplied without rounding into values of up to 29 significant bits."""

_WORD = r"[A-Za-zµΩ%][A-Za-z0-9µΩ]*(?:_[A-Za-z0-9]+)*"
_NAME = rf"{_WORD}(?:\^-?[1-9])?"
_PRODUCT = re.compile(rf"{_NAME}(?:[*/]{_NAME}){{0,3}}")
_PREFIXES = {
    "", "quecto", "ronto", "yocto", "zepto", "atto", "femto", "pico", "nano", "micro", "mu", "mc", "milli", "centi",
    "deci", "deca", "deka", "hecto", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta", "ronna", "quetta",
    "kibi", "mebi", "gibi", "tebi", "pebi", "exbi", "zebi", "yobi", "semi", "sesqui", "demi",
    "q", "r", "y", "z", "a", "f", "p", "n", "u", "µ", "m", "c", "d", "da", "h", "k", "M", "G", "T", "P", "E", "Z", "Y",
    "R", "Q", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi",
}  # fmt: skip
_LONGEST_PREFIX = max(map(len, _PREFIXES))
# Texts of one or two letters hit rare units by chance (pint: "a" is a year), and so do these.
_SHORTEST_NAME = 3
_NO_UNITS = {"n/a", "nan", "inf"}

_lock = threading.Lock()  # pint's registry is not thread-safe, and Beam's local runner works in threads
_questions = itertools.count()


class Conversion(NamedTuple):
    """``(value * scale + offset) / divisor``, in that order of rounding.

    A quotient of whole numbers, where there is one, keeps what is decimal decimal: 3300 mV are 3.3 V, 212 °F are
    100 °C, while multiplying by the nearest double of 0.001 gives 3.3000000000000003.
    """

    scale: float
    offset: float
    divisor: float

    def invert(self, value: float) -> float:
        """The value in the first unit that becomes this one."""
        return (value * self.divisor - self.offset) / self.scale


IDENTITY = Conversion(1.0, 0.0, 1.0)


def convert(
    values: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    divisor: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Each value by its own conversion; infinite where it exceeds a double."""
    with np.errstate(over="ignore", invalid="ignore"):
        return (values * scale + offset) / divisor


def is_unit(text: str) -> bool:
    """Whether pint knows the text as a unit or as a product of powers of units.

    >>> is_unit("furlong/fortnight"), is_unit("10**10**10"), is_unit("N/A")
    (True, False, False)
    """
    return is_product(text) and _is_known(text)


def is_product(text: str) -> bool:
    """Whether a text has the shape of a product of powers of names, which is all that pint is ever asked."""
    if not _SHORTEST_NAME <= len(text) <= MAX_TEXT or text.casefold() in _NO_UNITS:
        return False
    return _PRODUCT.fullmatch(text) is not None


@lru_cache(maxsize=_CACHED)
def _is_known(text: str) -> bool:
    import pint

    # pint needs 0.4 ms to find that it doesn't know a name; devices that write nonsense write much of it.
    if not all(_may_be_known(name) for name in re.findall(_WORD, text)):
        return False
    with _lock:
        try:
            _registry(next(_questions) // _RENEW_AFTER).parse_units(text)
        except (pint.errors.PintError, ArithmeticError, TypeError, ValueError):
            return False
    return True


def _may_be_known(name: str) -> bool:
    known = _known_names()
    starts = [cut for cut in range(_LONGEST_PREFIX + 1) if name[:cut] in _PREFIXES]
    return any(name[cut:] in known or name[cut:].removesuffix("s") in known for cut in starts)


@lru_cache(maxsize=1)
def _known_names() -> frozenset[str]:
    """Every name and symbol that pint has without a prefix."""
    with _lock:
        return frozenset(dir(_registry(0)))


@lru_cache(maxsize=_CACHED)
def compile_pair(source: str, target: str) -> Conversion | None:
    """The conversion between two of pint's expressions, or ``None`` where there is no linear one.

    Angles, counts and bits are dimensions of their own here: pint would take a degree for 1.7 %.
    """
    import pint

    with _lock:
        registry = _registry(next(_questions) // _RENEW_AFTER)
        try:
            first, second = registry.parse_units(source), registry.parse_units(target)
            if registry.get_base_units(first)[1] != registry.get_base_units(second)[1]:
                return None
            zero, one, three = (
                Fraction(registry.Quantity(Fraction(value), first).to(second).magnitude) for value in (0, 1, 3)
            )
        except (pint.errors.PintError, ArithmeticError, TypeError, ValueError):
            return None
    return _rational(one - zero, zero) if three - zero == 3 * (one - zero) else None


def _rational(scale: Fraction, offset: Fraction) -> Conversion:
    divisor = math.lcm(scale.denominator, offset.denominator)
    whole_scale, whole_offset = int(scale * divisor), int(offset * divisor)
    if max(abs(whole_scale), abs(whole_offset), divisor) <= _EXACT:
        return Conversion(float(whole_scale), float(whole_offset), float(divisor))
    return Conversion(float(scale), float(offset), 1.0)


@lru_cache(maxsize=1)
def _registry(generation: int) -> Any:
    """A registry in exact fractions; there is one at a time, and each generation begins with empty caches."""
    import pint

    registry: Any = pint.UnitRegistry(non_int_type=Fraction)
    registry.define("parts_per_billion = 1e-9 = ppb")
    return registry
