"""Secrets are references, resolved where they are used and never logged: env:NAME, file:PATH, sm://PROJECT/SECRET."""

from __future__ import annotations

import os
from pathlib import Path

from polyexpose_spark.clients.secret_manager import SecretManager
from polyexpose_spark.config import SecretManagerConfig
from polyexpose_spark.errors import ConfigError

_manager = SecretManager(SecretManagerConfig())


def is_reference(value: str) -> bool:
    """Say whether a value is a reference to a secret."""
    return value.startswith(("env:", "file:", "sm://"))


def begin(config: SecretManagerConfig) -> None:
    """Begin a run: sm:// is read from this Secret Manager, each secret once; what was read before is forgotten."""
    global _manager
    _manager = SecretManager(config)


def resolve(reference: str) -> str:
    """Return the secret behind a reference; a line break at the end of a file or of a stored secret is not part of it.

    Raises:
        ConfigError: there is none; names the reference, never a value.
        TargetFailed, TargetUnavailable: Secret Manager refused it, or did not answer.
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
    if reference.startswith("sm://"):
        return _manager.read(reference)
    # The value itself may be the secret: it is not repeated in the message.
    raise ConfigError("a secret is written as a reference: env:NAME, file:PATH or sm://PROJECT/SECRET")
