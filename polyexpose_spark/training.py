"""The training run of the class-data archive: in small what the main job does, in the working directory.

What is loaded here is what starts fast later: the SQL parser and Iceberg's extensions, the catalog, writing and
reading a table, a tag, a view, text files, and rows that go through Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polyexpose_spark import config
from polyexpose_spark.session import build_session
from polyexpose_spark.workspace import address_models

if TYPE_CHECKING:
    import pyarrow

_ROWS = """
SELECT id, CONCAT('row, ', id) AS s, CAST(id AS DECIMAL(18, 2)) AS d, TIMESTAMP_SECONDS(id * 86400) AS at,
  DATE_ADD(DATE '2013-01-01', CAST(id AS INT)) AS day, id % 2 = 0 AS b, CAST(id AS DOUBLE) AS f,
  CAST(CAST(id AS STRING) AS BINARY) AS x, NAMED_STRUCT('a', CAST(id AS INT)) AS st, ARRAY('a', NULL) AS l,
  MAP('k', CAST(id AS INT)) AS m
FROM RANGE(0, 500, 1, 2)
"""
_TEXT = "CONCAT_WS(',', id, s, d, at, day, b, f, BASE64(x), TO_JSON(st), TO_JSON(l), TO_JSON(m)) AS value"
_TOTALS = """
SELECT v.s, COUNT(*) AS c, MAX(t.d) FROM lake.training.v v JOIN lake.training.t t ON v.id = t.id
GROUP BY v.s ORDER BY c DESC, v.s LIMIT 5
"""


def train() -> None:
    """Run it; everything is written below the working directory (profile `local`)."""
    spark = build_session(config.load("local", port_models=address_models()))
    spark.sql("CREATE NAMESPACE lake.training")
    spark.sql(
        "CREATE TABLE lake.training.t (id BIGINT NOT NULL, s STRING, d DECIMAL(18, 2), at TIMESTAMP, day DATE,"
        " b BOOLEAN, f DOUBLE, x BINARY, st STRUCT<a: INT>, l ARRAY<STRING>, m MAP<STRING, INT>)"
        " USING iceberg PARTITIONED BY (months(at))"
    )
    spark.sql(_ROWS).sortWithinPartitions("at").writeTo("lake.training.t").append()
    snapshot = spark.sql("SELECT snapshot_id FROM lake.training.t.snapshots").collect()[0][0]
    spark.sql(f"ALTER TABLE lake.training.t CREATE TAG served AS OF VERSION {snapshot}")
    spark.sql(
        "CREATE OR REPLACE VIEW lake.training.v (id COMMENT 'key', s) COMMENT 'training' TBLPROPERTIES ('a' = 'b')"
        " AS SELECT id, s FROM lake.training.t VERSION AS OF 'served'"
    )
    spark.sql(_TOTALS).collect()
    table = spark.read.format("iceberg").option("snapshot-id", snapshot).load("lake.training.t")
    table.sort("id").selectExpr(_TEXT).write.option("compression", "gzip").text("text")
    table.select("id", "s", "d", "at").write.csv("csv")
    table.select("id").mapInArrow(_same, "id long").collect()
    spark.sql("SHOW TABLES IN lake.training").collect()
    spark.stop()


def _same(batches: Iterable[pyarrow.RecordBatch]) -> Iterable[pyarrow.RecordBatch]:
    yield from batches


if __name__ == "__main__":
    train()
