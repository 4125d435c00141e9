"""What an extra would bring is named, where it is missing."""

import sys

import pytest

from telebeam.transforms.errors import ConfigurationError
from telebeam.transforms.extras import needing


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigurationError) as caught, needing("kafka", "source.kafka"):
        import confluent_kafka  # noqa: F401
    assert caught.value.message == "source.kafka needs the Python package confluent_kafka"
    assert caught.value.hint == "pip install 'telebeam[kafka]'"


def test_an_error_of_another_kind_stays_what_it_is():
    with pytest.raises(ImportError, match="broken"), needing("kafka", "source.kafka"):
        raise ImportError("broken")
