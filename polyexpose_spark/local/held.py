"""A file that one process holds, with what it says about itself: who runs is never guessed from a process id alone."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyexpose_spark.errors import TargetUnavailable

_SECONDS_BETWEEN = 0.05


@dataclass(frozen=True)
class Held:
    """A locked file. The system lets go of it when the process ends, however it ends."""

    path: Path
    descriptor: int

    @classmethod
    def take(cls, path: Path, says: Mapping[str, Any], seconds: float = 0.0) -> Held:
        """Lock the file for this process and write `says` and the process id into it.

        Raises:
            TargetUnavailable: another process holds it, after `seconds` of waiting.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + seconds
        while not _lock(descriptor):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise TargetUnavailable(f"{path}: another process holds this file")
            time.sleep(_SECONDS_BETWEEN)
        held = cls(path, descriptor)
        held.say(says)
        return held

    def say(self, says: Mapping[str, Any]) -> None:
        """Replace what the file says; the process id is always in it."""
        text = json.dumps({"pid": os.getpid(), **says}).encode()
        # One write, then the cut: a reader in between finds a whole line, and what follows it is not JSON to it.
        os.pwrite(self.descriptor, text + b"\n", 0)
        os.ftruncate(self.descriptor, len(text) + 1)


def holder(path: Path) -> dict[str, Any] | None:
    """Return what the process that holds the file says of itself; None where nobody holds it.

    A process that has just taken the file may not have said anything yet: then the answer is empty.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        if _lock(descriptor):
            return None
        said = os.pread(descriptor, 1 << 16, 0).partition(b"\n")[0]
    finally:
        os.close(descriptor)
    try:
        return dict(json.loads(said))
    except ValueError:
        return {}


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
