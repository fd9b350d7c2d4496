"""What changed between two snapshots, on a real Spark and Iceberg: every way in which a table changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark import snapshot
from polyexpose_spark.config import Config
from tests.spark.changed import V2_COW, V2_MOR, V3_MOR, Changing, ops

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
