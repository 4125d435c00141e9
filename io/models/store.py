"""``<lake>/_models/<name>/<version>/``: ``arrays.arrow``, and ``manifest.json``, which is written last.

A version without a manifest is not there yet.  One that is there is never changed.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa

from telebeam.io import storage
from telebeam.io.models import manifest as manifests
from telebeam.io.models.arrays import from_ipc, to_ipc
from telebeam.io.models.manifest import Manifest
from telebeam.transforms.anomaly.features import FEATURES, VERSION
from telebeam.transforms.anomaly.model import Model, Part
from telebeam.transforms.errors import ConfigurationError

FOLDER = "_models"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_BYTES = 1 << 30
_AGAIN = "train the model again, or take this version's folder away"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def publish(root: storage.Location, drawn: Manifest, parts: tuple[Part, ...]) -> tuple[Manifest, bool]:
    """Puts a version into the lake: invisible, and then whole.

    Args:
        root: Where the lake is.
        drawn: All but ``version``, ``sha256``, ``bytes`` and ``fingerprint``, which follow from what the model is.
        parts: The forests.

    Returns:
        The manifest as it stands there, and whether it is new: the same model again finds itself.

    Raises:
        SinkError: The lake does not take it.
        ConfigurationError: The name is none, or the version that stands there is damaged.
    """
    _check_name(drawn.name)
    buffer = to_ipc(parts)
    digest = hashlib.sha256(buffer).hexdigest()
    bare = msgspec.structs.replace(drawn, sha256=digest, bytes=buffer.size, version="", fingerprint="", created_at="")
    said = hashlib.blake2b(msgspec.json.encode(bare, order="sorted"), digest_size=4).hexdigest()
    version = f"{re.sub('[^0-9TZ]', '', drawn.end.partition('.')[0].removesuffix('Z') + 'Z')}-{said}"
    folder = f"{FOLDER}/{drawn.name}/{version}"
    text = storage.read(root, f"{folder}/manifest.json")
    if text is not None:
        load_version(root, drawn.name, version)
        return manifests.decode(text.to_pybytes()), False
    manifest = manifests.sealed(
        msgspec.structs.replace(bare, version=version, created_at=drawn.created_at)
    )  # fmt: skip
    storage.publish(root, f"{folder}/arrays.arrow", buffer)
    storage.publish(root, f"{folder}/manifest.json", pa.py_buffer(manifests.encode(manifest)))
    return manifest, True


def names(root: storage.Location) -> list[str]:
    """The models that the lake has a version of.

    Raises:
        SourceError: The lake can't be listed.
    """
    paths = storage.files_below(root, FOLDER, "/manifest.json")
    return sorted({path.split("/")[1] for path in paths if len(path.split("/")) == 4})


def versions(root: storage.Location, name: str) -> list[str]:
    """The versions of a model that are there, by name.

    Raises:
        SourceError: The lake can't be listed.
        ConfigurationError: The name is none.
    """
    _check_name(name)
    paths = storage.files_below(root, f"{FOLDER}/{name}", "/manifest.json")
    return sorted(parts[2] for path in paths if len(parts := path.split("/")) == 4 and _PLAIN.fullmatch(parts[2]))


def load_version(root: storage.Location, name: str, version: str) -> Model:
    """One version, checked as a whole: checksums first, then that its numbers are forests.

    Raises:
        ConfigurationError: It is damaged, of another format or of other features, or holds what is no forest.
        SourceError: It can't be read.
    """
    _check_name(name)
    folder = f"{FOLDER}/{name}/{version}"
    try:
        return _load(root, name, version, folder)
    except ValueError as error:
        raise ConfigurationError(
            f"the model {name}, version {version}, is refused: {error} ({root.child(folder)})", _AGAIN
        ) from error


def _load(root: storage.Location, name: str, version: str, folder: str) -> Model:
    text = storage.read(root, f"{folder}/manifest.json")
    if text is None:
        raise ValueError("there is no manifest.json")
    try:
        manifest = manifests.decode(text.to_pybytes())
    except ValueError as error:
        raise ValueError(f"manifest.json: {error}") from error
    if (manifest.name, manifest.version) != (name, version):
        raise ValueError(f"manifest.json is of {manifest.name}, version {manifest.version}")
    if manifest.features_version != VERSION or manifest.features != FEATURES:
        raise ValueError(f"it has features of version {manifest.features_version}; expected {VERSION}")
    if manifest.bytes > _MOST_BYTES:
        raise ValueError(f"arrays.arrow has {manifest.bytes:,} bytes; expected {_MOST_BYTES:,} at the most")
    buffer = storage.read(root, f"{folder}/arrays.arrow")
    if buffer is None:
        raise ValueError("there is no arrays.arrow")
    if hashlib.sha256(buffer).hexdigest() != manifest.sha256:
        raise ValueError("the checksum of arrays.arrow is wrong")
    try:
        parts = from_ipc(buffer)
    except ValueError as error:
        raise ValueError(f"arrays.arrow: {error}") from error
    valid_from, created_at = (to_micros(time) for time in (manifest.valid_from, manifest.created_at))
    return Model(name, version, valid_from, created_at, parts, manifest.fingerprint)


def load_manifest(root: storage.Location, name: str, version: str) -> Manifest:
    """What is said of a version that :func:`load_version` has taken.

    Raises:
        ConfigurationError: It is not there, or was changed.
    """
    text = storage.read(root, f"{FOLDER}/{name}/{version}/manifest.json")
    try:
        return manifests.decode(b"" if text is None else text.to_pybytes())
    except ValueError as error:
        raise ConfigurationError(f"the model {name}, version {version}: {error}", _AGAIN) from error


def to_micros(text: str) -> int:
    """µs since 1970 of a manifest's time.

    Raises:
        ValueError: It is no time with a zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} names no zone")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_text(micros: int) -> str:
    """A manifest's time.

    >>> to_text(1_767_225_600_000_000)
    '2026-01-01T00:00:00Z'
    """
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def _check_name(name: str) -> None:
    if not _PLAIN.fullmatch(name):
        raise ConfigurationError(f"{name!r} is no model's name", "1 to 64 letters, digits, - and _")
