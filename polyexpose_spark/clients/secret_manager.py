"""Google's Secret Manager: what sm:// references stand for, by its REST API with application default credentials.

Source: Secret Manager, REST reference, projects.secrets.versions.access.
"""

from __future__ import annotations

import base64
import json
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from polyexpose_spark.clients.bigquery_calls import REQUEST, Calls, Deadline
from polyexpose_spark.config import SecretManagerConfig, secret_version
from polyexpose_spark.errors import ConfigError

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession
    from requests import Response

GOOGLE = "https://secretmanager.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_MOST = 1 << 20
"""Bytes of an answer; a secret has 64 KiB at most."""


class SecretManager:
    """Reads each secret once; what it holds is in no message."""

    def __init__(self, config: SecretManagerConfig, deadline: float = 30.0) -> None:
        """Keep what is handed in; nothing is imported or contacted yet.

        Args:
            config: where it is, and which project pays.
            deadline: seconds that one secret may take, all requests and pauses together.
        """
        self._config, self._deadline = config, deadline
        self._address = (config.endpoint or GOOGLE).rstrip("/")
        self._calls = Calls("Secret Manager" if config.endpoint is None else f"Secret Manager at {self._address}")
        self._read: dict[str, str] = {}

    def read(self, reference: str) -> str:
        """Return the secret behind an sm:// reference.

        Raises:
            ConfigError: it is no such reference, there is no such secret, it is no text, or a library is missing.
            TargetFailed: Secret Manager refused. TargetUnavailable: it did not answer in time.
        """
        try:
            version = secret_version(reference)
        except ValueError as error:
            raise ConfigError(f"secret {reference}: {error}") from None
        if version not in self._read:
            self._read[version] = self._accessed(reference, version)
        return self._read[version]

    def _accessed(self, reference: str, version: str) -> str:
        try:
            import google.api_core.exceptions
            import google.auth.transport.requests  # noqa: F401 - one that is missing is said here
        except ImportError:
            raise ConfigError(
                f"secret {reference}: Google's libraries are not installed: pip install 'polyexpose-spark[secrets]'"
            ) from None
        deadline = Deadline(self._deadline)
        answer = self._calls(f"secret {reference}", deadline, partial(self._asked, version, deadline))
        if answer is None:
            raise ConfigError(f"secret {reference}: there is no such secret or version")
        try:
            return base64.b64decode(answer["payload"]["data"], validate=True).decode("utf-8").rstrip("\n")
        except (KeyError, TypeError, ValueError):
            # Neither the answer nor the decoder's error is repeated: both may hold the value.
            raise ConfigError(f"secret {reference}: what is stored there is no UTF-8 text") from None

    @cached_property
    def _session(self) -> AuthorizedSession:
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        credentials, _ = google.auth.default(scopes=[_SCOPE], quota_project_id=self._config.project)
        return AuthorizedSession(credentials, refresh_timeout=REQUEST)  # type: ignore[no-untyped-call]

    def _asked(self, version: str, deadline: Deadline, timeout: float) -> Any:
        """Ask once; None: it is not there."""
        from google.api_core.exceptions import from_http_status

        url = f"{self._address}/v1/{version}:access"
        # The token goes to this address and to no other.
        asked = self._session.request(  # type: ignore[no-untyped-call]
            "GET", url, timeout=timeout, allow_redirects=False, stream=True
        )
        with asked as response:
            content = _content(response, deadline)
        if response.status_code == 404:
            return None
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if response.status_code == 200 and isinstance(answer, dict):
            return answer
        error = answer.get("error") if isinstance(answer, dict) else None
        message = str(error.get("message", "")) if isinstance(error, dict) else ""
        raise from_http_status(response.status_code, message)  # type: ignore[no-untyped-call]


def _content(response: Response, deadline: Deadline) -> bytes:
    """Read the whole answer, piece by piece, so that a trickle does not outlast the deadline."""
    import requests
    from urllib3.exceptions import HTTPError

    content = bytearray()
    try:
        while piece := response.raw.read1(65536, decode_content=True):
            content += piece
            if deadline.left <= 0 or len(content) > _MOST:
                raise requests.Timeout
    except HTTPError as error:
        raise requests.ConnectionError(error) from None
    return bytes(content)
