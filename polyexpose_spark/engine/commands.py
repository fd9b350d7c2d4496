"""The ``bigquery_*`` commands of ``/v1/metadata``, each a function that edits a draft of the document.

Texts and codes are Hasura's (``RQL/DDL/*``, ``Table/API.hs``, ``Warnings.hs``).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any

from polyexpose_spark.engine import document
from polyexpose_spark.engine.catalog import ADMIN, Catalog
from polyexpose_spark.engine.document import Model, TableName, Text, decode
from polyexpose_spark.engine.draft import RELATIONSHIPS, Draft, drop_filters, filters_with, keep, relationships
from polyexpose_spark.engine.failure import MetadataError

Accept = Callable[[], Catalog]
SUCCESS = {"message": "success"}


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
    configuration: document.TableConfiguration | None = None


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
        # the environment variable is missing: resolving says so
        with contextlib.suppress(ValueError):
            draft.introspection.forget(configuration.project())
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
    # an inconsistent source: resolving says so
    with contextlib.suppress(ValueError):
        project = document.SourceConfiguration.model_validate(source["configuration"]).project()
        draft.introspection.forget(project, wanted.table)


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
        for key, each in relationships(table)
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
        drop_filters(source, table["table"], each["name"])
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
    keep(table, "select_permissions", lambda each: each["role"] != wanted.role)
    return SUCCESS


def _create_relationship(args: Any, draft: Draft, kind: str, command: str) -> Any:
    wanted = decode(_CreateRelationship, args, command)
    table = draft.table(wanted.source, wanted.table)
    if any(each["name"] == wanted.name for _, each in relationships(table)):
        text = f'field with name "{wanted.name}" already exists in table "{wanted.table}"'
        raise MetadataError("already-exists", text)
    table.setdefault(kind, []).append(_given(args, ("name", "using", "comment")))
    relation = "object_relation" if kind == "object_relationships" else "array_relation"
    draft.subject = f"{relation} {wanted.name} in table {wanted.table} in source {wanted.source}"
    return SUCCESS


def _drop_relationship(args: Any, draft: Draft, accept: Accept) -> Any:
    wanted = decode(_DropRelationship, args, "drop_relationship")
    table = draft.table(wanted.source, wanted.table)
    if all(each["name"] != wanted.relationship for _, each in relationships(table)):
        text = f'relationship "{wanted.relationship}" on table "{wanted.table}" does not exist'
        raise MetadataError("not-exists", text)
    source = draft.source(wanted.source)
    users = list(filters_with(source, table["table"], wanted.relationship))
    if users and not wanted.cascade:
        raise _dependent(
            [
                f"permission {_shown(other['table'])}.{each['role']}.select in source {wanted.source}"
                for other, each in users
            ]
        )
    drop_filters(source, table["table"], wanted.relationship)
    for kind in RELATIONSHIPS:
        keep(table, kind, lambda each: each["name"] != wanted.relationship)
    return SUCCESS


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
