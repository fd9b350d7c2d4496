"""The metadata held against BigQuery: what can be served, what cannot and why, and what each role may read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from polyexpose_spark.engine import document, scalars
from polyexpose_spark.engine.bigquery import Column, Missing, Unreachable, Warehouse
from polyexpose_spark.engine.document import Metadata, SourceEntry, TableConfiguration, TableEntry, TableName
from polyexpose_spark.engine.filters import Condition, read_filter

ADMIN = "admin"
_LEGAL = re.compile(r"[_A-Za-z][_0-9A-Za-z]*\Z")


@dataclass(frozen=True)
class Inconsistent:
    """Something in the metadata that cannot be served, with the reason; everything else is."""

    type: str
    name: str
    definition: Any
    reason: str

    def body(self) -> dict[str, Any]:
        """As ``get_inconsistent_metadata`` shows it."""
        return {"definition": self.definition, "name": self.name, "reason": self.reason, "type": self.type}


@dataclass(frozen=True)
class Relationship:
    """``mapping`` holds pairs of a column here and a column there."""

    name: str
    array: bool
    remote: TableName
    mapping: tuple[tuple[str, str], ...]
    comment: str | None


@dataclass(frozen=True, eq=False)
class Permission:
    """What a role may read of a table; columns None is all of them."""

    columns: frozenset[str] | None
    filter: Condition
    limit: int | None
    aggregates: bool
    roots: frozenset[str]


_EVERYTHING = Permission(None, {}, None, True, frozenset(("select", "select_aggregate")))


@dataclass(eq=False)
class Table:
    """A tracked table that can be served.

    ``names`` are the columns' names in GraphQL, ``fields`` those of its root fields (``select``, ``select_aggregate``),
    ``siblings`` all tables of the same source.
    """

    project: str
    row_limit: int
    name: TableName
    columns: Mapping[str, Column]
    names: Mapping[str, str]
    configuration: TableConfiguration
    type_name: str
    fields: Mapping[str, str]
    namespace: str | None
    siblings: Mapping[TableName, Table]
    relationships: dict[str, Relationship] = field(default_factory=dict)
    permissions: dict[str, Permission] = field(default_factory=dict)

    def permission(self, role: str) -> Permission | None:
        """What the role may read; None is nothing. The admin reads everything."""
        return _EVERYTHING if role == ADMIN else self.permissions.get(role)


@dataclass(frozen=True, eq=False)
class Source:
    """A BigQuery project with the tables that can be served."""

    name: str
    tables: Mapping[TableName, Table]


@dataclass(frozen=True, eq=False)
class Catalog:
    """One state of the metadata, resolved. ``unreachable``: BigQuery did not answer for a part of it."""

    sources: Mapping[str, Source]
    inconsistent: tuple[Inconsistent, ...]
    roles: frozenset[str]
    unreachable: bool


class Introspection:
    """What BigQuery said about datasets and tables, remembered until forgotten. For one thread at a time."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._datasets: dict[tuple[str, str], Exception | None] = {}
        self._tables: dict[tuple[str, str, str], tuple[Column, ...] | Exception] = {}

    def forget(self, project: str | None = None, table: TableName | None = None) -> None:
        """Ask BigQuery again the next time: for one table, one project or everything."""
        if table is not None:
            self._tables = {
                key: found for key, found in self._tables.items() if key != (project, table.dataset, table.name)
            }
            return
        self._datasets = {key: found for key, found in self._datasets.items() if project and key[0] != project}
        self._tables = {key: found for key, found in self._tables.items() if project and key[0] != project}

    def dataset(self, project: str, dataset: str) -> None:
        """Raise Missing or Unreachable unless the dataset can be read."""
        key = (project, dataset)
        if key not in self._datasets:
            try:
                self._warehouse.check_dataset(project, dataset)
                self._datasets[key] = None
            except (Missing, Unreachable) as error:
                self._datasets[key] = error
        problem = self._datasets[key]
        if problem is not None:
            raise problem

    def fetch(self, tables: Iterable[tuple[str, str, str]]) -> None:
        """Ask for the tables not known yet, several at once."""
        unknown = [key for key in dict.fromkeys(tables) if key not in self._tables]
        if len(unknown) > 1:
            with ThreadPoolExecutor(max_workers=8) as pool:
                self._tables.update(zip(unknown, pool.map(self._ask, unknown), strict=True))

    def columns(self, project: str, table: TableName) -> tuple[Column, ...]:
        """The columns of a table; raises Missing or Unreachable."""
        key = (project, table.dataset, table.name)
        if key not in self._tables:
            self._tables[key] = self._ask(key)
        found = self._tables[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _ask(self, key: tuple[str, str, str]) -> tuple[Column, ...] | Exception:
        try:
            return self._warehouse.columns(*key)
        except (Missing, Unreachable) as error:
            return error


def resolve(metadata: Metadata, raw: Mapping[str, Any], introspection: Introspection) -> Catalog:
    """Hold the metadata against BigQuery. ``raw`` is the same document, for the definitions of what is inconsistent."""
    resolver = _Resolver(introspection)
    sources = {
        source.name: resolver.source(source, raw_source)
        for source, raw_source in zip(metadata.sources, raw["sources"], strict=True)
    }
    roles = frozenset(
        role for source in sources.values() for table in source.tables.values() for role in table.permissions
    )
    return Catalog(sources, tuple(resolver.found), roles, resolver.unreachable)


class _Resolver:
    def __init__(self, introspection: Introspection) -> None:
        self._introspection = introspection
        self.found: list[Inconsistent] = []
        self.unreachable = False
        self._taken: set[tuple[str | None, str]] = set()

    def source(self, entry: SourceEntry, raw: Mapping[str, Any]) -> Source:
        try:
            configuration = entry.configuration
            project, limit = configuration.project(), configuration.row_limit()
            for dataset in configuration.dataset_names():
                self._introspection.dataset(project, dataset)
        except (ValueError, Missing, Unreachable) as error:
            self.unreachable |= isinstance(error, Unreachable)
            reason = f"unexpected exception while connecting to database: {error}"
            self.found.append(Inconsistent("source", f"source {entry.name}", entry.name, reason))
            return Source(entry.name, {})
        self._introspection.fetch((project, table.table.dataset, table.table.name) for table in entry.tables)
        tables: dict[TableName, Table] = {}
        raws = dict(zip((table.table for table in entry.tables), raw.get("tables", []), strict=True))
        for table in entry.tables:
            resolved = self._table(entry, project, limit, table, tables)
            if isinstance(resolved, str):
                name = f"table {table.table} in source {entry.name}"
                definition = {"source": entry.name, "table": raws[table.table]["table"]}
                self.found.append(Inconsistent("table", name, definition, resolved))
            else:
                tables[table.table] = resolved
        for table in entry.tables:
            if table.table in tables:
                self._relationships(entry, table, tables)
        for table in entry.tables:
            if table.table in tables:
                self._permissions(entry, table, tables)
        return Source(entry.name, tables)

    def _table(
        self, entry: SourceEntry, project: str, limit: int, table: TableEntry, siblings: Mapping[TableName, Table]
    ) -> Table | str:
        missing = f'no such table/view exists in source: "{table.table}"'
        if table.table.dataset not in entry.configuration.dataset_names():
            return missing
        try:
            columns = self._introspection.columns(project, table.table)
        except Missing:
            return missing
        except Unreachable as error:
            self.unreachable = True
            return str(error)
        for column in columns:
            if column.type in scalars.UNSUPPORTED:
                return f'{scalars.UNSUPPORTED[column.type]}: column "{column.name}"'
            if column.type not in scalars.CARRIED:
                return f'unknown type {column.type} of column "{column.name}"'
        configuration = table.configuration or TableConfiguration()
        names: dict[str, str] = {}
        for column in columns:
            name = configuration.column(column.name).custom_name or column.name
            if _LEGAL.match(name) and not name.startswith("__"):
                if name in names.values():
                    return f'two columns with the name "{name}"'
                names[column.name] = name
        custom = entry.customization or document.SourceCustomization()
        base = configuration.custom_name or f"{table.table.dataset}_{table.table.name}"
        if not _LEGAL.match(base):
            return f'"{base}" is not a GraphQL name: set custom_name'
        root, types = custom.root_fields or document.RootNames(), custom.type_names or document.TypeNames()
        defaults = {"select": base, "select_aggregate": f"{base}_aggregate"}
        fields = {
            kind: f"{root.prefix or ''}{configuration.root_field(kind).name or default}{root.suffix or ''}"
            for kind, default in defaults.items()
        }
        namespace = root.namespace or None
        for name in fields.values():
            if not _LEGAL.match(name):
                return f'"{name}" is not a GraphQL name'
            if (namespace, name) in self._taken or len(set(fields.values())) < len(fields):
                return f"node {name} already exists in current graphql schema"
        type_name = f"{types.prefix or ''}{base}{types.suffix or ''}"
        if not _LEGAL.match(type_name):
            return f'"{type_name}" is not a GraphQL name'
        if ("type", type_name) in self._taken:
            return f"node {type_name} already exists in current graphql schema"
        self._taken |= {(namespace, name) for name in fields.values()} | {("type", type_name)}
        return Table(
            project, limit, table.table, {column.name: column for column in columns}, names, configuration, type_name,
            fields, namespace, siblings,
        )  # fmt: skip

    def _relationships(self, entry: SourceEntry, table: TableEntry, tables: Mapping[TableName, Table]) -> None:
        here = tables[table.table]
        for array, relationships in ((False, table.object_relationships), (True, table.array_relationships)):
            for each in relationships:
                reason = self._relationship(entry, here, each, tables)
                if reason is None:
                    manual = each.using.manual_configuration
                    mapping = tuple(manual.column_mapping.items())
                    here.relationships[each.name] = Relationship(
                        each.name, array, manual.remote_table, mapping, each.comment
                    )
                else:
                    kind = "array_relation" if array else "object_relation"
                    name = f"{kind} {each.name} in table {table.table} in source {entry.name}"
                    definition = {"name": each.name, "source": entry.name, "table": table.table.model_dump()}
                    self.found.append(Inconsistent(kind, name, definition, reason))

    def _relationship(
        self, entry: SourceEntry, here: Table, each: document.Relationship, tables: Mapping[TableName, Table]
    ) -> str | None:
        manual = each.using.manual_configuration
        if manual.remote_source not in (None, entry.name):
            return f'relationships to another source ("{manual.remote_source}") are not supported'
        there = tables.get(manual.remote_table)
        if there is None:
            return f'table "{manual.remote_table}" is not tracked'
        taken = {*here.names.values(), *here.relationships}
        if each.name in taken or (f"{each.name}_aggregate" in taken):
            return f'field "{each.name}" already exists in table "{here.name}"'
        for column, other in manual.column_mapping.items():
            for table, name in ((here, column), (there, other)):
                if name not in table.columns or table.columns[name].mode == "REPEATED":
                    return f'column "{name}" does not exist in table "{table.name}"'
        return None

    def _permissions(self, entry: SourceEntry, table: TableEntry, tables: Mapping[TableName, Table]) -> None:
        here = tables[table.table]
        for each in table.select_permissions:
            wanted = each.permission
            try:
                columns = None if wanted.columns == "*" else frozenset(wanted.columns)
                for column in columns or ():
                    if column not in here.columns:
                        raise ValueError(f'column "{column}" does not exist in table "{here.name}"')
                roots = wanted.query_root_fields
                here.permissions[each.role] = Permission(
                    columns,
                    read_filter(wanted.filter, here, tables),
                    wanted.limit,
                    wanted.allow_aggregations,
                    _EVERYTHING.roots if roots is None else frozenset(roots),
                )
            except ValueError as error:
                name = f"select_permission {each.role} in table {here.name} in source {entry.name}"
                definition = {"role": each.role, "source": entry.name, "table": table.table.model_dump()}
                self.found.append(Inconsistent("select_permission", name, definition, str(error)))
