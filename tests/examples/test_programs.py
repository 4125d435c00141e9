"""The example programs print what they say."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

Start = Callable[..., str]
GOLDEN = Path(__file__).parent / "golden" / "beam_author.labels.txt"
HEADER = (
    "# The labels of examples/beam_author.py, one a line.  A label that changes breaks the update of a running job.\n"
)


class Labels(PipelineVisitor):
    """Collects the labels of our steps; what lies within Beam's own transforms is Beam's."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def enter_composite_transform(self, transform_node: AppliedPTransform) -> None:
        self._add(transform_node)

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        self._add(transform_node)

    def _add(self, node: AppliedPTransform) -> None:
        if node.full_label and type(node.parent.transform).__module__.startswith(("telebeam.", "builtins")):
            self.found.append(node.full_label)


WITHOUT_BEAM = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
sys.exit("apache_beam" in sys.modules)
"""
REFUSED = """
refused, bad_device_id: {"device_id":"x","timestamp":"2026-01-01T00:00:00Z","sensor_type":"temperature","value":1.0}
refused, bad_value: {"device_id":"boiler-1","timestamp":"2026-01-01T00:00:00Z","sensor_type":"temperature","value":"NaN"}
refused, malformed: {"device_id": "boiler-1", "timestamp"
"""  # noqa: E501


def test_a_beam_authors_pipeline_makes_windows_of_dicts_and_refuses_bad_ones(start: Start, examples: Path):
    assert sorted(start(examples / "beam_author.py").splitlines()) == [
        "boiler-1 00:00 6 × 60.25 celsius",
        "boiler-1 00:01 6 × 60.85 celsius",
        "boiler-2 00:00 6 × 73.89 celsius",
        *REFUSED.strip().splitlines(),
    ]


def test_one_transform_checks_batches_from_elsewhere(start: Start, examples: Path):
    assert sorted(start(examples / "one_transform.py").splitlines()) == [
        "180 scores 1.0 []",
        "181 scores 1.0 []",
        "185.5 scores 1.0 []",
        "2000 scores 0.8 ['out_of_range']",
        "refused, missing_value: value is null",
    ]


def test_an_analyst_reads_a_lake_without_beam(start: Start, telebeam: Start, examples: Path):
    telebeam("simulate", "--interval", "1m", "--to", "parquet:archive")
    telebeam("run", examples / "archive.yaml", "--json")
    printed = start("-c", WITHOUT_BEAM, examples / "analyst.py", "lake")
    assert "272 readings in the ten minutes before 2026-01-01 00:59:" in printed
    assert "home-machine-08" in printed
    assert "home-climate-01" in printed


def test_the_labels_of_an_authors_pipeline_stay(
    examples: Path, golden: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(examples))
    flow = importlib.import_module("beam_author").flow
    labels = Labels()
    pipeline = beam.Pipeline()
    flow(pipeline | "Events" >> beam.Create([{}]))
    pipeline.visit(labels)
    golden(GOLDEN, HEADER + "".join(f"{label}\n" for label in labels.found))
