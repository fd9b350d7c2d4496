"""Port sql: a view in the Iceberg catalog that reads exactly the tagged snapshot. Nothing is copied.

`<exposed namespace>.<name>` selects every column by name: a view made with `SELECT *` binds columns by
position and answers with other columns after a schema change. A tag is read with the schema of its snapshot,
so the view answers the same after columns of the table are added, renamed or dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from polyexpose_spark.catalog import KINDS_WITH_VIEWS
from polyexpose_spark.clients import View
from polyexpose_spark.clients.views import literal
from polyexpose_spark.errors import ConfigError, Problem, Refused, TargetFailed
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports.base import (
    NOT_READ_BY_SPARK,
    Action,
    Exposure,
    Held,
    Native,
    Plan,
    Port,
    PortAddresses,
    PortSettings,
    Positions,
    Published,
    Served,
    StepListener,
    TypeMap,
)
from polyexpose_spark.product import DataProduct
from polyexpose_spark.snapshot import quoted

PRODUCT = "polyexpose.product"
CONTRACT_VERSION = "polyexpose.contract-version"
SNAPSHOT_ID = "polyexpose.snapshot-id"
DIGEST = "polyexpose.digest"


class SqlSettings(PortSettings):
    """What a contract may say about the sql port."""


class SqlAddresses(PortAddresses):
    """Block `ports.sql` of a profile."""

    namespace: str | None = None
    """Namespace of the exposed views within the catalog (`sales_exposed`, or `a.b` for nested ones)."""


class SqlPort(Port[SqlSettings, SqlAddresses]):
    """Serves a data product as a view, for Spark SQL and everything that reads Iceberg views."""

    mode = "sql"
    points = True
    revision = 1
    settings_model = SqlSettings
    address_model = SqlAddresses
    # Names of Spark SQL. Source: Iceberg TypeToSparkType (Spark 3.5 with Iceberg 1.12: tried).
    types = TypeMap(
        carries={
            LogicalType.BOOLEAN: Native("boolean"),
            LogicalType.INT: Native("int"),
            LogicalType.LONG: Native("bigint"),
            LogicalType.FLOAT: Native("float"),
            LogicalType.DOUBLE: Native("double"),
            LogicalType.DECIMAL: Native("decimal"),
            LogicalType.DATE: Native("date"),
            LogicalType.TIMESTAMP: Native("timestamp_ntz"),
            LogicalType.TIMESTAMPTZ: Native("timestamp"),
            LogicalType.STRING: Native("string"),
            LogicalType.UUID: Native("string", "that it is a UUID"),
            LogicalType.FIXED: Native("binary", "its length"),
            LogicalType.BINARY: Native("binary"),
            LogicalType.STRUCT: Native("struct"),
            LogicalType.LIST: Native("array"),
            LogicalType.MAP: Native("map"),
        },
        refuses=NOT_READ_BY_SPARK,
    )

    def address(self, product: DataProduct) -> str:
        """Return `catalog.namespace.view`."""
        return ".".join((self.clients.config.catalog.name, *self._identifier(product)))

    def _identifier(self, product: DataProduct) -> tuple[str, ...]:
        namespace = self.addresses.namespace or str(self.spec.address.get("namespace") or "")
        if not namespace:
            raise self._unplaced(product, "no namespace for the view")
        identifier = (*namespace.split("."), product.name)
        if identifier == product.table:
            raise self._unplaced(product, f"the view {product.source} would take the name of its own table")
        return identifier

    def _unplaced(self, product: DataProduct, what: str) -> ConfigError:
        where = "`namespace` of this server, or ports.sql.namespace in the profile (it wins)"
        return ConfigError([Problem(product.path, 0, self.spec.key, f"{what}; set {where}")])

    def plan(self, exposure: Exposure) -> Plan:
        """Say which view would be put in place.

        Raises:
            ConfigError: no namespace, or the name of the view is that of the table.
            Refused: no views in this catalog, a type that Spark cannot read, a foreign view.
        """
        identifier, address = self._identifier(exposure.product), self.address(exposure.product)
        if not self.clients.views.supported:
            raise Refused(
                f"port {self.spec.server} ({self.mode}): this catalog (type {self.clients.config.catalog.type}) "
                f"has no views; use one of type {' or '.join(sorted(KINDS_WITH_VIEWS))}, "
                "or leave this port out (--ports)"
            )
        columns = self.natives(exposure.columns)
        self._check_owner(exposure.product, identifier, address)
        pinned = f"{exposure.product.source} at snapshot {exposure.snapshot.id} (tag {exposure.tag})"
        return Plan(
            exposure=exposure,
            server=self.spec.server,
            mode=self.mode,
            address=address,
            columns=columns,
            actions=(Action("create or replace view", address, f"reads {pinned}"),),
            digest=self.digest(exposure, address),
        )

    def _check_owner(self, product: DataProduct, identifier: tuple[str, ...], address: str) -> None:
        there = self.clients.views.load(identifier)
        if there is None or there.properties.get(PRODUCT) == product.id:
            return
        owner = there.properties.get(PRODUCT)
        whose = f"the view of data product {owner}" if owner else "a view that no data product made"
        place = f"port {self.spec.server} ({self.mode}): {address}"
        raise Refused(f"{place} is {whose}; drop it, or expose into another namespace")

    def native(self, type_: ColumnType) -> Native:
        """Return the full name in Spark SQL, with what is lost anywhere within it."""
        parts = [(path.removeprefix("."), self.types.carries[part.kind].loses) for path, part in type_.walk("")]
        lost = [f"{path}: {loses}" if path else loses for path, loses in parts if loses]
        return Native(_spark_name(type_), "; ".join(lost))

    def held(self, product: DataProduct) -> Held | None:
        """Read the properties of the view, without a session."""
        view = self.clients.views.load(self._identifier(product))
        if view is None or view.properties.get(PRODUCT) != product.id:
            return None
        try:
            snapshot_id = int(view.properties[SNAPSHOT_ID])
            return Held(view.properties[DIGEST], snapshot_id, view.properties[CONTRACT_VERSION])
        except (KeyError, ValueError):  # somebody took our properties away: publishing again puts them back
            return None

    def publish(self, plan: Plan, served: Served, positions: Positions, step: StepListener) -> Published:
        """Replace the view, in one commit of the catalog.

        Raises:
            TargetFailed: a table has the name of the view, or somebody else replaced the view meanwhile.
        """
        exposure = plan.exposure
        view = View(
            identifier=self._identifier(exposure.product),
            sql=select(exposure, served.table),
            columns={column.name: column.description for column in exposure.columns},
            comment=exposure.product.description or exposure.product.title,
            properties=_properties(plan),
        )
        step("sql.replacing", plan.address)
        self.clients.views.replace(view)
        step("sql.replaced", plan.address)
        held = self.held(exposure.product)
        if held is None or held.digest != plan.digest:
            raise TargetFailed(f"{plan.address}: another writer replaced the view just now; run again")
        step("sql.checked", plan.address)
        return Published(uris=(plan.address,), rows=None, details={"view": plan.address, "tag": exposure.tag})

    def collect(self, product: DataProduct, kept: tuple[int, ...], step: StepListener) -> None:
        """Remove nothing: a product has one view, and the tags it reads are the app's."""

    def withdraw(self, product: DataProduct, step: StepListener) -> bool:
        """Drop the view, where it is this product's."""
        view = self.clients.views.load(self._identifier(product))
        if view is None or view.properties.get(PRODUCT) != product.id:
            return False
        step("sql.dropping", self.address(product))
        self.clients.views.drop(self._identifier(product))
        step("sql.dropped", self.address(product))
        return True


