"""Results as JSON data, camelCase keys, for programs. The same state gives the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from polyexpose_spark.app import Planned, PortStatus
from polyexpose_spark.browse import Committed, Described, Listed
from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.receipt import Receipt, at
from polyexpose_spark.sample import Sample


def receipts(done: Sequence[Receipt]) -> list[dict[str, Any]]:
    """Return the receipts; their schema is conf/schema/receipt.schema.json."""
    return [each.model_dump(mode="json", by_alias=True) for each in done]


def plans(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Return the plans as JSON data; the same state gives the same text."""
    return [
        {
            "product": each.product.id,
            "contractVersion": each.product.version,
            "port": each.spec.server,
            "mode": each.spec.mode,
            "toDo": each.to_do,
            "exposedSnapshotId": each.exposed_snapshot_id,
            "error": str(each.error) if each.error else None,
            "exitCode": int(each.exit_code),
        }
        | (_plan_body(each) if each.plan else {})
        for each in planned
    ]


def _plan_body(each: Planned) -> dict[str, Any]:
    assert each.plan is not None  # noqa: S101 - the caller looked
    plan, pinned = each.plan, each.plan.exposure.snapshot
    return {
        "table": each.product.source,
        "snapshotId": pinned.id,
        "snapshotCommittedAt": at(pinned.committed_at).isoformat(),
        "address": plan.address,
        "digest": plan.digest,
        "estimatedRows": pinned.records,
        "estimatedBytes": plan.estimated_bytes,
        "qualityRulesNotChecked": each.product.quality_rules,
        "warnings": list(plan.warnings),
        "outlook": list(each.outlook),
        "actions": [{"verb": a.verb, "target": a.target, "detail": a.detail} for a in plan.actions],
        "columns": [
            {
                "name": column.name,
                "type": str(column.type),
                "native": plan.columns[column.name].name,
                "loses": plan.columns[column.name].loses,
            }
            for column in plan.exposure.columns
        ],
    }


def statuses(states: Sequence[PortStatus]) -> list[dict[str, Any]]:
    """Return the status of every port as JSON data."""
    return [
        {
            "product": each.product.id,
            "port": each.spec.server,
            "mode": each.spec.mode,
            "address": each.address,
            "contractVersion": each.exposed.contract_version if each.exposed else None,
            "exposedSnapshotId": each.exposed.snapshot_id if each.exposed else None,
            "heldSnapshotId": each.held_snapshot_id,
            "currentSnapshotId": each.current.id if each.current else None,
            "snapshotsBehind": each.snapshots_behind,
            "secondsBehind": each.seconds_behind,
            "publishing": each.publishing,
            "error": str(each.error) if each.error else None,
            "exitCode": int(each.exit_code),
        }
        for each in states
    ]


def samples(loaded: Iterable[Sample]) -> list[dict[str, Any]]:
    """Return one object per sample table."""
    return [{"name": ".".join(each.identifier), "rows": each.rows, "loaded": each.loaded} for each in loaded]


def listing(found: Iterable[Listed]) -> list[dict[str, Any]]:
    """Return one object per table and view."""
    return [
        {
            "name": ".".join(each.identifier),
            "kind": each.kind,
            "product": each.product,
            "rows": each.rows,
            "snapshot": _snapshot(each.snapshot),
        }
        for each in found
    ]


def description(found: Described) -> dict[str, Any]:
    """Return a table with its columns, partitioning and ports, or a view with its SQL."""
    made: dict[str, Any] = {
        "name": ".".join(found.identifier),
        "product": found.product.id if found.product else None,
    }
    if found.view:
        return made | {
            "columns": [{"name": name, "comment": comment} for name, comment in found.view.columns.items()],
            "sql": found.view.sql,
            "properties": dict(found.view.properties),
        }
    if found.table is None:
        return made
    current = found.table.current_snapshot_id
    return made | {
        "uuid": found.table.uuid,
        "location": found.table.location,
        "formatVersion": found.table.format_version,
        "columns": [
            {
                "id": c.field_id,
                "name": c.name,
                "type": str(c.type),
                "required": c.required,
                "comment": c.comment,
            }
            for c in found.table.schemas[found.table.current_schema_id]
        ],
        "partitioning": list(found.table.partitioning),
        "snapshot": _snapshot(found.table.snapshot(current) if current is not None else None),
        "ports": statuses(found.ports),
    }


def log(history: Iterable[Committed]) -> list[dict[str, Any]]:
    """Return one object per snapshot, newest first."""
    return [
        (_snapshot(each.snapshot) or {}) | {"current": each.current, "refs": list(each.refs), "ports": list(each.ports)}
        for each in history
    ]


def _snapshot(one: Snapshot | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "snapshotId": one.id,
        "committedAt": at(one.committed_at).isoformat(),
        "operation": one.operation,
        "rows": one.records,
        "dataFiles": one.data_files,
    }
