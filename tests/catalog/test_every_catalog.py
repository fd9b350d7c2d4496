"""One suite for every kind of catalog: what Spark makes is seen without a JVM as it is, and the reverse."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from polyexpose_spark import snapshot
from polyexpose_spark.catalog import KINDS_WITH_VIEWS, Ref
from polyexpose_spark.errors import TargetFailed
from tests.catalog.conftest import PASSWORD, Lake

TABLE = ("shop", "orders")


@pytest.fixture(scope="module")
def orders(lake: Lake) -> Lake:
    """`shop.orders`: two appends, tagged; a delete; a column renamed, one dropped, one added; another append."""
    name = f"{lake.name}.shop.orders"
    lake.spark.sql(f"CREATE NAMESPACE {lake.name}.shop")
    lake.spark.sql(
        f"""CREATE TABLE {name} (
            id BIGINT NOT NULL COMMENT "the order's number",
            at TIMESTAMP,
            amount DECIMAL(18,2) COMMENT 'Betrag in €',
            lines ARRAY<STRUCT<sku: STRING, count: INT>>,
            note STRING
        ) USING iceberg PARTITIONED BY (days(at), bucket(4, id), note)
        TBLPROPERTIES ('format-version' = '2', 'write.delete.mode' = 'merge-on-read', 'team' = 'shop')"""
    )
    rows = "(%d, timestamp'2024-05-0%d 10:00:00', 1.50, array(named_struct('sku', 'a', 'count', 1)), 'n')"
    for day in (1, 2):
        lake.spark.sql(f"INSERT INTO {name} VALUES {rows % (day, day)}, {rows % (day + 10, day)}")
    lake.spark.sql(f"ALTER TABLE {name} CREATE TAG `two-appends`")
    lake.spark.sql(f"DELETE FROM {name} WHERE id = 1")
    lake.spark.sql(f"ALTER TABLE {name} RENAME COLUMN amount TO total")
    lake.spark.sql(f"ALTER TABLE {name} DROP COLUMN lines")
    lake.spark.sql(f"ALTER TABLE {name} ADD COLUMN lines STRING COMMENT 'another one'")
    lake.spark.sql(f"INSERT INTO {name} VALUES (20, timestamp'2024-05-03 10:00:00', 2.50, 'n', 'line')")
    return lake


def test_tables_and_namespaces_are_listed(orders: Lake) -> None:
    orders.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {orders.name}.`empty one`")
    assert orders.catalog.tables() == (TABLE,)
    assert set(orders.catalog.namespaces()) == {("shop",), ("empty one",)}


def test_columns_partitioning_and_properties_are_those_of_spark(orders: Lake) -> None:
    table = orders.catalog.table(TABLE)
    columns = table.schemas[table.current_schema_id]
    assert [(c.name, str(c.type), c.required, c.comment) for c in columns] == [
        ("id", "long", True, "the order's number"),
        ("at", "timestamptz", False, ""),
        ("total", "decimal(18,2)", False, "Betrag in €"),
        ("note", "string", False, ""),
        ("lines", "string", False, "another one"),
    ]
    assert table.identifier == TABLE
    assert table.partitioning == ("day(at)", "bucket(4, id)", "note")
    assert table.properties["team"] == "shop"
    assert table.format_version == 2
    assert Path(table.location.removeprefix("file:")).is_dir()


def test_snapshots_are_those_of_spark(orders: Lake) -> None:
    table = orders.catalog.table(TABLE)
    by_spark = orders.spark.sql(
        f"SELECT snapshot_id, parent_id, operation, unix_millis(committed_at) "
        f"FROM {orders.name}.shop.orders.snapshots ORDER BY committed_at"
    ).collect()
    assert [(s.id, s.parent_id, s.operation, s.committed_at) for s in table.snapshots] == [tuple(r) for r in by_spark]
    assert table.current_snapshot_id == by_spark[-1][0]
    assert [s.operation for s in table.snapshots] == ["append", "append", "delete", "append"]
    assert [s.records for s in table.snapshots] == [2, 4, 3, 4]
    assert all(s.bytes and s.data_files for s in table.snapshots)
    history = orders.spark.sql(
        f"SELECT unix_millis(made_current_at), snapshot_id FROM {orders.name}.shop.orders.history "
        "ORDER BY made_current_at"
    )
    assert table.history == tuple(map(tuple, history.collect()))


def test_an_older_snapshot_has_its_own_columns_and_fields_keep_their_ids(orders: Lake) -> None:
    table = orders.catalog.table(TABLE)
    first = table.snapshots[0]
    then = {c.name: c.field_id for c in table.schemas[first.schema_id]}
    now = {c.name: c.field_id for c in table.schemas[table.current_schema_id]}
    assert now["total"] == then["amount"]
    assert now["lines"] != then["lines"]
    assert [(f.name, str(f.type)) for f in table.columns(first)] == [
        ("id", "long"),
        ("at", "timestamptz"),
        ("amount", "decimal(18,2)"),
        ("lines", "list<struct<sku: string, count: int>>"),
        ("note", "string"),
    ]


def test_refs_are_those_of_spark(orders: Lake) -> None:
    table = orders.catalog.table(TABLE)
    assert table.refs == {
        "main": Ref("branch", table.snapshots[3].id),
        "two-appends": Ref("tag", table.snapshots[1].id),
    }


def test_the_rows_of_a_pinned_snapshot_are_read(orders: Lake) -> None:
    table = orders.catalog.table(TABLE)
    pinned = snapshot.pin(table, as_of="two-appends")
    rows = snapshot.read(orders.spark, snapshot.quoted(orders.name, TABLE), pinned.id, 1 << 27)
    assert rows.columns == [f.name for f in table.columns(pinned)]
    assert sorted((r.id, r.at.day, str(r.amount), r.lines[0].sku) for r in rows.collect()) == [
        (1, 1, "1.50", "a"),
        (2, 2, "1.50", "a"),
        (11, 1, "1.50", "a"),
        (12, 2, "1.50", "a"),
    ]
    now = snapshot.read(orders.spark, snapshot.quoted(orders.name, TABLE), snapshot.pin(table).id, 1 << 27).collect()
    assert sorted((r.id, r.lines) for r in now) == [(2, None), (11, None), (12, None), (20, "line")]


def test_a_tag_is_put_kept_moved_and_dropped(lake: Lake) -> None:
    lake.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {lake.name}.tagged")
    lake.spark.sql(f"CREATE TABLE {lake.name}.tagged.t USING iceberg AS SELECT 1 AS a")
    lake.spark.sql(f"INSERT INTO {lake.name}.tagged.t VALUES (2)")
    identifier, name = ("tagged", "t"), snapshot.quoted(lake.name, ("tagged", "t"))
    first, second = (s.id for s in lake.catalog.table(identifier).snapshots)
    snapshot.tag(lake.spark, name, "polyexpose_a-b.c_1", first)
    snapshot.tag(lake.spark, name, "polyexpose_a-b.c_1", first)
    assert lake.catalog.table(identifier).refs["polyexpose_a-b.c_1"] == Ref("tag", first)
    snapshot.tag(lake.spark, name, "polyexpose_a-b.c_1", second)
    assert lake.catalog.table(identifier).refs["polyexpose_a-b.c_1"] == Ref("tag", second)
    snapshot.untag(lake.spark, name, "polyexpose_a-b.c_1")
    snapshot.untag(lake.spark, name, "polyexpose_a-b.c_1")
    assert list(lake.catalog.table(identifier).refs) == ["main"]
    lake.spark.sql(f"DROP TABLE {lake.name}.tagged.t PURGE")
    lake.spark.sql(f"DROP NAMESPACE {lake.name}.tagged")


def test_a_view_is_read_with_its_sql_comments_and_properties(orders: Lake) -> None:
    assert orders.catalog.has_views is (orders.config.type in KINDS_WITH_VIEWS)
    if not orders.catalog.has_views:
        assert orders.catalog.views(("shop",)) == ()
        assert orders.catalog.view(("shop", "latest")) is None
        return
    orders.spark.sql(
        f"CREATE VIEW {orders.name}.shop.latest (id COMMENT 'number', total) COMMENT 'the latest' "
        f"TBLPROPERTIES ('product' = 'p1') AS SELECT id, total FROM {orders.name}.shop.orders WHERE id > 1"
    )
    orders.spark.sql(
        f"CREATE OR REPLACE VIEW {orders.name}.shop.latest (id COMMENT 'number', total) COMMENT 'the latest' "
        f"TBLPROPERTIES ('product' = 'p2') AS SELECT id, total FROM {orders.name}.shop.orders WHERE id > 2"
    )
    view = orders.catalog.view(("shop", "latest"))
    assert view is not None
    assert view.identifier == ("shop", "latest")
    assert view.sql == f"SELECT id, total FROM {orders.name}.shop.orders WHERE id > 2"
    assert dict(view.columns) == {"id": "number", "total": "Betrag in €"}  # Spark takes over what is not said
    assert view.comment == "the latest"
    assert view.properties["product"] == "p2"
    assert "comment" not in view.properties
    assert orders.catalog.views(("shop",)) == (("shop", "latest"),)
    assert orders.catalog.view(("shop", "nope")) is None
    assert orders.catalog.view(TABLE) is None
    assert orders.catalog.view(("nope", "latest")) is None
    assert orders.catalog.views(("nope",)) == ()
    assert ("shop", "latest") not in orders.catalog.tables()
    with pytest.raises(TargetFailed, match=r"there is no table shop\.latest"):
        orders.catalog.table(("shop", "latest"))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_format_version_is_read(lake: Lake, version: int) -> None:
    lake.spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {lake.name}.versions")
    name = f"{lake.name}.versions.v{version}"
    lake.spark.sql(
        f"CREATE TABLE {name} (a INT, b STRING) USING iceberg TBLPROPERTIES ('format-version' = '{version}')"
    )
    table = lake.catalog.table(("versions", f"v{version}"))
    assert (table.format_version, table.current_snapshot_id, table.snapshots) == (version, None, ())
    with pytest.raises(TargetFailed, match="has no snapshot yet: nothing to expose"):
        snapshot.pin(table)
    lake.spark.sql(f"INSERT INTO {name} VALUES (1, 'x')")
    pinned = snapshot.pin(lake.catalog.table(("versions", f"v{version}")))
    rows = snapshot.read(lake.spark, snapshot.quoted(lake.name, ("versions", f"v{version}")), pinned.id, 1 << 27)
    assert [tuple(r) for r in rows.collect()] == [(1, "x")]
    assert rows.columns == ["a", "b"]
    lake.spark.sql(f"DROP TABLE {name} PURGE")
    lake.spark.sql(f"DROP NAMESPACE {lake.name}.versions")


def test_a_table_made_without_a_jvm_is_seen_by_spark(lake: Lake, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyiceberg.catalog import load_catalog

    if lake.kind == "hadoop":
        # Nobody makes a table there without a JVM: pyiceberg has no catalog of folders. When it has one, this says so.
        with pytest.raises(ValueError, match="hadoop"):
            load_catalog(lake.name, type="hadoop", warehouse=str(lake.config.warehouse))
        return
    properties: dict[str, str] = {"uri": str(lake.config.uri), "type": "rest"}
    if lake.kind == "sqlite":
        properties = {"type": "sql", "uri": str(lake.config.uri).replace("jdbc:sqlite:", "sqlite:///")}
    if lake.kind == "postgresql":
        address = str(lake.config.uri).replace("jdbc:postgresql://", f"lake:{PASSWORD}@")
        properties = {"type": "sql", "uri": f"postgresql+psycopg2://{address}"}
    if lake.config.warehouse:
        properties["warehouse"] = f"file://{lake.config.warehouse}"
    with load_catalog(lake.name, **properties) as other:
        other.create_namespace("made_elsewhere")
        at = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
        data = pa.table({"n": pa.array([1, 2], pa.int64()), "at": pa.array([at, None], pa.timestamp("us", "UTC"))})
        made = other.create_table("made_elsewhere.t", schema=data.schema)
        made.append(data)
    assert [tuple(r) for r in lake.spark.table(f"{lake.name}.made_elsewhere.t").orderBy("n").collect()] == [
        (1, at.astimezone().replace(tzinfo=None)),
        (2, None),
    ]
    table = lake.catalog.table(("made_elsewhere", "t"))
    assert ("made_elsewhere", "t") in lake.catalog.tables()
    assert [str(f.type) for f in table.columns(snapshot.pin(table))] == ["long", "timestamptz"]
    lake.spark.sql(f"INSERT INTO {lake.name}.made_elsewhere.t VALUES (3, NULL)")
    assert len(lake.catalog.table(("made_elsewhere", "t")).snapshots) == 2
    lake.spark.sql(f"DROP TABLE {lake.name}.made_elsewhere.t PURGE")
    lake.spark.sql(f"DROP NAMESPACE {lake.name}.made_elsewhere")


def test_nested_namespaces(lake: Lake) -> None:
    if lake.kind == "rest":
        lake.spark.sql(f"CREATE NAMESPACE {lake.name}.outer")
    lake.spark.sql(f"CREATE NAMESPACE {lake.name}.outer.inner")
    lake.spark.sql(f"CREATE TABLE {lake.name}.outer.inner.t USING iceberg AS SELECT 1 AS a")
    assert ("outer", "inner") in lake.catalog.namespaces()
    assert ("outer", "inner", "t") in lake.catalog.tables()
    assert lake.catalog.table(("outer", "inner", "t")).snapshots[0].records == 1
    lake.spark.sql(f"DROP TABLE {lake.name}.outer.inner.t PURGE")
    lake.spark.sql(f"DROP NAMESPACE {lake.name}.outer.inner")


def test_a_table_that_is_not_there_says_which_are(orders: Lake) -> None:
    with pytest.raises(TargetFailed) as told:
        orders.catalog.table(("shop", "ordres"))
    assert str(told.value) == (
        f"there is no table shop.ordres in catalog {orders.name} ({orders.catalog.address}); "
        "tables there: shop.orders; `--mode sample` loads the sample products"
    )


def test_the_password_is_shown_nowhere(
    orders: Lake, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    orders.catalog.tables()
    with pytest.raises(TargetFailed) as told:
        orders.catalog.table(("nope", "nope"))
    shown = [caplog.text, str(told.value), repr(told.value), repr(orders.catalog), repr(vars(orders.catalog))]
    shown += [repr(orders.config), *capfd.readouterr()]
    assert not any(PASSWORD in text for text in shown)
