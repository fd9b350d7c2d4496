"""The metadata on disk: one JSON file, replaced as a whole, so that a kill at any moment leaves the last commit."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyexpose_spark.engine.document import EMPTY
from polyexpose_spark.errors import ConfigError, TargetUnavailable


@dataclass(frozen=True)
class Committed:
    """A document and the version it was stored under (counting from 1)."""

    resource_version: int
    metadata: dict[str, Any]


class Store:
    """``<folder>/metadata.json``, held by one process at a time.

    Raises:
        TargetUnavailable: another engine holds the folder.
        ConfigError: the folder cannot be written, or the file is not what an engine wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "metadata.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"--state {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise TargetUnavailable(f"--state {folder}: another engine uses this folder") from error

    def load(self) -> Committed:
        """Read the last commit; an empty document where there is none yet."""
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            return Committed(int(stored["resource_version"]), dict(stored["metadata"]))
        except FileNotFoundError:
            return Committed(1, dict(EMPTY))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._file}: not a metadata file of the engine ({error})") from error

    def save(self, committed: Committed) -> None:
        """Store a commit; when this returns, it survives a crash of the machine."""
        new = self._file.with_suffix(".new")
        text = json.dumps({"resource_version": committed.resource_version, "metadata": committed.metadata}, indent=1)
        # A service account key may stand in a document, although from_env is the better way.
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """Let another engine have the folder."""
        os.close(self._lock)
