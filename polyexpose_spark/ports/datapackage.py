"""datapackage.json: manifest, schema and pointer of a CSV exposure in one (Frictionless Data Package).

Sources: datapackage.org, "Data Package", "Table Schema" and "Table Dialect"; one resource per file, since bytes and
hash are those of one file. What is ours stands under `polyexpose`. The text is the same for the same plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polyexpose_spark.catalog import in_utc
from polyexpose_spark.logical import LogicalType
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.csv_text import Dialect
from polyexpose_spark.product import Column, primary_key
from polyexpose_spark.value_text import has_text_keys

FILE_NAME = "datapackage.json"

# Type and format of a field. Source: Table Schema, "Types and Formats".
_FIELD_TYPES: Mapping[LogicalType, Mapping[str, str]] = {
    LogicalType.BOOLEAN: {"type": "boolean"},
    LogicalType.INT: {"type": "integer"},
    LogicalType.LONG: {"type": "integer"},
    LogicalType.FLOAT: {"type": "number"},
    LogicalType.DOUBLE: {"type": "number"},
    LogicalType.DECIMAL: {"type": "number"},
    LogicalType.DATE: {"type": "date"},
    LogicalType.TIMESTAMP: {"type": "datetime"},
    LogicalType.TIMESTAMPTZ: {"type": "datetime"},
    LogicalType.STRING: {"type": "string"},
    LogicalType.UUID: {"type": "string", "format": "uuid"},
    LogicalType.FIXED: {"type": "string", "format": "binary"},
    LogicalType.BINARY: {"type": "string", "format": "binary"},
    LogicalType.STRUCT: {"type": "object"},
    LogicalType.LIST: {"type": "array"},
    LogicalType.MAP: {"type": "object"},
}
_PAIRS = {"type": "array"}
"""A map whose keys are not text."""


@dataclass(frozen=True)
class DataFile:
    """A file of the package: name within the snapshot's folder, size in bytes, `sha256:<hex>`, rows."""

    name: str
    size: int
    hash: str
    rows: int


@dataclass(frozen=True)
class Package:
    """What a datapackage.json says, as far as the port goes by it."""

    product_id: str
    contract_version: str
    snapshot_id: int
    digest: str
    rows: int
    files: tuple[DataFile, ...]
    """Names relative to the file that was read."""


def descriptor(
    exposure: Exposure,
    digest: str,
    files: Sequence[DataFile],
    dialect: Dialect,
    header: bool,
    compression: str,
    folder: str = "",
) -> bytes:
    """Return the text of a datapackage.json.

    Args:
        exposure: what is exposed.
        digest: of the plan.
        files: the files, in the order of the rows.
        dialect: how cells are written.
        header: whether each file begins with a header line.
        compression: none, gzip or zstd.
        folder: put before each file's name: `snapshot=1/`.
    """
    product, snapshot = exposure.product, exposure.snapshot
    schema = _schema(exposure.columns, dialect)
    written = _dialect(dialect, header)
    package: dict[str, Any] = {
        "profile": "tabular-data-package",
        "name": _resource_name(product.id),
        "title": product.title,
        "version": product.version,
        "description": product.description,
        "polyexpose": {
            "productId": product.id,
            "contractVersion": product.version,
            "snapshotId": snapshot.id,
            "committedAt": in_utc(snapshot.committed_at),
            "digest": digest,
            "rows": sum(each.rows for each in files),
            "dialect": written,
        },
        "resources": [_resource(each, folder, schema, written, compression) for each in files],
    }
    text = json.dumps({key: each for key, each in package.items() if each != ""}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def read(data: bytes) -> Package | None:
    """Return what a datapackage.json says; None: it is not one that this port wrote."""
    try:
        package = json.loads(data)
        ours = package["polyexpose"]
        return Package(
            product_id=ours["productId"],
            contract_version=ours["contractVersion"],
            snapshot_id=int(ours["snapshotId"]),
            digest=ours["digest"],
            rows=int(ours["rows"]),
            files=tuple(
                DataFile(each["path"], int(each["bytes"]), each["hash"], int(each["rows"]))
                for each in package["resources"]
            ),
        )
    except (ValueError, KeyError, TypeError):
        return None


def _resource(
    file: DataFile, folder: str, schema: Mapping[str, Any], dialect: Mapping[str, Any], compression: str
) -> dict[str, Any]:
    packed = {"none": {}, "gzip": {"compression": "gz"}, "zstd": {"compression": "zst"}}[compression]
    return {
        "profile": "tabular-data-resource",
        "name": _resource_name(file.name.partition(".csv")[0]),
        "path": f"{folder}{file.name}",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        **packed,
        "bytes": file.size,
        "hash": file.hash,
        "rows": file.rows,
        "dialect": dialect,
        "schema": schema,
    }


def _dialect(dialect: Dialect, header: bool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "header": header,
        "delimiter": dialect.delimiter,
        "lineTerminator": "\n",
        "quoteChar": '"',
        "doubleQuote": True,
        "skipInitialSpace": False,
    }
    return written | ({"nullSequence": dialect.null_marker} if dialect.null_marker else {})


def _schema(columns: Sequence[Column], dialect: Dialect) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "fields": [_field(each) for each in columns],
        "missingValues": [dialect.null_marker],
    }
    key = primary_key(columns)
    return schema | ({"primaryKey": [each.name for each in key]} if key else {})


def _field(column: Column) -> dict[str, Any]:
    kind = column.type.kind
    field: dict[str, Any] = {"name": column.name, **_FIELD_TYPES[kind]}
    if kind is LogicalType.MAP and not has_text_keys(column.type):
        field |= _PAIRS
    if kind is LogicalType.BOOLEAN:
        field |= {"trueValues": ["true"], "falseValues": ["false"]}
    if column.description:
        field["description"] = column.description
    if column.required:
        field["constraints"] = {"required": True}
    return field


def _resource_name(text: str) -> str:
    """Return the text as a name that Data Package allows: lower case letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^a-z0-9._-]", "-", text.lower())
