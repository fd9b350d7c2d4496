"""Views, and the column defaults of tables: SQL that is kept as text and translated when used."""

from __future__ import annotations

from typing import Any

from polyexpose_spark.local.bigquery.errors import invalid
from polyexpose_spark.local.bigquery.fields import Field, quote_text
from polyexpose_spark.local.bigquery.sql.oracle import render
from polyexpose_spark.local.bigquery.sql.statements import parse_statement
from polyexpose_spark.local.bigquery.sql.translate import Names, Translator
from polyexpose_spark.local.bigquery.store import (
    Catalog,
    DatasetKey,
    Entry,
    Resource,
    Store,
    TableKey,
    Transaction,
    now_millis,
)


def put_view(store: Store, tx: Transaction, key: TableKey, query: str, *, default: str, settings: Resource) -> Entry:
    """Create a view, or replace one; its schema is what the query gives now.

    `default` is the dataset that unqualified names mean. Raises ApiError if the query is not valid.
    """
    tx.catalog.dataset(key.parent)
    fields = described_query(store, tx.catalog, key.project, default, query)
    old = tx.catalog.tables.get(key)
    resource = {
        **settings,
        "kind": "bigquery#table",
        "id": str(key),
        "tableReference": key.reference,
        "type": "VIEW",
        "view": {"query": query, "useLegacySql": False},
        "schema": {"fields": _with_descriptions(fields, settings)},
        "location": tx.catalog.datasets[key.parent]["location"],
        "creationTime": old.resource["creationTime"] if old and old.is_view else now_millis(),
    }
    if old is not None and not old.is_view:
        raise invalid(f"{key} is a table, not a view")
    entry = tx.put_table(key, Entry(resource, "", default))
    # Once more, now that the view is there: it must not read itself, by whatever detour.
    described_query(store, tx.catalog, key.project, default, query)
    return entry


def _with_descriptions(fields: list[Field], settings: Resource) -> list[Field]:
    known = {f["name"].lower(): f.get("description") for f in settings.get("schema", {}).get("fields", [])}
    return [{**f, "description": known[f["name"].lower()]} if known.get(f["name"].lower()) else f for f in fields]


def described_query(store: Store, catalog: Catalog, project: str, default: str, query: str) -> list[Field]:
    """Return the columns of a query that takes no parameters."""
    from polyexpose_spark.local.bigquery.results import columns

    dataset = DatasetKey(*default.rsplit(".", 1)) if default else None
    translator = Translator(store.con, Names(catalog, project, dataset, parse_statement), {})
    return columns(store.con, render(translator.query(parse_statement(query))), {})


def default_expressions(fields: list[Field]) -> dict[str, str]:
    """Return the DuckDB expressions of ``defaultValueExpression``, by column."""
    out = {}
    for f in fields:
        text = f.get("defaultValueExpression")
        if text:
            tree: Any = parse_statement(f"SELECT {text}")
            names = Names(Catalog(), "", None, parse_statement)
            translated = Translator(_NO_CONNECTION, names, {}).query(tree)
            out[f["name"]] = render(translated.expressions[0].this)
    return out


class _NoConnection:
    def sql(self, query: str, params: dict[str, Any]) -> Any:
        raise invalid(f"A default value must be simple enough to have a known type: {quote_text(query)}")


_NO_CONNECTION: Any = _NoConnection()
