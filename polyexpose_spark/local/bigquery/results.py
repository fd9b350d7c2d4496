"""Results of queries: their columns, their rows in pages, and how many of them are kept."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import duckdb

from polyexpose_spark.local.bigquery.errors import invalid, invalid_query
from polyexpose_spark.local.bigquery.fields import Field, from_engine

# Results up to this many rows are kept as Python values, larger ones as a temporary DuckDB table.
ROWS_IN_MEMORY = 20_000
KEPT_RESULTS = 500
KEPT_ROWS = 200_000

Row = tuple[Any, ...]


@dataclass
class Result:
    """Rows of one query: in `rows`, or in the temporary table `spilled`."""

    fields: list[Field]
    rows: list[Row]
    spilled: str = ""
    total: int = 0


EMPTY = Result([], [])


def columns(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> list[Field]:
    """Return the columns of a translated query without running it."""
    relation = con.sql(sql, params=values or None)
    return _fields(list(relation.columns), list(relation.types))


def _fields(names: list[str], types: list[Any]) -> list[Field]:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise invalid(f"Duplicate column names in the result are not supported. Found duplicate(s): {name}")
        seen.add(name.lower())
    return [from_engine(n, t) for n, t in zip(names, types, strict=True)]


def run(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, Any]) -> Result:
    """Run a translated query."""
    con.execute(sql, values or None)
    if con.description is None:
        raise invalid_query("The statement gave no result")
    fields = _fields([d[0] for d in con.description], [d[1] for d in con.description])
    rows = con.fetchmany(ROWS_IN_MEMORY)
    if len(rows) < ROWS_IN_MEMORY:
        return Result(fields, rows, total=len(rows))
    con.abort()  # DuckDB does nothing else before a result is read to its end
    name = f"result_{uuid.uuid4().hex}"
    con.execute(f"CREATE TEMP TABLE {name} AS {sql}", values or None).fetchall()
    total = con.execute(f"SELECT count(*) FROM temp.{name}").fetchall()[0][0]
    return Result(fields, [], name, total)


def page(con: duckdb.DuckDBPyConnection, result: Result, start: int, count: int) -> list[Row]:
    """Return `count` rows from `start`."""
    if not result.spilled:
        return result.rows[start : start + count]
    return con.execute(f"SELECT * FROM temp.{result.spilled} LIMIT {count} OFFSET {start}").fetchall()


class Results:
    """The results of the last queries; the oldest go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Result] = OrderedDict()
        self._rows = 0

    def keep(self, con: duckdb.DuckDBPyConnection, job: tuple[str, str], result: Result) -> None:
        """Keep a result under its job; forget old ones."""
        self._kept[job] = result
        self._rows += len(result.rows)
        while len(self._kept) > 1 and (len(self._kept) > KEPT_RESULTS or self._rows > KEPT_ROWS):
            _, old = self._kept.popitem(last=False)
            self._rows -= len(old.rows)
            if old.spilled:
                con.execute(f"DROP TABLE IF EXISTS temp.{old.spilled}")

    def get(self, job: tuple[str, str]) -> Result | None:
        """Return the result of a job, if it is still kept."""
        return self._kept.get(job)
