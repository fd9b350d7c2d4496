"""What changed between two snapshots, on a real Spark and Iceberg: every way in which a table changes."""

from __future__ import annotations

import shutil
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark import changes, snapshot
from polyexpose_spark.config import Config
from polyexpose_spark.errors import Refused, TargetFailed
from tests.spark.changed import V2_COW, V2_MOR, V3_MOR, Changing, canonical, ops

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

OPEN_COST = 4 * 1024 * 1024

every_way = pytest.mark.parametrize(
    "properties", [pytest.param(V2_COW, id="cow"), pytest.param(V2_MOR, id="mor"), pytest.param(V3_MOR, id="v3")]
)


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str) -> Changing:
    return Changing(spark, config, namespace)


def made(lake: Changing, properties: str, rows: str = "(1, 'a'), (2, 'b'), (3, 'c')") -> int:
    return lake.sql(
        f"CREATE TABLE $t (id BIGINT, a STRING) USING iceberg TBLPROPERTIES ({properties})",
        f"INSERT INTO $t VALUES {rows}",
    )


@every_way
def test_rows_appended_deleted_updated_and_merged(lake: Changing, properties: str) -> None:
    first = made(lake, properties)
    second = lake.sql("INSERT INTO $t VALUES (4, 'd')")
    third = lake.sql("DELETE FROM $t WHERE id = 1")
    fourth = lake.sql("UPDATE $t SET a = 'B' WHERE id = 2")
    lake.sql(
        "MERGE INTO $t USING (SELECT * FROM VALUES (3, 'x'), (4, 'd'), (5, 'e') AS s(id, a)) s ON $t.id = s.id "
        "WHEN MATCHED AND s.id = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET a = 'D' WHEN NOT MATCHED THEN INSERT *"
    )
    assert ops(lake.told(first, "id", until=second)) == [("insert", None, (4, "d"))]
    assert ops(lake.told(second, "id", until=third)) == [("delete", (1, "a"), None)]
    assert ops(lake.told(third, "id", until=fourth)) == [("update", (2, "b"), (2, "B"))]
    merged = [("delete", (3, "c"), None), ("insert", None, (5, "e")), ("update", (4, "d"), (4, "D"))]
    assert ops(lake.told(fourth, "id")) == merged
    assert ops(lake.told(first, "id")) == [
        ("delete", (1, "a"), None),
        ("delete", (3, "c"), None),
        ("insert", None, (4, "D")),
        ("insert", None, (5, "e")),
        ("update", (2, "b"), (2, "B")),
    ]
    assert [len(step) for step in lake.per_snapshot(first, "id")] == [1, 1, 1, 3]
    # Backwards as well: what a rollback sends.
    assert ops(lake.told(second, "id", until=first)) == [("delete", (4, "d"), None)]


def test_a_snapshot_in_pieces_is_the_snapshot(lake: Changing) -> None:
    lake.sql(
        "CREATE TABLE $t USING iceberg TBLPROPERTIES ('write.delete.mode'='merge-on-read') AS "
        "SELECT /*+ REPARTITION(12) */ id, sha2(string(id), 256) AS text FROM range(40000)"
    )
    first = lake.sql("DELETE FROM $t WHERE id % 10 = 3")
    lake.sql("ALTER TABLE $t RENAME COLUMN text TO words", "ALTER TABLE $t ADD COLUMN more INT")
    last = lake.sql("DELETE FROM $t WHERE id > 5")
    pieces = snapshot.pieces(lake.spark, lake.name, first, last, 6 * OPEN_COST)
    again = snapshot.pieces(lake.spark, lake.name, first, last, 6 * OPEN_COST)
    assert len(pieces) == len(again) == 4
    ids = []
    for begin in range(0, len(pieces), 2):
        with pieces.rows(begin, min(begin + 2, len(pieces))) as rows, again.rows(begin, begin + 1) as begins:
            assert rows.rdd.getNumPartitions() == 2
            assert rows.columns == ["id", "words", "more"]
            ids += [row.id for row in rows.collect()]
            assert begins.first() == rows.first()
    assert sorted(ids) == [n for n in range(40000) if n % 10 != 3]
    assert staged(lake) == 0
    with snapshot.pieces(lake.spark, lake.name, first, last, 6 * OPEN_COST).rows(0, len(pieces)) as whole:
        assert [row.id for row in whole.collect()] == ids


