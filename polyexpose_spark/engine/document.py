"""Metadata v3 as Hasura exports it, decoded: only what concerns BigQuery.

The shapes follow ``components.schemas`` of Hasura's own ``metadata.openapi.json``. Keys that Hasura knows and the
engine does not need are kept in the document (it is exported as it came) and left out here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from polyexpose_spark.engine.failure import MetadataError

GraphqlName = Annotated[str, StringConstraints(pattern=r"^[_A-Za-z][_0-9A-Za-z]*$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Model(BaseModel):
    """Frozen; keys it does not know are ignored, as Hasura's codecs do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TableName(Model):
    """A table or view of a BigQuery project."""

    dataset: Text
    name: Text

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}"


class FromEnv(Model):
    """A value that stands in an environment variable of the engine."""

    from_env: Text


class SourceConfiguration(Model):
    """How a source reaches BigQuery. The service account is accepted and never used (docs/engine.md)."""

    service_account: FromEnv | dict[str, Any] | str
    project_id: str | int | FromEnv
    datasets: tuple[str, ...] | FromEnv
    global_select_limit: int | str | FromEnv = 1000

    def project(self) -> str:
        """The project id; ValueError where its environment variable is not set."""
        return str(_from_env(self.project_id))

    def dataset_names(self) -> tuple[str, ...]:
        """The datasets; ValueError where their environment variable is not set."""
        if isinstance(self.datasets, FromEnv):
            return tuple(name.strip() for name in str(_from_env(self.datasets)).split(",") if name.strip())
        return self.datasets

    def row_limit(self) -> int:
        """At most so many rows in one list; ValueError where it is not a number."""
        return int(str(_from_env(self.global_select_limit)))


class RootNames(Model):
    """Prefix, suffix and namespace of a source's root fields."""

    namespace: GraphqlName | Literal[""] | None = None
    prefix: str | None = None
    suffix: str | None = None


class TypeNames(Model):
    """Prefix and suffix of the names of a source's table types."""

    prefix: str | None = None
    suffix: str | None = None


class SourceCustomization(Model):
    """How a source's names are set apart from those of other sources."""

    root_fields: RootNames | None = None
    type_names: TypeNames | None = None
    # graphql-default is refused for BigQuery by Hasura too.
    naming_convention: Literal["hasura-default"] | None = None


class ColumnConfig(Model):
    """A column's name in GraphQL and its description."""

    custom_name: GraphqlName | None = None
    comment: str | None = None


class RootField(Model):
    """A root field's name and description."""

    name: GraphqlName | None = None
    comment: str | None = None


class TableConfiguration(Model):
    """Names of a table, its root fields and columns in GraphQL."""

    custom_name: GraphqlName | None = None
    comment: str | None = None
    custom_root_fields: dict[str, GraphqlName | RootField | None] = Field(default_factory=dict)
    column_config: dict[str, ColumnConfig] = Field(default_factory=dict)
    custom_column_names: dict[str, GraphqlName] = Field(default_factory=dict)

    def root_field(self, kind: str) -> RootField:
        """The configured root field ``select`` or ``select_aggregate``; empty where nothing is said."""
        field = self.custom_root_fields.get(kind)
        return field if isinstance(field, RootField) else RootField(name=field)

    def column(self, name: str) -> ColumnConfig:
        """What is configured for a column; ``custom_column_names`` is the older form of the same."""
        config = self.column_config.get(name, ColumnConfig())
        return ColumnConfig(
            custom_name=config.custom_name or self.custom_column_names.get(name), comment=config.comment
        )


class ManualConfiguration(Model):
    """The columns two tables are joined by. BigQuery has no foreign keys to follow."""

    remote_table: TableName
    column_mapping: dict[str, str] = Field(min_length=1)
    remote_source: str | None = None


class RelationshipUsing(Model):
    """Only ``manual_configuration`` works for BigQuery."""

    manual_configuration: ManualConfiguration


class Relationship(Model):
    """An object or array relationship."""

    name: GraphqlName
    using: RelationshipUsing
    comment: str | None = None


class SelectPermission(Model):
    """What one role may read of one table."""

    columns: Literal["*"] | tuple[str, ...]
    filter: dict[str, Any]
    limit: Annotated[int, Field(ge=0)] | None = None
    allow_aggregations: bool = False
    query_root_fields: tuple[Literal["select", "select_by_pk", "select_aggregate"], ...] | None = None


class RolePermission(Model):
    """A select permission with its role."""

    role: Text
    permission: SelectPermission
    comment: str | None = None


class TableEntry(Model):
    """A tracked table with everything said about it."""

    table: TableName
    configuration: TableConfiguration | None = None
    object_relationships: tuple[Relationship, ...] = ()
    array_relationships: tuple[Relationship, ...] = ()
    select_permissions: tuple[RolePermission, ...] = ()


class SourceEntry(Model):
    """A BigQuery project with its tracked tables."""

    name: Text
    kind: Literal["bigquery"]
    configuration: SourceConfiguration
    customization: SourceCustomization | None = None
    tables: tuple[TableEntry, ...] = ()


class Metadata(Model):
    """The whole document."""

    version: Literal[3]
    sources: tuple[SourceEntry, ...] = ()


EMPTY: Mapping[str, Any] = {"version": 3, "sources": []}

M = TypeVar("M", bound=Model)


def decode(model: type[M], value: Any, command: str, path: str = "$.args") -> M:
    """Read arguments of a command.

    Raises:
        MetadataError: ``parse-failed``, with the place of the first thing that is wrong and Hasura's several lines.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise MetadataError(
            "parse-failed",
            f"Error when parsing command {command}.\nSee docs/engine.md for the arguments.\n"
            f"Internal error message: {first['msg']} at {path}{place}",
            path=path + place,
        ) from None


def _from_env(value: Any) -> Any:
    if not isinstance(value, FromEnv):
        return value
    found = os.environ.get(value.from_env)
    if found is None:
        raise ValueError(f"environment variable '{value.from_env}' not set")
    return found
