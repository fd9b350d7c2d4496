"""Trees of BigQuery's SQL into trees of DuckDB's: names, parameters, literals; functions by their rules.

Rewriting goes from the inside out, FROM before the rest, so that a rule can ask for the type of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import duckdb
from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid, invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.allowed import check_allowed
from polyexpose_spark.local.bigquery.sql.comparisons import kind_class
from polyexpose_spark.local.bigquery.sql.functions import RULES, Context
from polyexpose_spark.local.bigquery.sql.oracle import Oracle
from polyexpose_spark.local.bigquery.sql.schema_views import schema_view
from polyexpose_spark.local.bigquery.store import Catalog, DatasetKey, Entry, TableKey

MAX_VIEW_DEPTH = 16  # BigQuery's own limit
AFTER_COLUMNS = ("group", "having", "qualify", "order")


@dataclass
class Names:
    """How names resolve: the project of the request, the default dataset, and a parser for the text of views."""

    catalog: Catalog
    project: str
    default: DatasetKey | None
    parse: Callable[[str], exp.Expression]

    def table_key(self, table: exp.Table) -> TableKey:
        """Return the full name that a table reference means.

        Raises ApiError 400 where the dataset is missing.
        """
        parts = [p for part in table.parts for p in part.name.split(".")]
        if len(parts) == 1 and self.default is not None:
            return TableKey(*self.default, parts[0])
        if len(parts) == 1:
            raise invalid(f'Table "{parts[0]}" must be qualified with a dataset (e.g. dataset.table).')
        if len(parts) == 2:
            return TableKey(self.project, *parts)
        return TableKey(".".join(parts[:-2]), *parts[-2:])


@dataclass
class Parameter:
    """A query parameter: its DuckDB type and the value to bind."""

    engine_type: str
    value: Any


@dataclass
class Translator:
    """Translates the trees of one statement. `parameters` are by lower-case name; `values` are those to bind."""

    con: duckdb.DuckDBPyConnection
    names: Names
    parameters: dict[str, Parameter]
    depth: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    read: set[TableKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.oracle = Oracle(self.con, self.values)
        self.context = Context(self.oracle)
        self._ctes: list[set[str]] = []
        self._aliases: list[dict[str, TableKey | None]] = []

    # ---- entry points

    def query(self, tree: exp.Expression) -> exp.Expression:
        """Translate a query; its columns get the names that BigQuery would give them."""
        check_allowed(tree)
        name_columns(tree)
        return self._rewrite(tree)

    def expression(self, tree: exp.Expression, tables: list[exp.Expression]) -> exp.Expression:
        """Translate an expression of a DML statement over already translated `tables`."""
        check_allowed(tree)
        self.oracle.scopes.append(list(tables))
        self._aliases.append({t.alias_or_name.lower(): None for t in tables})
        try:
            return self._rewrite(tree)
        finally:
            self.oracle.scopes.pop()
            self._aliases.pop()

    def source(self, tree: exp.Expression) -> exp.Expression:
        """Translate what stands in a FROM: a table, a sub-query."""
        check_allowed(tree)
        return self._rewrite(tree)

    # ---- the walk

    def _rewrite(self, node: exp.Expression) -> exp.Expression:
        if isinstance(node, (exp.Select, exp.SetOperation)):
            return self._query(node)
        if isinstance(node, exp.Table):
            self._children(node, skip=("this", "db", "catalog"))
            return self._table(node)
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, exp.Parameter):
            return self._parameter(node)
        self._children(node)
        return self._rule(node)

    def _rule(self, node: exp.Expression) -> exp.Expression:
        rule = RULES.get(type(node))
        return rule(node, self.context) if rule else node

    def _children(self, node: exp.Expression, skip: tuple[str, ...] = ()) -> None:
        for name in list(node.args):
            if name not in skip:
                self._child(node, name)

    def _child(self, node: exp.Expression, name: str) -> None:
        value = node.args.get(name)
        if isinstance(value, exp.Expression):
            new = self._rewrite(value)
            if new is not value:
                node.set(name, new)
        elif isinstance(value, list):
            new_list = [self._rewrite(v) if isinstance(v, exp.Expression) else v for v in value]
            if any(a is not b for a, b in zip(new_list, value, strict=True)):
                node.set(name, new_list)

    def _query(self, node: exp.Expression) -> exp.Expression:
        ctes: set[str] = set()
        self._ctes.append(ctes)
        self.oracle.withs.append([])
        scope: list[exp.Expression] = []
        aliases: dict[str, TableKey | None] = {}
        self.oracle.scopes.append(scope)
        self._aliases.append(aliases)
        named: dict[str, exp.Expression] = {}
        self.oracle.aliases.append(named)
        try:
            self._with(node, ctes)
            if node.args.get("from_"):
                self._child(node.args["from_"], "this")
                scope.append(node.args["from_"].this)
            for join in node.args.get("joins") or ():
                self._child(join, "this")
                scope.append(join.this)
            for join in node.args.get("joins") or ():
                self._children(join, skip=("this",))
            if node.args.get("joins"):
                # With USING, a column of both sides is one column.
                joined = exp.Select(expressions=[exp.Literal.number(1)])
                joined.set("from_", node.args["from_"].copy())
                joined.set("joins", [j.copy() for j in node.args["joins"]])
                scope[:] = [joined]
            self._children(node, skip=("with_", "from_", "joins", *AFTER_COLUMNS))
            for item in node.args.get("expressions") or () if isinstance(node, exp.Select) else ():
                if isinstance(item, exp.Alias):
                    named[item.alias.lower()] = item.this
            self._children(node, skip=tuple(n for n in node.args if n not in AFTER_COLUMNS))
            if isinstance(node, exp.SetOperation):
                self._same_columns(node)
            return self._rule(node)
        finally:
            self.oracle.aliases.pop()
            self._aliases.pop()
            self.oracle.scopes.pop()
            self.oracle.withs.pop()
            self._ctes.pop()

    def _same_columns(self, node: exp.SetOperation) -> None:
        """Refuse columns of types that do not go together: DuckDB would make texts of numbers."""
        sides = [self.oracle.columns(side) for side in (node.this, node.expression)]
        if len(sides[0]) != len(sides[1]):
            raise invalid_query("Queries in a set operation have mismatched column count")
        for i, pair in enumerate(zip(*sides, strict=True), 1):
            classes = {kind_class(k) for k in pair} - {""}
            if len(classes) > 1:
                raise invalid_query(f"Column {i} in a set operation has incompatible types: {', '.join(pair)}")

    def _with(self, node: exp.Expression, ctes: set[str]) -> None:
        with_ = node.args.get("with_")
        if with_ is None:
            return
        for cte in with_.expressions:
            if with_.args.get("recursive"):
                ctes.add(cte.alias.lower())
            self._child(cte, "this")
            ctes.add(cte.alias.lower())
            self.oracle.withs[-1].append(cte)

    # ---- names

    def _table(self, table: exp.Table) -> exp.Expression:
        if not isinstance(table.this, exp.Identifier):
            raise not_implemented(f"{table.sql('bigquery')} as a table")
        parts = [p for part in table.parts for p in part.name.split(".")]
        alias = table.alias
        if len(parts) == 1 and any(parts[0].lower() in names for names in self._ctes):
            self._aliases[-1][(alias or parts[0]).lower()] = None
            return table
        upper = [p.upper() for p in parts]
        if "INFORMATION_SCHEMA" in upper:
            view = schema_view(self.names, parts, upper.index("INFORMATION_SCHEMA"))
            # sqlglot gives the whole dotted name as the alias where there is none.
            return aliased(view, alias if alias and "." not in alias else parts[-1])
        key = self.names.table_key(table)
        entry = self.names.catalog.table(key)
        self.read.add(key)
        alias = alias or key.table
        if self._aliases:
            self._aliases[-1][alias.lower()] = key
        return aliased(self._view(entry, key), alias) if entry.is_view else physical_table(entry, alias)

    def _view(self, entry: Entry, key: TableKey) -> exp.Expression:
        if self.depth >= MAX_VIEW_DEPTH:
            raise invalid_query(f"View {key}: more than {MAX_VIEW_DEPTH} views over each other")
        default = DatasetKey(*entry.view_default.rsplit(".", 1)) if entry.view_default else None
        names = Names(self.names.catalog, key.project, default, self.names.parse)
        inner = Translator(self.con, names, {}, self.depth + 1)
        tree = inner.query(self.names.parse(entry.resource["view"]["query"]))
        self.read |= inner.read
        return exp.Subquery(this=tree)

    def _column(self, column: exp.Column) -> exp.Expression:
        parts = [p.name for p in column.parts]
        if len(parts) < 3 or any(parts[0].lower() in scope for scope in self._aliases):
            return column
        # project.dataset.table.column or dataset.table.column; else a path into a struct, which DuckDB knows too.
        for scope in reversed(self._aliases):
            key = scope.get(column.table.lower())
            if key is not None and column.db == key.dataset and column.catalog in ("", key.project):
                return exp.column(column.this, table=column.args["table"])
        return column

    def _parameter(self, node: exp.Parameter) -> exp.Expression:
        name = node.name.lower()
        if name not in self.parameters:
            raise invalid_query(f"Query parameter '{node.name}' not found")
        parameter = self.parameters[name]
        self.values[f"p_{name}"] = parameter.value
        bound = exp.Parameter(this=exp.Var(this=f"p_{name}"))
        return exp.Cast(this=bound, to=exp.DataType.build(parameter.engine_type, dialect="duckdb"))


def physical_table(entry: Entry, alias: str) -> exp.Table:
    """Return the DuckDB table that holds a table's rows, under the name by which the statement calls it."""
    if not entry.fields:
        raise invalid_query(f"Table {alias} does not have a schema.")
    if any(f["type"] == "GEOGRAPHY" for f in entry.fields):
        raise not_implemented("Reading or changing a table with a GEOGRAPHY column")
    return exp.Table(
        this=exp.to_identifier(entry.physical, quoted=True),
        db=exp.to_identifier("data", quoted=True),
        alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True)),
    )


def aliased(source: exp.Expression, alias: str) -> exp.Expression:
    """Return a sub-query under a name."""
    source.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    return source


def name_columns(tree: exp.Expression) -> None:
    """Give result columns BigQuery's names in place: as written, or f0_, f1_ for what has none."""
    select = tree
    while isinstance(select, (exp.SetOperation, exp.Subquery)):
        select = select.this
    if not isinstance(select, exp.Select):
        return
    unnamed = 0
    out = []
    for item in select.expressions:
        if isinstance(item, (exp.Alias, exp.Star)) or item.is_star:
            out.append(item)
            continue
        name = item.name if isinstance(item, exp.Column) else ""
        if isinstance(item, exp.Dot):
            name = item.expression.name
        if not name:
            name = f"f{unnamed}_"
            unnamed += 1
        out.append(exp.alias_(item, name, quoted=True))
    select.set("expressions", out)