def staged(lake: Changing) -> int:
    """Return how many lists of tasks the JVM keeps for the table."""
    jvm: Any = lake.spark._jvm
    return int(jvm.org.apache.iceberg.spark.ScanTaskSetManager.get().fetchSetIds(lake.iceberg).size())


@every_way
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_partitions_overwritten(lake: Changing, properties: str, mode: str) -> None:
    first = lake.sql(
        f"CREATE TABLE $t (id BIGINT, p INT) USING iceberg PARTITIONED BY (p) TBLPROPERTIES ({properties})",
        "INSERT INTO $t VALUES (1, 1), (2, 1), (3, 2), (4, 3)",
    )
    lake.spark.conf.set("spark.sql.sources.partitionOverwriteMode", mode)
    try:
        lake.sql("INSERT OVERWRITE $t VALUES (2, 1), (5, 1), (3, 2)")
    finally:
        lake.spark.conf.unset("spark.sql.sources.partitionOverwriteMode")
    gone = [("delete", (1, 1), None)] + ([("delete", (4, 3), None)] if mode == "static" else [])
    assert ops(lake.told(first, "id")) == [*gone, ("insert", None, (5, 1))]
    last = lake.sql("INSERT OVERWRITE $t PARTITION (p = 3) SELECT 9")
    assert ops(lake.told(first, until=last))[-1] == ("insert", None, (9, 3))


@pytest.mark.parametrize(("properties", "kind"), [(V2_MOR, "total-position-deletes"), (V3_MOR, "added-dvs")])
def test_deletes_in_files_of_their_own_are_applied(lake: Changing, properties: str, kind: str) -> None:
    """Twice the same data file with other deletes, and a file of deletes that names several data files."""
    lake.sql(
        f"CREATE TABLE $t (id BIGINT, a STRING) USING iceberg TBLPROPERTIES ({properties}, "
        "'write.delete.granularity'='partition')"
    )
    for each in range(3):
        lake.sql(f"INSERT INTO $t SELECT /*+ COALESCE(1) */ id + {each}00, 'a' FROM range(50)")
    first = lake.sql("DELETE FROM $t WHERE id IN (1, 101)")
    assert int(lake.table.snapshots[-1].summary[kind]) > 0
    lake.sql("DELETE FROM $t WHERE id IN (2, 202)", "UPDATE $t SET a = 'b' WHERE id IN (3, 203)")
    assert ops(lake.told(first, "id")) == [
        ("delete", (2, "a"), None),
        ("delete", (202, "a"), None),
        ("update", (203, "a"), (203, "b")),
        ("update", (3, "a"), (3, "b")),
    ]
    assert [len(step) for step in lake.per_snapshot(first)] == [2, 4]


