"""What the harness says of a process is what the process took."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.process import Usage, median, run
from benchmarks.report import Row, Target, table
from telebeam.transforms.errors import JobError

MEGABYTE = 1_000_000
HOLD = "import time; held = b'x' * 100_000_000; time.sleep(0.5)"


def test_the_peak_is_the_processs_own(tmp_path: Path) -> None:
    usage = run([sys.executable, "-c", HOLD + "; print('done')"], tmp_path)
    assert 100 * MEGABYTE < usage.peak_bytes < 160 * MEGABYTE
    assert usage.output == "done\n"
    assert usage.wall_seconds >= 0.5


def test_processes_that_live_together_are_added_up(tmp_path: Path) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc: the kernel gives the largest process only")
    parent = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {HOLD!r}]); {HOLD}; p.wait()"
    assert run([sys.executable, "-c", parent], tmp_path).peak_bytes > 200 * MEGABYTE


def test_a_childs_processor_time_is_its_parents(tmp_path: Path) -> None:
    child = "import time\nwhile time.process_time() < 0.4: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    assert run([sys.executable, "-c", parent], tmp_path).cpu_seconds > 0.4


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"ended with 3, expected 0:\nno such archive"):
        run([sys.executable, "-c", "import sys; print('no such archive', file=sys.stderr); sys.exit(3)"], tmp_path)


def test_the_median_is_of_each_figure(tmp_path: Path) -> None:
    assert median([Usage(1, 9, 2), Usage(2, 7, 3), Usage(3, 8, 1, "last")]) == Usage(2, 8, 2, "last")


@pytest.mark.parametrize(
    ("target", "figure", "verdict"),
    [
        (Target(0.33, 0.6), 0.33, "least"),
        (Target(0.33, 0.6), 0.6, "aim"),
        (Target(0.33, 0.6), 0.32, "missed"),
        (Target(10.5, at_most=True), 10.5, "least"),
        (Target(1.3, 1.1, at_most=True), 1.1, "aim"),
        (Target(1.3, 1.1, at_most=True), 1.31, "missed"),
    ],
)
def test_a_figure_at_its_target_has_reached_it(target: Target, figure: float, verdict: str) -> None:
    assert Row("", figure, target=target).verdict == verdict


def test_what_was_skipped_says_so_and_why() -> None:
    assert table([Row("line protocol", None, target=Target(25, 50), note="absent")]).endswith("skipped  absent")
