"""Models in lakes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from telebeam.io import storage
from telebeam.io.models.manifest import FORMAT, Manifest
from telebeam.io.models.store import publish, to_text
from telebeam.transforms.anomaly.features import FEATURES, VERSION
from tests.transforms.anomaly.models import model
from tests.transforms.anomaly.samples import MIDNIGHT

DRAWN = Manifest(
    format=FORMAT, name="fleet", version="", valid_from="2026-01-01T00:00:00Z", created_at="2026-01-02T00:00:00Z",
    start="2025-12-01T00:00:00Z", held_out_from="2025-12-25T00:00:00Z", end="2026-01-01T00:00:00Z", per="sensor_type",
    threshold=0.8, features_version=VERSION, features=FEATURES, forests=(), sha256="", bytes=0,
)  # fmt: skip


def put(lake: Path, seed: int = 1, valid_from: int = MIDNIGHT, **changes: Any) -> Manifest:
    """Publishes a version."""
    drawn = msgspec.structs.replace(DRAWN, valid_from=to_text(valid_from), **changes)
    return publish(storage.locate(str(lake)), drawn, model(seed).parts)[0]


def folder(lake: Path, manifest: Manifest) -> Path:
    return lake / "_models" / manifest.name / manifest.version
