"""The commands that bring Hasura's metadata from what it is to what a data product wants. Pure: no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polyexpose_spark.clients.hasura_metadata import (
    DEFAULT_SELECT_LIMIT,
    Command,
    Metadata,
    Publication,
    Relationship,
    Source,
    TableName,
    mark,
    marked_by,
)
from polyexpose_spark.errors import Refused, TargetFailed


def difference(exported: Metadata, desired: Publication, columns_changed: bool = False) -> tuple[Command, ...]:
    """Return the commands, for one `bulk` in this order, after which Hasura serves what is desired.

    Permissions go first and come last, since their filters may go through relationships; the source is read anew
    between dropping and creating, since neither may name a column that Hasura does not know at that moment.

    Args:
        exported: the metadata as it is.
        desired: what it shall have.
        columns_changed: the table got other columns since Hasura last read them.

    Raises:
        Refused: a table, permission, relationship or source of somebody else is in the way.
    """
    source = _source(exported, desired.source.name)
    tables = _tables(source)
    tracked = tables.get(desired.table.address)
    _check_owner(tracked, desired)
    configured = _configure(source, desired.source)
    new_table = tracked is None
    read_anew = source is not None and (new_table or columns_changed)
    dropped_permissions, created_permissions = _permissions(tracked, desired)
    dropped_relationships, created_relationships = _relationships(tables, desired)
    return (
        *dropped_permissions,
        *dropped_relationships,
        *configured,
        *([_reload(desired.source.name)] if read_anew else ()),
        *_track(tracked, desired),
        *created_relationships,
        *created_permissions,
    )


def waiting(exported: Metadata, desired: Publication) -> tuple[Relationship, ...]:
    """Return the desired relationships that are left for later: one of their tables is not tracked by us yet."""
    tables = _tables(_source(exported, desired.source.name))
    return tuple(each for each in desired.relationships if not _possible(each, tables, desired))


def withdrawal(exported: Metadata, product: str, source: Source, table: TableName) -> tuple[Command, ...]:
    """Return the commands, for one `bulk`, that take away what a product published.

    Its datasets stay in the source while the source stays: somebody else may use them. The source goes with the last
    table in it, where it is configured as we do it and holds nothing else.

    Raises:
        Refused: a relationship that somebody else made leads to the table.
    """
    found = _source(exported, source.name)
    tables = _tables(found)
    ours = table in tables and marked_by(_comment(tables[table])) == product
    commands = []
    for on, name, entry, _ in _all_relationships(tables):
        mark = marked_by(entry.get("comment"))
        leads_here = ours and on != table and _remote(entry) == table
        if leads_here and mark is None:
            message = f"source {source.name}: relationship {name} of table {on} leads to {table} and was made by "
            raise Refused(f"{message}somebody else; drop it first")
        if leads_here or (mark == product and not (ours and on == table)):
            commands.append(_drop_relationship(source.name, on, name))
    if ours:
        commands.append(Command("bigquery_untrack_table", {"source": source.name, "table": table.json}))
    if ours and found is not None and set(tables) == {table} and _made_by_us(found, source):
        commands.append(Command("bigquery_drop_source", {"name": source.name}))
    return tuple(commands)


def root_fields(exported: Metadata, desired: Publication) -> tuple[str, str]:
    """Return the root fields for rows and for aggregates; `namespace.field` where the source has a namespace."""
    source = _source(exported, desired.source.name) or {}
    custom = (source.get("customization") or {}).get("root_fields") or {}
    base = desired.table.custom_name or f"{desired.table.dataset}_{desired.table.name}"
    prefix, suffix = custom.get("prefix") or "", custom.get("suffix") or ""
    namespace = f"{custom['namespace']}." if custom.get("namespace") else ""
    return f"{namespace}{prefix}{base}{suffix}", f"{namespace}{prefix}{base}_aggregate{suffix}"


def select_limit(exported: Metadata, desired: Publication) -> int | None:
    """Return after how many rows an answer of this source is cut; None: only Hasura's own environment says."""
    source = _source(exported, desired.source.name)
    limit = (
        desired.source.global_select_limit
        if source is None
        else _merged(source, desired.source).get("global_select_limit", DEFAULT_SELECT_LIMIT)
    )
    return None if isinstance(limit, Mapping) else int(limit)


def concerns(inconsistent: Mapping[str, Any], desired: Publication) -> bool:
    """Say whether an entry of get_inconsistent_metadata keeps this product from being served."""
    definition = inconsistent.get("definition")
    definition = definition if isinstance(definition, Mapping) else {}
    name = str(inconsistent.get("name", "")).replace('"', "").replace("`", "")
    if inconsistent.get("type") == "source":
        return name.removeprefix("source ") == desired.source.name
    if str(definition.get("source", desired.source.name)) != desired.source.name:
        return False
    if "in source" in name and not name.endswith(f"in source {desired.source.name}"):
        return False
    if "role" in definition and definition["role"] not in {each.role for each in desired.permissions}:
        return False
    on = definition.get("table", definition)
    if any(on == each.on.json and definition.get("name") == each.name for each in desired.relationships):
        return True
    return bool(on == desired.table.address.json or f"table {desired.table.address} in source" in name)


