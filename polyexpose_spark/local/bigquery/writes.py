"""Write the rows of a DuckDB query into a table as load, copy and query jobs do: columns by name, all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from polyexpose_spark.local.bigquery import resources
from polyexpose_spark.local.bigquery.errors import ApiError, already_exists, invalid, not_found, not_implemented
from polyexpose_spark.local.bigquery.fields import (
    Field,
    canonical,
    engine_type,
    is_repeated,
    is_required,
    quote_name,
    same_shape,
    type_of,
)
from polyexpose_spark.local.bigquery.store import Entry, Resource, TableKey, Transaction

# Conversions that BigQuery makes by itself and that lose nothing.
COERCIONS = {
    ("INTEGER", "NUMERIC"),
    ("INTEGER", "BIGNUMERIC"),
    ("INTEGER", "FLOAT"),
    ("NUMERIC", "BIGNUMERIC"),
    ("NUMERIC", "FLOAT"),
    ("BIGNUMERIC", "FLOAT"),
}
LAYOUT_KEYS = ("timePartitioning", "rangePartitioning", "clustering")


@dataclass
class Source:
    """Rows to write: a DuckDB query and its columns. `exact` forbids conversions between number types."""

    sql: str
    fields: list[Field]
    values: dict[str, Any] = field(default_factory=dict)


def table_key(reference: Resource) -> TableKey:
    """Return the key of a TableReference.

    Raises ApiError 501 for a partition decorator.
    """
    name = str(reference["tableId"])
    if "$" in name or "@" in name:
        raise not_implemented(f"The decorator in the table name {name}")
    return TableKey(reference["projectId"], reference["datasetId"], name)


def write(
    tx: Transaction,
    key: TableKey,
    source: Source,
    config: Resource,
    *,
    default_disposition: str,
    schema: list[Field] | None = None,
    settings: Resource | None = None,
) -> int:
    """Write `source` into the table `key` by the dispositions of `config`; return the number of rows.

    `schema` is an explicit one for a new table. Raises ApiError 400, 404 or 409 as BigQuery does.
    """
    tx.catalog.dataset(key.parent)
    disposition = config.get("writeDisposition") or default_disposition
    if disposition not in ("WRITE_APPEND", "WRITE_TRUNCATE", "WRITE_EMPTY"):
        raise not_implemented(f"writeDisposition {disposition}")
    layout = {k: config[k] for k in LAYOUT_KEYS if config.get(k)}
    properties = {**layout, **(config.get("destinationTableProperties") or {}), **(settings or {})}
    entry = tx.catalog.tables.get(key)
    if entry is None:
        if config.get("createDisposition") == "CREATE_NEVER":
            raise not_found("Table", str(key))
        entry = resources.new_table(tx, key, schema or source.fields, properties)
    else:
        _writable(entry, key)
        if disposition == "WRITE_TRUNCATE" or not entry.fields:
            entry = _emptied(tx, key, entry, schema or source.fields, properties)
        elif disposition == "WRITE_EMPTY" and tx.con.execute(f"SELECT 1 FROM {entry.source} LIMIT 1").fetchall():
            raise already_exists("Table", str(key))
    options = set(config.get("schemaUpdateOptions") or ())
    wanted = schema if schema is not None else source.fields
    fields = _updated_fields(key, entry, wanted, options)
    if fields != entry.fields:
        resources.alter(tx, key, entry, fields)
        entry = tx.put_table(key, replace(entry, resource={**entry.resource, "schema": {"fields": fields}}))
    written = _insert(tx, key, entry, source)
    check_rows(tx, key, entry)
    tx.rows_changed(key)
    return written


def _writable(entry: Entry, key: TableKey) -> None:
    if entry.resource["type"] != "TABLE":
        raise invalid(f"{key} is a {entry.resource['type']}, not a table: it cannot be written to")


def _emptied(tx: Transaction, key: TableKey, entry: Entry, fields: list[Field], properties: Resource) -> Entry:
    for name in ("timePartitioning", "rangePartitioning"):
        old, new = entry.resource.get(name), properties.get(name)
        if new and old and new != old:
            raise invalid(f"Incompatible table partitioning specification for {key}: {old} and {new}")
    fields = canonical(fields)
    resource = {**entry.resource, **properties, "schema": {"fields": fields}}
    resources.check_layout(fields, resource)
    physical = tx.new_rows(fields)
    tx.con.execute(f"DROP TABLE {entry.source}")
    return tx.put_table(key, replace(entry, resource=resource, physical=physical))


def _updated_fields(key: TableKey, entry: Entry, wanted: list[Field], options: set[str]) -> list[Field]:
    """Return the table's fields after the schema updates that the job asks for and is allowed to make."""
    fields = entry.fields
    by_name = {f["name"].lower(): i for i, f in enumerate(fields)}
    for f in canonical(wanted):
        at = by_name.get(f["name"].lower())
        if at is None:
            if "ALLOW_FIELD_ADDITION" not in options:
                raise invalid(f"Provided Schema does not match Table {key}. Cannot add fields (field: {f['name']})")
            fields.append(f if is_repeated(f) else {**f, "mode": "NULLABLE"})
        elif is_required(fields[at]) and not is_required(f) and "ALLOW_FIELD_RELAXATION" in options:
            fields[at] = {**fields[at], "mode": "NULLABLE"}
    return fields


