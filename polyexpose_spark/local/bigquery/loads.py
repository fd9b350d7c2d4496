"""Load jobs: Parquet files into a table. And copy jobs: tables into a table."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from polyexpose_spark.local.bigquery import resources, results, sources, writes
from polyexpose_spark.local.bigquery.errors import invalid, not_implemented
from polyexpose_spark.local.bigquery.fields import Field, canonical, is_repeated, quote_name, quote_text, type_of
from polyexpose_spark.local.bigquery.parquet import Node, as_written, columns_of
from polyexpose_spark.local.bigquery.store import Resource, Store, TableKey, Transaction

REFUSED = (
    "hivePartitioningOptions", "projectionFields", "ignoreUnknownValues", "connectionProperties", "createSession",
    "referenceFileSchemaUri", "columnNameCharacterMap",
)  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """What a load job did."""

    rows: int
    files: int
    bytes: int


def load(store: Store, tx: Transaction, config: Resource, upload: Path | None) -> Loaded:
    """Load Parquet from an uploaded file, or from the ``sourceUris``, into the destination table.

    Raises ApiError 400 for rows that do not fit, 501 for what is not supported; nothing is written then.
    """
    if (config.get("sourceFormat") or "CSV") != "PARQUET":
        raise not_implemented(f"sourceFormat {config.get('sourceFormat') or 'CSV'} (there is PARQUET)")
    for name in REFUSED:
        if config.get(name):
            raise not_implemented(f"A load job with {name}")
    key = writes.table_key(config["destinationTable"])
    with tempfile.TemporaryDirectory(dir=store.uploads) as folder:
        files = [upload] if upload else sources.fetch(list(config.get("sourceUris") or ()), Path(folder))
        if not files:
            raise invalid("A load job needs an upload or sourceUris")
        size = sum(f.stat().st_size for f in files)
        try:
            source = _source(tx, files, config)
            schema = _schema(tx, key, source, config)
            rows = writes.write(tx, key, source, config, default_disposition="WRITE_APPEND", schema=schema)
        except duckdb.ConstraintException as error:
            raise invalid(f"Error while reading data, error message: {_first_line(error)}") from error
        except (duckdb.InvalidInputException, duckdb.IOException, duckdb.ConversionException) as error:
            raise invalid(f"Error while reading data, error message: {_first_line(error)}") from error
        return Loaded(rows, len(files), size)


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:300]


def _source(tx: Transaction, files: list[Path], config: Resource) -> writes.Source:
    listed = "[" + ", ".join(quote_text(str(f)) for f in files) + "]"
    read = f"read_parquet({listed}, union_by_name=true, hive_partitioning=false)"
    nodes = columns_of(tx.con, files[-1])
    infer = bool((config.get("parquetOptions") or {}).get("enableListInference"))
    engine = tx.con.sql(f"SELECT * FROM {read}")
    types = dict(zip(engine.columns, engine.types, strict=True))
    selected = []
    for name, kind in types.items():
        node = nodes.get(name, Node(name))
        expression = as_written(quote_name(name), kind, node, infer_lists=infer)
        selected.append(f"{expression} AS {quote_name(name)}")
    sql = f"SELECT {', '.join(selected)} FROM {read}"
    return writes.Source(sql, results.columns(tx.con, sql, {}))


def _schema(tx: Transaction, key: TableKey, source: writes.Source, config: Resource) -> list[Field] | None:
    """Return the explicit schema; or the file's, where the table is made of it."""
    given = (config.get("schema") or {}).get("fields")
    if given:
        fields = canonical(given)
        names = {f["name"].lower() for f in fields}
        extra = [f["name"] for f in source.fields if f["name"].lower() not in names]
        if extra:
            raise invalid(f"Provided Schema does not match the file: field {extra[0]} is not in the schema")
        for f in fields:
            mine = next((s for s in source.fields if s["name"].lower() == f["name"].lower()), None)
            if mine is not None:
                writes.check_assignable(mine, f, f"The file does not match the schema. Field {f['name']}")
        return fields
    wanted = config.get("decimalTargetTypes") or ["NUMERIC"]  # BigQuery's default for Parquet
    kept = tx.catalog.tables.get(key)
    if kept is None or config.get("writeDisposition") == "WRITE_TRUNCATE":
        for f in source.fields:
            _check_decimals(f, list(wanted))
    return None