def _source(exported: Metadata, name: str) -> Mapping[str, Any] | None:
    if exported.get("version") != 3:
        raise TargetFailed(f"Hasura: metadata of version {exported.get('version')}; version 3 (Hasura v2) is needed")
    found = next((each for each in exported.get("sources") or () if each.get("name") == name), None)
    if found is not None and found.get("kind") != "bigquery":
        raise Refused(f"source {name} is of kind {found.get('kind')}, not bigquery; choose another name")
    return found


def _tables(source: Mapping[str, Any] | None) -> dict[TableName, Mapping[str, Any]]:
    entries = (source or {}).get("tables") or ()
    return {TableName(each["table"]["dataset"], each["table"]["name"]): each for each in entries}


def _comment(table: Mapping[str, Any]) -> object:
    return (table.get("configuration") or {}).get("comment")


def _all_relationships(
    tables: Mapping[TableName, Mapping[str, Any]],
) -> Iterator[tuple[TableName, str, Mapping[str, Any], str]]:
    for on, table in tables.items():
        for kind in ("object", "array"):
            for entry in table.get(f"{kind}_relationships") or ():
                yield on, entry["name"], entry, kind


def _remote(relationship: Mapping[str, Any]) -> TableName | None:
    remote = (relationship["using"].get("manual_configuration") or {}).get("remote_table")
    return TableName(remote["dataset"], remote["name"]) if remote else None


def _check_owner(tracked: Mapping[str, Any] | None, desired: Publication) -> None:
    if tracked is None or (owner := marked_by(_comment(tracked))) == desired.product:
        return
    place = f"source {desired.source.name}: table {desired.table.address}"
    if owner is not None:
        raise Refused(f"{place} is published by data product {owner}; publish into another dataset")
    last_line = f"or end its comment with the line {mark(desired.product)!r} to hand it over"
    raise Refused(f"{place} was tracked by somebody else; untrack it, {last_line}")


def _configure(found: Mapping[str, Any] | None, wanted: Source) -> list[Command]:
    if found is None:
        return [Command("bigquery_add_source", {"name": wanted.name, "configuration": wanted.configuration})]
    merged = _merged(found, wanted)
    if merged == found.get("configuration"):
        return []
    if "from_env" not in merged["service_account"]:
        # Changing the source means to send its whole configuration back, and a key is never sent.
        missing = ", ".join(wanted.datasets)
        raise Refused(f"source {wanted.name} holds a key in its metadata; add {missing} to its datasets by hand")
    return [Command("bigquery_update_source", {"name": wanted.name, "configuration": merged})]


def _merged(found: Mapping[str, Any], wanted: Source) -> dict[str, Any]:
    """Return the configuration with our datasets; the rest stays as it is where others have something in it."""
    merged = dict(found.get("configuration") or {})
    project = merged.get("project_id")
    if isinstance(project, str | int) and str(project) != wanted.project:
        raise Refused(f"source {wanted.name} is for project {project}, not {wanted.project}; choose another name")
    datasets = merged.get("datasets")
    if isinstance(datasets, list):  # otherwise an environment variable of Hasura says
        merged["datasets"] = datasets + [each for each in wanted.datasets if each not in datasets]
    others = any(marked_by(_comment(each)) is None for each in _tables(found).values())
    if not others and not _more_than_tables(found):
        merged["service_account"] = {"from_env": wanted.service_account_env}
        if str(merged.get("global_select_limit")) != str(wanted.global_select_limit):
            merged["global_select_limit"] = wanted.global_select_limit
    return merged


def _more_than_tables(found: Mapping[str, Any]) -> bool:
    """Say whether a source holds what no data product puts there: native queries, functions, ..."""
    own = {"name", "kind", "tables", "configuration", "customization"}
    return any(not _blank(value) for key, value in found.items() if key not in own)


def _made_by_us(found: Mapping[str, Any], wanted: Source) -> bool:
    """Say whether a source is as we make them; it has no place for a mark."""
    theirs = {key: str(value) for key, value in found["configuration"].items() if key != "datasets"}
    ours = {key: str(value) for key, value in wanted.configuration.items() if key != "datasets"}
    return theirs == ours and _blank(found.get("customization")) and not _more_than_tables(found)


def _blank(value: Any) -> bool:
    """Say whether a customization and the like says nothing: `{"root_fields": {"prefix": ""}}`."""
    return all(map(_blank, value.values())) if isinstance(value, Mapping) else not value


def _reload(source: str) -> Command:
    return Command("reload_metadata", {"reload_sources": [source], "reload_remote_schemas": False})


def _track(tracked: Mapping[str, Any] | None, desired: Publication) -> list[Command]:
    table = desired.table
    configuration: dict[str, Any] = {
        "comment": "\n\n".join(filter(None, (table.comment.strip(), mark(desired.product)))),
        "column_config": {name: shown for name, column in table.columns.items() if (shown := _shown(column._asdict()))},
    }
    if table.custom_name:
        configuration["custom_name"] = table.custom_name
    args = {"source": desired.source.name, "table": table.address.json, "configuration": configuration}
    if tracked is None:
        return [Command("bigquery_track_table", args)]
    if _normal(tracked.get("configuration") or {}) == _normal(configuration):
        return []
    return [Command("bigquery_set_table_customization", args)]


