"""Runs a command and writes what it took to a file: ``launch.py FILE COMMAND …``.

A new process begins its life with the peak memory of the one that spawned it, in the kernel's accounts; so it is
spawned by this one, which imports little and stays at ten megabytes, and not by the harness.
"""

import json
import os
import sys
import time
from pathlib import Path

PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def main() -> int:
    """Returns the command's exit code."""
    target, *command = sys.argv[1:]
    begun = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ)
    # The usage of this child and of what it waited for.
    _, status, usage = os.wait4(pid, 0)
    figures = {
        "wall_seconds": time.perf_counter() - begun,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * PEAK_UNIT_BYTES,
    }
    Path(target).write_text(json.dumps(figures), encoding="utf-8")
    return os.waitstatus_to_exitcode(status) % 256


if __name__ == "__main__":
    sys.exit(main())
