"""Port sql as an analyst sees it: the view serves one snapshot, whatever happens to the table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark import app, logical
from polyexpose_spark.catalog import Catalog, Snapshot
from polyexpose_spark.clients import Clients
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.errors import ConfigError, Refused
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.sql import SqlAddresses, SqlPort, SqlSettings
from polyexpose_spark.product import Column, PortSpec
from polyexpose_spark.receipt import Outcome, Receipt
from polyexpose_spark.workspace import Request
from tests.products import data_product

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: {namespace}-orders
name: Orders
version: 2.1.0
status: active
schema:
  - name: orders
    logicalType: object
    physicalName: {namespace}.orders
    description: Every order's "state"; no ${{cancelled}} ones.
    properties:
      - name: id
        logicalType: integer
        physicalType: long
        required: true
        primaryKey: true
        description: It's the key
      - {{name: amount, logicalType: number, physicalType: 'decimal(9,2)', description: In euro}}
      - {{name: 'od`d, "name"', logicalType: string}}
servers:
  - {{server: source, type: iceberg, catalog: lake, catalogUrl: 'jdbc:sqlite:x', namespace: {namespace}}}
  - server: sql
    type: iceberg
    catalog: lake
    catalogUrl: 'jdbc:sqlite:x'
    namespace: {namespace}_exposed
    customProperties:
      - {{property: port, vendor: polyexpose, value: {{mode: sql, keepSnapshots: 2}}}}
"""

Expose = Callable[..., Receipt]


@pytest.fixture
def orders(spark: SparkSession, namespace: str) -> str:
    """A table with two rows; returns its full name."""
    table = f"lake.{namespace}.orders"
    spark.sql(f'CREATE TABLE {table} (id BIGINT NOT NULL, amount DECIMAL(9,2), `od``d, "name"` STRING) USING iceberg')
    spark.sql(f"INSERT INTO {table} VALUES (1, 1.50, 'a'), (2, NULL, NULL)")
    return table


@pytest.fixture
def expose(orders: str, namespace: str, tmp_path: Path) -> Expose:
    """Expose the table by its contract, as `--mode sql` does; returns the receipt."""
    contract = tmp_path / "orders.odcs.yaml"
    contract.write_text(CONTRACT.format(namespace=namespace))

    def run(**request: Any) -> Receipt:
        [receipt] = app.run(Request(products=(str(contract),), modes=("sql",), **request))
        return receipt

    return run


@pytest.fixture
def view(namespace: str) -> str:
    return f"lake.{namespace}_exposed.orders"


def rows(spark: SparkSession, name: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in spark.table(name).selectExpr("id", "CAST(amount AS STRING)", "*").collect())


@pytest.mark.spark
def test_the_view_serves_its_snapshot_while_the_table_moves_on(
    spark: SparkSession, orders: str, view: str, expose: Expose
) -> None:
    assert expose().outcome is Outcome.PUBLISHED
    first = rows(spark, view)
    assert [row[:2] for row in first] == [(1, "1.50"), (2, None)]
    spark.sql(f"INSERT INTO {orders} VALUES (3, 3, 'c')")
    spark.sql(f"DELETE FROM {orders} WHERE id = 1")
    assert rows(spark, view) == first
    assert expose().outcome is Outcome.PUBLISHED
    assert [row[:2] for row in rows(spark, view)] == [(2, None), (3, "3.00")]


@pytest.mark.spark
def test_an_older_snapshot_is_the_way_back(spark: SparkSession, orders: str, view: str, expose: Expose) -> None:
    old = expose()
    before = rows(spark, view)
    spark.sql(f"DELETE FROM {orders}")
    expose()
    assert rows(spark, view) == []
    assert expose(snapshot_id=old.snapshot_id).outcome is Outcome.PUBLISHED
    assert rows(spark, view) == before


