"""From an exposure's columns to BigQuery: the fields of the loaded table, and the GraphQL-safe columns of the view.

The table keeps STRUCT native; LIST and MAP are JSON text, since REPEATED loses NULL lists and NULL elements. The view
is what Hasura can serve: structs flattened (`a_b`), names legal in GraphQL, 64-bit integers as text where asked for.
Sources: GraphQL spec, "Names"; BigQuery, "Column names" and "Parameterized decimal types"; hasura.md 2.4 and 5.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from polyexpose_spark.errors import Refused
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.product import Column

# LogicalType -> type of a BigQuery column; decimals and nested ones are made below.
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
_LONGEST_NAME = 300


@dataclass(frozen=True)
class LoadedField:
    """A field of the loaded table, and the name that it has in the source."""

    name: str
    source: str
    type: str
    """BOOL, INT64, FLOAT64, NUMERIC, BIGNUMERIC, DATE, DATETIME, TIMESTAMP, STRING, BYTES or STRUCT."""
    required: bool
    description: str
    precision: int = 0
    scale: int = 0
    fields: tuple[LoadedField, ...] = ()


@dataclass(frozen=True)
class ViewColumn:
    """A column of the view."""

    name: str
    expression: str
    """BigQuery SQL over the loaded table."""
    type: str
    description: str


def loaded_fields(columns: tuple[Column, ...]) -> tuple[LoadedField, ...]:
    """Return the fields of the table that is loaded.

    Raises:
        Refused: two names become one (BigQuery does not tell upper from lower case).
    """
    names = legal_names([column.name for column in columns], "")
    return tuple(
        _field(names[column.name], column.name, column.type, column.required, column.description) for column in columns
    )


def _field(name: str, source: str, type_: ColumnType, required: bool, description: str) -> LoadedField:
    described = description if name == source else f"{description} (column {source})".strip()
    if type_.kind is LogicalType.STRUCT:
        names = legal_names([part.name for part in type_.fields], f"{source}.")
        parts = tuple(_field(names[part.name], part.name, part.type, part.required, "") for part in type_.fields)
        return LoadedField(name, source, "STRUCT", required, described, fields=parts)
    if type_.kind is LogicalType.DECIMAL:
        # NUMERIC has 29 digits before and 9 after the point; BIGNUMERIC carries every decimal of Iceberg.
        wide = type_.scale > 9 or type_.precision - type_.scale > 29
        kind = "BIGNUMERIC" if wide else "NUMERIC"
        return LoadedField(name, source, kind, required, described, type_.precision, type_.scale)
    return LoadedField(name, source, SCALARS[type_.kind], required, described)


def view_columns(columns: tuple[Column, ...], integers_as_text: bool) -> tuple[ViewColumn, ...]:
    """Return the columns of the view.

    Args:
        columns: the columns of the exposure.
        integers_as_text: serve 64-bit integers as STRING: Hasura reads integers of a query with 32 bits.

    Raises:
        Refused: a flattened struct field has the name of another column.
    """
    longs = {
        path for column in columns for path, part in column.type.walk(column.name) if part.kind is LogicalType.LONG
    }
    flat = [
        each
        for field, column in zip(loaded_fields(columns), columns, strict=True)
        for each in _flattened(field, column.name, (), (), column.description, longs if integers_as_text else set())
    ]
    seen: dict[str, str] = {}
    for each in flat:
        if each.name.lower() in seen:
            raise Refused(
                f"column {each.name} of the GraphQL view would be there twice, from {seen[each.name.lower()]} and from "
                f"{each.expression}: rename one of them"
            )
        seen[each.name.lower()] = each.expression
    return tuple(flat)


def _flattened(
    field: LoadedField,
    path: str,
    names: tuple[str, ...],
    quoted: tuple[str, ...],
    about: str,
    longs: set[str],
) -> Iterator[ViewColumn]:
    names, quoted = (*names, field.name), (*quoted, f"`{field.name}`")
    if field.type == "STRUCT":
        for part in field.fields:
            yield from _flattened(part, f"{path}.{part.source}", names, quoted, about, longs)
        return
    name, reference = "_".join(names), ".".join(quoted)
    text = about if name == path else f"{about} (column {path})".strip()
    if path in longs:
        yield ViewColumn(name, f"CAST({reference} AS STRING)", "STRING", text)
    else:
        yield ViewColumn(name, reference, field.type, text)


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
            raise Refused(f"column {below}{name}: longer than {_LONGEST_NAME} characters, which BigQuery does not take")
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


def legal_name(name: str) -> str:
    """Return the name with everything replaced that GraphQL or BigQuery does not allow."""
    legal = re.sub(r"[^_0-9A-Za-z]", "_", name)
    legal = re.sub(r"^_{2,}", "_", legal)  # two underscores in front are GraphQL's own
    return f"_{legal}" if not legal or legal[0].isdigit() else legal