def select(exposure: Exposure, table: str) -> str:
    """Return the query of the view.

    Args:
        exposure: its columns, in this order, at its tag.
        table: full name of the table, quoted.
    """
    columns = ", ".join(quoted(column.name, ()) for column in exposure.columns)
    return f"SELECT {columns} FROM {table} VERSION AS OF {literal(exposure.tag)}"  # noqa: S608 - all quoted


def _properties(plan: Plan) -> Mapping[str, str]:
    return {
        PRODUCT: plan.exposure.product.id,
        CONTRACT_VERSION: plan.exposure.product.version,
        SNAPSHOT_ID: str(plan.exposure.snapshot.id),
        DIGEST: plan.digest,
    }


def _spark_name(type_: ColumnType) -> str:
    match type_.kind:
        case LogicalType.DECIMAL:
            return f"decimal({type_.precision},{type_.scale})"
        case LogicalType.STRUCT:
            return f"struct<{', '.join(f'{part.name}: {_spark_name(part.type)}' for part in type_.fields)}>"
        case LogicalType.LIST:
            return f"array<{_spark_name(type_.fields[0].type)}>"
        case LogicalType.MAP:
            return f"map<{_spark_name(type_.fields[0].type)}, {_spark_name(type_.fields[1].type)}>"
    return SqlPort.types.carries[type_.kind].name
