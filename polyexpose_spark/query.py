"""`--query` and `--file`: run SQL statements and write what they return.

Read-only unless asked otherwise; every statement is looked at before the first one runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from polyexpose_spark import query_output, readonly
from polyexpose_spark.errors import ConfigError, PolyexposeError, Problem, Refused
from polyexpose_spark.scan_tasks import has_jvm
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Statement:
    """One statement of a text: its own text, and the line and column it begins at, both from 1."""

    text: str
    line: int
    column: int


@dataclass(frozen=True)
class Result:
    """What one statement returned; nothing of it has been fetched yet."""

    statement: Statement
    frame: DataFrame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns; two may be equal. None at all: the statement returns nothing."""
        return tuple(self.frame.columns)


def run(session: SparkSession, text: str, allow_writes: bool = False, source: str = "--query") -> Iterator[Result]:
    """Return the result of each statement; each one runs when its result is asked for.

    Args:
        session: the session to run in.
        text: statements with `;` between them.
        allow_writes: let statements change things.
        source: where the text is from, for messages.

    Raises:
        ConfigError: no statement, or one that Spark does not understand; with line and column.
        Refused: a statement that is not read-only; nothing was run.
        TargetFailed, TargetUnavailable: while running.
    """
    statements = split(text)
    if not statements:
        raise ConfigError([Problem(source, 0, "", "there is no SQL statement")])
    if not allow_writes:
        _check(session, statements, source)
    return _results(session, statements, source)


def write(results: Iterable[Result], output: str, limit: int | None, stream: BinaryIO) -> None:
    """Write results one after the other: CSV with an empty line between, JSON arrays, Arrow streams.

    Args:
        results: what run() returned; a statement runs when it is its turn.
        output: table, csv, json or arrow.
        limit: rows of each result at most; None: 1000 in a table, all of them elsewhere.
        stream: where to write; text is UTF-8.

    Raises:
        ConfigError: the result has no form in this output (json with two columns of one name).
        TargetFailed, TargetUnavailable: while running.
    """
    written = 0
    for result in results:
        if not result.columns:
            continue
        if written and output in ("table", "csv"):
            stream.write(b"\n")
        written += 1
        try:
            query_output.WRITERS[output](result.frame, limit, stream)
        except (PolyexposeError, BrokenPipeError):
            raise
        except Exception as error:
            raise explained(error) from error
    stream.flush()


def split(text: str) -> list[Statement]:
    """Split a text at the `;` between its statements; comments alone are no statement.

    A text that cannot be read (a quote that is never closed) is returned whole: Spark says what is wrong.
    """
    from sqlglot import TokenType, tokenize
    from sqlglot.errors import TokenError

    try:
        tokens = tokenize(text, read="spark")
    except TokenError:
        return [_statement(text, 0, len(text))]
    found: list[Statement] = []
    begin: int | None = None
    end = 0
    for token in tokens:
        if token.token_type is not TokenType.SEMICOLON:
            begin, end = token.start if begin is None else begin, token.end + 1
        elif begin is not None:
            found.append(_statement(text, begin, end))
            begin = None
    if begin is not None:
        found.append(_statement(text, begin, end))
    return found


def _statement(text: str, begin: int, end: int) -> Statement:
    line_begin = text.rfind("\n", 0, begin) + 1
    return Statement(text[begin:end], text.count("\n", 0, begin) + 1, begin - line_begin + 1)


def _check(session: SparkSession, statements: list[Statement], source: str) -> None:
    if not has_jvm(session):
        raise Refused(
            "on a Spark Connect session it cannot be told what a statement does: run the job by spark-submit, "
            "or give --allow-writes"
        )
    refused: list[str] = []
    for statement in statements:
        try:
            reason = readonly.why_not(session, statement.text)
        except Exception as error:
            raise _explained(error, statement, source) from error
        if reason is not None:
            refused.append(f"{source}:{statement.line}: {_shortened(statement.text)}: {reason}")
    if refused:
        raise Refused("\n".join([*refused, "nothing was run; --allow-writes lets statements change things"]))


def _results(session: SparkSession, statements: list[Statement], source: str) -> Iterator[Result]:
    for statement in statements:
        try:
            frame = session.sql(statement.text)
        except Exception as error:
            raise _explained(error, statement, source) from error
        yield Result(statement, frame)


_POSITION = re.compile(r"[;.]?\s*\(?line (\d+),? pos (\d+)\)?;?")


def _explained(error: Exception, statement: Statement, source: str) -> PolyexposeError:
    """Return one line for what Spark says of a statement; the user's SQL is input like a configuration."""
    from pyspark.errors import AnalysisException

    if not isinstance(error, AnalysisException):
        return explained(error)
    said = str(error).strip()
    line, column = statement.line, statement.column
    if found := _POSITION.search(said):
        below, right = int(found[1]) - 1, int(found[2])
        line, column = line + below, right + 1 if below else column + right
    message = _POSITION.sub("", said.splitlines()[0]).rstrip(" ;")
    return ConfigError([Problem(source, line, "", f"column {column}: {_shortened(message, 400)}")])


def _shortened(text: str, longest: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."
