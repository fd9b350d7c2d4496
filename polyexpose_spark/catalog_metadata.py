"""pyiceberg's metadata of a table or a view -> the values of catalog.py and clients.View."""

from __future__ import annotations

from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyiceberg.transforms import (
    BucketTransform,
    IdentityTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
)
from pyiceberg.view.metadata import ViewMetadata

from polyexpose_spark.catalog import Ref, Snapshot, Table, TableColumn
from polyexpose_spark.clients import Identifier, View
from polyexpose_spark.logical import from_iceberg


def table_of(identifier: Identifier, metadata: TableMetadata) -> Table:
    """Return the table; format versions 1, 2 and 3."""
    snapshots = (_snapshot(each, metadata.current_schema_id) for each in metadata.snapshots)
    return Table(
        identifier=identifier,
        uuid=str(metadata.table_uuid),
        location=metadata.location,
        format_version=metadata.format_version,
        current_snapshot_id=metadata.current_snapshot_id,
        snapshots=tuple(sorted(snapshots, key=lambda each: each.committed_at)),
        refs={name: Ref(str(each.snapshot_ref_type), each.snapshot_id) for name, each in metadata.refs.items()},
        schemas={each.schema_id: _columns(each) for each in metadata.schemas},
        current_schema_id=metadata.current_schema_id,
        partitioning=_partitioning(metadata),
        properties=dict(metadata.properties),
        history=tuple((each.timestamp_ms, each.snapshot_id) for each in metadata.snapshot_log),
    )


def _columns(schema: Schema) -> tuple[TableColumn, ...]:
    return tuple(
        TableColumn(each.field_id, each.name, from_iceberg(each.field_type), each.required, each.doc or "")
        for each in schema.fields
    )


def _snapshot(snapshot: IcebergSnapshot, current_schema_id: int) -> Snapshot:
    summary: dict[str, str] = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
    return Snapshot(
        id=snapshot.snapshot_id,
        parent_id=snapshot.parent_snapshot_id,
        committed_at=snapshot.timestamp_ms,
        operation=snapshot.summary.operation.value if snapshot.summary else "",
        # Snapshots older than schema ids have none: read with the current schema (SnapshotUtil.schemaFor).
        schema_id=current_schema_id if snapshot.schema_id is None else snapshot.schema_id,
        records=_number(summary.get("total-records")),
        bytes=_number(summary.get("total-files-size")),
        data_files=_number(summary.get("total-data-files")),
        summary=summary,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _partitioning(metadata: TableMetadata) -> tuple[str, ...]:
    spec = next(each for each in metadata.partition_specs if each.spec_id == metadata.default_spec_id)
    schema = metadata.schema()
    return tuple(
        _transformed(each.transform, schema.find_column_name(each.source_id) or each.name)
        for each in spec.fields
        # How format version 1 keeps the place of a partition field that was dropped.
        if not isinstance(each.transform, VoidTransform)
    )


def _transformed(transform: Transform, column: str) -> str:  # type: ignore[type-arg]
    """Return the text that Spark SQL takes after PARTITIONED BY."""
    match transform:
        case IdentityTransform():
            return column
        case BucketTransform():
            return f"bucket({transform.num_buckets}, {column})"
        case TruncateTransform():
            return f"truncate({transform.width}, {column})"
    return f"{transform}({column})"


def view_of(identifier: Identifier, metadata: ViewMetadata) -> View:
    """Return the view; its SQL is empty where it is written in another dialect than Spark's."""
    version = next(each for each in metadata.versions if each.version_id == metadata.current_version_id)
    schema = next(each for each in metadata.schemas if each.schema_id == version.schema_id)
    dialects = {each.root.dialect.casefold(): each.root.sql for each in version.representations}
    properties = dict(metadata.properties)
    return View(
        identifier=identifier,
        sql=dialects.get("spark", ""),
        columns={each.name: each.doc or "" for each in schema.fields},
        # Where Spark's COMMENT of a view is kept.
        comment=properties.pop("comment", ""),
        properties=properties,
    )
