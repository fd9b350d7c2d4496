"""The ``bigquery_*`` commands of ``/v1/metadata``, each a function that edits a draft of the document.

Texts and codes are Hasura's (``RQL/DDL/*``, ``Table/API.hs``, ``Warnings.hs``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from polyexpose_spark.engine import document
from polyexpose_spark.engine.catalog import ADMIN, Catalog, Inconsistent, Introspection
from polyexpose_spark.engine.document import Model, TableName, Text, decode
from polyexpose_spark.engine.failure import MetadataError

Accept = Callable[[], Catalog]
SUCCESS = {"message": "success"}
_RELATIONSHIPS = ("object_relationships", "array_relationships")


class Draft:
    """A copy of the document under change.

    ``subject`` is the name of the object that a command brings in: when that one is inconsistent, the error says so.
    ``inconsistent`` are the names of what was inconsistent when the request came.
    """

    def __init__(self, metadata: dict[str, Any], introspection: Introspection, inconsistent: frozenset[str]) -> None:
        self.metadata = metadata
        self._inconsistent = inconsistent
        self.introspection = introspection
        self.changed = False
        self.subject = ""

    def is_inconsistent(self, name: str) -> bool:
        """Whether an object was inconsistent when the request came."""
        return name in self._inconsistent

    def find(self, name: str) -> dict[str, Any] | None:
        """A source by name."""
        return next((source for source in self.metadata["sources"] if source["name"] == name), None)

    def source(self, name: str) -> dict[str, Any]:
        """A source by name; MetadataError ``not-exists``."""
        found = self.find(name)
        if found is None:
            raise MetadataError("not-exists", f'source with name "{name}" does not exist')
        return found

    def table(self, source: str, name: TableName) -> dict[str, Any]:
        """A tracked table; MetadataError ``not-exists``."""
        for table in self.source(source).setdefault("tables", []):
            if table["table"] == name.model_dump():
                entry: dict[str, Any] = table
                return entry
        text = f'table "{name}" does not exist in source: {source}'
        raise MetadataError("not-exists", text, path="$.args.table")

    def drop(self, inconsistent: Inconsistent) -> None:
        """Remove an inconsistent object."""
        if inconsistent.type == "source":
            name = inconsistent.definition
            self.metadata["sources"] = [each for each in self.metadata["sources"] if each["name"] != name]
            return
        where = inconsistent.definition
        source = self.find(where["source"])
        if source is None:
            return
        if inconsistent.type == "table":
            source["tables"] = [each for each in source["tables"] if each["table"] != where["table"]]
            return
        for table in source["tables"]:
            if table["table"] == where["table"]:
                kind = {"select_permission": ("select_permissions", "role")}.get(inconsistent.type)
                lists, key = ((kind[0],), kind[1]) if kind else (_RELATIONSHIPS, "name")
                for name in lists:
                    _keep(table, name, lambda each: each[key] != where[key])


class _AddSource(Model):
    name: Text
    configuration: document.SourceConfiguration
    replace_configuration: bool = False
    customization: document.SourceCustomization | None = None


class _UpdateSource(Model):
    name: Text
    configuration: document.SourceConfiguration | None = None
    customization: document.SourceCustomization | None = None


class _DropSource(Model):
    name: Text
    cascade: bool = False


class _OfTable(Model):
    source: Text = "default"
    table: TableName


class _Track(_OfTable):
    configuration: document.TableConfiguration = document.TableConfiguration()


class _TrackAll(Model):
    tables: tuple[_Track, ...]
    allow_warnings: bool = True


class _Untrack(_OfTable):
    cascade: bool = False


class _UntrackAll(Model):
    tables: tuple[_Untrack, ...]
    allow_warnings: bool = True


class _Customize(_OfTable):
    configuration: document.TableConfiguration


class _CreatePermission(_OfTable):
    role: Text
    permission: document.SelectPermission
    comment: str | None = None


class _DropPermission(_OfTable):
    role: Text


class _CreateRelationship(_OfTable):
    name: document.GraphqlName
    using: document.RelationshipUsing
    comment: str | None = None


class _DropRelationship(_OfTable):
    relationship: Text
    cascade: bool = False


def _add_source(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_AddSource, args, "add_source")
    existing = draft.find(wanted.name)
    if existing is not None and not wanted.replace_configuration:
        raise MetadataError("already-exists", f'source with name "{wanted.name}" already exists')
    entry = existing if existing is not None else {"name": wanted.name, "kind": "bigquery", "tables": []}
    entry["configuration"] = copy.deepcopy(args["configuration"])
    entry.pop("customization", None)
    if args.get("customization"):
        entry["customization"] = copy.deepcopy(args["customization"])
    if existing is None:
        draft.metadata["sources"].append(entry)
    return _configured(wanted.name, wanted.configuration, draft)


def _update_source(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_UpdateSource, args, "update_source")
    entry = draft.source(wanted.name)
    for key in ("configuration", "customization"):
        if args.get(key) is not None:
            entry[key] = copy.deepcopy(args[key])
    return _configured(wanted.name, wanted.configuration, draft)


def _configured(name: str, configuration: document.SourceConfiguration | None, draft: Draft) -> Any:
    draft.subject = f"source {name}"
    if configuration is not None:
        try:
            draft.introspection.forget(configuration.project())
        except ValueError:
            pass  # the environment variable is missing: resolving says so
    return SUCCESS


def _drop_source(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_DropSource, args, "drop_source")
    entry = draft.source(wanted.name)
    if draft.is_inconsistent(f"source {wanted.name}"):
        raise MetadataError("unexpected", f'source with name "{wanted.name}" is inconsistent')
    tables = [f"table {_shown(table['table'])} in source {wanted.name}" for table in entry.get("tables", [])]
    if tables and not wanted.cascade:
        raise _dependent(tables)
    draft.metadata["sources"].remove(entry)
    return SUCCESS


def _track_table(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_Track, args, "track_table")
    _track(wanted, args, draft)
    return SUCCESS


def _track(wanted: _Track, args: Mapping[str, Any], draft: Draft) -> None:
    source = draft.source(wanted.source)
    tables = source.setdefault("tables", [])
    name = wanted.table.model_dump()
    if any(table["table"] == name for table in tables):
        raise MetadataError("already-tracked", f'view/table already tracked: "{wanted.table}"')
    entry: dict[str, Any] = {"table": name}
    if args.get("configuration"):
        entry["configuration"] = copy.deepcopy(args["configuration"])
    tables.append(entry)
    draft.subject = f"table {wanted.table} in source {wanted.source}"
    try:
        project = document.SourceConfiguration.model_validate(source["configuration"]).project()
        draft.introspection.forget(project, wanted.table)
    except ValueError:
        pass  # an inconsistent source: resolving says so


def _track_tables(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_TrackAll, args, "track_tables")

    def one(i: int, each: _Track) -> None:
        _track(each, args["tables"][i], draft)

    return _each(wanted.tables, wanted.allow_warnings, one, draft, accept, "track")


def _untrack_tables(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_UntrackAll, args, "untrack_tables")
    return _each(wanted.tables, wanted.allow_warnings, lambda i, each: _untrack(each, draft), draft, accept, "untrack")


def _each(
    tables: tuple[Any, ...], allow: bool, one: Callable[[int, Any], None], draft: Draft, accept: Accept, verb: str
) -> Any:
    """Do the same to several tables; those that fail become warnings, unless all do or warnings are not allowed."""
    names = [(each.source, each.table) for each in tables]
    if len(set(names)) < len(names):
        raise MetadataError("bad-request", f"the same table is named twice in {verb}_tables", path="$.args.tables")
    warnings = []
    for i, each in enumerate(tables):
        before = copy.deepcopy(draft.metadata)
        try:
            one(i, each)
            accept()
        except MetadataError as error:
            draft.metadata = before
            warnings.append(
                {"message": error.error, "type": "table", "name": f"table {each.table} in source {each.source}",
                 "code": f"{verb}-table-failed"}
            )  # fmt: skip
    draft.subject = ""
    if tables and len(warnings) == len(tables):
        raise MetadataError("invalid-configuration", f"all tables failed to {verb}", internal=warnings)
    if warnings and not allow:
        raise MetadataError("metadata-warnings", "failed due to metadata warnings", internal=warnings)
    return {**SUCCESS, "warnings": warnings} if warnings else SUCCESS


def _untrack_table(args: Any, draft: Draft, accept: Accept) -> Any:
    _untrack(decode(_Untrack, args, "untrack_table"), draft)
    return SUCCESS


def _untrack(wanted: _Untrack, draft: Draft) -> None:
    source = draft.source(wanted.source)
    name = wanted.table.model_dump()
    tables = source.setdefault("tables", [])
    if all(table["table"] != name for table in tables):
        raise MetadataError("already-untracked", f'view/table already untracked: "{wanted.table}"')
    leading = [
        (table, key, each)
        for table in tables
        if table["table"] != name
        for key, each in _relationships(table)
        if each["using"]["manual_configuration"]["remote_table"] == name
    ]
    if leading and not wanted.cascade:
        raise _dependent(
            [
                f"relationship {_shown(table['table'])}.{each['name']} in source {wanted.source}"
                for table, _, each in leading
            ]
        )
    for table, key, each in leading:
        table[key].remove(each)
        _drop_filters(source, table["table"], each["name"])
        if not table[key]:
            del table[key]
    source["tables"] = [table for table in tables if table["table"] != name]


def _set_table_customization(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_Customize, args, "set_table_customization")
    table = draft.table(wanted.source, wanted.table)
    table.pop("configuration", None)
    if args["configuration"]:
        table["configuration"] = copy.deepcopy(args["configuration"])
    draft.subject = f"table {wanted.table} in source {wanted.source}"
    return SUCCESS


def _create_select_permission(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_CreatePermission, args, "create_select_permission")
    table = draft.table(wanted.source, wanted.table)
    permissions = table.setdefault("select_permissions", [])
    if wanted.role == ADMIN or any(each["role"] == wanted.role for each in permissions):
        text = f'select permission already defined on table "{wanted.table}" with role "{wanted.role}"'
        raise MetadataError("already-exists", text)
    permissions.append(_given(args, ("role", "permission", "comment")))
    draft.subject = f"select_permission {wanted.role} in table {wanted.table} in source {wanted.source}"
    return SUCCESS


def _drop_select_permission(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_DropPermission, args, "drop_select_permission")
    table = draft.table(wanted.source, wanted.table)
    if all(each["role"] != wanted.role for each in table.get("select_permissions", [])):
        text = f'\'select\' permission on "{wanted.table}" for role "{wanted.role}" does not exist'
        raise MetadataError("permission-denied", text)
    _keep(table, "select_permissions", lambda each: each["role"] != wanted.role)
    return SUCCESS


def _create_relationship(args: Any, draft: Draft, kind: str, command: str) -> Any:
    wanted = decode(_CreateRelationship, args, command)
    table = draft.table(wanted.source, wanted.table)
    if any(each["name"] == wanted.name for _, each in _relationships(table)):
        text = f'field with name "{wanted.name}" already exists in table "{wanted.table}"'
        raise MetadataError("already-exists", text)
    table.setdefault(kind, []).append(_given(args, ("name", "using", "comment")))
    relation = "object_relation" if kind == "object_relationships" else "array_relation"
    draft.subject = f"{relation} {wanted.name} in table {wanted.table} in source {wanted.source}"
    return SUCCESS


def _drop_relationship(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_DropRelationship, args, "drop_relationship")
    table = draft.table(wanted.source, wanted.table)
    if all(each["name"] != wanted.relationship for _, each in _relationships(table)):
        text = f'relationship "{wanted.relationship}" on table "{wanted.table}" does not exist'
        raise MetadataError("not-exists", text)
    source = draft.source(wanted.source)
    users = list(_filters_with(source, table["table"], wanted.relationship))
    if users and not wanted.cascade:
        raise _dependent(
            [
                f"permission {_shown(other['table'])}.{each['role']}.select in source {wanted.source}"
                for other, each in users
            ]
        )
    _drop_filters(source, table["table"], wanted.relationship)
    for kind in _RELATIONSHIPS:
        _keep(table, kind, lambda each: each["name"] != wanted.relationship)
    return SUCCESS


def _relationships(table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind in _RELATIONSHIPS:
        for each in table.get(kind, []):
            yield kind, each


def _filters_with(
    source: Mapping[str, Any], at: Mapping[str, str], relationship: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Permissions (with their tables) whose filter follows a relationship of the table ``at``."""
    tables = {(each["table"]["dataset"], each["table"]["name"]): each for each in source.get("tables", [])}

    def follows(condition: Any, table: Mapping[str, Any] | None) -> bool:
        if isinstance(condition, list):
            return any(follows(each, table) for each in condition)
        if not isinstance(condition, Mapping) or table is None:
            return False
        for key, value in condition.items():
            remote = next((each for _, each in _relationships(table) if each["name"] == key), None)
            if key in ("_and", "_or", "_not", "$and", "$or", "$not"):
                if follows(value, table):
                    return True
            elif remote is not None:
                if key == relationship and table["table"] == at:
                    return True
                to = remote["using"]["manual_configuration"]["remote_table"]
                if follows(value, tables.get((to["dataset"], to["name"]))):
                    return True
        return False

    for table in source.get("tables", []):
        for permission in table.get("select_permissions", []):
            if follows(permission["permission"]["filter"], table):
                yield table, permission


