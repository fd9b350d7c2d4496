"""The GraphQL schema of one role, as Hasura v2 makes it for BigQuery tables.

Names and arguments follow Hasura's ``Backends/BigQuery/Instances/Schema.hs`` and ``GraphQL/Schema/Select.hs``. Every
field carries what it stands for in ``extensions["is"]``; input fields carry it in their ``out_name`` (``c:`` a column,
``r:`` a relationship, ``a:`` the aggregate of one), so that what reaches the SQL writer names columns, never GraphQL
names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
)

from polyexpose_spark.engine import filters, scalars
from polyexpose_spark.engine.catalog import Catalog, Table
from polyexpose_spark.engine.document import TableName
from polyexpose_spark.engine.meaning import (
    IsAggregate,
    IsBlock,
    IsColumn,
    IsNamespace,
    IsOperator,
    IsRows,
    Readable,
    Related,
)

STATISTICS = ("avg", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance")
EXTREMES = ("max", "min")
ORDERS = {
    "asc": "in ascending order, nulls first",
    "asc_nulls_first": "in ascending order, nulls first",
    "asc_nulls_last": "in ascending order, nulls last",
    "desc": "in descending order, nulls last",
    "desc_nulls_first": "in descending order, nulls first",
    "desc_nulls_last": "in descending order, nulls last",
}


@dataclass(frozen=True, eq=False)
class RoleSchema:
    """The schema of a role; ``published`` says whether it has any table."""

    role: str
    schema: GraphQLSchema
    published: bool


def build(catalog: Catalog, role: str, string_numeric: bool) -> RoleSchema:
    """Make the schema of a role from what can be served."""
    roots: dict[str | None, dict[str, GraphQLField]] = {}
    for source in catalog.sources.values():
        writer = _SourceTypes(source.tables, role, string_numeric)
        for table, fields in writer.roots():
            roots.setdefault(table.namespace, {}).update(fields)
    query = dict(roots.pop(None, {}))
    for namespace, fields in roots.items():
        holder = GraphQLObjectType(f"{namespace}_query", fields)
        query[str(namespace)] = GraphQLField(GraphQLNonNull(holder), extensions={"is": IsNamespace()})
    published = bool(query)
    if not query:
        nothing = (
            "There are no queries available to the current role. Either there are no sources or remote schemas "
            "configured, or the current role doesn't have the required permissions."
        )
        query["no_queries_available"] = GraphQLField(GraphQLNonNull(GraphQLString), description=nothing)
    return RoleSchema(role, GraphQLSchema(GraphQLObjectType("query_root", query)), published)


ORDER_BY: Final = GraphQLEnumType(
    "order_by",
    {name: GraphQLEnumValue(name, description=text) for name, text in ORDERS.items()},
    description="column ordering options",
)
_COMPARISONS: dict[str, GraphQLInputObjectType] = {}


def _comparison(scalar: GraphQLScalarType, type_name: str) -> GraphQLInputObjectType:
    key = scalar.name
    if key not in _COMPARISONS:
        fields: dict[str, GraphQLInputField] = {}
        for name in filters.operators(type_name):
            kind: GraphQLInputType = scalar
            if name == "_is_null":
                kind = GraphQLBoolean
            elif name in filters.LISTS:
                kind = GraphQLList(GraphQLNonNull(scalar))
            elif name == "_st_d_within":
                kind = _within(scalar)
            fields[name] = GraphQLInputField(kind)
        text = f'Boolean expression to compare columns of type "{scalar.name}". '
        _COMPARISONS[key] = GraphQLInputObjectType(
            f"{scalar.name}_BigQuery_comparison_exp",
            fields,
            description=text + "All fields are combined with logical 'AND'.",
        )
    return _COMPARISONS[key]


def _within(geography: GraphQLScalarType) -> GraphQLInputObjectType:
    return GraphQLInputObjectType(
        "st_dwithin_Geography_input",
        {
            "distance": GraphQLInputField(GraphQLNonNull(scalars.FLOAT)),
            "from": GraphQLInputField(GraphQLNonNull(geography)),
            "use_spheroid": GraphQLInputField(GraphQLBoolean),
        },
    )


class _SourceTypes:
    """The types of one source's tables; made on first use, because relationships go round in circles."""

    def __init__(self, tables: Mapping[TableName, Table], role: str, string_numeric: bool) -> None:
        self._scalars = scalars.scalars(string_numeric)
        self._readable: dict[TableName, Readable] = {}
        for name, table in tables.items():
            permission = table.permission(role)
            if permission is not None:
                columns = {
                    column: table.columns[column]
                    for column in table.names
                    if permission.columns is None or column in permission.columns
                }
                self._readable[name] = Readable(table, permission, columns)
        self._made: dict[tuple[str, TableName], Any] = {}

    def roots(self) -> list[tuple[Table, dict[str, GraphQLField]]]:
        return [(readable.table, self._roots(readable)) for readable in self._readable.values()]

    def _roots(self, of: Readable) -> dict[str, GraphQLField]:
        table, found = of.table, {}
        if "select" in of.permission.roots and self._has_fields(of):
            text = table.configuration.root_field("select").comment or f'fetch data from the table: "{table.name}"'
            found[table.fields["select"]] = GraphQLField(
                _all(self._row(of)), self._arguments(of), description=text, extensions={"is": IsRows(of)}
            )
        if "select_aggregate" in of.permission.roots and of.permission.aggregates and self._has_fields(of):
            text = table.configuration.root_field("select_aggregate").comment or (
                f'fetch aggregated fields from the table: "{table.name}"'
            )
            found[table.fields["select_aggregate"]] = GraphQLField(
                GraphQLNonNull(self._aggregate(of)), self._arguments(of), description=text,
                extensions={"is": IsAggregate(of)},
            )  # fmt: skip
        return found

    def _has_fields(self, of: Readable) -> bool:
        return bool(of.columns) or bool(self._related(of))

    def _related(self, of: Readable) -> list[Related]:
        return [
            Related(each, self._readable[each.remote])
            for each in of.table.relationships.values()
            if each.remote in self._readable and self._readable[each.remote].columns
        ]

    def _once(self, kind: str, of: Readable, make: Callable[[], Any]) -> Any:
        key = (kind, of.table.name)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _row(self, of: Readable) -> GraphQLObjectType:
        text = of.table.configuration.comment or f'columns and relationships of "{of.table.name}"'
        made: GraphQLObjectType = self._once(
            "row", of, lambda: GraphQLObjectType(of.table.type_name, lambda: self._row_fields(of), description=text)
        )
        return made

    def _row_fields(self, of: Readable) -> dict[str, GraphQLField]:
        fields = {}
        for name, column in of.columns.items():
            kind = self._scalars[column.type]
            # A REPEATED column is typed as one value and answers with a list, in Hasura too (graphql-engine#10714).
            required = column.mode in ("REQUIRED", "REPEATED")
            fields[of.table.names[name]] = GraphQLField(
                GraphQLNonNull(kind) if required else kind,
                description=of.table.configuration.column(name).comment or column.description,
                extensions={"is": IsColumn(column)},
            )
        for related in self._related(of):
            via, to = related.relationship, related.to
            if not via.array:
                fields[via.name] = GraphQLField(
                    self._row(to), description=via.comment or "An object relationship",
                    extensions={"is": IsRows(to, via)},
                )  # fmt: skip
                continue
            fields[via.name] = GraphQLField(
                _all(self._row(to)), self._arguments(to), description=via.comment or "An array relationship",
                extensions={"is": IsRows(to, via)},
            )  # fmt: skip
            if to.permission.aggregates:
                fields[f"{via.name}_aggregate"] = GraphQLField(
                    GraphQLNonNull(self._aggregate(to)), self._arguments(to), description="An aggregate relationship",
                    extensions={"is": IsAggregate(to, via)},
                )  # fmt: skip
        return fields

    def _arguments(self, of: Readable) -> dict[str, GraphQLArgument]:
        arguments: dict[str, GraphQLArgument] = {}
        if of.columns:
            columns = GraphQLList(GraphQLNonNull(self._select_column(of)))
            arguments["distinct_on"] = GraphQLArgument(columns, description="distinct select on columns")
        arguments["limit"] = GraphQLArgument(scalars.INT, description="limit the number of rows returned")
        arguments["offset"] = GraphQLArgument(scalars.INT, description="skip the first n rows. Use only with order_by")
        if self._order_fields(of, shallow=True):
            order = GraphQLList(GraphQLNonNull(self._order_by(of)))
            arguments["order_by"] = GraphQLArgument(order, description="sort the rows by one or more columns")
        arguments["where"] = GraphQLArgument(self._bool_exp(of), description="filter the rows returned")
        return arguments

    def _select_column(self, of: Readable) -> GraphQLEnumType:
        values = {of.table.names[name]: GraphQLEnumValue(name, description="column name") for name in of.columns}
        text = f'select columns of table "{of.table.name}"'
        made: GraphQLEnumType = self._once(
            "column", of, lambda: GraphQLEnumType(f"{of.table.type_name}_select_column", values, description=text)
        )
        return made

    def _bool_exp(self, of: Readable) -> GraphQLInputObjectType:
        def fields() -> dict[str, GraphQLInputField]:
            itself = self._bool_exp(of)
            found = {
                "_and": GraphQLInputField(GraphQLList(GraphQLNonNull(itself))),
                "_not": GraphQLInputField(itself),
                "_or": GraphQLInputField(GraphQLList(GraphQLNonNull(itself))),
            }
            for name, column in of.columns.items():
                if column.mode != "REPEATED":
                    kind = _comparison(self._scalars[column.type], column.type)
                    found[of.table.names[name]] = GraphQLInputField(kind, out_name=f"c:{name}")
            for related in self._related(of):
                name = related.relationship.name
                found[name] = GraphQLInputField(self._bool_exp(related.to), out_name=f"r:{name}")
            return found

        text = f'Boolean expression to filter rows from the table "{of.table.name}". '
        text += "All fields are combined with a logical 'AND'."
        name = f"{of.table.type_name}_bool_exp"
        made: GraphQLInputObjectType = self._once(
            "where", of, lambda: GraphQLInputObjectType(name, fields, description=text)
        )
        return made

    def _order_fields(self, of: Readable, shallow: bool = False) -> dict[str, GraphQLInputField]:
        found = {
            of.table.names[name]: GraphQLInputField(ORDER_BY, out_name=f"c:{name}")
            for name, column in of.columns.items()
            if column.mode != "REPEATED" and column.type not in scalars.UNORDERED
        }
        for related in () if shallow and found else self._related(of):
            via, to = related.relationship, related.to
            if not via.array:
                if shallow or self._order_fields(to, shallow=True):
                    kind = ORDER_BY if shallow else self._order_by(to)
                    found[via.name] = GraphQLInputField(kind, out_name=f"r:{via.name}")
            elif to.permission.aggregates:
                kind = ORDER_BY if shallow else self._aggregate_order_by(to)
                found[f"{via.name}_aggregate"] = GraphQLInputField(kind, out_name=f"a:{via.name}")
        return found

    def _order_by(self, of: Readable) -> GraphQLInputObjectType:
        text = f'Ordering options when selecting data from "{of.table.name}".'
        name = f"{of.table.type_name}_order_by"
        made: GraphQLInputObjectType = self._once(
            "order", of, lambda: GraphQLInputObjectType(name, lambda: self._order_fields(of), description=text)
        )
        return made

    def _aggregate_order_by(self, of: Readable) -> GraphQLInputObjectType:
        def fields() -> dict[str, GraphQLInputField]:
            found = {"count": GraphQLInputField(ORDER_BY)}
            for operator, columns in self._operators(of).items():
                kind = GraphQLInputObjectType(
                    f"{of.table.type_name}_{operator}_order_by",
                    {of.table.names[name]: GraphQLInputField(ORDER_BY, out_name=f"c:{name}") for name in columns},
                    description=f'order by {operator}() on columns of table "{of.table.name}"',
                )
                found[operator] = GraphQLInputField(kind)
            return found

        text = f'order by aggregate values of table "{of.table.name}"'
        name = f"{of.table.type_name}_aggregate_order_by"
        made: GraphQLInputObjectType = self._once(
            "aggregate order", of, lambda: GraphQLInputObjectType(name, fields, description=text)
        )
        return made

    def _operators(self, of: Readable) -> dict[str, list[str]]:
        """Each aggregate function with the columns it takes; functions without a column are left out."""
        single = {name: column for name, column in of.columns.items() if column.mode != "REPEATED"}
        numbers = [name for name, column in single.items() if column.type in scalars.NUMERIC]
        ordered = [name for name, column in single.items() if column.type not in scalars.UNORDERED]
        found = dict.fromkeys(STATISTICS, numbers) | dict.fromkeys(EXTREMES, ordered)
        return {operator: found[operator] for operator in sorted(found) if found[operator]}

    def _aggregate(self, of: Readable) -> GraphQLObjectType:
        def fields() -> dict[str, GraphQLField]:
            block = GraphQLObjectType(
                f"{of.table.type_name}_aggregate_fields",
                lambda: self._aggregate_fields(of),
                description=f'aggregate fields of "{of.table.name}"',
            )
            return {
                "aggregate": GraphQLField(block, extensions={"is": IsBlock(nodes=False)}),
                "nodes": GraphQLField(_all(self._row(of)), extensions={"is": IsBlock(nodes=True)}),
            }

        text = f'aggregated selection of "{of.table.name}"'
        name = f"{of.table.type_name}_aggregate"
        made: GraphQLObjectType = self._once("aggregate", of, lambda: GraphQLObjectType(name, fields, description=text))
        return made

    def _aggregate_fields(self, of: Readable) -> dict[str, GraphQLField]:
        arguments: dict[str, GraphQLArgument] = {}
        if of.columns:
            arguments["columns"] = GraphQLArgument(GraphQLList(GraphQLNonNull(self._select_column(of))))
        arguments["distinct"] = GraphQLArgument(GraphQLBoolean)
        found = {"count": GraphQLField(GraphQLNonNull(scalars.INT), arguments, extensions={"is": IsOperator("count")})}
        for operator, columns in self._operators(of).items():
            same_type = operator in EXTREMES or operator == "sum"
            inner = {
                of.table.names[name]: GraphQLField(
                    self._scalars[of.columns[name].type] if same_type else scalars.FLOAT,
                    extensions={"is": IsColumn(of.columns[name])},
                )
                for name in columns
            }
            kind = GraphQLObjectType(
                f"{of.table.type_name}_{operator}_fields", inner, description=f"aggregate {operator} on columns"
            )
            found[operator] = GraphQLField(kind, extensions={"is": IsOperator(operator)})
        return found


def _all(kind: GraphQLObjectType) -> GraphQLNonNull[Any]:
    return GraphQLNonNull(GraphQLList(GraphQLNonNull(kind)))
