"""Conditions, caller's and permission's, as SQL: predicates over an alias, and the joins they need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from polyexpose_spark.engine import filters, scalars
from polyexpose_spark.engine.bigquery import Parameter
from polyexpose_spark.engine.catalog import Permission, Relationship, Table
from polyexpose_spark.engine.failure import QueryError
from polyexpose_spark.engine.filters import Condition, Exists, SessionVariable
from polyexpose_spark.engine.meaning import Readable


def quote(name: str) -> str:
    """A name in back-ticks."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def reference(table: Table) -> str:
    """The full name of a table in SQL."""
    return ".".join(quote(part) for part in (table.project, table.name.dataset, table.name.name))


class Conditions:
    """Writes conditions of one query; ``parameters`` grows with every value."""

    def __init__(self, role: str, session: Mapping[str, str]) -> None:
        self._role = role
        self._session = session
        self._aliases = 0
        self.parameters: list[Parameter] = []

    def alias(self, letter: str) -> str:
        """A name for a sub-query that no other has."""
        self._aliases += 1
        return f"{letter}{self._aliases}"

    def parameter(self, type_name: str, value: Any) -> str:
        """Pass a value (or a list of them) beside the text."""
        name = f"p{len(self.parameters)}"
        self.parameters.append(Parameter(name, type_name, value))
        return f"@{name}"

    def readable(self, table: Table) -> Readable:
        """A related table as the role sees it; it does, or the field would not be in its schema."""
        permission = table.permission(self._role)
        assert permission is not None  # noqa: S101
        return Readable(table, permission, table.columns)

    def restricted(
        self, table: Table, permission: Permission, where: Condition | None, alias: str, joins: list[str]
    ) -> str:
        """The rows a role may see, and of those the ones a caller wants."""
        allowed = self._condition(permission.filter, table, alias, joins, filtered=False)
        wanted = self._condition(where or {}, table, alias, joins, filtered=True)
        return " AND ".join(part for part in (allowed, wanted) if part != "TRUE") or "TRUE"

    def _condition(self, condition: Condition, table: Table, alias: str, joins: list[str], *, filtered: bool) -> str:
        """``filtered``: related rows are those the role may see. A permission's own filter looks at all of them."""
        parts: list[str] = []
        for key, value in condition.items():
            if value is None:
                continue
            kind, _, name = key.partition(":")
            if key in ("_and", "_or"):
                inner = [self._condition(each, table, alias, joins, filtered=filtered) for each in value]
                between, empty = (" AND ", "TRUE") if key == "_and" else (" OR ", "FALSE")
                parts.append(f"({between.join(inner)})" if inner else empty)
            elif key == "_not":
                parts.append(f"NOT ({self._condition(value, table, alias, joins, filtered=filtered)})")
            elif isinstance(value, Exists):
                parts.append(self._exists(value, table, joins))
            elif kind == "r":
                parts.append(self._some(table.relationships[name], value, table, alias, joins, filtered))
            else:
                column = f"{alias}.{quote(name)}"
                for operator, operand in value.items():
                    parts.append(self._comparison(column, operator, operand, table.columns[name].type))
        return f"({' AND '.join(parts)})" if len(parts) > 1 else "".join(parts) or "TRUE"

    def _some(
        self, via: Relationship, condition: Condition, table: Table, alias: str, joins: list[str], filtered: bool
    ) -> str:
        remote = table.siblings[via.remote]
        t, e = self.alias("t"), self.alias("e")
        inner: list[str] = []
        if filtered:
            where = self.restricted(remote, self.readable(remote).permission, condition, t, inner)
        else:
            where = self._condition(condition, remote, t, inner, filtered=False)
        keys = ", ".join(f"{t}.{quote(other)} AS k{i}" for i, (_, other) in enumerate(via.mapping))
        on = " AND ".join(f"{e}.k{i} = {alias}.{quote(local)}" for i, (local, _) in enumerate(via.mapping))
        sql = f"SELECT DISTINCT {keys} FROM {reference(remote)} AS {t}{''.join(inner)} WHERE {where}"
        joins.append(f" LEFT JOIN ({sql}) AS {e} ON {on}")
        # A key that was joined is not NULL: NULL equals nothing.
        return f"{e}.k0 IS NOT NULL"

    def _exists(self, exists: Exists, table: Table, joins: list[str]) -> str:
        remote = table.siblings[exists.table]
        t, e = self.alias("t"), self.alias("e")
        inner: list[str] = []
        where = self._condition(exists.condition, remote, t, inner, filtered=False)
        sql = f"SELECT COUNT(*) > 0 AS m FROM {reference(remote)} AS {t}{''.join(inner)} WHERE {where}"
        joins.append(f" CROSS JOIN ({sql}) AS {e}")
        return f"{e}.m"

    def _comparison(self, column: str, operator: str, operand: Any, type_name: str) -> str:
        if operand is None:
            name = scalars.scalars(False)[type_name].name
            raise QueryError(f"unexpected null value for type '{name}'")
        if operator == "_is_null":
            return f"{column} IS {'' if self._known(operand, 'BOOL') else 'NOT '}NULL"
        if operator in filters.LISTS:
            values = self.parameter(type_name, self._known_list(operand, type_name))
            return f"{column} {'NOT ' if operator == '_nin' else ''}IN UNNEST({values})"
        if operator == "_st_d_within":
            distance = self.parameter("FLOAT64", float(operand["distance"]))
            spheroid = operand.get("use_spheroid")
            last = "" if spheroid is None else f", {self.parameter('BOOL', spheroid)}"
            return f"ST_DWITHIN({column}, {self._geography(operand['from'])}, {distance}{last})"
        if operator in filters.GEOGRAPHY:
            return f"{filters.GEOGRAPHY[operator]}({column}, {self._geography(self._known(operand, type_name))})"
        value = self.parameter(type_name, self._known(operand, type_name))
        if operator in filters.PATTERNS:
            negated = "NOT " if operator.startswith("_n") else ""
            if operator.endswith("ilike"):
                return f"LOWER({column}) {negated}LIKE LOWER({value})"
            return f"{column} {negated}LIKE {value}"
        return f"{column} {filters.COMPARISONS[operator]} {value}"

    def _geography(self, text: str) -> str:
        read = "ST_GEOGFROMGEOJSON" if text.lstrip().startswith("{") else "ST_GEOGFROMTEXT"
        return f"{read}({self.parameter('STRING', text)})"

    def _known(self, operand: Any, type_name: str) -> Any:
        return self._session_value(operand, type_name) if isinstance(operand, SessionVariable) else operand

    def _known_list(self, operand: Any, type_name: str) -> list[Any]:
        if not isinstance(operand, SessionVariable):
            return [self._known(each, type_name) for each in operand]
        text = self._text(operand).strip()
        try:
            # Hasura's users write lists as Postgres does, {1,2}; JSON is accepted too.
            items = text[1:-1].split(",") if text.startswith("{") else json.loads(text)
            return [
                scalars.parse(type_name, each.strip() if isinstance(each, str) else each)
                for each in items
                if each != ""
            ]
        except (ValueError, TypeError):
            message = f'session variable "{operand.name}" is not a list of {type_name}'
            raise QueryError(message, code="data-exception") from None

    def _session_value(self, variable: SessionVariable, type_name: str) -> Any:
        try:
            return scalars.parse(type_name, self._text(variable))
        except ValueError:
            message = f'session variable "{variable.name}" is not a value of type {type_name}'
            raise QueryError(message, code="data-exception") from None

    def _text(self, variable: SessionVariable) -> str:
        if variable.name not in self._session:
            raise QueryError(f'missing session variable: "{variable.name}"', code="not-found")
        return self._session[variable.name]