def _shown(column: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in column.items() if value}


def _normal(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table configuration without what says nothing; the older `custom_column_names` folded in."""
    columns = {name: _shown(column) for name, column in (configuration.get("column_config") or {}).items()}
    for name, custom in (configuration.get("custom_column_names") or {}).items():
        columns.setdefault(name, {}).setdefault("custom_name", custom)
    rest = {key: value for key, value in configuration.items() if key != "custom_column_names"}
    rest["column_config"] = {name: column for name, column in columns.items() if column}
    return {key: value for key, value in rest.items() if not _blank(value)}


def _permissions(tracked: Mapping[str, Any] | None, desired: Publication) -> tuple[list[Command], list[Command]]:
    """Return what is dropped and what is created; there is no command to change a permission."""
    there = {each["role"]: each for each in (tracked or {}).get("select_permissions") or ()}
    place = {"source": desired.source.name, "table": desired.table.address.json}
    dropped, created = [], []
    for wanted in desired.permissions:
        found = there.get(wanted.role)
        if found is not None and _readable(found["permission"]) == _readable(wanted.json):
            continue
        if wanted.role == "admin":
            raise Refused(f"table {desired.table.address}: role admin reads everything in Hasura; do not publish it")
        if found is not None and marked_by(found.get("comment")) != desired.product:
            message = f"source {desired.source.name}: the select permission of role {wanted.role} on "
            raise Refused(f"{message}{desired.table.address} was made by somebody else; drop it, or leave the role out")
        args = {**place, "role": wanted.role, "permission": wanted.json, "comment": mark(desired.product)}
        created.append(Command("bigquery_create_select_permission", args))
        dropped += [wanted.role] if found is not None else []
    published = {each.role for each in desired.permissions}
    dropped += [
        role
        for role, entry in there.items()
        if role not in published and marked_by(entry.get("comment")) == desired.product
    ]
    return [Command("bigquery_drop_select_permission", {**place, "role": role}) for role in dropped], created


def _readable(permission: Mapping[str, Any]) -> dict[str, Any]:
    """Return a permission without what says nothing, its columns in no order."""
    columns = permission.get("columns")
    said = {
        key: value
        for key, value in permission.items()
        if not (value is None or (value == [] and key == "computed_fields"))
    }
    return {
        **said,
        "columns": frozenset(columns) if isinstance(columns, list) else columns,
        "filter": permission.get("filter") or {},
        "allow_aggregations": bool(permission.get("allow_aggregations")),
    }


def _relationships(
    tables: Mapping[TableName, Mapping[str, Any]], desired: Publication
) -> tuple[list[Command], list[Command]]:
    there = {(on, name): (entry, kind) for on, name, entry, kind in _all_relationships(tables)}
    dropped, created = [], []
    for wanted in desired.relationships:
        if not _possible(wanted, tables, desired):
            continue
        place = {"source": desired.source.name, "table": wanted.on.json}
        args = {**place, "name": wanted.name, "using": wanted.using, "comment": mark(wanted.product)}
        command = Command(f"bigquery_create_{wanted.kind}_relationship", args)
        if (wanted.on, wanted.name) in there:
            entry, kind = there[wanted.on, wanted.name]
            if kind == wanted.kind and _leads(entry["using"], desired.source.name) == wanted.using:
                continue
            if marked_by(entry.get("comment")) != wanted.product:
                message = f"source {desired.source.name}: relationship {wanted.name} of table {wanted.on} "
                raise Refused(f"{message}was not made by data product {wanted.product}; drop it, or rename ours")
            dropped.append(_drop_relationship(desired.source.name, wanted.on, wanted.name))
        created.append(command)
    kept = {(each.on, each.name) for each in desired.relationships}
    for (on, name), (entry, _) in there.items():
        if (on, name) not in kept and marked_by(entry.get("comment")) == desired.product:
            dropped.append(_drop_relationship(desired.source.name, on, name))
    return dropped, created


def _possible(wanted: Relationship, tables: Mapping[TableName, Mapping[str, Any]], desired: Publication) -> bool:
    """Say whether both ends are tracked; nothing is put on a table that no product published."""
    us = desired.table.address
    on_ours = wanted.on == us or (wanted.on in tables and marked_by(_comment(tables[wanted.on])) is not None)
    return on_ours and (wanted.remote == us or wanted.remote in tables)


def _leads(using: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the definition without what says nothing (the source itself, an insertion order)."""
    manual = dict(using.get("manual_configuration") or {})
    if manual.get("remote_source") == source:
        del manual["remote_source"]
    return {"manual_configuration": {key: value for key, value in manual.items() if value is not None}}


def _drop_relationship(source: str, on: TableName, name: str) -> Command:
    return Command("bigquery_drop_relationship", {"source": source, "table": on.json, "relationship": name})
