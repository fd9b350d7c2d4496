"""Secrets are references, resolved where they are used and never logged: env:NAME, file:PATH, sm://PROJECT/SECRET."""

from __future__ import annotations

import os
from pathlib import Path

from polyexpose_spark.errors import ConfigError


def is_reference(value: str) -> bool:
    """Say whether a value is a reference to a secret."""
    return value.startswith(("env:", "file:", "sm://"))


def resolve(reference: str) -> str:
    """Return the secret behind a reference.

    Raises:
        ConfigError: there is none; names the reference, never a value.
    """
    if reference.startswith("env:"):
        found = os.environ.get(reference.removeprefix("env:"))
        if found is None:
            raise ConfigError(f"secret {reference}: this environment variable is not set")
        return found
    if reference.startswith("file:"):
        try:
            return Path(reference.removeprefix("file:")).read_text(encoding="utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"secret {reference}: this file cannot be read") from None
    raise ConfigError(f"secret {reference}: only env:NAME and file:PATH are read so far")
