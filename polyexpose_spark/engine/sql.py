"""One root field as one BigQuery query: text, parameters, and how to read its rows.

BigQuery refuses correlated sub-queries over another table when it runs them, so there is none: related rows are
numbered, grouped by their key and joined; "some related row fulfils this" is a join with the distinct keys of those
that do. Values are query parameters, always. Names of columns in results are ours (c0, c1, ...): GraphQL's response
keys tell upper from lower case and BigQuery's names do not. ``NULLS FIRST`` and ``NULLS LAST`` are not written, because
BigQuery does not take all of them in windows and aggregates: where the order is not BigQuery's own, a key ``x IS NULL``
stands before.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyexpose_spark.engine import scalars
from polyexpose_spark.engine.bigquery import Column, Parameter
from polyexpose_spark.engine.catalog import Relationship, Table
from polyexpose_spark.engine.conditions import Conditions, quote, reference
from polyexpose_spark.engine.failure import QueryError
from polyexpose_spark.engine.meaning import Readable
from polyexpose_spark.engine.selection import Aggregate, Arguments, Block, Count, Operator, Order, Rows, TypeName

Read = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Query:
    """A query with what turns its rows into the value of the root field."""

    project: str
    sql: str
    parameters: Sequence[Parameter]
    read: Callable[[Iterable[Mapping[str, Any]]], Any]


class Budget:
    """How many rows one operation may still answer with, related rows counted."""

    def __init__(self, rows: int) -> None:
        self._all = self._left = rows

    def spend(self, rows: Sequence[Any]) -> None:
        """Raise QueryError where these rows are too many."""
        self._left -= len(rows)
        if self._left < 0:
            raise QueryError(f"the answer has more than {self._all} rows: ask for fewer", code="limit-exceeded")


def write(selected: Rows | Aggregate, role: str, session: Mapping[str, str], budget: Budget) -> Query:
    """Write the query of a root field.

    Raises:
        QueryError: a session variable is missing or has a value of the wrong type.
    """
    writer = _Writer(role, session, budget)
    sql, read = writer.rows(selected) if isinstance(selected, Rows) else writer.aggregate(selected)
    return Query(selected.of.table.project, sql, writer.parameters, read)


@dataclass(frozen=True)
class _Base:
    """The rows of a table after permission, where, distinct_on, order_by, limit and offset, as a sub-query.

    Its columns: k0, k1, ... the keys; ``columns`` the needed ones by name; o0, o1, ... what it is ordered by (``order``
    has the ORDER BY); ``rn`` the row's number (within its key).
    """

    sql: str
    columns: Mapping[str, str]
    order: str


class _Output:
    """The result columns of one SELECT or STRUCT."""

    def __init__(self) -> None:
        self._expressions: list[str] = []
        self.joins: list[str] = []

    def add(self, expression: str) -> str:
        self._expressions.append(expression)
        return f"c{len(self._expressions) - 1}"

    def __str__(self) -> str:
        # Where only __typename is asked for, there are rows all the same.
        return ", ".join(f"{each} AS c{i}" for i, each in enumerate(self._expressions or ["1"]))


class _Writer(Conditions):
    def __init__(self, role: str, session: Mapping[str, str], budget: Budget) -> None:
        super().__init__(role, session)
        self._budget = budget

    def rows(self, selected: Rows) -> tuple[str, Callable[[Iterable[Mapping[str, Any]]], Any]]:
        base = self._base(selected.of, selected.arguments, (), _needed(selected.fields), capped=True)
        output = _Output()
        read = self._fields(selected.fields, base, output)
        order = f" ORDER BY {base.order}" if base.order else ""
        sql = f"SELECT {output} FROM ({base.sql}) AS b{''.join(output.joins)}{order}"
        return sql, lambda rows: self._records(list(rows), read)

    def aggregate(self, selected: Aggregate) -> tuple[str, Callable[[Iterable[Mapping[str, Any]]], Any]]:
        output = _Output()
        parts, read = self._aggregate(selected, (), output)
        # Only __typename: there is one row to say so.
        tables = " CROSS JOIN ".join(f"({sql}) AS {alias}" for alias, sql in parts) or "(SELECT 1) AS b"
        return f"SELECT {output} FROM {tables}", lambda rows: read(next(iter(rows)))

    def _records(self, rows: Sequence[Mapping[str, Any]], read: Read) -> list[Any]:
        self._budget.spend(rows)
        return [read(row) for row in rows]

    def _list(self, name: str, read: Read) -> Read:
        return lambda row: self._records(row[name] or (), read)

    def _base(
        self,
        of: Readable,
        arguments: Arguments,
        keys: Sequence[str],
        needed: Iterable[str],
        *,
        capped: bool,
        numbered: bool = False,
        single: bool = False,
    ) -> _Base:
        t = self.alias("t")
        joins: list[str] = []
        condition = self.restricted(of.table, of.permission, arguments.where, t, joins)
        columns = {name: f"x{i}" for i, name in enumerate(dict.fromkeys(needed))}
        picked = [f"{t}.{quote(name)} AS k{i}" for i, name in enumerate(keys)]
        picked += [f"{t}.{quote(name)} AS {alias}" for name, alias in columns.items()]
        order: list[str] = []
        for i, each in enumerate(arguments.order_by):
            picked.append(f"{self._ordered_by(each, of.table, t, joins)} AS o{i}")
            order += _direction(f"o{i}", each.direction)
        caps = [arguments.limit, of.permission.limit, of.table.row_limit] if capped else [arguments.limit]
        limit = 1 if single else min((cap for cap in caps if cap is not None), default=None)
        by = ", ".join(f"k{i}" for i in range(len(keys)))
        if arguments.distinct_on:
            picked += [f"{_groupable(f'{t}.{quote(name)}', of.columns[name])} AS d{i}"
                       for i, name in enumerate(arguments.distinct_on)]  # fmt: skip
        sql = f"SELECT {', '.join(picked) or '1'} FROM {reference(of.table)} AS {t}{''.join(joins)} WHERE {condition}"
        if arguments.distinct_on:
            first = ", ".join(f"d{i}" for i in range(len(arguments.distinct_on)))
            number = _number(f"{by}, {first}" if by else first, order)
            s = self.alias("s")
            sql = f"SELECT {s}.* FROM (SELECT *, {number} AS dn FROM ({sql})) AS {s} WHERE {s}.dn = 1"
        if keys or numbered:
            sql = f"SELECT *, {_number(by, order)} AS rn FROM ({sql})"
            bounds = [f"rn > {self.parameter('INT64', arguments.offset)}"] if arguments.offset else []
            if limit is not None:
                bounds.append(f"rn <= {self.parameter('INT64', arguments.offset + limit)}")
            if bounds:
                sql = f"SELECT * FROM ({sql}) WHERE {' AND '.join(bounds)}"
        else:
            if order and (limit is not None or arguments.offset):
                sql += f" ORDER BY {', '.join(order)}"
            if limit is not None or arguments.offset:
                # BigQuery takes no OFFSET without LIMIT.
                sql += f" LIMIT {self.parameter('INT64', 2**63 - 1 if limit is None else limit)}"
            if arguments.offset:
                sql += f" OFFSET {self.parameter('INT64', arguments.offset)}"
        return _Base(sql, columns, ", ".join(f"b.{key}" for key in order))

    def _fields(self, fields: Mapping[str, TypeName | Column | Rows | Aggregate], base: _Base, output: _Output) -> Read:
        """Write the fields of one row of ``base`` (which is called b) into ``output``; give what reads them back."""
        readers: list[tuple[str, Read]] = []
        for key, field in fields.items():
            if isinstance(field, TypeName):
                readers.append((key, _constant(field.name)))
            elif isinstance(field, Column):
                readers.append((key, _value(output.add(f"b.{base.columns[field.name]}"), field)))
            elif isinstance(field, Rows):
                assert field.via is not None  # noqa: S101 - only root fields have none
                sql, read = self._related(field, field.via)
                j = self.alias("j")
                output.joins.append(f" LEFT JOIN ({sql}) AS {j} ON {_on(field.via, j, 'b', base.columns)}")
                name = output.add(f"{j}.v")
                readers.append((key, self._list(name, read) if field.via.array else _object(name, read)))
            else:
                assert field.via is not None  # noqa: S101 - only root fields have none
                there = tuple(other for _, other in field.via.mapping)
                parts, read = self._aggregate(field, there, output)
                for alias, sql in parts:
                    on = _on(field.via, alias, "b", base.columns)
                    output.joins.append(f" LEFT JOIN ({sql}) AS {alias} ON {on}")
                readers.append((key, read))
        return _record(readers)

    def _related(self, selected: Rows, via: Relationship) -> tuple[str, Read]:
        """Related rows by key: v is an array of structs, or one struct for an object relationship."""
        there = tuple(other for _, other in via.mapping)
        if via.array:
            return self._array(selected, there)
        base = self._base(selected.of, Arguments(), there, _needed(selected.fields), capped=True, single=True)
        output = _Output()
        read = self._fields(selected.fields, base, output)
        keys = ", ".join(f"b.k{i} AS k{i}" for i in range(len(there)))
        return f"SELECT {keys}, STRUCT({output}) AS v FROM ({base.sql}) AS b{''.join(output.joins)}", read

    def _array(self, selected: Rows, keys: Sequence[str]) -> tuple[str, Read]:
        base = self._base(selected.of, selected.arguments, keys, _needed(selected.fields), capped=True, numbered=True)
        output = _Output()
        read = self._fields(selected.fields, base, output)
        picked = "".join(f"b.k{i} AS k{i}, " for i in range(len(keys)))
        group = " GROUP BY " + ", ".join(f"b.k{i}" for i in range(len(keys))) if keys else ""
        joined = "".join(output.joins)
        return (
            f"SELECT {picked}ARRAY_AGG(STRUCT({output}) ORDER BY b.rn) AS v FROM ({base.sql}) AS b{joined}{group}",
            read,
        )

    def _aggregate(
        self, selected: Aggregate, keys: Sequence[str], output: _Output
    ) -> tuple[list[tuple[str, str]], Read]:
        """Sub-queries (alias, text) of an aggregate, their values written into ``output``, and what reads them back."""
        blocks = [field for field in selected.fields.values() if isinstance(field, Block)]
        base = self._base(selected.of, selected.arguments, keys, _aggregated(blocks), capped=False)
        a = self.alias("a")
        values: list[str] = []

        def value(expression: str, empty: str = "") -> str:
            values.append(expression)
            mine = f"{a}.a{len(values) - 1}"
            return output.add(f"IFNULL({mine}, {empty})" if empty else mine)

        readers: list[tuple[str, Read]] = []
        parts: list[tuple[str, str]] = []
        for key, field in selected.fields.items():
            if isinstance(field, TypeName):
                readers.append((key, _constant(field.name)))
            elif isinstance(field, Block):
                readers.append((key, self._block(field, base, selected.of, value)))
            else:
                n = self.alias("n")
                sql, read = self._array(field, keys)
                parts.append((n, sql))
                readers.append((key, self._list(output.add(f"{n}.v"), read)))
        if values:
            picked = [f"b.k{i} AS k{i}" for i in range(len(keys))]
            picked += [f"{expression} AS a{i}" for i, expression in enumerate(values)]
            group = " GROUP BY " + ", ".join(f"b.k{i}" for i in range(len(keys))) if keys else ""
            parts.insert(0, (a, f"SELECT {', '.join(picked)} FROM ({base.sql}) AS b{group}"))
        return parts, _record(readers)

    def _block(self, block: Block, base: _Base, of: Readable, value: Callable[..., str]) -> Read:
        readers: list[tuple[str, Read]] = []
        for key, field in block.fields.items():
            if isinstance(field, TypeName):
                readers.append((key, _constant(field.name)))
            elif isinstance(field, Count):
                counted = [(f"b.{base.columns[name]}", of.columns[name]) for name in field.columns]
                readers.append((key, _value(value(_count(counted, field.distinct), "0"), None)))
            else:
                inner: list[tuple[str, Read]] = []
                for inner_key, column in field.columns.items():
                    if isinstance(column, TypeName):
                        inner.append((inner_key, _constant(column.name)))
                        continue
                    name = value(f"{field.name.upper()}(b.{base.columns[column.name]})")
                    typed = column if field.name in ("max", "min", "sum") else None
                    inner.append((inner_key, _value(name, typed)))
                readers.append((key, _record(inner)))
        return _record(readers)

    def _ordered_by(self, order: Order, table: Table, alias: str, joins: list[str]) -> str:
        """The expression an order stands for; what it needs of other tables is joined."""
        at = {name: quote(name) for name in table.columns}
        for step, name in enumerate(order.path, 1):
            via = table.relationships[name]
            table = table.siblings[via.remote]
            to = self.readable(table)
            needed = [local for each in table.relationships.values() for local, _ in each.mapping]
            if step == len(order.path) and order.of is None and order.column is not None:
                needed.append(order.column)
            base = self._base(to, Arguments(), [other for _, other in via.mapping], needed, capped=True, single=True)
            r = self.alias("r")
            joins.append(f" LEFT JOIN ({base.sql}) AS {r} ON {_on(via, r, alias, at)}")
            alias, at = r, dict(base.columns)
        if order.of is None:
            assert order.column is not None  # noqa: S101 - only count has none
            return f"{alias}.{at[order.column]}"
        via = table.relationships[order.of]
        keys = [other for _, other in via.mapping]
        base = self._base(
            self.readable(table.siblings[via.remote]), Arguments(), keys, (order.column,) if order.column else (),
            capped=False,
        )  # fmt: skip
        expression = f"{(order.operator or '').upper()}({f'b.{base.columns[order.column]}' if order.column else '*'})"
        picked = ", ".join(f"b.k{i} AS k{i}" for i in range(len(keys)))
        r = self.alias("r")
        group = ", ".join(f"b.k{i}" for i in range(len(keys)))
        sql = f"SELECT {picked}, {expression} AS v FROM ({base.sql}) AS b GROUP BY {group}"
        joins.append(f" LEFT JOIN ({sql}) AS {r} ON {_on(via, r, alias, at)}")
        return f"IFNULL({r}.v, 0)" if order.operator == "count" else f"{r}.v"


def _needed(fields: Mapping[str, TypeName | Column | Rows | Aggregate]) -> list[str]:
    needed: list[str] = []
    for field in fields.values():
        if isinstance(field, Column):
            needed.append(field.name)
        elif isinstance(field, Rows | Aggregate) and field.via is not None:
            needed += [local for local, _ in field.via.mapping]
    return needed


def _aggregated(blocks: Iterable[Block]) -> list[str]:
    needed: list[str] = []
    for block in blocks:
        for field in block.fields.values():
            if isinstance(field, Count):
                needed += field.columns
            elif isinstance(field, Operator):
                needed += [column.name for column in field.columns.values() if isinstance(column, Column)]
    return needed


def _on(via: Relationship, remote: str, local: str, columns: Mapping[str, str]) -> str:
    pairs = enumerate(via.mapping)
    return " AND ".join(f"{remote}.k{i} = {local}.{columns[column]}" for i, (column, _) in pairs)


def _number(partition: str, order: Sequence[str]) -> str:
    parts = [f"PARTITION BY {partition}"] if partition else []
    parts += [f"ORDER BY {', '.join(order)}"] if order else []
    return f"ROW_NUMBER() OVER ({' '.join(parts)})"


def _direction(key: str, direction: str) -> list[str]:
    if direction == "asc_nulls_last":
        return [f"{key} IS NULL", key]
    if direction == "desc_nulls_first":
        return [f"{key} IS NULL DESC", f"{key} DESC"]
    return [f"{key} DESC" if direction.startswith("desc") else key]


def _groupable(expression: str, column: Column) -> str:
    """BigQuery partitions by neither floats nor JSON nor geographies: by their text then."""
    if column.mode == "REPEATED" or column.type == "JSON":
        return f"TO_JSON_STRING({expression})"
    if column.type == "FLOAT64":
        return f"CAST({expression} AS STRING)"
    return f"ST_ASTEXT({expression})" if column.type == "GEOGRAPHY" else expression


def _count(columns: Sequence[tuple[str, Column]], distinct: bool) -> str:
    """Rows in which none of the columns is NULL; distinct combinations of them."""
    if not columns:
        return "COUNT(*)"
    if len(columns) == 1:
        expression, column = columns[0]
        return f"COUNT(DISTINCT {_groupable(expression, column)})" if distinct else f"COUNT({expression})"
    complete = " AND ".join(f"{expression} IS NOT NULL" for expression, _ in columns)
    if not distinct:
        return f"COUNTIF({complete})"
    together = ", ".join(f"{_groupable(expression, column)} AS f{i}" for i, (expression, column) in enumerate(columns))
    return f"COUNT(DISTINCT IF({complete}, TO_JSON_STRING(STRUCT({together})), NULL))"


def _constant(value: str) -> Read:
    return lambda row: value


def _value(name: str, column: Column | None) -> Read:
    """Read a result column; without ``column`` it is a number made by an aggregate function."""
    encode = _number_text if column is None else scalars.encode(column.type)
    if encode is None:
        return lambda row: row[name]
    if column is not None and column.mode == "REPEATED":
        return lambda row: [encode(each) for each in row[name] or ()]
    return lambda row: None if (value := row[name]) is None else encode(value)


def _number_text(value: Any) -> str:
    if isinstance(value, decimal.Decimal):
        return str(scalars.plain(value))
    return scalars.float_text(value) if isinstance(value, float) else str(value)


def _record(readers: Sequence[tuple[str, Read]]) -> Read:
    return lambda row: {key: read(row) for key, read in readers}


def _object(name: str, read: Read) -> Read:
    return lambda row: None if (value := row[name]) is None else read(value)
