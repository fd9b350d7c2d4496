"""INFORMATION_SCHEMA.TABLES, COLUMNS, VIEWS and SCHEMATA as sub-queries made from the catalog."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.fields import is_required, quote_name, quote_text, standard_sql_type
from polyexpose_spark.local.bigquery.store import Catalog, DatasetKey, Entry

if TYPE_CHECKING:
    from polyexpose_spark.local.bigquery.sql.translate import Names

Row = tuple[str | int | None, ...]
TABLE_TYPES = {"TABLE": "BASE TABLE"}


def _tables(catalog: Catalog, dataset: DatasetKey) -> list[Row]:
    return [
        (*key, TABLE_TYPES.get(e.resource["type"], e.resource["type"]), _time(e.resource["creationTime"]))
        for key, e in catalog.of(dataset)
    ]


def _time(millis: str) -> str:
    return dt.datetime.fromtimestamp(int(millis) / 1000, dt.UTC).isoformat()


def _columns(catalog: Catalog, dataset: DatasetKey) -> list[Row]:
    out: list[Row] = []
    for key, entry in catalog.of(dataset):
        partition, clusters = _layout(entry)
        for i, f in enumerate(entry.fields, 1):
            name = f["name"].lower()
            nullable = "NO" if is_required(f) else "YES"
            is_partition = "YES" if name == partition else "NO"
            position = clusters.index(name) + 1 if name in clusters else None
            out.append((*key, f["name"], i, nullable, standard_sql_type(f), is_partition, position))
    return out


def _layout(entry: Entry) -> tuple[str, list[str]]:
    resource = entry.resource
    partition = (resource.get("timePartitioning") or resource.get("rangePartitioning") or {}).get("field", "")
    return partition.lower(), [c.lower() for c in (resource.get("clustering") or {}).get("fields", [])]


def _views(catalog: Catalog, dataset: DatasetKey) -> list[Row]:
    return [(*k, e.resource["view"]["query"], "YES") for k, e in catalog.of(dataset) if e.is_view]


OF_DATASET: dict[str, tuple[str, Callable[[Catalog, DatasetKey], list[Row]]]] = {
    "TABLES": (
        "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, table_type VARCHAR, "
        "creation_time TIMESTAMPTZ",
        _tables,
    ),
    "COLUMNS": (
        "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, column_name VARCHAR, "
        "ordinal_position BIGINT, is_nullable VARCHAR, data_type VARCHAR, is_partitioning_column VARCHAR, "
        "clustering_ordinal_position BIGINT",
        _columns,
    ),
    "VIEWS": (
        "table_catalog VARCHAR, table_schema VARCHAR, table_name VARCHAR, view_definition VARCHAR, "
        "use_standard_sql VARCHAR",
        _views,
    ),
}
SCHEMATA = "catalog_name VARCHAR, schema_name VARCHAR, location VARCHAR"


def schema_view(names: Names, parts: list[str], at: int) -> exp.Expression:
    """Return the sub-query for ``[project.][dataset.]INFORMATION_SCHEMA.view``, `at` its position in `parts`.

    Raises ApiError 501 for a view that is not here, 404 for a dataset that is not.
    """
    view = ".".join(parts[at + 1 :]).upper()
    before = parts[:at]
    if view == "SCHEMATA":
        project = ".".join(before) or names.project
        rows: list[Row] = [(*k, r["location"]) for k, r in names.catalog.datasets.items() if k.project == project]
        return _values(SCHEMATA, rows)
    if view not in OF_DATASET:
        raise not_implemented(f"INFORMATION_SCHEMA.{view} (there are TABLES, COLUMNS, VIEWS and SCHEMATA)")
    if not before and names.default is None:
        raise invalid_query(f"INFORMATION_SCHEMA.{view} must be qualified with a dataset")
    dataset = names.default if not before else DatasetKey(".".join(before[:-1]) or names.project, before[-1])
    assert dataset is not None  # noqa: S101 (either branch above)
    names.catalog.dataset(dataset)
    columns, make = OF_DATASET[view]
    return _values(columns, make(names.catalog, dataset))


def _values(columns: str, rows: list[Row]) -> exp.Expression:
    declared = [c.split(" ") for c in columns.split(", ")]
    lines = [
        "SELECT "
        + ", ".join(f"CAST({_literal(v)} AS {t}) AS {quote_name(n)}" for v, (n, t) in zip(row, declared, strict=True))
        for row in rows
    ]
    if not lines:
        lines = ["SELECT " + ", ".join(f"CAST(NULL AS {t}) AS {quote_name(n)}" for n, t in declared) + " LIMIT 0"]
    return exp.Subquery(this=sqlglot.parse_one(" UNION ALL ".join(lines), read="duckdb"))


def _literal(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return quote_text(value) if isinstance(value, str) else str(value)