@pytest.mark.spark
def test_comments_and_properties_are_the_contracts(
    spark: SparkSession, namespace: str, view: str, expose: Expose
) -> None:
    receipt = expose()
    described = {row[0]: (row[1], row[2]) for row in spark.sql(f"DESCRIBE TABLE EXTENDED {view}").collect()}
    assert described["id"] == ("bigint", "It's the key")
    assert described["amount"] == ("decimal(9,2)", "In euro")
    assert described['od`d, "name"'] == ("string", "")
    assert described["Comment"][0] == 'Every order\'s "state"; no ${cancelled} ones.'
    properties = dict(spark.sql(f"SHOW TBLPROPERTIES {view}").collect())
    assert {key: value for key, value in properties.items() if key.startswith("polyexpose.")} == {
        "polyexpose.product": f"{namespace}-orders",
        "polyexpose.contract-version": "2.1.0",
        "polyexpose.snapshot-id": str(receipt.snapshot_id),
        "polyexpose.digest": receipt.digest,
    }


@pytest.mark.spark
def test_the_view_does_not_lie_after_a_schema_change(
    spark: SparkSession, orders: str, view: str, expose: Expose
) -> None:
    expose()
    before = rows(spark, view)
    spark.sql(f"ALTER TABLE {orders} ADD COLUMN extra STRING FIRST")
    spark.sql(f"ALTER TABLE {orders} RENAME COLUMN amount TO price")
    spark.sql(f'ALTER TABLE {orders} DROP COLUMN `od``d, "name"`')
    # A new column under an old name must not be taken for the old one.
    spark.sql(f'ALTER TABLE {orders} ADD COLUMN `od``d, "name"` STRING')
    spark.sql(f"ALTER TABLE {orders} ADD COLUMN amount DECIMAL(9,2)")
    spark.sql(f"INSERT INTO {orders} SELECT 'x', 9, 9, 'wrong', 9")
    assert spark.table(view).columns == ["id", "amount", 'od`d, "name"']
    assert rows(spark, view) == before


@pytest.mark.spark
def test_a_reader_sees_the_old_or_the_new_and_never_an_error(
    spark: SparkSession, orders: str, view: str, expose: Expose
) -> None:
    def commit(version: int) -> None:
        spark.sql(f"INSERT OVERWRITE {orders} SELECT id, {version}, '{version}' FROM range(20)")

    commit(0)
    expose()
    seen: list[tuple[int, int, int]] = []
    failed: list[BaseException] = []
    done = threading.Event()
    query = f"SELECT INT(min(amount)), INT(max(amount)), INT(count(*)) FROM {view}"

    def read() -> None:
        reader = spark.newSession()
        try:
            while not done.is_set():
                seen.append(tuple(reader.sql(query).collect()[0]))
        except Exception as error:  # noqa: BLE001 - whatever a reader meets is the finding
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for version in range(1, 5):
        commit(version)
        assert expose().outcome is Outcome.PUBLISHED
    done.set()
    thread.join()
    assert failed == []
    assert len(seen) > 5
    assert all(low == high and count == 20 for low, high, count in seen), seen
    versions = [low for low, _, _ in seen]
    assert versions == sorted(versions)


@pytest.mark.spark
def test_a_view_that_lost_our_properties_is_put_back(
    spark: SparkSession, view: str, namespace: str, config: Config, expose: Expose
) -> None:
    expose()
    assert expose().outcome is Outcome.UNCHANGED
    spark.sql(f"ALTER VIEW {view} UNSET TBLPROPERTIES ('polyexpose.digest')")
    assert expose().outcome is Outcome.PUBLISHED
    found = Catalog(config.catalog).view((f"{namespace}_exposed", "orders"))
    assert found is not None
    assert found.properties["polyexpose.digest"]


@pytest.mark.spark
def test_a_view_of_somebody_else_is_left_alone(spark: SparkSession, namespace: str, view: str, expose: Expose) -> None:
    spark.sql(f"CREATE NAMESPACE lake.{namespace}_exposed")
    spark.sql(f"CREATE VIEW {view} AS SELECT 42 AS answer")
    receipt = expose()
    assert receipt.exit_code == 3
    assert f"{view} is a view that no data product made; drop it, or expose into another namespace" in str(
        receipt.error
    )
    assert spark.table(view).collect() == [(42,)]


