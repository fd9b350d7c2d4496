"""From an exposure's columns to BigQuery: fields of the loaded table, columns of the GraphQL-safe view, partitioning.

The table keeps STRUCT native; LIST and MAP are JSON text, since REPEATED loses NULL lists and NULL elements. The view
is what Hasura can serve: structs flattened (`a_b`), names legal in GraphQL, 64-bit integers as text where asked for.
Sources: GraphQL spec, "Names"; BigQuery, "Column names", "Parameterized decimal types" and "Partitioned tables".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from polyexpose_spark.clients.bigquery_tables import TableField, TimePartition, quoted
from polyexpose_spark.errors import Refused
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.product import Column

SCALARS: Mapping[LogicalType, str] = {
    LogicalType.BOOLEAN: "BOOL",
    LogicalType.INT: "INT64",
    LogicalType.LONG: "INT64",
    LogicalType.FLOAT: "FLOAT64",
    LogicalType.DOUBLE: "FLOAT64",
    LogicalType.DATE: "DATE",
    LogicalType.TIMESTAMP: "DATETIME",
    LogicalType.TIMESTAMPTZ: "TIMESTAMP",
    LogicalType.STRING: "STRING",
    LogicalType.UUID: "STRING",
    LogicalType.FIXED: "BYTES",
    LogicalType.BINARY: "BYTES",
    LogicalType.LIST: "STRING",
    LogicalType.MAP: "STRING",
}
"""LogicalType -> type of a BigQuery column; decimals and structs are made below."""
_LONGEST_NAME = 300
_MOST_CLUSTERED = 4


@dataclass(frozen=True)
class ViewColumn:
    """A column of the view."""

    name: str
    expression: str
    """BigQuery SQL over the loaded table."""
    description: str
    type: str
    """Of BigQuery."""


def table_fields(columns: tuple[Column, ...]) -> tuple[TableField, ...]:
    """Return the fields of the table that is loaded, in the order of the columns.

    Raises:
        Refused: two names become one, or one is too long.
    """
    names = legal_names([column.name for column in columns], "")
    return tuple(
        _field(names[column.name], column.name, column.name, column.type, column.description) for column in columns
    )


def _field(name: str, own: str, path: str, type_: ColumnType, description: str) -> TableField:
    # Every field is NULLABLE: Spark writes all Parquet columns as optional, which BigQuery does not load into REQUIRED.
    described = description if name == own else f"{description} (column {path})".strip()
    if type_.kind is LogicalType.STRUCT:
        names = legal_names([part.name for part in type_.fields], f"{path}.")
        parts = tuple(
            _field(names[part.name], part.name, f"{path}.{part.name}", part.type, "") for part in type_.fields
        )
        return TableField(name, "STRUCT", description=described, fields=parts)
    if type_.kind is LogicalType.DECIMAL:
        kind, precision, scale = decimal(type_), type_.precision, type_.scale
        return TableField(name, kind, description=described, precision=precision, scale=scale)
    return TableField(name, SCALARS[type_.kind], description=described)


def decimal(type_: ColumnType) -> str:
    """Return NUMERIC (29 digits before the point, 9 after) or BIGNUMERIC, which carries every decimal of Iceberg."""
    return "BIGNUMERIC" if type_.scale > 9 or type_.precision - type_.scale > 29 else "NUMERIC"


def view_columns(columns: tuple[Column, ...], integers_as_text: bool, of_copy: bool = True) -> tuple[ViewColumn, ...]:
    """Return the columns of the view.

    Args:
        columns: the columns of the exposure.
        integers_as_text: serve 64-bit integers as STRING: Hasura reads integers of a query with 32 bits.
        of_copy: the view reads the loaded table; otherwise the Iceberg table itself, with its own names and types.

    Raises:
        Refused: a flattened struct field has the name of another column.
    """
    names = legal_names([column.name for column in columns], "")
    flattening = _Flattening(integers_as_text, of_copy)
    seen: dict[str, str] = {}
    flat: list[ViewColumn] = []
    for column in columns:
        name = names[column.name]
        top = quoted(name if of_copy else column.name)
        for path, each in flattening.columns(column.name, name, top, column.type, column.description):
            if len(each.name) > _LONGEST_NAME:
                raise Refused(_too_long(path))
            if each.name.lower() in seen:
                raise Refused(
                    f"column {each.name} of the GraphQL view would be there twice, from {seen[each.name.lower()]} and "
                    f"from {path}: rename one of them"
                )
            seen[each.name.lower()] = path
            flat.append(each)
    return tuple(flat)


@dataclass(frozen=True)
class _Flattening:
    integers_as_text: bool
    of_copy: bool

    def columns(
        self, path: str, name: str, reference: str, type_: ColumnType, description: str
    ) -> Iterator[tuple[str, ViewColumn]]:
        """Yield (path in the source, column) for a column, or for each field of a struct, however deep."""
        if type_.kind is LogicalType.STRUCT:
            names = legal_names([part.name for part in type_.fields], f"{path}.")
            for part in type_.fields:
                inner = quoted(names[part.name] if self.of_copy else part.name)
                below = (f"{path}.{part.name}", f"{name}_{names[part.name]}", f"{reference}.{inner}")
                yield from self.columns(*below, part.type, description)
            return
        described = description if name == path else f"{description} (column {path})".strip()
        kind = decimal(type_) if type_.kind is LogicalType.DECIMAL else SCALARS[type_.kind]
        if self.integers_as_text and type_.kind is LogicalType.LONG:
            reference, kind = f"CAST({reference} AS STRING)", "STRING"
        elif not self.of_copy and type_.kind in (LogicalType.LIST, LogicalType.MAP):
            reference = f"TO_JSON_STRING({reference})"
        yield path, ViewColumn(name, reference, described, kind)


# BigQuery type -> scalar of Hasura. Source: hasura.md 2.4 (Hasura/Backends/BigQuery/Instances/Schema.hs).
_GRAPHQL = {
    "BOOL": "Boolean",
    "INT64": "Int",
    "FLOAT64": "Float",
    "NUMERIC": "decimal",
    "BIGNUMERIC": "decimal",
    "STRING": "String",
    "BYTES": "Bytes",
    "DATE": "Date",
    "DATETIME": "Datetime",
    "TIMESTAMP": "Timestamp",
}


def sdl(name: str, columns: tuple[ViewColumn, ...]) -> Iterator[str]:
    """Yield the lines of the GraphQL object type that Hasura makes of the view; relationships come on top."""
    yield f"type {name} {{"
    yield from (f"  {each.name}: {_GRAPHQL[each.type]}" for each in columns)
    yield "}"


def partitioning(spec: tuple[str, ...], columns: tuple[Column, ...]) -> tuple[TimePartition | None, tuple[str, ...]]:
    """Return BigQuery's partitioning and clustering for an Iceberg partition spec (`month(time_hour)`, `carrier`, ...).

    A time transform partitions on its source column, once; the other fields cluster, at most four of them.
    """
    names = legal_names([column.name for column in columns], "")
    types = {column.name: column.type.kind for column in columns}
    partition: TimePartition | None = None
    clustered: list[str] = []
    for text in spec:
        transform, _, source = ("", "", text) if text in types else text.removesuffix(")").partition("(")
        if source not in types:
            source = source.partition(", ")[2]  # bucket(16, id), truncate(4, name)
        if source not in types:
            continue
        granularity = _granularity(transform, types[source])
        if granularity and partition is None:
            partition = TimePartition(names[source], granularity)
        elif types[source] in CLUSTERABLE and names[source] not in clustered:
            clustered.append(names[source])
    return partition, tuple(clustered[:_MOST_CLUSTERED])


def partitionable(kind: LogicalType, granularity: str) -> bool:
    """Say whether BigQuery partitions a column of this type so."""
    return kind in _TIMES or (kind is LogicalType.DATE and granularity != "HOUR")


CLUSTERABLE = frozenset({*SCALARS, LogicalType.DECIMAL}) - {
    LogicalType.FLOAT,
    LogicalType.DOUBLE,
    LogicalType.FIXED,
    LogicalType.BINARY,
    LogicalType.LIST,
    LogicalType.MAP,
}
_TIMES = (LogicalType.TIMESTAMP, LogicalType.TIMESTAMPTZ)


def _granularity(transform: str, kind: LogicalType) -> Literal["HOUR", "DAY", "MONTH", "YEAR"] | None:
    if transform in ("month", "months") and kind in (LogicalType.DATE, *_TIMES):
        return "MONTH"
    if transform in ("year", "years") and kind in (LogicalType.DATE, *_TIMES):
        return "YEAR"
    if transform in ("day", "days") and kind in (LogicalType.DATE, *_TIMES):
        return "DAY"
    if transform in ("hour", "hours") and kind in _TIMES:
        return "HOUR"
    return "DAY" if transform in ("", "identity") and kind is LogicalType.DATE else None


def legal_names(names: list[str], below: str) -> dict[str, str]:
    """Return name -> name that is legal and unique in BigQuery and GraphQL; a legal one stays as it is.

    Raises:
        Refused: two names that are both legal differ in upper and lower case only, or a name is too long.
    """
    made: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in sorted(names, key=lambda each: legal_name(each) != each):  # legal ones first: they keep their names
        legal = legal_name(name)
        if len(legal) > _LONGEST_NAME:
            raise Refused(_too_long(f"{below}{name}"))
        if legal.lower() in taken and legal == name:
            raise Refused(
                f"columns {below}{taken[legal.lower()]} and {below}{name} differ in upper and lower case only, "
                "which BigQuery does not tell apart: rename one of them"
            )
        candidate, number = legal, 2
        while candidate.lower() in taken:
            candidate, number = f"{legal}_{number}", number + 1
        taken[candidate.lower()] = name
        made[name] = candidate
    return made


def _too_long(path: str) -> str:
    return f"column {path}: its name is longer than {_LONGEST_NAME} characters, which BigQuery does not take"


# Beginnings of names that BigQuery keeps to itself. Source: BigQuery, "Column names" (of `__ROOT__` one `_` is left).
_RESERVED = re.compile(r"_TABLE_|_FILE_|_PARTITION|_ROW_TIMESTAMP|_COLIDENTIFIER", re.IGNORECASE)


def legal_name(name: str) -> str:
    """Return the name with everything replaced that GraphQL or BigQuery does not allow."""
    legal = re.sub(r"[^_0-9A-Za-z]", "_", name)
    legal = re.sub(r"^_{2,}", "_", legal)  # two underscores in front are GraphQL's own
    legal = f"_{legal}" if not legal or legal[0].isdigit() else legal
    return f"c{legal}" if _RESERVED.match(legal) else legal