def _insert(tx: Transaction, key: TableKey, entry: Entry, source: Source) -> int:
    targets = {f["name"].lower(): f for f in entry.fields}
    columns, values = [], []
    for f in source.fields:
        target = targets[f["name"].lower()]
        check_assignable(f, target, f"Provided Schema does not match Table {key}. Field {target['name']}")
        columns.append(quote_name(target["name"]))
        values.append(f"CAST({quote_name(f['name'])} AS {engine_type(target)})")
    given = {f["name"].lower() for f in source.fields}
    for target in entry.fields:
        if is_required(target) and target["name"].lower() not in given:
            raise invalid(f"Required field {target['name']} is missing in the input for {key}")
    sql = f"INSERT INTO {entry.source} ({', '.join(columns)}) SELECT {', '.join(values)} FROM ({source.sql})"
    return int(tx.con.execute(sql, source.values or None).fetchall()[0][0])


def check_assignable(source: Field, target: Field, what: str) -> None:
    """Raise 400 unless BigQuery would write a value of the one field into the other by itself."""
    pair = (type_of(source), type_of(target))
    if is_repeated(source) != is_repeated(target):
        raise invalid(f"{what} has changed mode from {target.get('mode')} to {source.get('mode')}")
    if not same_shape(source, target) and pair not in COERCIONS:
        raise invalid(f"{what} has changed type from {pair[1]} to {pair[0]}")


def check_rows(tx: Transaction, key: TableKey, entry: Entry) -> None:
    """Raise 400 if a row breaks what DuckDB does not enforce: nested REQUIRED, NULL in arrays, maxLength."""
    broken = [c for f in entry.fields for c in _violations(f, quote_name(f["name"]), top=True)]
    if not broken:
        return
    found = tx.con.execute(f"SELECT {', '.join(f'bool_or({c})' for c, _ in broken)} FROM {entry.source}").fetchall()
    for hit, (_, message) in zip(found[0], broken, strict=True):
        if hit:
            raise ApiError(400, "invalid", f"{message} (table {key})")


def _violations(f: Field, path: str, *, top: bool = False) -> list[tuple[str, str]]:
    """Return (condition that holds for a bad row, message) for a field at a DuckDB expression."""
    name = f["name"]
    out = []
    if is_repeated(f):
        out.append((f"list_count({path}) < len({path})", f"Array cannot have a null element in field {name}"))
        inner = _violations({**f, "mode": "NULLABLE"}, "e")
        for condition, message in inner:
            out.append((f"len(list_filter({path}, lambda e: {condition})) > 0", message))
        return out
    if is_required(f) and not top:
        out.append((f"{path} IS NULL", f"Required field {name} cannot be null"))
    kind = type_of(f)
    if kind == "GEOGRAPHY":
        out.append((f"{path} IS NOT NULL", f"Writing to the GEOGRAPHY field {name} is not supported here"))
    if f.get("maxLength") and kind in ("STRING", "BYTES"):
        length = "length" if kind == "STRING" else "octet_length"
        out.append((f"{length}({path}) > {int(f['maxLength'])}", f"Field {name} has more than {f['maxLength']}"))
    for inner_field in f.get("fields") or ():
        inner_path = f"struct_extract({path}, '{inner_field['name'].replace(chr(39), chr(39) * 2)}')"
        for condition, message in _violations(inner_field, inner_path):
            out.append((f"({path} IS NOT NULL AND {condition})", message))
    return out