@pytest.mark.spark
def test_a_table_of_the_views_name_is_left_alone(
    spark: SparkSession, namespace: str, view: str, expose: Expose
) -> None:
    spark.sql(f"CREATE NAMESPACE lake.{namespace}_exposed")
    spark.sql(f"CREATE TABLE {view} USING iceberg AS SELECT 42 AS answer")
    receipt = expose()
    assert receipt.exit_code == 4
    assert receipt.error == f"{view}: a table has this name; rename it, or expose into another namespace"
    assert spark.table(view).collect() == [(42,)]


def port(tmp_path: Path, catalog: CatalogConfig | None = None, **namespaces: str | None) -> SqlPort:
    """A port without a session: `contract` and `profile` say the namespace."""
    folder = str(tmp_path)
    catalog = catalog or CatalogConfig(type="jdbc", uri=f"jdbc:sqlite:{folder}/c.db", warehouse=folder)

    def no_session() -> Any:
        raise AssertionError("no session is needed here")

    address = {} if namespaces.get("contract") is None else {"namespace": namespaces["contract"]}
    spec = PortSpec("sql", "sql", SqlSettings(), address, (), "servers[1]")
    addresses = SqlAddresses(namespace=namespaces.get("profile"))
    return SqlPort(spec, SqlSettings(), addresses, Clients(Config(catalog=catalog), no_session))


def exposure(type_: str = "long") -> Exposure:
    product = data_product("orders", ("sales", "orders"))
    snapshot = Snapshot(7, None, 1_700_000_000_000, "append", 0, 3, 1000, 1, {})
    return Exposure(product, snapshot, (Column("c", logical.parse(type_), False, "", 0),), "polyexpose_orders_7")


def test_the_profiles_namespace_wins(tmp_path: Path) -> None:
    product = exposure().product
    assert port(tmp_path, contract="theirs").address(product) == "lake.theirs.orders"
    assert port(tmp_path, contract="theirs", profile="a.b").address(product) == "lake.a.b.orders"


def test_without_a_namespace_both_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        port(tmp_path).address(exposure().product)
    assert str(caught.value) == (
        "orders.odcs.yaml: servers[1]: no namespace for the view; "
        "set `namespace` of this server, or ports.sql.namespace in the profile (it wins)"
    )


def test_the_view_cannot_take_the_name_of_its_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the view sales\.orders would take the name of its own table; set"):
        port(tmp_path, contract="sales").address(exposure().product)


def test_a_catalog_without_views_is_refused_with_what_to_use_instead(tmp_path: Path) -> None:
    hadoop = CatalogConfig(type="hadoop", warehouse=str(tmp_path))
    with pytest.raises(Refused) as caught:
        port(tmp_path, hadoop, contract="exposed").plan(exposure())
    assert str(caught.value) == (
        "port sql (sql): this catalog (type hadoop) has no views; use one of type jdbc or rest, "
        "or leave this port out (--ports)"
    )


@pytest.mark.parametrize(
    ("type_", "name", "loses"),
    [
        ("decimal(38,18)", "decimal(38,18)", ""),
        ("timestamp", "timestamp_ntz", ""),
        ("timestamptz", "timestamp", ""),
        ("uuid", "string", "that it is a UUID"),
        ("fixed[5]", "binary", "its length"),
        ("list<map<string, long>>", "array<map<string, bigint>>", ""),
        (
            "struct<a: int, b: struct<id: uuid>, c: list<fixed[2]>>",
            "struct<a: int, b: struct<id: string>, c: array<binary>>",
            "b.id: that it is a UUID; c.element: its length",
        ),
    ],
)
def test_types_have_their_full_name_in_spark(tmp_path: Path, type_: str, name: str, loses: str) -> None:
    native = port(tmp_path, contract="exposed").plan(exposure(type_)).columns["c"]
    assert (native.name, native.loses) == (name, loses)
