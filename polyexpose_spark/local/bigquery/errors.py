"""Errors in BigQuery's own shape: HTTP status, reason and message."""

from __future__ import annotations

import re
from typing import Any

import duckdb

ERROR_COLOURS = re.compile(r"\x1b\[\d*m")


class ApiError(Exception):
    """An answer other than success. ``reason`` is one of BigQuery's error-messages table."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message

    def proto(self) -> dict[str, str]:
        """Return the ErrorProto that jobs carry in ``status``."""
        return {"reason": self.reason, "message": self.message}

    def body(self) -> dict[str, Any]:
        """Return the body of an HTTP answer."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "status": self.reason,
                "errors": [{**self.proto(), "domain": "global"}],
            }
        }


class MultipleSourceRows(Exception):
    """A MERGE found several source rows for one target row."""


def not_found(kind: str, name: str) -> ApiError:
    """Return 404 for a dataset, table or job."""
    return ApiError(404, "notFound", f"Not found: {kind} {name}")


def already_exists(kind: str, name: str) -> ApiError:
    """Return 409 for a dataset, table or job id that is taken."""
    return ApiError(409, "duplicate", f"Already Exists: {kind} {name}")


def invalid(message: str) -> ApiError:
    """Return 400 for a request that BigQuery would refuse as well."""
    return ApiError(400, "invalid", message)


def invalid_query(message: str) -> ApiError:
    """Return 400 for SQL that BigQuery would refuse as well."""
    return ApiError(400, "invalidQuery", message)


def not_implemented(what: str) -> ApiError:
    """Return 501 for what BigQuery can do and this server cannot do right."""
    return ApiError(501, "notImplemented", f"{what} is not supported by this local BigQuery server")


def from_engine(error: duckdb.Error) -> ApiError:
    """Return what DuckDB reports as a query error, without its source excerpt."""
    message = ERROR_COLOURS.sub("", str(error)).split("\n\nLINE")[0].replace("\n", " ").strip()
    # Missing tables never get this far: names are resolved in our own catalog first.
    return invalid_query(message)
