"""What a BigQuery table is asked to be and what is told of it: values, BigQuery's rules for labels, its SQL literals.

Nothing here imports a Google library before it is called, so ports may use the values freely.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from google.cloud import bigquery

DIGEST_LABEL = "polyexpose_digest"
"""Label of a table: it holds the complete result of the load with this digest (see digest_label)."""

# Longest descriptions. Source: BigQuery's reference of TableFieldSchema.description and CREATE VIEW.
_COLUMN_DESCRIPTION = 1024
_TABLE_DESCRIPTION = 16_384


@dataclass(frozen=True)
class TableName:
    """A table or view of the client's project."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}"


@dataclass(frozen=True)
class TableField:
    """A column. `type` in SQL's names (INT64, FLOAT64, BOOL, NUMERIC, STRUCT, ...)."""

    name: str
    type: str
    mode: Literal["NULLABLE", "REQUIRED", "REPEATED"] = "NULLABLE"
    description: str = ""
    precision: int | None = None
    """Of NUMERIC and BIGNUMERIC, with `scale`."""
    scale: int | None = None
    fields: tuple[TableField, ...] = ()
    """Of a STRUCT."""


@dataclass(frozen=True)
class TimePartition:
    """Partitioned on a DATE, DATETIME or TIMESTAMP column."""

    field: str
    granularity: Literal["HOUR", "DAY", "MONTH", "YEAR"]


@dataclass(frozen=True)
class RangePartition:
    """Partitioned on an INT64 column: from `start`, below `end`, in steps of `interval`."""

    field: str
    start: int
    end: int
    interval: int


@dataclass(frozen=True)
class TableSpec:
    """A table as it should be after a load."""

    table: TableName
    fields: tuple[TableField, ...]
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    partition: TimePartition | RangePartition | None = None
    clustering: tuple[str, ...] = ()
    """At most four columns."""
    expires: datetime | None = None


@dataclass(frozen=True)
class Loaded:
    """What a load left in the table: rows, and bytes as BigQuery counts them."""

    rows: int
    bytes: int
    job_id: str
    """The load job; empty: the table already held all of it, and no job was needed."""


@dataclass(frozen=True)
class Merged:
    """Rows of a table that a MERGE inserted, updated, deleted."""

    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True)
class HeldTable:
    """A table that is there."""

    table: TableName
    labels: Mapping[str, str]
    rows: int
    bytes: int
    created: datetime
    expires: datetime | None


@dataclass(frozen=True)
class HeldView:
    """A view that is there: `columns` is name -> description, in the view's order."""

    view: TableName
    sql: str
    labels: Mapping[str, str]
    description: str
    columns: Mapping[str, str]


def label(text: str) -> str:
    """Return the text as a legal label value, alike for alike: lower case, digits, `_`, `-`, at most 63 characters.

    Source: BigQuery, "Labels: requirements". Other letters are legal too but not in every tool: they become `_`.
    """
    return re.sub(r"[^a-z0-9_-]", "_", text.lower())[:63]


def digest_label(digest: str) -> str:
    """Return a sha256 in hex (64 characters: one too many for a label) as a label value, losing nothing."""
    return base64.b32encode(bytes.fromhex(digest)).decode().rstrip("=").lower()


def labelled_digest(value: str) -> str:
    """Return the digest in hex that digest_label() wrote; empty where the value is another text."""
    try:
        return base64.b32decode(value.upper() + "=" * (-len(value) % 8)).hex()
    except ValueError:
        return ""


def literal(text: str) -> str:
    """Return the text as a GoogleSQL string literal: every escape that JSON writes is one of GoogleSQL's."""
    return json.dumps(text, ensure_ascii=False)


