"""The type of an expression, asked of DuckDB itself where the tree does not say it."""

from __future__ import annotations

from typing import Any

import duckdb
import sqlglot
from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import from_engine

STATIC = {
    exp.DataType.Type.BIGINT: "BIGINT",
    exp.DataType.Type.DOUBLE: "DOUBLE",
    exp.DataType.Type.TEXT: "VARCHAR",
    exp.DataType.Type.BOOLEAN: "BOOLEAN",
    exp.DataType.Type.DATE: "DATE",
    exp.DataType.Type.TIME: "TIME",
    exp.DataType.Type.TIMESTAMP: "TIMESTAMP",
    exp.DataType.Type.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
    exp.DataType.Type.JSON: "JSON",
}
INTEGERS = ("BIGINT", "HUGEINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT")
FLOATS = ("DOUBLE", "FLOAT")


def render(tree: exp.Expression) -> str:
    """Return a translated tree as DuckDB's SQL."""
    return tree.sql(dialect="duckdb", identify=True, unsupported_level=sqlglot.ErrorLevel.RAISE)


class Oracle:
    """Types of translated expressions within the SELECTs that are being translated."""

    def __init__(self, con: duckdb.DuckDBPyConnection, values: dict[str, Any]) -> None:
        self.con = con
        self.values = values
        self.scopes: list[list[exp.Expression]] = []
        self.aliases: list[dict[str, exp.Expression]] = []
        self.withs: list[list[exp.Expression]] = []

    def of(self, node: exp.Expression) -> str:
        """Return the DuckDB type of a translated expression, e.g. ``DECIMAL(38,9)``.

        Raises ApiError 400 where DuckDB finds none.
        """
        if isinstance(node, exp.Paren):
            return self.of(node.this)
        if isinstance(node, exp.Cast) and node.to.this in STATIC:
            return STATIC[node.to.this]
        if isinstance(node, exp.Literal) and node.is_string:
            return "VARCHAR"
        if isinstance(node, (exp.Boolean, exp.Predicate, exp.Connector, exp.Not, exp.Escape)):
            return "BOOLEAN"
        reason: duckdb.Error = duckdb.Error("no scope")
        for candidate in (node, self._without_aliases(node)):
            for depth in range(1, len(self.scopes) + 1) or (0,):
                try:
                    return self._probe(candidate, depth)
                except duckdb.Error as error:
                    reason = error  # of the widest scope: an unknown name, or types that do not go together
        raise from_engine(reason)

    def _without_aliases(self, node: exp.Expression) -> exp.Expression:
        """Return the node with the names that its SELECT gives to columns replaced by what they name."""
        named = self.aliases[-1] if self.aliases else {}

        def replaced(part: exp.Expression) -> exp.Expression:
            if isinstance(part, exp.Column) and not part.table and part.name.lower() in named:
                return exp.Paren(this=named[part.name.lower()].copy())
            return part

        return node.copy().transform(replaced)

    def columns(self, query: exp.Expression) -> list[str]:
        """Return the DuckDB types of a translated query's columns.

        Raises ApiError 400 where DuckDB cannot tell.
        """
        try:
            sql, values = self._with_ctes(render(query), [query])
            relation = self.con.sql(sql, params=values)
        except duckdb.Error as error:
            raise from_engine(error) from error
        return [str(t) for t in relation.types]

    def _probe(self, node: exp.Expression, depth: int) -> str:
        select = exp.Select(expressions=[node.copy()])
        tables = [t for scope in self.scopes[len(self.scopes) - depth :] for t in scope] if depth else []
        sql = render(select)
        if tables:
            sql += " FROM " + ", ".join(sources(t) for t in tables)
        sql, values = self._with_ctes(sql, [select, *tables])
        return str(self.con.sql(sql, params=values).types[0])

    def _with_ctes(self, sql: str, trees: list[exp.Expression]) -> tuple[str, Any]:
        """Return the SQL with the WITH of all scopes before it, and the values that it needs."""
        ctes = [c for level in self.withs for c in level]
        if ctes:
            recursive = any(c.parent and c.parent.args.get("recursive") for c in ctes)
            head = f"WITH {'RECURSIVE ' if recursive else ''}" + ", ".join(render(c) for c in ctes)
            sql = f"{head} {sql}" if not sql.startswith("WITH ") else f"{head} SELECT * FROM ({sql})"
        names = {p.name for t in [*trees, *ctes] for p in t.find_all(exp.Parameter)}
        return sql, {n: self.values[n] for n in names} or None


FROM_ONLY = "SELECT 1 FROM "


def sources(scope: exp.Expression) -> str:
    """Return what stands after FROM: one table, or the joined tables of a ``SELECT 1 FROM ...``."""
    return render(scope).removeprefix(FROM_ONLY) if isinstance(scope, exp.Select) else render(scope)


def is_decimal(kind: str) -> bool:
    """Tell whether a DuckDB type is NUMERIC or BIGNUMERIC."""
    return kind.startswith("DECIMAL(")


def is_integer(kind: str) -> bool:
    """Tell whether a DuckDB type is an integer."""
    return kind in INTEGERS


def is_numeric_shaped(kind: str) -> bool:
    """Tell whether a DuckDB decimal type is a NUMERIC."""
    precision, scale = (int(x) for x in kind[len("DECIMAL(") : -1].split(","))
    return scale <= 9 and precision - scale <= 29
