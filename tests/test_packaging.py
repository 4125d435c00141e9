"""The source distribution installs into an empty environment and works there, as a Beam worker would have it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_a_source_distribution_works_in_an_empty_environment(root: Path, tmp_path: Path, pytestconfig: pytest.Config):
    """Some minutes, for it installs Beam: in the long form only."""
    if not pytestconfig.getoption("--long"):
        pytest.skip("installing everything into an empty environment takes minutes; --long does it")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path / "dist", root, cwd=tmp_path)
    (archive,) = (tmp_path / "dist").glob("telebeam-*.tar.gz")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", archive, cwd=tmp_path)
    telebeam = tmp_path / "env" / "bin" / "telebeam"
    run(telebeam, "simulate", "--profile", "home", "--duration", "5m", "--to", "parquet:in", cwd=tmp_path)
    (tmp_path / "fleet.yaml").write_text(
        "pipeline: fleet\nsource: {parquet: {path: in}}\nsinks: {lake: {path: lake}}\nquality: {max_age_days: null}\n"
    )
    assert '"rejects": 0' in run(telebeam, "run", "fleet.yaml", "--json", cwd=tmp_path)
    names = run(python, "-c", "import io, telebeam.io.lake as l; print(io.StringIO, l.__file__)", cwd=tmp_path)
    assert "_io.StringIO" in names
    assert "site-packages" in names
