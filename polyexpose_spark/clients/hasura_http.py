"""Requests to Hasura: bounded retries, one deadline for all of them, the admin secret in a header and nowhere else."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as ReadTimeout

from polyexpose_spark.clients import secrets
from polyexpose_spark.errors import ConfigError, TargetFailed, TargetUnavailable

_log = logging.getLogger(__name__)

ATTEMPTS = 5
"""Of one request (no connection, 429, 5xx), within its deadline."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
CONNECT_S = 10.0
SHOWN = 600
"""Characters of an error text of Hasura that are shown; it may list every column of a table."""


@dataclass(frozen=True)
class Answer:
    """What came back: status and body, parsed (None where it is no JSON)."""

    status: int
    body: Any


class Http:
    """The one address that requests, and the secret, go to."""

    def __init__(self, endpoint: str, admin_secret: str | None, timeout: float) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise _no_address(endpoint)
        self.endpoint = endpoint.rstrip("/")
        self.secret = admin_secret
        self._timeout = timeout
        self._session = requests.Session()
        if parts.hostname in ("localhost", "127.0.0.1", "::1"):
            self._session.trust_env = False  # a proxy of the environment does not know this machine's own ports

    def __str__(self) -> str:
        return f"Hasura at {self.endpoint}"

    def probe(self, path: str) -> int:
        """Ask once, without the secret; return the status, 0 where there is no answer."""
        try:
            timeout = min(CONNECT_S, self._timeout)
            return self._session.get(f"{self.endpoint}{path}", timeout=timeout, allow_redirects=False).status_code
        except requests.RequestException:
            return 0

    def line(self, text: str) -> str:
        """Return one line of bounded length, without the secret."""
        if self.secret is not None:
            text = text.replace(self._resolved(self.secret), "***")
        line = " ".join(text.split())
        return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."

    def _resolved(self, reference: str) -> str:
        secret = secrets.resolve(reference)
        # requests would repeat the value in its own error.
        if not secret or not secret.isascii() or not secret.isprintable() or secret != secret.strip():
            raise ConfigError(f"secret {reference}: it is empty, or holds blanks at its ends or other than ASCII text")
        return secret

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request, again where that is safe and may help, until the deadline."""
        deadline = time.monotonic() + self._timeout
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = "application/json"
        if self.secret is not None:
            sent["x-hasura-admin-secret"] = self._resolved(self.secret)
        data = None if body is None else json.dumps(body).encode()
        for attempt in range(1, ATTEMPTS + 1):
            pause = pause_s(attempt)
            try:
                response, content = self._exchange(method, path, data, sent, deadline)
            except requests.exceptions.SSLError as error:
                raise TargetFailed(f"{self}: TLS: {self.line(_reason(error))}") from None
            except requests.exceptions.InvalidURL:
                raise _no_address(self.endpoint) from None
            except (requests.RequestException, HTTPError) as error:
                trouble = _reason(error)
            else:
                if response.status_code != 429 and response.status_code < 500:
                    return Answer(response.status_code, _parsed(content))
                trouble = f"HTTP {response.status_code} {said(_parsed(content))}".strip()
                pause = max(pause, _asked(response.headers.get("Retry-After")))
            if attempt == ATTEMPTS or time.monotonic() + pause >= deadline:
                break
            _log.info("%s: %s: %s; trying again", self, path, self.line(trouble))
            time.sleep(pause)
        raise TargetUnavailable(f"{self}: {path}: {self.line(trouble)}")

    def _exchange(
        self, method: str, path: str, data: bytes | None, headers: Mapping[str, str], deadline: float
    ) -> tuple[requests.Response, bytes]:
        """Send once and read the whole answer, piece by piece, so that a trickle does not outlast the deadline."""
        late = TargetUnavailable(f"{self}: {path}: no answer within {self._timeout:g} s; run again")
        left = max(deadline - time.monotonic(), 0.001)
        try:
            with self._session.request(
                method,
                f"{self.endpoint}{path}",
                data=data,
                headers=headers,
                timeout=(min(CONNECT_S, left), left),
                allow_redirects=False,  # the secret goes to this address and to no other
                stream=True,
            ) as response:
                content = bytearray()
                while piece := response.raw.read1(65536, decode_content=True):
                    content += piece
                    if time.monotonic() > deadline:
                        raise late
                return response, bytes(content)
        except requests.ConnectTimeout:  # a Timeout to requests, yet nothing was sent: worth another attempt
            raise
        except (requests.Timeout, ReadTimeout):
            raise late from None


def _no_address(endpoint: str) -> ConfigError:
    shown = endpoint.rpartition("@")[2]
    return ConfigError(f"Hasura endpoint {shown!r}: http://host:port or https://host is expected, without a password")


def pause_s(attempt: int) -> float:
    """Return seconds, doubling, with jitter so that two runs do not collide again."""
    longest: float = min(FIRST_PAUSE_S * 2.0 ** (attempt - 1), LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets


def _asked(retry_after: str | None) -> float:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def said(body: Any) -> str:
    """Return code and message of Hasura, with the reasons of what it found inconsistent."""
    if not isinstance(body, Mapping):
        return ""
    internal = body.get("internal")
    reasons = [
        str(each["reason"])
        for each in (internal if isinstance(internal, list) else ())
        if isinstance(each, Mapping) and each.get("reason")
    ]
    return ": ".join(filter(None, (str(body.get("code", "")), str(body.get("error", "")), "; ".join(reasons))))


def _reason(error: BaseException) -> str:
    """Return what the system said of a connection, without the library's own words about it."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        inner = [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
        todo += [nested for nested in inner if isinstance(nested, BaseException)]
    return "the connection was closed without an answer"
