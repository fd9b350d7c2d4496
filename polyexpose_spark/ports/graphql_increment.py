"""The copy of a snapshot made of the copy before: a CLONE of it, and one MERGE of what changed since.

Each cell is as a full copy has it. Where that cannot be told beforehand, or turns out otherwise, the answer is a reason
for a full copy.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_

from polyexpose_spark.clients import BigQuery
from polyexpose_spark.clients.bigquery_tables import (
    DIGEST_LABEL,
    OPERATION,
    HeldTable,
    Loaded,
    Merged,
    TableField,
    TableName,
    TableSpec,
    digest_label,
    quoted,
)
from polyexpose_spark.errors import Refused, TargetFailed
from polyexpose_spark.logical import LogicalType
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.ports.base import Exposure, Served, StepListener
from polyexpose_spark.ports.graphql_stage import Staging, staged_changes
from polyexpose_spark.product import Column, primary_key

CHANGES = "_changes"
"""End of the name of a table that holds changes on their way."""

# BigQuery deletes what a run that died leaves behind, should none follow.
_CHANGES_LIVE = timedelta(days=1)

# Types whose equality in BigQuery is that of Iceberg. Floats are not: NaN equals nothing, and 0.0 equals -0.0.
_COMPARABLE = frozenset(
    {
        LogicalType.BOOLEAN,
        LogicalType.INT,
        LogicalType.LONG,
        LogicalType.DECIMAL,
        LogicalType.DATE,
        LogicalType.TIMESTAMP,
        LogicalType.TIMESTAMPTZ,
        LogicalType.STRING,
        LogicalType.UUID,
        LogicalType.FIXED,
        LogicalType.BINARY,
    }
)


def fingerprint(exposure: Exposure, spec: TableSpec, revision: int) -> str:
    """Return the sha256 of all that decides a copy besides the rows: of equal ones, one can be made of the other.

    The schema's id is part of it: after a column was dropped and another one of its name added, no row needs to have
    changed for the copy to differ.
    """
    decides = {
        "contract": exposure.product.content_digest,
        "table": exposure.table_uuid,
        "schema": exposure.snapshot.schema_id,
        "columns": [[each.name, str(each.type), each.required] for each in exposure.columns],
        "fields": [asdict(each) for each in spec.fields],
        "partition": asdict(spec.partition) if spec.partition else None,
        "clustering": spec.clustering,
        "revision": revision,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def no_key(columns: tuple[Column, ...]) -> str | None:
    """Say why rows cannot be found by the primary key; None: they can."""
    key = primary_key(columns)
    if not key:
        return "the contract has no primary key"
    for each in key:
        if each.type.kind not in _COMPARABLE:
            return f"key column {each.name}: {each.type} is not compared in BigQuery as it is in Iceberg"
    return None


@dataclass(frozen=True)
class Increment:
    """The copy to be made."""

    bigquery: BigQuery
    staging: Staging
    spec: TableSpec
    digest: str
    """Of the plan."""
    columns: tuple[Column, ...]
    base: HeldTable
    """The copy before, complete."""
    since: int | None
    """Its snapshot; None: the one that is exposed, so that nothing changed."""

    def copy(self, served: Served, step: StepListener) -> tuple[Loaded, Merged] | str:
        """Make it, and mark it as complete last; or say why it cannot be made.

        Returns:
            The copy (bytes: of Parquet) and how many rows changed; or the reason: nothing is left behind then.

        Raises:
            TargetFailed, TargetUnavailable: BigQuery; the next run starts over.
        """
        wanted, size = Merged(0, 0, 0), 0
        if self.since is not None:
            step("gql.staging", self.staging.folder)
            try:
                served.snapshot(self.since)
            except Refused:
                return f"snapshot {self.since} expired: what changed since cannot be told"
            wanted, unkeyed = self._stage(served, self.since)
            files = self.staging.files_of(self.digest)
            size = sum(each.size for each in files)
            step("gql.staged", f"{_rows(wanted):,} changes in {len(files)} files")
            if unkeyed:
                return f"{unkeyed} changed rows have a NULL in their key"
            if _rows(wanted):
                self._load([each.path for each in files], _rows(wanted))
                step("gql.sent", str(self._changes))
        try:
            attempt = self.bigquery.clone(self.digest, self.base.table, self.spec.table)
            step("gql.cloned", str(self.base.table))
            done = self._merge(attempt) if _rows(wanted) else wanted
        except TargetFailed as error:
            return self._given_up(str(error))
        step("gql.merged", f"{done.inserted:,} inserted, {done.updated:,} updated, {done.deleted:,} deleted")
        if done != wanted:
            return self._given_up("the key is not unique: the change of one row met none, or several")
        labels = {**self.spec.labels, DIGEST_LABEL: digest_label(self.digest)}
        self.bigquery.set_table(self.spec.table, self.spec.description, labels, self.spec.expires)
        self.bigquery.delete(self._changes)
        rows = self.base.rows + done.inserted - done.deleted
        step("gql.loaded", f"{rows:,} rows")
        return Loaded(rows, size, ""), done

    def _stage(self, served: Served, since: int) -> tuple[Merged, int]:
        """Return how many rows there are of each kind, and how many of them the key does not find."""
        from pyspark.sql import functions as F

        names = graphql_schema.legal_names([each.name for each in self.columns], "")
        key = [quoted(names[each.name]) for each in primary_key(self.columns)]
        with served.changes(since) as changed:  # only then there is a session, without which F makes no expressions
            op = F.col(OPERATION)
            missing = reduce(or_, (F.col(each).isNull() for each in key))
            counted = self.staging.write(
                staged_changes(changed, self.columns),
                self.digest,
                "zstd",
                inserted=F.count_if(op == "insert"),
                updated=F.count_if(op == "update"),
                deleted=F.count_if(op == "delete"),
                unkeyed=F.count_if(missing & (op != "insert")),
            )
        return Merged(counted["inserted"], counted["updated"], counted["deleted"]), counted["unkeyed"]

    @property
    def _changes(self) -> TableName:
        return replace(self.spec.table, name=f"{self.spec.table.name}{CHANGES}")

    def _load(self, files: list[str], rows: int) -> None:
        spec = TableSpec(
            self._changes,
            (TableField(OPERATION, "STRING"), *self.spec.fields),
            f"Changes on their way into {self.spec.table.name}",
            self.spec.labels,
            expires=datetime.now(UTC) + _CHANGES_LIVE,
        )
        digest = hashlib.sha256(f"{self.digest} since {self.since}".encode()).hexdigest()
        loaded = self.bigquery.load_parquet(digest, files, spec)
        if loaded.rows != rows:
            raise TargetFailed(f"{spec.table}: {rows} changes were staged, {loaded.rows} are in the table")

    def _merge(self, attempt: int) -> Merged:
        names = graphql_schema.legal_names([each.name for each in self.columns], "")
        key = [names[each.name] for each in primary_key(self.columns)]
        columns = [each.name for each in self.spec.fields]
        return self.bigquery.merge(self.digest, attempt, self._changes, self.spec.table, key, columns)

    def _given_up(self, reason: str) -> str:
        self.bigquery.delete(self.spec.table)
        self.bigquery.delete(self._changes)
        return reason


def _rows(changed: Merged) -> int:
    return changed.inserted + changed.updated + changed.deleted
