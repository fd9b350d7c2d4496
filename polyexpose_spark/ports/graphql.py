"""Port gql: a copy in BigQuery, a GraphQL-safe view over it, and Hasura tracking that view.

The copy of each snapshot is a table of its own in `<dataset>__versions`; the view `<dataset>.<name>` is what consumers,
Hasura included, see. It is flipped in one statement, so a reader sees the old or the new, and going back is a flip.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

from polyexpose_spark.clients import BigQuery, Hasura
from polyexpose_spark.clients.bigquery_tables import (
    DIGEST_LABEL,
    HeldTable,
    Loaded,
    TableName,
    TableSpec,
    digest_label,
    label,
    labelled_digest,
    quoted,
)
from polyexpose_spark.clients.hasura_metadata import Command, Publication
from polyexpose_spark.clients.hasura_metadata import TableName as TrackedName
from polyexpose_spark.errors import ConfigError, Problem, Refused, TargetFailed
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import graphql_layout, graphql_schema
from polyexpose_spark.ports.base import (
    NOT_READ_BY_SPARK,
    Action,
    Exposure,
    Held,
    Native,
    Plan,
    Port,
    Positions,
    Published,
    Served,
    StepListener,
    TypeMap,
)
from polyexpose_spark.ports.graphql_increment import CHANGES, Increment, fingerprint, no_key
from polyexpose_spark.ports.graphql_settings import GraphqlAddresses, GraphqlSettings
from polyexpose_spark.ports.graphql_stage import Staging, split_bytes, staged
from polyexpose_spark.ports.graphql_tracking import publication, source_of
from polyexpose_spark.position import Position
from polyexpose_spark.product import DataProduct

PRODUCT = "polyexpose_product"
VERSION = "polyexpose_version"
SNAPSHOT = "polyexpose_snapshot"
DIGEST = "polyexpose_digest"
LAYOUT = "polyexpose_layout"

_TEXT_LOSES = "LIST and MAP are JSON text: no filter on what is inside"


class GraphqlPort(Port[GraphqlSettings, GraphqlAddresses]):
    """Serves a data product in GraphQL."""

    mode = "gql"
    revision = 2
    settings_model = GraphqlSettings
    address_model = GraphqlAddresses
    # BigQuery types; how Hasura encodes them: numbers arrive as JSON strings (hasura.md 2.4).
    types = TypeMap(
        carries={
            **{kind: Native(name) for kind, name in graphql_schema.SCALARS.items()},
            LogicalType.INT: Native("INT64", "that it has 32 bits"),
            LogicalType.FLOAT: Native("FLOAT64", "that it has 32 bits"),
            LogicalType.UUID: Native("STRING", "that it is a UUID"),
            LogicalType.FIXED: Native("BYTES", "its length"),
            LogicalType.LIST: Native("STRING", _TEXT_LOSES),
            LogicalType.MAP: Native("STRING", _TEXT_LOSES),
            LogicalType.DECIMAL: Native("NUMERIC"),
            LogicalType.STRUCT: Native("STRUCT", "a NULL struct from one whose fields are all NULL"),
        },
        refuses=NOT_READ_BY_SPARK,
    )

    def native(self, type_: ColumnType) -> Native:
        """Return the BigQuery type, precision included."""
        if type_.kind is LogicalType.DECIMAL:
            return Native(f"{graphql_schema.decimal(type_)}({type_.precision}, {type_.scale})")
        if type_.kind is LogicalType.LONG and self.settings.integers == "string":
            return Native("STRING", "numeric order and comparison")
        return super().native(type_)

    def address(self, product: DataProduct) -> str:
        """Return `project.dataset.view`."""
        return f"{self._project(product)}.{self._view(product)}"

    def _project(self, product: DataProduct) -> str:
        return self.addresses.project or self.said(product, "project")

    def _dataset(self, product: DataProduct) -> str:
        return self.addresses.dataset or self.said(product, "dataset")

    @property
    def _copied(self) -> bool:
        return self.settings.copying != "none"

    def _view(self, product: DataProduct) -> TableName:
        return TableName(self._dataset(product), graphql_schema.legal_name(product.name))

    def _version(self, exposure: Exposure) -> TableName:
        """Return the table of one plan."""
        product = exposure.product
        return self._version_of(product, exposure.snapshot.id, self.digest(exposure, self.address(product)))

    def _version_of(self, product: DataProduct, snapshot_id: int, digest: str) -> TableName:
        """Return the table of a plan; the digest in its name keeps another plan for the same snapshot off it."""
        view = self._view(product)
        return TableName(f"{view.dataset}__versions", f"{view.name}__{snapshot_id}_{digest[:8]}")

    @cached_property
    def _bigquery(self) -> BigQuery:
        addresses = self.addresses
        project = addresses.project or str(self.spec.address.get("project") or "")
        return self.clients.bigquery(project, addresses.location, addresses.endpoint, addresses.credentials)

    @cached_property
    def _hasura(self) -> Hasura | None:
        hasura = self.addresses.hasura
        return self.clients.hasura(hasura.endpoint, hasura.admin_secret) if hasura else None

    def plan(self, exposure: Exposure) -> Plan:
        """Say what would be staged, loaded, flipped and tracked.

        Raises:
            Refused: a type, a name, or `copy: none` without a Lakehouse catalog.
            ConfigError: no project, dataset or staging folder; a partition or cluster column that is not there.
        """
        product, natives = exposure.product, self.natives(exposure.columns)
        address = self.address(product)
        sql = self._view_sql(exposure)
        actions: list[Action] = []
        if self._copied:
            spec, version = self._spec(exposure), f"{self._project(product)}.{self._version(exposure)}"
            actions += [
                Action("stage Parquet", self._staging(exposure).folder, _staged(self.settings.copying)),
                Action("load", version, graphql_layout.in_words(spec)),
            ]
        actions.append(Action("replace view", address, sql))
        if self.addresses.hasura:
            wanted = self._publication(exposure)
            roles = ", ".join(each.role for each in wanted.permissions) or "none: only with the admin secret"
            actions.append(
                Action("track", self.addresses.hasura.endpoint, f"source {wanted.source.name}; roles {roles}")
            )
            limit = self.addresses.hasura.select_limit
            warnings = (f"Hasura cuts every answer at {limit} rows (ports.gql.hasura.select_limit)",)
        else:
            warnings = ("no Hasura in this profile (ports.gql.hasura): the view is not tracked",)
        return Plan(
            exposure=exposure,
            server=self.spec.server,
            mode=self.mode,
            address=address,
            columns=natives,
            actions=tuple(actions),
            digest=self.digest(exposure, address),
            estimated_bytes=exposure.snapshot.bytes if self._copied else None,
            warnings=warnings,
        )

    def _staging(self, exposure: Exposure) -> Staging:
        if not self.addresses.staging:
            message = "no folder for Parquet on its way: set ports.gql.staging in the profile"
            raise ConfigError([Problem(exposure.product.path, 0, self.spec.key, message)])
        files = self.clients.files(self.addresses.staging)
        return Staging(files, f"{self.addresses.staging.rstrip('/')}/{exposure.product.id}/{self.spec.server}")

    def _spec(self, exposure: Exposure) -> TableSpec:
        spec = graphql_layout.table_spec(exposure, self.spec.key, self.settings, self._version(exposure))
        layout = digest_label(fingerprint(exposure, spec, self.revision))
        return replace(spec, labels=self._labels(exposure) | {LAYOUT: layout})

    def _labels(self, exposure: Exposure) -> dict[str, str]:
        product = exposure.product
        return {
            PRODUCT: label(product.id),
            VERSION: label(product.version),
            SNAPSHOT: str(exposure.snapshot.id),
        }

    def _view_sql(self, exposure: Exposure) -> str:
        product = exposure.product
        listed = ", ".join(f"{each.expression} AS {quoted(each.name)}" for each in self._view_columns(exposure))
        if self._copied:
            table = f"{self._project(product)}.{self._version(exposure)}"
            return f"SELECT {listed} FROM {quoted(table)}"  # noqa: S608 - every name is quoted
        at = f"TIMESTAMP_MILLIS({exposure.snapshot.committed_at})"
        name = quoted(self._lakehouse_name(product))
        return f"SELECT {listed} FROM {name} FOR SYSTEM_TIME AS OF {at}"  # noqa: S608 - every name is quoted

    def _lakehouse_name(self, product: DataProduct) -> str:
        """Return project.catalog.namespace.table. Source: Lakehouse, "Query tables from BigQuery"."""
        warehouse = self.clients.config.catalog.warehouse or ""
        parts = warehouse.removeprefix("bl://").split("/")
        if not warehouse.startswith("bl://projects/") or len(parts) != 4 or parts[2] != "catalogs":
            raise Refused(
                f"port {self.spec.server} ({self.mode}): copy: none needs a Lakehouse catalog (catalog.warehouse "
                "bl://projects/PROJECT/catalogs/CATALOG); use copy: full"
            )
        return ".".join((parts[1], parts[3], *product.table))

    def held(self, product: DataProduct) -> Held | None:
        """Ask BigQuery for the labels of the view."""
        view = self._bigquery.view(self._view(product))
        if view is None or view.labels.get(PRODUCT) != label(product.id):
            return None
        digest, snapshot_id = labelled_digest(view.labels.get(DIGEST, "")), view.labels.get(SNAPSHOT, "")
        if not digest or not snapshot_id.isdigit():
            return None
        return Held(digest, int(snapshot_id), view.labels.get(VERSION, ""))

    def is_complete(self, plan: Plan) -> bool:
        """Say whether Hasura tracks the view as planned: nobody untracked it or changed its permissions."""
        return self._hasura is None or not self._hasura.difference(self._publication(plan.exposure))

    def outlook(self, plan: Plan, position: Position | None) -> tuple[str, ...]:
        """Return problems of regions and permissions, the metadata commands to come, and the type in GraphQL."""
        view = self._view(plan.exposure.product)
        said = [f"in the way: {each}" for each in self._bigquery.preflight(view.dataset, f"{view.dataset}__versions")]
        if self._hasura is not None:
            said += [f"Hasura: {command}" for command in self._hasura.difference(self._publication(plan.exposure))]
        if self.settings.copying == "incremental":
            made = self._increment(plan.exposure, self._spec(plan.exposure), plan.digest)
            said.append(
                f"copy: {f'full: {made}' if isinstance(made, str) else f'what changed since {made.base.table}'}"
            )
        columns = self._view_columns(plan.exposure)
        return (*said, *graphql_schema.sdl(f"{view.dataset}_{view.name}", columns))

    def _publication(self, exposure: Exposure) -> Publication:
        return publication(exposure, self.spec, self.settings, self.addresses, self._view(exposure.product))

    def publish(self, plan: Plan, served: Served, positions: Positions, step: StepListener) -> Published:
        """Load the copy, flip the view, track it. The view is as it was until the copy is complete.

        Raises:
            TargetFailed, TargetUnavailable: BigQuery or Hasura; what is missing is done by the next run.
        """
        exposure, product, view = plan.exposure, plan.exposure.product, self._view(plan.exposure.product)
        before = self._bigquery.view(view)
        if before is not None and before.labels.get(PRODUCT) != label(product.id):
            raise TargetFailed(
                f"{plan.address}: a view of somebody else has this name; drop it, or use another dataset"
            )
        self._bigquery.ensure_dataset(view.dataset, "Data products, exposed by polyexpose")
        details: dict[str, Any] = {"view": plan.address}
        loaded = self._copy(plan, served, step, details) if self._copied else None
        columns = {each.name: each.description for each in self._view_columns(exposure)}
        labels = self._labels(exposure) | {DIGEST: digest_label(plan.digest)}
        step("gql.flipping", plan.address)
        self._bigquery.replace_view(view, self._view_sql(exposure), product.description, columns, labels)
        step("gql.flipped", plan.address)
        if self._hasura is not None:
            step("gql.tracking", "")
            # Always: a run that died or failed after its flip left Hasura with the columns of an older view.
            applied = self._hasura.apply(self._publication(exposure), columns_changed=True)
            step("gql.tracked", ", ".join(applied.root_fields))
            details |= {"rootFields": list(applied.root_fields), "selectLimit": applied.select_limit}
            ends = {str(end) for each in applied.waiting for end in (each.on, each.remote)}
            details |= {"waitingFor": sorted(ends - {str(view)})}
        return Published((plan.address,), loaded.rows if loaded else None, loaded.bytes if loaded else 0, details)

    def _copy(self, plan: Plan, served: Served, step: StepListener, details: dict[str, Any]) -> Loaded:
        """Return what the version table holds: loaded now (bytes: of Parquet), or by a run that died after it."""
        exposure, spec = plan.exposure, self._spec(plan.exposure)
        self._bigquery.ensure_dataset(spec.table.dataset, "Copies of data products, read through views only")
        self._bigquery.allow_views(spec.table.dataset, self._view(exposure.product).dataset)
        staging = self._staging(exposure)
        staging.clear()  # of a run that died, even right after its load
        there = self._bigquery.table(spec.table)
        if there is not None and there.labels.get(DIGEST_LABEL) == digest_label(plan.digest):
            return Loaded(there.rows, 0, "")
        try:
            if self.settings.copying == "incremental":
                increment = self._increment(exposure, spec, plan.digest)
                made = increment if isinstance(increment, str) else increment.copy(served, step)
                if not isinstance(made, str):
                    loaded, changed = made
                    details["copy"] = {"how": "incremental", **asdict(changed)}
                    return loaded
                step("gql.full", made)
                details["copy"] = {"how": "full", "reason": made}
            return self._load(plan, spec, served, staging, step)
        finally:
            staging.clear()

    def _increment(self, exposure: Exposure, spec: TableSpec, digest: str) -> Increment | str:
        """Return how the copy is made of the one that is served; or why it cannot be."""
        product = exposure.product
        if (reason := no_key(exposure.columns)) is not None:
            return reason
        if (held := self.held(product)) is None:
            return "nothing is served yet"
        base = self._bigquery.table(self._version_of(product, held.snapshot_id, held.digest))
        if base is None or base.labels.get(DIGEST_LABEL) != digest_label(held.digest):
            return "the copy that is served is not there, or not whole"
        if base.labels.get(LAYOUT) != spec.labels[LAYOUT]:
            return f"contract, columns or layout are not those of the copy that is served (snapshot {held.snapshot_id})"
        since = None if held.snapshot_id == exposure.snapshot.id else held.snapshot_id
        staging = self._staging(exposure)
        return Increment(self._bigquery, staging, spec, digest, exposure.columns, base, since)

    def _load(self, plan: Plan, spec: TableSpec, served: Served, staging: Staging, step: StepListener) -> Loaded:
        """Load all rows."""
        step("gql.staging", staging.folder)
        rows = staging.write(
            staged(served.rows(split_bytes(plan.exposure.snapshot)), plan.exposure.columns), plan.digest
        )["rows"]
        files = staging.files_of(plan.digest)
        step("gql.staged", f"{rows:,} rows in {len(files)} files")
        loaded = self._bigquery.load_parquet(plan.digest, [each.path for each in files], spec)
        step("gql.loaded", f"{loaded.rows:,} rows")
        if loaded.rows != rows:
            raise TargetFailed(f"{spec.table}: {rows} rows were staged, {loaded.rows} are in the table; not exposed")
        return Loaded(loaded.rows, sum(each.size for each in files), loaded.job_id)

    def _view_columns(self, exposure: Exposure) -> tuple[graphql_schema.ViewColumn, ...]:
        return graphql_schema.view_columns(exposure.columns, self.settings.integers == "string", of_copy=self._copied)

    def collect(self, product: DataProduct, kept: tuple[int, ...], step: StepListener) -> None:
        """Delete the copies that are not kept: of other snapshots, and of other plans for the same ones.

        The one that the view reads stays, and of each kept snapshot the one that was loaded last.
        """
        view = self._view(product)
        served = self._bigquery.view(view)
        newest: dict[str, TableName] = {}
        ours = self._copies(product)
        for each in ours:
            if _whole(each):
                newest[each.labels.get(SNAPSHOT, "")] = each.table
        needed = {newest[str(snapshot_id)] for snapshot_id in kept if str(snapshot_id) in newest}
        for each in ours:
            if each.table not in needed and not (
                served and quoted(f"{self._project(product)}.{each.table}") in served.sql
            ):
                step("gql.collecting", str(each.table))
                self._bigquery.delete(each.table)
        step("gql.collected", "")

    def _copies(self, product: DataProduct) -> list[HeldTable]:
        """Return the version tables, oldest first, and changes on their way into one.

        One without labels, or with those of another one, is of a run that died before it was marked.
        """
        view = self._view(product)
        named = re.compile(rf"{view.name}__[0-9]+_[0-9a-f]{{8}}({CHANGES})?")
        versions = self._bigquery.versions(f"{view.dataset}__versions", f"{view.name}__")
        ours = (label(product.id), None)
        return [each for each in versions if named.fullmatch(each.table.name) and each.labels.get(PRODUCT) in ours]

    def withdraw(self, product: DataProduct, step: StepListener) -> bool:
        """Untrack the view in Hasura, then delete view and copies; what others track or keep stays."""
        view = self._view(product)
        there = self._bigquery.view(view)
        ours = there is not None and there.labels.get(PRODUCT) == label(product.id)
        commands: tuple[Command, ...] = ()
        if self.addresses.hasura is not None and self._hasura is not None:
            hasura, name = self.addresses.hasura, TrackedName(view.dataset, view.name)
            source = source_of(hasura, self._project(product), view.dataset)
            commands = self._hasura.withdraw(product.id, source, name)
            step("gql.untracked", f"{len(commands)} command(s)")
        if ours:
            self._bigquery.delete(view)
            step("gql.dropped", self.address(product))
        copies = self._copies(product)
        for each in copies:
            self._bigquery.delete(each.table)
        step("gql.emptied", f"{len(copies)} copies")
        return bool(commands or ours or copies)


def _whole(copy: HeldTable) -> bool:
    """Say whether a version table is marked as complete: a clone has the labels of its original at first."""
    digest = labelled_digest(copy.labels.get(DIGEST_LABEL, ""))
    return bool(digest) and copy.table.name.endswith(f"_{digest[:8]}")


def _staged(copying: str) -> str:
    return (
        "what changed since the copy that is served; all of it where there is none" if copying == "incremental" else ""
    )
