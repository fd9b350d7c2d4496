"""Datasets, tables and views as REST resources: insert, patch, update, delete, with etags."""

from __future__ import annotations

import time
from typing import Any

from polyexpose_spark.local.bigquery import views
from polyexpose_spark.local.bigquery.errors import ApiError, already_exists, invalid, not_implemented
from polyexpose_spark.local.bigquery.fields import (
    Field,
    canonical,
    engine_type,
    is_repeated,
    is_required,
    quote_name,
    type_of,
)
from polyexpose_spark.local.bigquery.store import (
    DatasetKey,
    Entry,
    Resource,
    Store,
    TableKey,
    Transaction,
    now_millis,
)

OUTPUT_ONLY = {
    "kind", "id", "etag", "selfLink", "creationTime", "lastModifiedTime", "numRows", "numBytes", "numLongTermBytes",
    "numTotalLogicalBytes", "type", "location", "tableReference", "datasetReference",
}  # fmt: skip
REFUSED_TABLE_KEYS = ("externalDataConfiguration", "materializedView", "biglakeConfiguration", "snapshotDefinition")
MAX_NAME = 1024


def etag_matches(resource: Resource, expected: str | None) -> None:
    """Raise 412 if the client saw another state than the present one."""
    if expected and expected not in ("*", resource["etag"]):
        raise ApiError(412, "conditionNotMet", "Precondition check failed.")


# ---- datasets


def create_dataset(tx: Transaction, key: DatasetKey, body: Resource) -> Resource:
    """Create a dataset; 409 if it is there."""
    if key in tx.catalog.datasets:
        raise already_exists("Dataset", str(key))
    check_name("dataset ID", key.dataset, extra="")
    return tx.put_dataset(
        key,
        {
            "location": "US",
            "access": [{"role": "OWNER", "specialGroup": "projectOwners"}],
            **body,
            "kind": "bigquery#dataset",
            "id": str(key),
            "datasetReference": {"projectId": key.project, "datasetId": key.dataset},
            "creationTime": now_millis(),
        },
    )


def change_dataset(tx: Transaction, key: DatasetKey, body: Resource, etag: str | None, *, whole: bool) -> Resource:
    """Patch a dataset, or replace it if `whole`."""
    old = tx.catalog.dataset(key)
    etag_matches(old, etag)
    return tx.put_dataset(key, _merged(old, body, whole=whole))


def delete_dataset(tx: Transaction, key: DatasetKey, *, contents: bool) -> None:
    """Delete a dataset; 400 if it has tables and `contents` is not set."""
    tx.catalog.dataset(key)
    if tx.catalog.of(key) and not contents:
        raise ApiError(400, "resourceInUse", f"Dataset {key} is still in use")
    tx.drop_dataset(key)


def check_name(what: str, name: str, *, extra: str) -> None:
    """Raise 400 for a name that BigQuery would not take: letters, digits, underscore and `extra`."""
    if not name or len(name) > MAX_NAME or not all(c.isalnum() or c == "_" or c in extra for c in name):
        raise invalid(f'Invalid {what} "{name}"')


def _merged(old: Resource, body: Resource, *, whole: bool) -> Resource:
    kept = {k: v for k, v in old.items() if k in OUTPUT_ONLY or not whole}
    for key, value in body.items():
        if key in OUTPUT_ONLY:
            continue
        if value is None:
            kept.pop(key, None)
        elif key == "labels":
            merged = value if whole else {**old.get("labels", {}), **value}
            kept[key] = {k: v for k, v in merged.items() if v is not None}
        else:
            kept[key] = value
    return kept


# ---- tables and views


