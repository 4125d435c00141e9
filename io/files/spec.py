"""Which files a job reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from telebeam.transforms.spec import Spec


class FileSourceSpec(Spec):
    """Files of one format."""

    path: str = Field(min_length=1)
    """A file, a folder or a glob (``*``, ``?``, ``[…]``, ``**``), local or ``s3://…``, ``gs://…``; text may be ``.gz``, ``.zst``, ``.bz2``."""
    on_bad_file: Literal["fail", "reject"] = "fail"
    """What an unreadable file does: stop the job, or become one reject (``bad_file``) while the rest goes on."""
