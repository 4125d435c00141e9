"""Prism for tests: found, or built from source once a machine, by the product's own code.

``python tests/services/prism.py`` prints where it is, installing it if needed.
"""

from __future__ import annotations

import sys

from telebeam.pipelines.runtimes.prism import main, prism_binary

__all__ = ["prism_binary"]

if __name__ == "__main__":
    sys.exit(main())
