"""What an operation asks of one root field, as a tree in which fragments, directives and aliases are resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionSetNode,
    get_directive_values,
    get_named_type,
)
from graphql.execution.values import VariableValues, get_argument_values

from polyexpose_spark.engine import meaning
from polyexpose_spark.engine.bigquery import Column
from polyexpose_spark.engine.catalog import Relationship
from polyexpose_spark.engine.failure import QueryError
from polyexpose_spark.engine.filters import Condition
from polyexpose_spark.engine.meaning import Readable


@dataclass(frozen=True)
class Order:
    """One key to order by: a column of the table at the end of ``path`` (object relationships), or an aggregate there.

    The aggregate is one of the array relationship ``of``.
    ``operator`` is None for a plain column; ``column`` is None for ``count``.
    """

    path: tuple[str, ...]
    column: str | None
    direction: str
    of: str | None = None
    operator: str | None = None


@dataclass(frozen=True)
class Arguments:
    """The five arguments of a list of rows."""

    where: Condition | None = None
    order_by: tuple[Order, ...] = ()
    distinct_on: tuple[str, ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class TypeName:
    """``__typename``."""

    name: str


@dataclass(frozen=True, eq=False)
class Rows:
    """A list of rows (or the one row of an object relationship); ``fields`` by response key."""

    of: Readable
    via: Relationship | None
    arguments: Arguments
    fields: Mapping[str, TypeName | Column | Rows | Aggregate]


@dataclass(frozen=True)
class Count:
    """``count``; of all rows where ``columns`` is empty."""

    columns: tuple[str, ...]
    distinct: bool


@dataclass(frozen=True)
class Operator:
    """An aggregate function over columns, by response key."""

    name: str
    columns: Mapping[str, TypeName | Column]


@dataclass(frozen=True)
class Block:
    """``aggregate``: counts and functions by response key."""

    fields: Mapping[str, TypeName | Count | Operator]


@dataclass(frozen=True, eq=False)
class Aggregate:
    """An aggregate: blocks and ``nodes`` by response key."""

    of: Readable
    via: Relationship | None
    arguments: Arguments
    fields: Mapping[str, TypeName | Block | Rows]


@dataclass(frozen=True)
class Found:
    """One field of a selection: its definition, and all places that name it (their sub-selections are merged)."""

    name: str
    field: GraphQLField | None
    nodes: tuple[FieldNode, ...]


class Selector:
    """Reads selection sets of one operation with its variables."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues | None) -> None:
        self._fragments = fragments
        self._variables = variables

    def fields(self, of: GraphQLObjectType, *sets: SelectionSetNode | None) -> dict[str, Found]:
        """The fields of one or more selection sets on the same type, by response key, in order of appearance."""
        nodes: dict[str, list[FieldNode]] = {}
        for each in sets:
            if each is not None:
                self._collect(each, nodes)
        found = {}
        for key, same in nodes.items():
            name = same[0].name.value
            found[key] = Found(name, of.fields.get(name), tuple(same))
        return found

    def root(self, found: Found, path: str) -> Rows | Aggregate:
        """Read one root field of the schema. ``path`` is for errors (``$.selectionSet.x``)."""
        field = found.field
        assert field is not None  # noqa: S101 - the document was validated against the schema
        return self._rows_or_aggregate(field, found, path)

    def _rows_or_aggregate(self, field: GraphQLField, found: Found, path: str) -> Rows | Aggregate:
        means = meaning.of(field)
        kind = _object_type(field)
        inner = self.fields(kind, *(node.selection_set for node in found.nodes))
        arguments = self._arguments(field, found.nodes[0], means.rows, path)
        if isinstance(means, meaning.IsRows):
            return Rows(means.rows, means.via, arguments, self._row_fields(kind, inner, path))
        blocks: dict[str, TypeName | Block | Rows] = {}
        for key, each in inner.items():
            below = f"{path}.selectionSet.{key}"
            if each.field is None:
                blocks[key] = TypeName(kind.name)
            elif meaning.of(each.field).nodes:
                row = _object_type(each.field)
                fields = self.fields(row, *(node.selection_set for node in each.nodes))
                blocks[key] = Rows(means.rows, None, arguments, self._row_fields(row, fields, below))
            else:
                blocks[key] = self._block(each)
        return Aggregate(means.rows, means.via, arguments, blocks)

    def _row_fields(
        self, kind: GraphQLObjectType, inner: Mapping[str, Found], path: str
    ) -> dict[str, TypeName | Column | Rows | Aggregate]:
        fields: dict[str, TypeName | Column | Rows | Aggregate] = {}
        for key, each in inner.items():
            if each.field is None:
                fields[key] = TypeName(kind.name)
                continue
            means = meaning.of(each.field)
            if isinstance(means, meaning.IsColumn):
                fields[key] = means.column
            else:
                fields[key] = self._rows_or_aggregate(each.field, each, f"{path}.selectionSet.{key}")
        return fields

    def _block(self, found: Found) -> Block:
        assert found.field is not None  # noqa: S101 - the caller told __typename apart
        kind = _object_type(found.field)
        fields: dict[str, TypeName | Count | Operator] = {}
        for key, each in self.fields(kind, *(node.selection_set for node in found.nodes)).items():
            if each.field is None:
                fields[key] = TypeName(kind.name)
                continue
            operator = meaning.of(each.field).name
            if operator == "count":
                given = get_argument_values(each.field, each.nodes[0], self._variables)
                fields[key] = Count(tuple(given.get("columns") or ()), bool(given.get("distinct")))
                continue
            of = _object_type(each.field)
            columns: dict[str, TypeName | Column] = {}
            for inner_key, inner in self.fields(of, *(node.selection_set for node in each.nodes)).items():
                columns[inner_key] = TypeName(of.name) if inner.field is None else meaning.of(inner.field).column
            fields[key] = Operator(operator, columns)
        return Block(fields)

    def _arguments(self, field: GraphQLField, node: FieldNode, of: Readable, path: str) -> Arguments:
        if not field.args:
            return Arguments()
        given = get_argument_values(field, node, self._variables)
        for name in ("limit", "offset"):
            value = given.get(name)
            if value is not None and value < 0:
                raise QueryError(
                    f"expected a non-negative 32-bit integer for type 'Int', but found {value}",
                    path=f"{path}.args.{name}",
                )
        orders = tuple(_orders(given.get("order_by") or (), f"{path}.args.order_by"))
        distinct = tuple(given.get("distinct_on") or ())
        if distinct and orders:
            initial = [order.column for order in orders[: len(distinct)] if not order.path and order.of is None]
            if len(initial) < len(distinct) or not set(distinct) <= set(initial):
                raise QueryError('"distinct_on" columns must match initial "order_by" columns', path=f"{path}.args")
        return Arguments(given.get("where"), orders, distinct, given.get("limit"), given.get("offset") or 0)

    def _collect(self, selections: SelectionSetNode, into: dict[str, list[FieldNode]]) -> None:
        for node in selections.selections:
            skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
            include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
            if (skip and skip["if"]) or (include and not include["if"]):
                continue
            if isinstance(node, FieldNode):
                into.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                # There are no interfaces or unions: a fragment that validated is on the type at hand.
                self._collect(node.selection_set, into)
            else:
                self._collect(self._fragments[node.name.value].selection_set, into)  # type: ignore[attr-defined]


def _object_type(field: GraphQLField) -> GraphQLObjectType:
    kind = get_named_type(field.type)
    assert isinstance(kind, GraphQLObjectType)  # noqa: S101 - there are no interfaces or unions
    return kind


def _orders(given: Any, path: str, prefix: tuple[str, ...] = ()) -> list[Order]:
    found: list[Order] = []
    for each in given if not isinstance(given, Mapping) else (given,):
        for key, value in each.items():
            if value is None:
                # As in Hasura: an ordering of null is an error, not "no ordering".
                raise QueryError("unexpected null value for type 'order_by'", path=path)
            kind, _, name = key.partition(":")
            if kind == "c":
                found.append(Order(prefix, name, value))
            elif kind == "r":
                found += _orders(value, path, (*prefix, name))
            else:
                for operator, inner in value.items():
                    if operator == "count":
                        found.append(Order(prefix, None, inner, name, operator))
                        continue
                    found += [
                        Order(prefix, column.partition(":")[2], direction, name, operator)
                        for column, direction in (inner or {}).items()
                    ]
    return found
