"""What the engine answers when something is wrong, in Hasura's two shapes.

``/v1/metadata`` answers ``{"path", "error", "code"[, "internal"]}`` with a status other than 200 (server
``Base/Error.hs``); ``/v1/graphql`` answers 200 with ``{"errors": [{"message", "extensions": {"path", "code"}}]}``.
"""

from __future__ import annotations

from typing import Any


class MetadataError(Exception):
    """A metadata command that cannot be carried out; nothing was changed."""

    def __init__(self, code: str, error: str, *, path: str = "$.args", status: int = 400, internal: Any = None) -> None:
        super().__init__(error)
        self.code = code
        self.error = error
        self.path = path
        self.status = status
        self.internal = internal

    def under(self, prefix: str) -> MetadataError:
        """Give the same error as seen from a surrounding ``bulk``: ``$.args`` becomes ``<prefix>.args``."""
        return MetadataError(
            self.code, self.error, path=prefix + self.path[1:], status=self.status, internal=self.internal
        )

    def body(self) -> dict[str, Any]:
        """The JSON object to answer with."""
        body: dict[str, Any] = {"path": self.path, "error": self.error, "code": self.code}
        if self.internal is not None:
            body["internal"] = self.internal
        return body


class QueryError(Exception):
    """A GraphQL request that cannot be answered."""

    def __init__(self, message: str, *, code: str = "validation-failed", path: str = "$") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.path = path

    def body(self) -> dict[str, Any]:
        """The JSON object to answer with."""
        extensions = {"path": self.path, "code": self.code}
        return {"errors": [{"extensions": extensions, "message": self.message}]}