def _drop_filters(source: Mapping[str, Any], at: Mapping[str, str], relationship: str) -> None:
    for table, permission in list(_filters_with(source, at, relationship)):
        table["select_permissions"].remove(permission)


def _keep(table: dict[str, Any], key: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
    kept = [each for each in table.get(key, []) if wanted(each)]
    if kept:
        table[key] = kept
    else:
        table.pop(key, None)


def _given(args: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: copy.deepcopy(args[key]) for key in keys if args.get(key) is not None}


def _shown(table: Mapping[str, str]) -> str:
    return f"{table['dataset']}.{table['name']}"


def _dependent(objects: list[str]) -> MetadataError:
    return MetadataError(
        "dependency-error", f"cannot drop due to the following dependent objects: {', '.join(objects)}"
    )


COMMANDS: Mapping[str, Callable[[Any, Draft, Accept], Any]] = {
    "bigquery_add_source": _add_source,
    "bigquery_update_source": _update_source,
    "bigquery_drop_source": _drop_source,
    "bigquery_track_table": _track_table,
    "bigquery_track_tables": _track_tables,
    "bigquery_untrack_table": _untrack_table,
    "bigquery_untrack_tables": _untrack_tables,
    "bigquery_set_table_customization": _set_table_customization,
    "bigquery_create_select_permission": _create_select_permission,
    "bigquery_drop_select_permission": _drop_select_permission,
    "bigquery_create_object_relationship": lambda args, draft, accept: _create_relationship(
        args, draft, "object_relationships", "create_object_relationship"
    ),
    "bigquery_create_array_relationship": lambda args, draft, accept: _create_relationship(
        args, draft, "array_relationships", "create_array_relationship"
    ),
    "bigquery_drop_relationship": _drop_relationship,
}
