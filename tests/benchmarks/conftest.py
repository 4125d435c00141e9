"""The benchmarks are scripts of the checkout and no part of the installed package."""

from __future__ import annotations

import sys
from pathlib import Path

# At the end: the folder io/ beside them must not stand before the standard library's module.
sys.path.append(str(Path(__file__).resolve().parents[2]))