def _check_decimals(f: Field, wanted: list[str]) -> None:
    kind = type_of(f)
    if kind in ("NUMERIC", "BIGNUMERIC") and kind not in wanted:
        if kind == "NUMERIC" and "BIGNUMERIC" in wanted:
            raise not_implemented("decimalTargetTypes without NUMERIC")
        raise invalid(f"Field {f['name']}: its decimal does not fit decimalTargetTypes {', '.join(wanted)}")
    for inner in f.get("fields") or ():
        _check_decimals(inner, wanted)


def copy(tx: Transaction, config: Resource) -> None:
    """Run a copy job: the first source's schema and layout; others are appended by name."""
    if config.get("operationType") not in (None, "COPY", "SNAPSHOT", "CLONE", "OPERATION_TYPE_UNSPECIFIED"):
        raise not_implemented(f"operationType {config['operationType']}")
    listed = config.get("sourceTables") or [config["sourceTable"]]
    keys = [writes.table_key(s) for s in listed]
    entries = [tx.catalog.table(k) for k in keys]
    for key, entry in zip(keys, entries, strict=True):
        if entry.is_view:
            raise invalid(f"{key} is a view: it cannot be copied")
    first = entries[0]
    target = writes.table_key(config["destinationTable"])
    if config.get("operationType") in ("SNAPSHOT", "CLONE"):
        if len(entries) > 1:
            raise invalid("A snapshot or clone has one source")
        copied(tx, keys[0], target, {}, snapshot=config["operationType"] == "SNAPSHOT")
        return
    for other in entries[1:]:
        if [f["name"].lower() for f in other.fields] != [f["name"].lower() for f in first.fields]:
            raise invalid("The source tables of a copy job must have the same schema")
    sql = " UNION ALL BY NAME ".join(f"SELECT * FROM {e.source}" for e in entries)
    source = writes.Source(sql, [{**f, "mode": _mode(f)} for f in first.fields])
    settings = {k: first.resource[k] for k in (*writes.LAYOUT_KEYS, "description") if k in first.resource}
    if target in tx.catalog.tables:
        settings = {k: v for k, v in settings.items() if k in writes.LAYOUT_KEYS}
        if config.get("writeDisposition") == "WRITE_APPEND":
            settings = {}
    writes.write(tx, target, source, config, default_disposition="WRITE_EMPTY", schema=first.fields, settings=settings)


def _mode(f: Field) -> str:
    return "REPEATED" if is_repeated(f) else str(f.get("mode") or "NULLABLE")


KEPT_BY_COPIES = (*writes.LAYOUT_KEYS, "description", "friendlyName", "labels", "tableConstraints")


def copied(
    tx: Transaction,
    source: TableKey,
    target: TableKey,
    settings: dict[str, Any],
    *,
    snapshot: bool = False,
    rows: bool = True,
) -> None:
    """Make `target` out of `source` with everything that describes it: CLONE, COPY, SNAPSHOT, LIKE."""
    entry = tx.catalog.table(source)
    if entry.is_view:
        raise invalid(f"{source} is a view: it cannot be copied")
    kept = {k: entry.resource[k] for k in KEPT_BY_COPIES if k in entry.resource}
    new = resources.new_table(tx, target, entry.fields, {**kept, **settings}, "SNAPSHOT" if snapshot else "TABLE")
    if rows:
        columns = ", ".join(quote_name(f["name"]) for f in entry.fields)
        tx.con.execute(f"INSERT INTO {new.source} ({columns}) SELECT {columns} FROM {entry.source}")
