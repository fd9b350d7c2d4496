"""What pyiceberg and the libraries under it raise -> one line for the user, with the right exit code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from polyexpose_spark.addresses import redacted
from polyexpose_spark.errors import ConfigError, PolyexposeError, Refused, TargetFailed, TargetUnavailable

# module -> what brings it
_DRIVERS = {
    "psycopg2": "pip install 'polyexpose-spark[postgres]'",
    "thrift": "pip install 'pyiceberg[hive]'",
    "hive_metastore": "pip install 'pyiceberg[hive]'",
}

# Classes are known by name: importing the libraries of every kind of catalog only to name their errors takes
# longer than the answer.
_UNAVAILABLE = frozenset(
    {
        "ConnectionError",  # of Python and of requests
        "Timeout",
        "TimeoutError",
        "ServiceUnavailableError",
        "ServerError",
        "TooManyRequestsError",
        "TTransportException",
    }
)
_SIGN_IN = frozenset({"UnauthorizedError", "ForbiddenError", "OAuthError", "AuthorizationExpiredError"})
_UNREADABLE = frozenset(
    {"ValueError", "KeyError", "TypeError", "OSError", "ValidationError", "RESTError", "TException"}
)

_DATABASE_SAYS_NO = re.compile(
    r"authentication failed|no password supplied|pg_hba\.conf|does not exist|permission denied"
    r"|not a database|malformed|unable to open|readonly|disk I/O error"
)
_SYSTEM_SAYS = re.compile(r"Caused by .*\[Errno -?\d+\] ([^\"')]+)")
_UNKNOWN_TYPE = re.compile(r"Unsupported field type: '?([^'\n\[]+)'?")


@contextmanager
def answers(catalog: str, what: str = "") -> Iterator[None]:
    """Turn the errors of one request to a catalog into ours; a bug passes through as it is.

    Args:
        catalog: name and address of the catalog, without credentials.
        what: what was asked for ("table nyc.flights").
    """
    try:
        yield
    except PolyexposeError:
        raise
    except Exception as error:
        told = _told(error, catalog, f"{what}: " if what else "")
        if told is None:
            raise
        # Not `from error`: foreign texts may carry the address with the password.
        raise told from None


def _told(error: Exception, catalog: str, what: str) -> PolyexposeError | None:
    names = {each.__name__ for each in type(error).__mro__}
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _DRIVERS:
        module = str(error.name).partition(".")[0]
        return ConfigError(f"{catalog} needs the Python package {module}: {_DRIVERS[module]}")
    if "NotInstalledError" in names:
        return ConfigError(f"{catalog}: {_line(error)}")
    if "DBAPIError" in names:
        return _of_database(error, catalog, what)
    if names & _SIGN_IN:
        return TargetFailed(
            f"{what}{catalog} refuses access ({_line(error)}); check the secrets and properties of `catalog` "
            "in the profile (credential, token, scope) and what they are allowed to see"
        )
    if names & _UNAVAILABLE and "FileNotFoundError" not in names:
        return TargetUnavailable(f"{what}{catalog} did not answer: {_line(error)}")
    unknown = _UNKNOWN_TYPE.search(str(error))
    if unknown:
        return Refused(f"{what}it has a column of type {unknown[1].strip()}, which is not read here")
    if isinstance(error, FileNotFoundError):
        return TargetFailed(f"{what}a file that {catalog} points to is missing: {_line(error)}")
    if names & _UNREADABLE:
        return TargetFailed(f"{what}{catalog} holds something that cannot be read: {_line(error)}")
    return None


def _of_database(error: Exception, catalog: str, what: str) -> PolyexposeError:
    line = _line(getattr(error, "orig", None) or error)
    if _DATABASE_SAYS_NO.search(line):
        hint = "check `user`, `password` and `uri` of `catalog` in the profile, and the rights of the user"
        return TargetFailed(f"{what}{catalog} refuses: {line}; {hint}")
    return TargetUnavailable(f"{what}{catalog} did not answer: {line}")


def _line(error: object) -> str:
    """Return the telling line of a message, shortened, without credentials."""
    lines = [each.strip() for each in str(error).splitlines() if each.strip()]
    text = lines[0] if lines else type(error).__name__
    if text.endswith(("validation error", "validation errors")) or re.match(r"\d+ validation errors? for ", text):
        text = ": ".join(lines[1:3])  # pydantic: the place, then what is wrong there
    reason = _SYSTEM_SAYS.search(text)
    if reason:  # urllib3 wraps it in four layers of its own names
        text = reason[1]
    return redacted(text if len(text) <= 300 else text[:297] + "...")
