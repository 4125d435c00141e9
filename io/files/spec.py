"""Which files a job reads."""

from __future__ import annotations

from pydantic import Field

from telebeam.transforms.spec import Spec


class FileSourceSpec(Spec):
    """Files of one format."""

    path: str = Field(min_length=1)
    """A file, a folder or a glob (``*``, ``?``, ``[…]``, ``**``), local or ``s3://…``, ``gs://…``.

    Text may be ``.gz``, ``.zst``, ``.bz2``.
    """
