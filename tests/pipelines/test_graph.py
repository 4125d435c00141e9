"""The labels of every step: a rename breaks the update of a running job, so that it is to be meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from telebeam.pipelines.config import load_config
from telebeam.pipelines.graph import Run, build
from tests.pipelines.jobs import NOW

INFLUX = '{url: "http://localhost:8086", org: iot, bucket: b, token: "env:TOKEN", write: [readings, windows]}'
CASES = {
    "lake": [],
    "lake and InfluxDB": [f"sinks.influxdb={INFLUX}"],
    "InfluxDB": [f"sinks={{influxdb: {INFLUX}}}"],
}


class Labels(PipelineVisitor):
    """Collects the labels of our own steps: what Beam puts inside of its own is Beam's."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self.visit_transform(node)

    def visit_transform(self, node: AppliedPTransform) -> None:
        if node.full_label and (node.parent is None or _is_ours(node.parent)):
            self.found.append("  " * node.full_label.count("/") + node.full_label.rpartition("/")[2])


def _is_ours(node: AppliedPTransform) -> bool:
    return node.transform is None or type(node.transform).__module__.startswith("telebeam.")


def label_trees(config: Path) -> Iterator[str]:
    for name, overrides in CASES.items():
        pipeline = beam.Pipeline("FnApiRunner")
        build(pipeline, load_config(config, overrides), Run(NOW))
        labels = Labels()
        pipeline.visit(labels)
        yield "\n".join([f"# {name}", *labels.found, ""])


def test_the_labels_of_the_steps_stay_as_they_are(root: Path, golden: Callable[[Path, str], None]):
    config = root / "tests/fixtures/configs/minimal.yaml"
    header = "# The label of each step of a batch job, by sinks; pytest --rewrite-golden writes this file anew.\n\n"
    golden(root / "tests/golden/labels-batch.txt", header + "\n".join(label_trees(config)))