def equality_delete(lake: Changing, folder: Path, column: str, values: list[int]) -> int:
    """Commit a file of equality deletes, as other engines (Flink) write them; Spark writes none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    field_id = next(each.field_id for each in lake.table.schemas[lake.table.current_schema_id] if each.name == column)
    path = folder / f"{uuid.uuid4()}.parquet"
    field = pa.field(column, pa.int64(), metadata={"PARQUET:field_id": str(field_id)})
    pq.write_table(pa.table([pa.array(values, pa.int64())], pa.schema([field])), path)
    jvm: Any = lake.spark._jvm
    table = lake.iceberg
    ids = lake.spark.sparkContext._gateway.new_array(jvm.int, 1)  # type: ignore[union-attr]
    ids[0] = field_id
    builder = jvm.org.apache.iceberg.FileMetadata.deleteFileBuilder(table.spec()).ofEqualityDeletes(ids)
    builder = builder.withPath(str(path)).withFormat("PARQUET").withFileSizeInBytes(path.stat().st_size)
    table.newRowDelta().addDeletes(builder.withRecordCount(len(values)).build()).commit()
    return lake.current


def test_equality_deletes(lake: Changing, tmp_path: Path) -> None:
    first = lake.sql(
        "CREATE TABLE $t (id BIGINT, k BIGINT) USING iceberg TBLPROPERTIES ('format-version'='2')",
        "INSERT INTO $t SELECT /*+ REPARTITION(3) */ id, id % 4 FROM range(12)",
    )
    second = equality_delete(lake, tmp_path, "id", [3, 7, 99])
    assert ops(lake.told(first, "id")) == [("delete", (3, 3), None), ("delete", (7, 3), None)]
    lake.sql("INSERT INTO $t VALUES (3, 30)")
    equality_delete(lake, tmp_path, "k", [1])
    told = lake.told(first, "id")
    assert [each.op for each in told].count("delete") == 4
    assert ("update", (3, 3), (3, 30)) in ops(told)
    assert [len(step) for step in lake.per_snapshot(first, "id")] == [2, 1, 3]
    # The column that says what is deleted is dropped (where Spark's own reader fails): it stays deleted.
    lake.sql("ALTER TABLE $t DROP COLUMN k", "INSERT INTO $t VALUES (50)")
    with lake.net(lake.window(second), "id") as changed:
        assert sorted((each.op, each.key.id) for each in changed.collect()) == [
            ("delete", 1),
            ("delete", 5),
            ("delete", 9),
            ("insert", 3),
            ("insert", 50),
        ]


@every_way
def test_what_only_rewrites_files_is_no_change_and_is_not_read(lake: Changing, properties: str) -> None:
    lake.sql(f"CREATE TABLE $t (id BIGINT, a STRING) USING iceberg TBLPROPERTIES ({properties})")
    for each in range(6):
        lake.sql(f"INSERT INTO $t SELECT id + {each}0, 'a' FROM range(10)")
    first = lake.sql("DELETE FROM $t WHERE id % 10 = 3")
    procedures = [
        "rewrite_data_files(table => '$n', options => map('rewrite-all', 'true'))",
        "rewrite_manifests('$n')",
        "rewrite_position_delete_files(table => '$n', options => map('rewrite-all', 'true'))",
    ]
    for each in procedures:
        lake.sql(f"CALL lake.system.{each}")
    assert lake.table.snapshots[-1].operation == "replace"
    assert lake.current != first
    assert lake.told(first, "id") == lake.told(first) == []
    assert lake.per_snapshot(first, "id") == []
    second = lake.sql("DELETE FROM $t WHERE id = 11", "INSERT INTO $t VALUES (100, 'z')")
    lake.sql(f"CALL lake.system.{procedures[0]}")
    lake.sql("UPDATE $t SET a = 'b' WHERE id IN (12, 100)")
    expected = [("delete", (11, "a"), None), ("insert", None, (100, "b")), ("update", (12, "a"), (12, "b"))]
    assert ops(lake.told(first, "id")) == expected
    assert ops(lake.told(second, "id")) == [("update", (100, "z"), (100, "b")), ("update", (12, "a"), (12, "b"))]
    # The files are gone, and nobody misses them.
    only = lake.window(first, lake.table.ancestors(second)[2].id)
    shutil.rmtree(Path(lake.table.location.removeprefix("file:")) / "data")
    with lake.net(only, "id") as changed:
        assert changed.collect() == []


@every_way
def test_only_touched_files_are_read(lake: Changing, properties: str) -> None:
    lake.sql(f"CREATE TABLE $t (id BIGINT, a STRING) USING iceberg TBLPROPERTIES ({properties})")
    for each in range(5):
        first = lake.sql(f"INSERT INTO $t SELECT /*+ COALESCE(1) */ id + {each}00, 'a' FROM range(100)")
    data = Path(lake.table.location.removeprefix("file:")) / "data"
    of = {
        row.id: Path(row.file.removeprefix("file:"))
        for row in lake.spark.sql(f"SELECT id, _file file FROM {lake.name}").collect()
    }
    lake.sql(
        "UPDATE $t SET a = 'b' WHERE id = 207", "DELETE FROM $t WHERE id = 208", "INSERT INTO $t VALUES (900, 'n')"
    )
    for file in set(of.values()) - {of[207]}:
        file.unlink()
    assert data.exists()
    with lake.net(lake.window(first), "id") as changed:
        assert ops(changed.collect()) == [
            ("delete", (208, "a"), None),
            ("insert", None, (900, "n")),
            ("update", (207, "a"), (207, "b")),
        ]


@every_way
def test_columns_added_dropped_renamed_reordered_and_widened(lake: Changing, properties: str) -> None:
    first = lake.sql(
        "CREATE TABLE $t (id INT, old STRING, s STRUCT<a: INT, b: STRING>, f FLOAT, d DECIMAL(5,2), "
        f"l ARRAY<STRUCT<x: INT>>) USING iceberg TBLPROPERTIES ({properties})",
        "INSERT INTO $t SELECT id, 'o', named_struct('a', 1, 'b', 'y'), 0.5, 1.25, array(named_struct('x', 7)) "
        "FROM range(4)",
    )
    second = lake.sql(
        "ALTER TABLE $t DROP COLUMN old",
        "ALTER TABLE $t ADD COLUMN old DECIMAL(9,2) FIRST",
        "ALTER TABLE $t RENAME COLUMN s TO t",
        "ALTER TABLE $t RENAME COLUMN t.b TO c",
        "ALTER TABLE $t ADD COLUMN t.n INT AFTER a",
        "ALTER TABLE $t ADD COLUMN l.element.y STRING",
        "ALTER TABLE $t ALTER COLUMN id TYPE BIGINT",
        "ALTER TABLE $t ALTER COLUMN f TYPE DOUBLE",
        "ALTER TABLE $t ALTER COLUMN d TYPE DECIMAL(12,2)",
        "ALTER TABLE $t ALTER COLUMN f AFTER id",
        "UPDATE $t SET t.c = 'z' WHERE id = 1",
    )
    lake.sql(
        "DELETE FROM $t WHERE id = 2", "INSERT INTO $t SELECT 9.75, 1099511627776, 0.25D, null, 5000000000.5, null"
    )
    with lake.net(lake.window(first), "id") as changed:
        told = {each.key.id: each.asDict(recursive=True) for each in changed.collect()}
    was = {"old": None, "f": 0.5, "t": {"a": 1, "n": None, "c": "y"}, "d": Decimal("1.25"), "l": [{"x": 7, "y": None}]}
    assert {id_: (each["op"], each["before"], each["after"]) for id_, each in told.items()} == {
        1: ("update", was | {"id": 1}, was | {"id": 1, "t": {"a": 1, "n": None, "c": "z"}}),
        2: ("delete", was | {"id": 2}, None),
        1 << 40: (
            "insert",
            None,
            {"old": Decimal("9.75"), "id": 1 << 40, "f": 0.25, "t": None, "d": Decimal("5000000000.50"), "l": None},
        ),
    }
    # Columns as they were before all this: the newer state is told in them, too.
    with lake.net(lake.window(second, first), "id") as changed:
        assert changed.schema["after"].dataType.simpleString().startswith("struct<id:int,old:string,s:struct<a:int,b:s")
        (back,) = changed.where("key.id = 1").collect()
    assert (back.op, back.before.s.b, back.after.s.b, back.after.f) == ("update", "z", "y", 0.5)


@every_way
def test_partitions_that_evolve(lake: Changing, properties: str) -> None:
    first = lake.sql(
        "CREATE TABLE $t (id BIGINT, at TIMESTAMP) USING iceberg PARTITIONED BY (days(at)) "
        f"TBLPROPERTIES ({properties})",
        "INSERT INTO $t SELECT id, timestamp_seconds(1700000000 + id * 40000) FROM range(8)",
    )
    lake.sql(
        "DELETE FROM $t WHERE id = 2",
        "ALTER TABLE $t REPLACE PARTITION FIELD days(at) WITH months(at)",
        "ALTER TABLE $t ADD PARTITION FIELD bucket(3, id)",
        "UPDATE $t SET at = at + INTERVAL 90 DAYS WHERE id IN (1, 6)",
        "INSERT INTO $t SELECT id, timestamp_seconds(id) FROM range(20, 23)",
        "ALTER TABLE $t DROP PARTITION FIELD months(at)",
        "DELETE FROM $t WHERE id IN (3, 21)",
    )
    told = lake.told(first, "id")
    assert sorted((each.op, each.key.id) for each in told) == [
        ("delete", 2),
        ("delete", 3),
        ("insert", 20),
        ("insert", 22),
        ("update", 1),
        ("update", 6),
    ]
    lake.per_snapshot(first, "id")


EVERY_TYPE = (
    "b BOOLEAN, i INT, f FLOAT, x DOUBLE, d DECIMAL(20,3), s STRING, y BINARY, dt DATE, ts TIMESTAMP, "
    "tn TIMESTAMP_NTZ, m MAP<STRING, DOUBLE>, mm MAP<INT, MAP<STRING, ARRAY<FLOAT>>>, l ARRAY<MAP<STRING, INT>>, "
    "st STRUCT<`a.b`: DOUBLE, m: MAP<STRING, STRING>, l: ARRAY<DOUBLE>>"
)
EVERY_VALUE = (
    "true, 1, float('nan'), -0.0D, 1.5, 'ü', X'00ff', DATE'1582-10-04', TIMESTAMP'0001-02-01 00:00:00.000001', "
    "TIMESTAMP_NTZ'9999-12-30 23:59:59.999999', map('b', -0.0D, 'a', double('nan')), "
    "map(1, map('x', array(float(1), null, float(-0.0D)))), array(map('q', 1), null), "
    "named_struct('a.b', 0.0D, 'm', map('k', 'v', 'j', null), 'l', array(-0.0D, 0.0D, double('nan')))"
)


@every_way
def test_without_a_key_rows_are_told_as_often_as_they_are_there(lake: Changing, properties: str) -> None:
    nulls = ", ".join(["NULL"] * 14)
    first = lake.sql(
        f"CREATE TABLE $t ({EVERY_TYPE}) USING iceberg TBLPROPERTIES ({properties})",
        f"INSERT INTO $t SELECT {EVERY_VALUE} FROM range(3) UNION ALL SELECT {nulls} FROM range(2)",
    )
    # The same again in other files, once more and once less.
    second = lake.sql(
        f"INSERT OVERWRITE $t SELECT {EVERY_VALUE} FROM range(4) UNION ALL SELECT {nulls}",
    )
    told = lake.told(first)
    assert sorted((each.op, each.key) for each in told) == [("delete", None), ("insert", None)]
    (come,) = (each.after for each in told if each.op == "insert")
    assert come == lake.spark.table(lake.name).where("b").first() or "nan" in canonical(come)
    assert told[0].before is None or told[0].after is None
    # Nothing but the sign of a zero, in a column, in a map, in an array of a struct.
    flipped = EVERY_VALUE.replace("-0.0D", "+0.0D")
    lake.sql(f"INSERT OVERWRITE $t SELECT {flipped} FROM range(4) UNION ALL SELECT {nulls}")
    told = lake.told(second)
    assert sorted(each.op for each in told) == ["delete"] * 4 + ["insert"] * 4
    assert {canonical(each.before.x) for each in told if each.before} == {"-0.0"}
    assert {canonical(each.after.x) for each in told if each.after} == {"0.0"}


def test_nan_is_the_same_and_the_sign_of_a_zero_is_not(lake: Changing) -> None:
    first = lake.sql(
        "CREATE TABLE $t (id BIGINT, x DOUBLE) USING iceberg",
        "INSERT INTO $t VALUES (1, double('nan')), (2, 0.0D), (3, -0.0D), (4, NULL)",
    )
    lake.sql("INSERT OVERWRITE $t VALUES (1, double('nan')), (2, -0.0D), (3, -0.0D), (4, 0.0D)")
    told = lake.told(first, "id")
    assert [(each.op, each.key.id, repr(each.before.x), repr(each.after.x)) for each in sorted(told)] == [
        ("update", 2, "0.0", "-0.0"),
        ("update", 4, "None", "0.0"),
    ]


@every_way
def test_keys_that_are_null_or_not_unique_lose_nothing(lake: Changing, properties: str) -> None:
    first = lake.sql(
        f"CREATE TABLE $t (k DOUBLE, `a``b.c` STRING) USING iceberg TBLPROPERTIES ({properties})",
        "INSERT INTO $t VALUES (NULL, 'n'), (NULL, 'n'), (1, 'a'), (1, 'b'), (1, 'b'), (2, 'z'), "
        "(double('nan'), 'q'), (-0.0D, 'minus'), (0.0D, 'plus')",
    )
    lake.sql(
        "INSERT OVERWRITE $t VALUES (NULL, 'm'), (NULL, 'n'), (1, 'c'), (1, 'd'), (1, 'e'), (1, 'b'), "
        "(2, 'z'), (double('nan'), 'r'), (0.0D, 'plus')",
    )
    told = lake.told(first, "k")
    assert sorted((each.op, repr(each.key.k)) for each in told) == [
        ("delete", "-0.0"),
        ("insert", "1.0"),
        ("update", "1.0"),
        ("update", "1.0"),
        ("update", "None"),
        ("update", "nan"),
    ]
    assert all(canonical(each.before.k) == canonical(each.after.k) for each in told if each.op == "update")
    assert canonical(ops(lake.told(first, "k"))) == canonical(ops(told))
    lake.per_snapshot(first, "k", "a`b.c")


@every_way
def test_a_rollback_and_a_branch_are_told_net(lake: Changing, properties: str) -> None:
    first = made(lake, properties)
    left = lake.sql("INSERT INTO $t VALUES (4, 'd')", "DELETE FROM $t WHERE id = 1")
    lake.sql(f"CALL lake.system.rollback_to_snapshot('$n', {first})")
    assert changes.commits(lake.table, left, first) is None
    assert ops(lake.told(left, "id", until=first)) == [("delete", (4, "d"), None), ("insert", None, (1, "a"))]
    lake.sql("UPDATE $t SET a = 'B' WHERE id = 2")
    assert ops(lake.told(left, "id")) == [
        ("delete", (4, "d"), None),
        ("insert", None, (1, "a")),
        ("update", (2, "b"), (2, "B")),
    ]
    lake.sql("ALTER TABLE $t CREATE BRANCH audit")
    lake.spark.sql(f"INSERT INTO {lake.name}.branch_audit VALUES (7, 'audit')")
    branch = lake.table.refs["audit"].snapshot_id
    assert ops(lake.told(left, "id", until=branch))[-1] == ("update", (2, "b"), (2, "B"))
    assert ops(lake.told(lake.current, "id", until=branch)) == [("insert", None, (7, "audit"))]
    with (
        pytest.raises(Refused, match=f"snapshot {branch} of table .* does not descend from {left} through live"),
        changes.per_snapshot(lake.spark, lake.name, lake.window(left, branch), lambda rows: rows, ["id"]),
    ):
        pass


def test_an_expired_start_is_refused_with_what_to_do(lake: Changing) -> None:
    first = made(lake, V2_COW)
    last = lake.sql("INSERT OVERWRITE $t VALUES (9, 'z')")
    known = lake.window(first)
    lake.sql("CALL lake.system.expire_snapshots(table => '$n', retain_last => 1, older_than => TIMESTAMP '2100-01-01')")
    with pytest.raises(Refused, match=f"^snapshot {first} of .* expired: .* run with --from-scratch to send the whole"):
        lake.told(first, "id")
    # It went away after the run had looked.
    with pytest.raises(Refused, match=f"^snapshot {first} of .* expired: .* --from-scratch"), lake.net(known, "id"):
        pass
    assert lake.told(last, "id", until=last) == []


@pytest.mark.parametrize("adaptive", ["true", "false"])
@pytest.mark.parametrize("key", [["id"], ["x"], []])
def test_one_shuffle_and_equal_keys_in_one_partition(lake: Changing, adaptive: str, key: list[str]) -> None:
    from pyspark.sql import functions as F

    first = lake.sql(
        f"CREATE TABLE $t (id BIGINT, x DOUBLE, m MAP<STRING, INT>) USING iceberg TBLPROPERTIES ({V2_MOR})",
        "INSERT INTO $t SELECT id % 50, id / 3, map('a', id) FROM range(400)",
    )
    lake.sql("UPDATE $t SET m = map('b', 1) WHERE x > 20", "INSERT INTO $t VALUES (1, 1, NULL)")
    before = lake.spark.conf.get("spark.sql.adaptive.enabled")
    lake.spark.conf.set("spark.sql.adaptive.enabled", adaptive)
    try:
        with lake.net(lake.window(first), *key) as changed:
            plan = changed._jdf.queryExecution().executedPlan().toString()  # type: ignore[operator]
            assert plan.count("Exchange ") == 1, plan
            if key:
                spread = changed.select("key", F.spark_partition_id().alias("p")).distinct().groupBy("key").count()
                assert spread.where("count > 1").count() == 0
    finally:
        lake.spark.conf.set("spark.sql.adaptive.enabled", str(before))


def test_nothing_is_kept_in_the_jvm_and_what_fails_is_said(lake: Changing) -> None:
    first = made(lake, V2_MOR)
    lake.sql("UPDATE $t SET a = 'A' WHERE id = 1")
    with lake.net(lake.window(first), "id") as changed:
        assert staged(lake) == 2
        assert changed.count() == 1
    assert staged(lake) == 0
    with pytest.raises(ZeroDivisionError), lake.net(lake.window(first), "id"):
        raise ZeroDivisionError
    assert staged(lake) == 0
    gone = lake.window(first)
    lake.spark.sql(f"DROP TABLE {lake.name}")
    with pytest.raises(TargetFailed, match="there is no such table"), lake.net(gone, "id"):
        pass


def test_the_policy_is_applied_before_rows_are_compared(lake: Changing) -> None:
    first = made(lake, V2_COW)
    lake.sql("UPDATE $t SET a = 'hidden' WHERE id < 3", "DELETE FROM $t WHERE id = 1")
    window = lake.window(first)
    with changes.net(lake.spark, lake.name, window, lambda rows: rows.select("id"), ["id"]) as changed:
        assert ops(changed.collect()) == [("delete", (1,), None)]
        (row,) = changed.collect()
    committed = lake.table.snapshots[-1].committed_at
    assert (row.snapshot_id, row.committed_at.timestamp() * 1000) == (window.until, pytest.approx(committed, abs=1))
    with changes.net(lake.spark, lake.name, window, lambda rows: rows.where("id > 1"), ["id"]) as changed:
        assert ops(changed.collect()) == [("update", (2, "b"), (2, "hidden"))]


def test_the_same_file_twice_counts_twice(lake: Changing, tmp_path: Path) -> None:
    """add_files of a file that is there already: by a commit of its own, and twice in one commit."""
    other = f"lake.{lake.namespace}.source"
    lake.spark.sql(f"CREATE TABLE {other} (id BIGINT, a STRING) USING iceberg")
    lake.spark.sql(f"INSERT INTO {other} SELECT /*+ COALESCE(1) */ id, 'a' FROM range(3)")
    (path,) = (row.file_path for row in lake.spark.sql(f"SELECT file_path FROM {other}.files").collect())
    first = lake.sql("CREATE TABLE $t (id BIGINT, a STRING) USING iceberg", "INSERT INTO $t VALUES (7, 'z')")

    def added(times: int) -> int:
        append, jvm = lake.iceberg.newFastAppend(), lake.spark._jvm
        for _ in range(times):
            builder = jvm.org.apache.iceberg.DataFiles.builder(lake.iceberg.spec()).withPath(path)  # type: ignore[union-attr]
            size = Path(path.removeprefix("file:")).stat().st_size
            append.appendFile(builder.withFormat("PARQUET").withFileSizeInBytes(size).withRecordCount(3).build())
        append.commit()
        return lake.current

    second = added(1)
    assert len(lake.told(first)) == 3
    third = added(1)
    assert [each.op for each in lake.told(second, "id", until=third)] == ["insert"] * 3
    fourth = added(2)
    assert {each.op for each in lake.told(third, until=fourth)} == {"insert"}
    assert {each.op for each in lake.told(fourth, until=second)} == {"delete"}
