"""The Iceberg catalog without a JVM (pyiceberg): tables, schemas, snapshots, tags, views."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from polyexpose_spark.addresses import without_credentials
from polyexpose_spark.config import CatalogConfig
from polyexpose_spark.errors import TargetFailed
from polyexpose_spark.logical import ColumnType, Field

if TYPE_CHECKING:
    from polyexpose_spark.catalog_kinds import Kind
    from polyexpose_spark.clients import Identifier, View


def in_utc(milliseconds: int) -> str:
    """Return a time of Iceberg, in milliseconds since 1970-01-01 UTC, as text: 2026-11-25T03:05:50.805Z."""
    at = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
    history: tuple[tuple[int, int], ...] = ()
    """Which snapshot became current when, oldest first: (milliseconds since 1970-01-01 UTC, snapshot id).

    Iceberg's snapshot log; a rollback is an entry of its own. Expiry cuts off its beginning.
    """

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


KINDS_WITH_VIEWS = frozenset({"jdbc", "rest"})
"""Catalog types whose views are read and written here. hadoop has none; hive's are not read without a JVM."""


class Catalog:
    """The catalog of the profile. Each call asks the catalog anew, and none writes anything.

    Every method raises TargetUnavailable where the catalog cannot be reached or is locked, TargetFailed where
    it refuses (sign-in, rights) or where what it points to cannot be read, ConfigError where its driver or a
    secret is missing: one line, with the catalog's address and without credentials.
    """

    def __init__(self, config: CatalogConfig) -> None:
        """Keep the settings; nothing is contacted yet."""
        self.config = config

    @property
    def address(self) -> str:
        """Return the address of the catalog as it may be shown: without user, password and options."""
        return without_credentials(self.config.uri or self.config.warehouse or "")

    def namespaces(self) -> tuple[Identifier, ...]:
        """Return all namespaces, nested ones too, sorted; none where the catalog is not there yet."""
        with self._answers():
            return tuple(sorted(self._kind.namespaces()))

    def tables(self) -> tuple[Identifier, ...]:
        """Return all tables, sorted; none where the catalog is not there yet."""
        with self._answers():
            return tuple(sorted(self._kind.tables()))

    def table(self, identifier: Identifier) -> Table:
        """Return the metadata of a table.

        Raises:
            TargetFailed: there is no such table; names those that there are.
            Refused: it has columns of a type that is not known here; names the type.
        """
        from polyexpose_spark.catalog_metadata import table_of

        name = ".".join(identifier)
        with self._answers(f"table {name}"):
            metadata = self._kind.table(identifier)
            if metadata is not None:
                return table_of(identifier, metadata)
        raise TargetFailed(
            f"there is no table {name} in catalog {self.config.name} ({self.address}); "
            f"tables there: {self._names()}; `--mode sample` loads the sample products"
        )

    def _names(self) -> str:
        names = [".".join(each) for each in self.tables()]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return ", ".join(names[:_NAMED]) + more if names else "none"

    @property
    def has_views(self) -> bool:
        """Say whether this catalog has views; a REST catalog is asked, since not every server has them."""
        if self.config.type not in KINDS_WITH_VIEWS:
            return False
        with self._answers():
            return self._kind.has_views()

    def views(self, namespace: Identifier) -> tuple[Identifier, ...]:
        """Return the views of a namespace, sorted; none where there is no such namespace."""
        with self._answers():
            return tuple(sorted(self._kind.views(namespace)))

    def view(self, identifier: Identifier) -> View | None:
        """Return a view, or None where there is none of this name."""
        from polyexpose_spark.catalog_metadata import view_of

        with self._answers(f"view {'.'.join(identifier)}"):
            metadata = self._kind.view(identifier)
            return None if metadata is None else view_of(identifier, metadata)

    @cached_property
    def _kind(self) -> Kind:
        from polyexpose_spark.catalog_kinds import kind_of

        return kind_of(self.config)

    def _answers(self, what: str = "") -> AbstractContextManager[None]:
        from polyexpose_spark.catalog_errors import answers

        return answers(f"catalog {self.config.name} ({self.address})", what)


_NAMED = 20
"""So many tables are named in a message."""
