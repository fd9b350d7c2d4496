"""The Iceberg catalog without a JVM (pyiceberg): tables, schemas, snapshots, tags, views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polyexpose_spark.config import CatalogConfig
from polyexpose_spark.logical import ColumnType, Field


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a table."""

    id: int
    parent_id: int | None
    committed_at: int
    """Milliseconds since 1970-01-01 UTC."""
    operation: str
    """append, replace, overwrite, delete; Iceberg spec, "Snapshots"."""
    schema_id: int
    records: int | None
    """total-records of the summary; equality deletes make it an upper bound. None: not in the summary."""
    bytes: int | None
    """total-files-size of the summary."""
    data_files: int | None
    summary: Mapping[str, str]


@dataclass(frozen=True)
class Ref:
    """A tag or a branch."""

    kind: str
    """`tag` or `branch`."""
    snapshot_id: int


@dataclass(frozen=True)
class TableColumn:
    """A column with its Iceberg field id and comment."""

    field_id: int
    name: str
    type: ColumnType
    required: bool
    comment: str


@dataclass(frozen=True)
class Table:
    """The metadata of a table, as of one load: nothing in it changes while a run lasts."""

    identifier: tuple[str, ...]
    uuid: str
    location: str
    format_version: int
    current_snapshot_id: int | None
    snapshots: tuple[Snapshot, ...]
    """All live snapshots, oldest first."""
    refs: Mapping[str, Ref]
    schemas: Mapping[int, tuple[TableColumn, ...]]
    current_schema_id: int
    partitioning: tuple[str, ...]
    """The current partition spec, one text per field: `month(time_hour)`."""
    properties: Mapping[str, str]

    def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """Return the live snapshot of this id."""
        return next((each for each in self.snapshots if each.id == snapshot_id), None)

    def columns(self, snapshot: Snapshot) -> tuple[Field, ...]:
        """Return the columns as they were at this snapshot."""
        return tuple(Field(c.name, c.type, c.required) for c in self.schemas[snapshot.schema_id])

    def ancestors(self, snapshot_id: int) -> tuple[Snapshot, ...]:
        """Return this snapshot and its live ancestors, newest first."""
        by_id = {each.id: each for each in self.snapshots}
        line: list[Snapshot] = []
        following: int | None = snapshot_id
        while following in by_id:
            line.append(by_id[following])
            following = by_id[following].parent_id
        return tuple(line)


class Catalog:
    """The catalog of the profile. Each call asks the catalog anew."""

    def __init__(self, config: CatalogConfig) -> None:
        """Keep the settings; nothing is contacted yet."""
        self.config = config
