"""Every error a user can meet, under one root, each with the exit code of the process.

PolyexposeError
├── ConfigError        2  configuration, contract file or command line; lists every problem found
├── Refused            3  a type, contract or policy that a port cannot keep
├── TargetFailed       4  the target answered, and it did not work
└── TargetUnavailable  5  the target did not answer or is busy; running again is safe
Anything else that escapes is a bug (1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of ``main.py`` and ``polyexpose``; the same number stands in the receipt."""

    DONE = 0
    BUG = 1
    CONFIG = 2
    REFUSED = 3
    FAILED = 4
    UNAVAILABLE = 5


class PolyexposeError(Exception):
    """Root of all errors with a message meant for the user: what, where, what to do."""

    exit_code: ExitCode = ExitCode.BUG


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file or on the command line.

    ``line`` counts from 1; 0 where there is no line (a command line argument, a missing key's parent).
    """

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class ConfigError(PolyexposeError):
    """The configuration, a contract file or the command line is not valid; nothing was touched."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        """Take one message, or all the problems found (one line each in the text)."""
        self.problems: tuple[Problem, ...] = () if isinstance(problems, str) else tuple(problems)
        super().__init__(problems if isinstance(problems, str) else "\n".join(map(str, self.problems)))


class Refused(PolyexposeError):
    """The product asks for something that a port cannot keep (type, contract, policy)."""

    exit_code = ExitCode.REFUSED


class TargetFailed(PolyexposeError):
    """The target (or the source table) answered, and the work could not be done."""

    exit_code = ExitCode.FAILED


class TargetUnavailable(PolyexposeError):
    """The target did not answer, or another run holds it. Nothing is half done: run again."""

    exit_code = ExitCode.UNAVAILABLE