def quoted(name: str) -> str:
    """Return a name, dotted or not, as a GoogleSQL identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def view_statement(
    project: str,
    view: TableName,
    sql: str,
    description: str,
    columns: Mapping[str, str],
    labels: Mapping[str, str],
) -> str:
    """Return the one statement that puts text, descriptions and labels of a view in place.

    Args:
        project: the project of the view.
        view: its name.
        sql: the query behind it.
        description: of the view.
        columns: name -> description, in the order of what `sql` selects.
        labels: all labels that the view will have.
    """
    listed = ", ".join(
        quoted(name) + (f" OPTIONS(description={literal(_cut(text, _COLUMN_DESCRIPTION))})" if text else "")
        for name, text in columns.items()
    )
    pairs = ", ".join(f"({literal(key)}, {literal(value)})" for key, value in labels.items())
    options = [
        *([f"description={literal(_cut(description, _TABLE_DESCRIPTION))}"] if description else ()),
        *([f"labels=[{pairs}]"] if pairs else ()),
    ]
    return "\n".join(
        [
            f"CREATE OR REPLACE VIEW {quoted(f'{project}.{view}')} ({listed})",
            *([f"OPTIONS({', '.join(options)})"] if options else ()),
            f"AS {sql}",
        ]
    )


OPERATION = "__op"
"""Column of a table of changes: insert, update or delete. No column of ours begins with two underscores."""
# Not T and S: a column of this name would be taken for the whole row.
_ROW, _CHANGE = "__row", "__change"


def clone_statement(project: str, base: TableName, table: TableName) -> str:
    """Return the statement that makes `table` a clone of `base`, whatever it was: no bytes are copied or billed."""
    return f"CREATE OR REPLACE TABLE {quoted(f'{project}.{table}')} CLONE {quoted(f'{project}.{base}')}"


def merge_statement(
    project: str, changes: TableName, table: TableName, key: Sequence[str], columns: Sequence[str]
) -> str:
    """Return the statement that applies a table of changes.

    It is plain equality that joins them: BigQuery takes no other condition for such a join, so a NULL in a key matches
    nothing. An insertion whose key is there already is left out.

    Args:
        project: of both tables.
        changes: has the columns of `table`, and OPERATION; of a deletion the key is enough.
        table: the table.
        key: columns by which a row is found; part of `columns`.
        columns: all columns of `table`.
    """
    matching = " AND ".join(f"{_ROW}.{quoted(each)} = {_CHANGE}.{quoted(each)}" for each in key)
    set_ = ", ".join(f"{quoted(each)} = {_CHANGE}.{quoted(each)}" for each in columns if each not in key)
    operation = f"{_CHANGE}.{OPERATION}"
    listed, values = ", ".join(map(quoted, columns)), ", ".join(f"{_CHANGE}.{quoted(each)}" for each in columns)
    return "\n".join(
        [
            f"MERGE {quoted(f'{project}.{table}')} AS {_ROW}",
            f"USING {quoted(f'{project}.{changes}')} AS {_CHANGE} ON {matching}",
            f"WHEN MATCHED AND {operation} = 'delete' THEN DELETE",
            *([f"WHEN MATCHED AND {operation} = 'update' THEN UPDATE SET {set_}"] if set_ else ()),
            f"WHEN NOT MATCHED AND {operation} = 'insert' THEN INSERT ({listed}) VALUES ({values})",  # noqa: S608 - quoted
        ]
    )


def schema_field(column: TableField) -> bigquery.SchemaField:
    """Return the column as google-cloud-bigquery writes it."""
    from google.cloud import bigquery

    said = {
        "description": _cut(column.description, _COLUMN_DESCRIPTION) or None,
        "precision": column.precision,
        "scale": column.scale,
    }
    given: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    parts = [schema_field(part) for part in column.fields]
    return bigquery.SchemaField(column.name, column.type, column.mode, fields=parts, **given)


def load_config(spec: TableSpec) -> bigquery.LoadJobConfig:
    """Return the settings of a load job that makes the table what `spec` says, whatever it held.

    Labels and description are not among them: a load job into a table that is there must not change them.
    """
    from google.cloud import bigquery

    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=[schema_field(column) for column in spec.fields],
        autodetect=False,
        create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    match spec.partition:
        case TimePartition(column, granularity):
            config.time_partitioning = bigquery.TimePartitioning(type_=granularity, field=column)
        case RangePartition(column, start, end, interval):
            steps = bigquery.PartitionRange(start=start, end=end, interval=interval)
            config.range_partitioning = bigquery.RangePartitioning(field=column, range_=steps)
    if spec.clustering:
        config.clustering_fields = list(spec.clustering)
    return config


def description(spec_description: str) -> str:
    """Return a table's description, cut to what BigQuery takes."""
    return _cut(spec_description, _TABLE_DESCRIPTION)


def loadable(dataset: str, bucket: str) -> bool:
    """Say whether BigQuery loads from a bucket there into a dataset here.

    Source: BigQuery, "Loading Parquet data from Cloud Storage", limitations: any bucket into US; otherwise the same
    region, or one within the same multi-region (London and Zurich are not within EU).
    """
    dataset, bucket = dataset.upper(), bucket.upper()
    if dataset in ("US", bucket):
        return True
    within_eu = bucket.startswith("EUROPE-") and bucket not in ("EUROPE-WEST2", "EUROPE-WEST6")
    return dataset == "EU" and (within_eu or bucket == "EUR4")


def parameter_type(value: Any) -> str:
    """Return BigQuery's type of a parameter. bool before int, datetime before date: they are their subclasses."""
    match value:
        case bool():
            return "BOOL"
        case int():
            return "INT64"
        case float():
            return "FLOAT64"
        case str():
            return "STRING"
        case bytes():
            return "BYTES"
        case Decimal():
            return "BIGNUMERIC"
        case datetime():
            return "DATETIME" if value.tzinfo is None else "TIMESTAMP"
        case date():
            return "DATE"
    raise ValueError(f"{value!r} cannot be a query parameter")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
