"""What the fields of a role's schema stand for: tables, columns and relationships as the role may see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLField

from polyexpose_spark.engine.bigquery import Column
from polyexpose_spark.engine.catalog import Permission, Relationship, Table


@dataclass(frozen=True, eq=False)
class Readable:
    """A table as one role sees it; ``columns`` are those it may read, by their names in BigQuery."""

    table: Table
    permission: Permission
    columns: Mapping[str, Column]


@dataclass(frozen=True, eq=False)
class Related:
    """A relationship with the table at its other end, as the role sees it."""

    relationship: Relationship
    to: Readable


@dataclass(frozen=True)
class IsColumn:
    """The field is a column."""

    column: Column


@dataclass(frozen=True, eq=False)
class IsRows:
    """The field is a list of rows of a table (``via`` None) or array relationship, or an object relationship's row."""

    rows: Readable
    via: Relationship | None = None


@dataclass(frozen=True, eq=False)
class IsAggregate:
    """The field is the aggregate of a table (``via`` None) or an array relationship."""

    rows: Readable
    via: Relationship | None = None


@dataclass(frozen=True)
class IsBlock:
    """The field is ``aggregate`` or ``nodes`` of an aggregate."""

    nodes: bool


@dataclass(frozen=True)
class IsOperator:
    """The field is ``count``, ``sum``, ... inside ``aggregate``."""

    name: str


@dataclass(frozen=True)
class IsNamespace:
    """The field only holds root fields."""


def of(field: GraphQLField) -> Any:
    """What a field stands for (one of the ``Is`` classes); None for introspection and the empty schema's field."""
    return field.extensions.get("is")
