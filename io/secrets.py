"""References to secrets.

A configuration holds ``env:NAME`` or ``file:PATH``, never the secret.  The reference is what is validated, printed,
serialized and sent to workers; :func:`resolve_secret` is called on the worker, in ``setup()``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from telebeam.transforms.errors import ConfigurationError


def _is_reference(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind not in ("env", "file") or not name:
        # The value itself may be the secret: it is not repeated in the message.
        raise ValueError("a secret is given by reference; expected env:NAME or file:PATH")
    return value


SecretReference = Annotated[str, AfterValidator(_is_reference)]
"""``env:NAME`` or ``file:PATH``."""


def resolve_secret(reference: str) -> str:
    """The secret that a reference names, without surrounding white space.

    Raises:
        ConfigurationError: The variable or the file is not there, or it is empty.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name, "")
        where = f"the environment variable {name}"
    else:
        try:
            value = Path(name).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the secret's file {name} can't be read: {error}") from error
        where = f"the file {name}"
    if not value.strip():
        hint = f"set it, for example: export {name}=…" if kind == "env" else ""
        raise ConfigurationError(f"{where} holds no secret", hint)
    return value.strip()
