"""One call to BigQuery's API: repeated while that can help, until the deadline of the operation; then one line.

The Google library's own retries go on for minutes and differ by method, so every call is made with them switched off.
"""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any, TypeVar

from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetFailed, TargetUnavailable

T = TypeVar("T")

# For the `retry` of the library's methods: None is documented, but not in their annotations.
NO_RETRY: Any = None

# Seconds that one HTTP request may take, and one that carries a file.
REQUEST = 30.0
UPLOAD = 300.0
# Seconds after which nobody is expected at an address where connections are refused or that has no host.
NOBODY_THERE = 10.0

# Reasons of BigQuery that pass by themselves. Source: BigQuery, "Error messages" (troubleshoot errors).
PASSING = frozenset(
    {
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
        "timeout",
    }
)
# Reasons that pass within hours: running again later is right, waiting for it is not.
LATER = frozenset({"quotaExceeded", "blocked"})
_LONGEST = 400


class Deadline:
    """The seconds that are left of one operation."""

    def __init__(self, seconds: float) -> None:
        """Start now."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left; zero or less: none."""
        return self._end - time.monotonic()

    def pause(self, round_: int) -> bool:
        """Sleep before round 1, 2, ... (doubling from 0.2 s to 8 s, with jitter); False where no time is left."""
        seconds = random.uniform(0.5, 1.0) * min(0.2 * 2 ** (round_ - 1), 8.0)  # noqa: S311 (jitter, no secret)
        if seconds >= self.left:
            return False
        time.sleep(seconds)
        return True


@dataclass(frozen=True)
class Calls:
    """The way every call is made. `target` names the service in messages (its address, where it is not Google's)."""

    target: str

    def __call__(self, what: str, deadline: Deadline, call: Callable[[float], T], request: float = REQUEST) -> T:
        """Make a call that is safe to repeat, until it is answered.

        Args:
            what: what is being done to what, for the message.
            deadline: of the whole operation.
            call: takes the seconds that its HTTP request may last.
            request: the most that this is.

        Raises:
            TargetFailed: BigQuery answered, and the answer is final.
            TargetUnavailable: no answer within the deadline, or one that asks to come again.
        """
        started, round_ = time.monotonic(), 0
        while True:
            try:
                return call(max(0.1, min(deadline.left, request)))
            except PolyexposeError:
                raise
            except Exception as error:
                failure = _sorted(error)
                if failure is None:
                    raise
            round_ += 1
            waited = time.monotonic() - started
            alone = failure.nobody and waited >= NOBODY_THERE
            if not failure.passing or alone or not deadline.pause(round_):
                raise self._error(what, failure, waited) from None

    def _error(self, what: str, failure: _Failure, waited: float) -> PolyexposeError:
        if failure.configuration:
            return ConfigError(f"{self.target}: {what}: {failure.reason}")
        if not (failure.passing or failure.later):
            return TargetFailed(f"{self.target}: {what}: {failure.reason}")
        tried = f" (tried for {waited:.0f} s)" if failure.passing else ""
        return TargetUnavailable(f"{self.target}: {what}: {failure.reason}{tried}; run again later")


@dataclass(frozen=True)
class _Failure:
    """Why a call failed; `passing`: it may help to repeat it, `later`: in some hours."""

    reason: str
    passing: bool = False
    later: bool = False
    nobody: bool = False
    configuration: bool = False


def _sorted(error: Exception) -> _Failure | None:
    """Say what a failure is. Messages are BigQuery's own words; never a URL, since upload addresses are secrets."""
    import requests
    import urllib3
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    match error:
        case api.GoogleAPICallError():
            return _answered(error.code, list(error.errors), error.message or "")
        case auth.InvalidOperation():  # anonymous credentials were asked to renew themselves
            return _Failure("credentials are required (HTTP 401)")
        case auth.DefaultCredentialsError():
            return _Failure(one_line(f"application default credentials: {error}"), configuration=True)
        case auth.TransportError():
            return _Failure("Google's authorisation service does not answer", passing=True)
        case auth.GoogleAuthError():
            return _Failure(one_line(f"the credentials were not accepted ({error.args[0] if error.args else error})"))
        case requests.exceptions.SSLError():
            return _Failure(one_line(f"no trusted TLS connection ({type(error).__name__})"))
        case requests.exceptions.Timeout() | futures.TimeoutError():
            return _Failure("no answer in time", passing=True)
        case requests.exceptions.ConnectionError():
            cause = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(cause, urllib3.exceptions.NewConnectionError):
                return _Failure("nobody answers at this address; is it running?", passing=True, nobody=True)
            return _Failure("the connection was lost", passing=True)
        case requests.exceptions.RequestException() | http.client.HTTPException() | ConnectionError():
            return _Failure("the answer was cut off", passing=True)
    return None


def _answered(code: int | None, errors: list[Any], message: str) -> _Failure:
    first = errors[0] if errors and isinstance(errors[0], Mapping) else {}
    reason, words = str(first.get("reason", "")), str(first.get("message", ""))
    # Without a body, the library's message is method and URL only.
    text = one_line(words or ("" if "://" in message else message)) or f"HTTP {code}"
    shown = text if str(code) in text else f"{text} (HTTP {code})"
    if reason in LATER:
        return _Failure(shown, later=True)
    if reason in PASSING or code in (408, 409, 412, 429) or ((code or 0) >= 500 and code != 501):
        return _Failure(shown, passing=True)
    return _Failure(shown)


def one_line(text: str) -> str:
    """Return the text on one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
