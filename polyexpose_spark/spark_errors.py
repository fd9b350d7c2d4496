"""What Spark, Iceberg and the JVM raise -> one line for the user: root cause, file or table, no stack."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Any

from polyexpose_spark.addresses import redacted
from polyexpose_spark.errors import PolyexposeError, TargetFailed, TargetUnavailable

_LONGEST = 400
"""A message of Spark may hold a whole query plan."""

# Java class (simple name) -> what it means; of the chain of causes the innermost that is known decides.
_UNAVAILABLE = {
    "ConnectException": "cannot be reached",
    "NoRouteToHostException": "cannot be reached",
    "UnknownHostException": "unknown host",
    "SocketTimeoutException": "did not answer in time",
    "HttpHostConnectException": "cannot be reached",
    "SQLTransientConnectionException": "the catalog did not answer",
    "SQLTimeoutException": "the catalog did not answer",
    "ServiceUnavailableException": "the catalog did not answer",
    "ServiceFailureException": "the catalog's server failed",
    "CommitFailedException": "the table was changed at the same time",
    "CommitStateUnknownException": "it is not known whether the commit was taken",
}
_FAILED = {
    "FileNotFoundException": "a file is missing",
    "NoSuchFileException": "a file is missing",
    "NotFoundException": "a file is missing",
    "NoSuchTableException": "there is no such table",
    "NoSuchViewException": "there is no such view",
    "NoSuchNamespaceException": "there is no such namespace",
    "NotAuthorizedException": "not permitted, check the credentials of the catalog",
    "ForbiddenException": "not permitted, check the rights on the table",
    "AccessControlException": "not permitted",
    "AccessDeniedException": "not permitted",
    "OutOfMemoryError": "out of memory, raise spark.driver_memory in the profile (or the executors' memory)",
    "ParquetDecodingException": "a file cannot be read",
    "ChecksumException": "a file cannot be read",
    "EOFException": "a file cannot be read",
    "InvalidAvroMagicException": "a file cannot be read",
}
_BUSY = re.compile(r"SQLITE_BUSY|database is locked|could not serialize|Connection refused|connection attempt failed")
_NOT_ANSWERED = re.compile(r"google::cloud::Status\((?:UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|INTERNAL)\b")
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_DAMAGED = re.compile(
    r"is not a Parquet file|Could not read footer|can not read (?:class|value)|could not read page"
    r"|Invalid (?:ORC|Avro)|corrupt",
    re.I,
)
_FILE = re.compile(r"(?:[a-z][a-z0-9+.-]*:/+|/)[^\s'\",;:()\[\]]+\.(?:parquet|orc|avro|puffin|json|csv|gz|zst)\b")
_IN_A_TASK = re.compile(r"^(?:Caused by: |.*most recent failure: .*?\): )([\w.$]+(?:Exception|Error)): ?(.*)$", re.M)


def explained(error: Exception, table: str = "") -> PolyexposeError:
    """Return the error that the user is shown for any exception of a Spark job.

    An exception that has nothing to do with Spark, Java or the system is a bug and keeps exit code 1.

    Args:
        error: what was raised; one of ours is returned as it is.
        table: full name of the table that was read or written, named where the message names no file.
    """
    if isinstance(error, PolyexposeError):
        return error
    try:
        causes = list(_causes(error))
    except Exception:  # noqa: BLE001 -- the JVM went away while it was asked for the cause
        causes = []
    if causes:
        return _of_java(causes, table.replace("`", ""))
    name = type(error).__name__
    # py4j says the same words, with Java's trace, where a call was wrong: that is a bug.
    ended = name == "Py4JError" and "Trace:" not in str(error) and "does not exist" not in str(error)
    if ended or name == "Py4JNetworkError" or isinstance(error, ConnectionError):
        return TargetFailed(
            "the Java process of Spark ended in the middle of the work (killed, or out of memory); "
            "Spark's log says more"
        )
    if isinstance(error, OSError):
        what = "no space left on the device" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        return TargetFailed(f"{what or error}{f': {error.filename}' if error.filename else ''}")
    if type(error).__module__.startswith("pyspark."):
        return TargetFailed(_raised(str(error)) or _line(str(error)))
    return PolyexposeError(f"{name}: {_line(str(error))}")


def _causes(error: Exception) -> Iterator[tuple[str, str]]:
    """Yield (simple class name, message) of the Java exception and of its causes, outermost first."""
    # Py4JJavaError carries the exception as java_exception, the errors that PySpark makes of it as _origin.
    java: Any = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
    for _ in range(30):  # a cause may name itself through a wrapper
        if java is None:
            return
        message = str(java.getMessage() or "")
        yield _simple(java.getClass().getName()), message
        # An error in a task comes from another process: as text only.
        if "most recent failure" in message:
            yield from ((_simple(name), text) for name, text in _IN_A_TASK.findall(message))
        java = java.getCause()


def _simple(class_name: str) -> str:
    return re.split(r"[.$]", class_name)[-1]


def _of_java(causes: list[tuple[str, str]], table: str) -> PolyexposeError:
    said = "\n".join(message for _, message in causes)
    told = [(name, _line(message)) for name, message in causes if message]
    root = told[-1][1] if told else causes[-1][0]
    where = _where(said, root, table)
    if _NO_SPACE.search(said):
        return TargetFailed(f"no space left on the device{_where(said, root, '')}")  # not the table's, as a rule
    for name, message in reversed(causes):
        if name in _FAILED:
            return TargetFailed(f"{_FAILED[name]}: {_line(message) or root}{where}")
        if name in _UNAVAILABLE or _BUSY.search(message):
            return TargetUnavailable(f"{_UNAVAILABLE.get(name, 'busy')}: {_line(message) or root}{where}; run again")
    if _DAMAGED.search(said):
        return TargetFailed(f"a file cannot be read: {root}{where}")
    raised = _raised(said)
    if _NOT_ANSWERED.search(raised):
        return TargetUnavailable(f"{raised}{where}; run again")
    return TargetFailed(f"{raised or root}{where}")


def _raised(said: str) -> str:
    """Return the last line of the traceback of a Python function that ran on an executor."""
    traceback = said.partition("Traceback (most recent call last):")[2]
    raised = re.search(r"^[\w.]+(?:: .*)?$", traceback, re.M)
    return _line(raised[0]) if raised else ""


def _where(said: str, root: str, table: str) -> str:
    """Return what the message does not name yet: the file, otherwise the table."""
    files = _FILE.findall(said)
    if any(file in root for file in files):
        return ""
    if files:
        return f" (file {files[-1]})"
    return f" (table {table})" if table and table not in root else ""


def _line(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # An object's address in the JVM says nothing, and differs each time.
    text = re.sub(r"@[0-9a-f]{5,8}\b", "", redacted(lines[0] if lines else ""))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
