"""Anomaly scores as a step of a pipeline: the rows of one scorer, however the input is dealt."""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.testing.test_pipeline import TestPipeline as StrictPipeline
from apache_beam.testing.util import assert_that

from telebeam.transforms.anomaly.kernel import Scorer
from telebeam.transforms.anomaly.ptransforms import ScoreAnomalies
from telebeam.transforms.errors import ConfigurationError
from tests.transforms.anomaly.samples import FOREST, fleet, specs
from tests.transforms.anomaly.test_cutting import bits


@pytest.mark.parametrize("settings", [[{"detector": "ewma"}, {"detector": "auto"}], [FOREST]], ids=["series", "forest"])
def test_a_pipeline_scores_as_one_scorer_does(settings: list[dict]):
    batch = fleet(500, 3)
    expected = bits([Scorer(specs(*settings)).score(batch)])

    def same(found: Iterable[pa.RecordBatch]) -> None:
        assert bits(list(found)) == expected

    with StrictPipeline("FnApiRunner") as pipeline:
        pieces = [batch.slice(0, 200), batch.slice(200, 0), batch.slice(200)]
        scores = pipeline | beam.Create(pieces) | ScoreAnomalies(tuple(specs(*settings)), shards=3)
        assert_that(scores, same)


def test_what_can_not_be_scored_is_refused_before_it_runs():
    with pytest.raises(ConfigurationError, match="two detectors"):
        ScoreAnomalies(tuple(specs({"detector": "ewma"}, {"detector": "ewma"})))
    with pytest.raises(ConfigurationError, match="expected at least 1"):
        ScoreAnomalies(tuple(specs({"detector": "ewma"})), shards=0)