def create_table(store: Store, tx: Transaction, key: TableKey, body: Resource) -> Entry:
    """Create an empty table or a view from a REST body; 409 if it is there."""
    tx.catalog.dataset(key.parent)
    if key in tx.catalog.tables:
        raise already_exists("Table", str(key))
    if body.get("view"):
        query = _view_query(body["view"])
        settings = {k: v for k, v in body.items() if k not in OUTPUT_ONLY | {"view", "schema"}}
        return views.put_view(store, tx, key, query, default="", settings=settings)
    settings = {k: v for k, v in body.items() if k not in OUTPUT_ONLY | {"schema"}}
    return new_table(tx, key, (body.get("schema") or {}).get("fields") or [], settings)


def new_table(
    tx: Transaction, key: TableKey, fields: list[Field], settings: Resource, kind: str = "TABLE", physical: str = ""
) -> Entry:
    """Put a table into the catalog, with rows that are already in `physical` or with none."""
    tx.catalog.dataset(key.parent)
    check_name("table ID", key.table, extra="-_ ")
    check_settings(settings)
    fields = canonical(fields)
    check_layout(fields, settings)
    if not physical:
        physical = tx.new_rows(fields, views.default_expressions(fields))
    resource = {
        **settings,
        "kind": "bigquery#table",
        "id": str(key),
        "tableReference": key.reference,
        "type": kind,
        "schema": {"fields": fields},
        "location": tx.catalog.datasets[key.parent]["location"],
        "creationTime": now_millis(),
    }
    lifetime = tx.catalog.datasets[key.parent].get("defaultTableExpirationMs")
    if lifetime and not resource.get("expirationTime"):
        resource["expirationTime"] = str(time.time_ns() // 1_000_000 + int(lifetime))
    return tx.put_table(key, Entry(resource, physical))


def check_settings(settings: Resource) -> None:
    """Refuse table settings that would not be kept."""
    for name in REFUSED_TABLE_KEYS:
        if settings.get(name):
            raise not_implemented(f"A table with {name}")
    partitioning = settings.get("timePartitioning") or {}
    if settings.get("requirePartitionFilter") or partitioning.get("requirePartitionFilter"):
        raise not_implemented("require_partition_filter")


def check_layout(fields: list[Field], settings: Resource) -> None:
    """Raise 400 if partitioning or clustering names a column that cannot be used for it."""
    by_name = {f["name"].lower(): f for f in fields}
    time_part = settings.get("timePartitioning") or {}
    if time_part.get("type", "DAY") not in ("DAY", "HOUR", "MONTH", "YEAR"):
        raise invalid(f"Invalid timePartitioning.type: {time_part['type']}")
    wanted: list[tuple[Any, tuple[str, ...], str]] = [
        (time_part.get("field"), ("DATE", "TIMESTAMP", "DATETIME"), "partitioning")
    ]
    wanted.append(((settings.get("rangePartitioning") or {}).get("field"), ("INTEGER",), "partitioning"))
    groupable = (
        "BIGNUMERIC", "BOOLEAN", "DATE", "DATETIME", "GEOGRAPHY", "INTEGER", "NUMERIC", "STRING", "TIMESTAMP", "BYTES"
    )  # fmt: skip
    clusters = (settings.get("clustering") or {}).get("fields") or []
    if len(clusters) > 4:
        raise invalid("Clustering takes at most 4 columns")
    wanted += [(c, groupable, "clustering") for c in clusters]
    for name, kinds, purpose in wanted:
        if not name:
            continue
        column = by_name.get(str(name).lower())
        if column is None:
            raise invalid(f"The field specified for {purpose} cannot be found in the schema: {name}")
        if type_of(column) not in kinds or is_repeated(column):
            raise invalid(f"The field {name} of the type {type_of(column)} cannot be used for {purpose}")


def change_table(
    store: Store, tx: Transaction, key: TableKey, body: Resource, etag: str | None, *, whole: bool
) -> Entry:
    """Patch a table or view, or replace its settings if `whole`; columns can only be added or relaxed."""
    old = tx.catalog.table(key)
    etag_matches(old.resource, etag)
    check_settings(body)
    if body.get("view"):
        query = _view_query(body["view"])
        settings = _merged(old.resource, {k: v for k, v in body.items() if k not in ("view", "schema")}, whole=whole)
        return views.put_view(store, tx, key, query, default="", settings=settings)
    new = _merged(old.resource, {k: v for k, v in body.items() if k != "schema"}, whole=whole)
    new["schema"] = old.resource["schema"]
    given = (body.get("schema") or {}).get("fields")
    if given is not None and old.is_view:
        new["schema"] = {"fields": _described(old.fields, given)}
    elif given is not None:
        new["schema"] = {"fields": alter(tx, key, old, canonical(given))}
    if not old.is_view:
        check_layout(new["schema"]["fields"], new)
    return tx.put_table(key, Entry(new, old.physical, old.view_default))


def alter(tx: Transaction, key: TableKey, entry: Entry, fields: list[Field]) -> list[Field]:
    """Bring a table's rows from the old fields to the new: only additions and NULLs allowed; else 400.

    Returns the fields in the order of the rows: new ones come last.
    """
    old = {f["name"].lower(): f for f in entry.fields}
    kept = [f["name"].lower() for f in fields if f["name"].lower() in old]
    missing = set(old) - set(kept)
    if missing:
        raise invalid(
            f"Provided Schema does not match Table {key}. Field {sorted(missing)[0]} is missing in new schema"
        )
    for f in fields:
        before = old.get(f["name"].lower())
        column = quote_name(f["name"])
        if before is None:
            if is_required(f):
                raise invalid(f"Provided Schema does not match Table {key}. Cannot add required fields: {f['name']}")
            if f.get("defaultValueExpression"):
                raise not_implemented("Adding a column with a default value")
            tx.con.execute(f"ALTER TABLE {entry.source} ADD COLUMN {column} {engine_type(f)}")
            continue
        if engine_type(before) != engine_type(f):
            raise invalid(
                f"Provided Schema does not match Table {key}. Field {f['name']} has changed type "
                f"from {type_of(before)} to {type_of(f)}"
            )
        if is_required(f) and not is_required(before):
            raise invalid(f"Provided Schema does not match Table {key}. Field {f['name']} has changed mode to REQUIRED")
        if is_required(before) and not is_required(f):
            tx.con.execute(f"ALTER TABLE {entry.source} ALTER COLUMN {column} DROP NOT NULL")
    by_name = {f["name"].lower(): f for f in fields}
    same = [{**by_name.pop(f["name"].lower()), "name": f["name"]} for f in entry.fields]
    return same + list(by_name.values())


def delete_table(tx: Transaction, key: TableKey, etag: str | None) -> None:
    """Delete a table or view."""
    etag_matches(tx.catalog.table(key).resource, etag)
    tx.drop_table(key)


def with_counts(store: Store, entry: Entry) -> Resource:
    """Return a table's resource with the number of its rows."""
    if entry.is_view:
        return entry.resource
    counted = store.con.execute(f"SELECT count(*) FROM {entry.source}").fetchall()
    return {**entry.resource, "numRows": str(counted[0][0])}


def _view_query(view: Resource) -> str:
    if view.get("useLegacySql", True):
        raise not_implemented("A view in legacy SQL")
    if not view.get("query"):
        raise invalid("A view needs a query")
    return str(view["query"])


def _described(fields: list[Field], given: list[dict[str, Any]]) -> list[Field]:
    """Return a view's own fields with the descriptions that were given."""
    by_name = {str(g.get("name", "")).lower(): g for g in given}
    if by_name.keys() != {f["name"].lower() for f in fields}:
        raise invalid("The schema of a view follows from its query; only descriptions can be set")
    out = []
    for f in fields:
        mine = by_name[f["name"].lower()]
        extra = {k: mine[k] for k in ("description", "policyTags") if mine.get(k)}
        if mine.get("fields") and f.get("fields"):
            extra["fields"] = _described(f["fields"], mine["fields"])
        out.append({**{k: v for k, v in f.items() if k not in ("description", "policyTags")}, **extra})
    return out
