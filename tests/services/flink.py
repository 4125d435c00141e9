"""An embedded Flink for tests, by the product's own code.

``python tests/services/flink.py`` installs it if needed, starts it, prints its job endpoint and stays until it is told
to stop; with ``--install`` it only installs it.
"""

from __future__ import annotations

import sys

from telebeam.pipelines.runtimes.flink import FlinkJobServer, flink_jars, main, running_flink

__all__ = ["FlinkJobServer", "flink_jars", "running_flink"]

if __name__ == "__main__":
    sys.exit(main())
