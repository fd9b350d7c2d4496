"""Random histories of random tables: replaying what is said to have changed onto the old state gives the new one."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from hypothesis import strategies as st

from polyexpose_spark.config import Config
from tests.spark.changed import COPY_ON_WRITE, MERGE_ON_READ, Changing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

# Type -> SQL that makes a value of an INT expression; few values, so that rows are equal and keys come again.
TYPES = {
    "BIGINT": "CAST({0} AS BIGINT)",
    "INT": "{0}",
    "STRING": "concat('ü,\"', {0})",
    "DOUBLE": "element_at(array(double('nan'), -0.0D, 0.0D, 0.1D), {0} % 4 + 1)",
    "FLOAT": "element_at(array(float('nan'), float(-0.0D), float(0), float(1.5D)), {0} % 4 + 1)",
    "DECIMAL(9,2)": "CAST({0} + 0.25 AS DECIMAL(9,2))",
    "DATE": "date_add(DATE'1999-12-30', {0})",
    "TIMESTAMP": "timestamp_millis({0} * 86400001)",
    "BINARY": "CAST(string({0}) AS BINARY)",
    "BOOLEAN": "{0} % 2 = 0",
    "MAP<STRING, DOUBLE>": "map('a', double({0} % 2), 'b', IF({0} % 3 = 0, -0.0D, NULL))",
    "ARRAY<FLOAT>": "array(float({0} % 2), NULL, float('nan'))",
    "STRUCT<x: INT, m: MAP<INT, STRING>>": "named_struct('x', {0} % 2, 'm', map({0} % 2, 'v'))",
}
WIDER = {"INT": "BIGINT", "FLOAT": "DOUBLE", "DECIMAL(9,2)": "DECIMAL(18,2)"}
PARTITIONS = ("", "k", "bucket(2, k)", "truncate(4, k)")


class History:
    """One table, and the operations that Hypothesis draws for it."""

    def __init__(self, lake: Changing, data: st.DataObject) -> None:
        self.lake, self.data = lake, data
        # Two columns that are always there, and others that come and go, each with the type it has now.
        self.columns = {f"c{index}": self.draw(st.sampled_from(sorted(TYPES))) for index in range(self.number(1, 3))}
        self.made = len(self.columns)
        self.partition = self.draw(st.sampled_from(PARTITIONS))
        version = self.draw(st.sampled_from("23"))
        modes = self.draw(st.sampled_from([COPY_ON_WRITE, MERGE_ON_READ, MERGE_ON_READ]))
        granularity = self.draw(st.sampled_from(["file", "partition"]))
        columns = ", ".join(["k INT, v INT", *(f"{name} {type_}" for name, type_ in self.columns.items())])
        partitioned = f"PARTITIONED BY ({self.partition})" if self.partition else ""
        self.run(
            f"CREATE TABLE $t ({columns}) USING iceberg {partitioned} "
            f"TBLPROPERTIES ('format-version'='{version}', {modes}, 'write.delete.granularity'='{granularity}')"
        )
        self.insert()
        self.first = self.lake.current

    def draw(self, strategy: st.SearchStrategy[str]) -> str:
        return self.data.draw(strategy)

    def number(self, least: int, most: int) -> int:
        return self.data.draw(st.integers(least, most))

    def run(self, statement: str) -> None:
        note(statement)
        self.lake.sql(statement)

    def rows(self, key: str, count: int) -> str:
        """Return a query of so many rows; a part of everything is NULL, and a key may come twice."""
        salt = self.number(0, 9)
        values = [f"{key} AS k", f"IF(id % 5 = 4, NULL, CAST((id + {salt}) % 3 AS INT)) AS v"]
        for position, (name, type_) in enumerate(self.columns.items()):
            number = f"CAST((id * {position + 1} + {salt}) % 5 AS INT)"
            value = TYPES.get(type_, f"CAST({number} AS {type_})").format(number)
            values.append(f"IF((id + {position} + {salt}) % 6 = 5, NULL, {value}) AS {name}")
        return f"SELECT /*+ REPARTITION({self.number(1, 2)}) */ {', '.join(values)} FROM range({count})"

    def some(self) -> str:
        return self.draw(st.sampled_from(["k % 3 = {}", "k = {}", "v = {}", "k > 5 + {}", "k IS NULL", "true"])).format(
            self.number(0, 2)
        )

    def insert(self) -> None:
        start = self.number(0, 8)
        key = self.draw(
            st.sampled_from([f"CAST(id + {start} AS INT)", f"IF(id % 4 = 3, NULL, CAST(id % 3 + {start} AS INT))"])
        )
        self.run(f"INSERT INTO $t BY NAME {self.rows(key, self.number(1, 9))}")

    def delete(self) -> None:
        self.run(f"DELETE FROM $t WHERE {self.some()}")

    def update(self) -> None:
        self.run(f"UPDATE $t SET v = {self.draw(st.sampled_from(['v + 1', '7', 'NULL', 'k']))} WHERE {self.some()}")

    def update_key(self) -> None:
        self.run(f"UPDATE $t SET k = k + {self.number(1, 3)} WHERE {self.some()}")

    def merge(self) -> None:
        source = self.rows(f"CAST(id * 2 + {self.number(0, 4)} AS INT)", self.number(1, 5))
        self.run(
            f"MERGE INTO $t USING ({source}) s ON $t.k = s.k WHEN MATCHED AND s.k % 3 = 0 THEN DELETE "
            "WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT *"
        )

    def overwrite(self) -> None:
        mode = self.draw(st.sampled_from(["static", "dynamic"]))
        self.lake.spark.conf.set("spark.sql.sources.partitionOverwriteMode", mode)
        try:
            key = f"CAST(id + {self.number(0, 8)} AS INT)"
            self.run(f"INSERT OVERWRITE $t BY NAME {self.rows(key, self.number(1, 6))}")
        finally:
            self.lake.spark.conf.unset("spark.sql.sources.partitionOverwriteMode")

    def compact(self) -> None:
        self.run("CALL lake.system.rewrite_data_files(table => '$n', options => map('rewrite-all', 'true'))")

    def rewrite(self) -> None:
        everything = "table => '$n', options => map('rewrite-all', 'true')"
        calls = ["rewrite_manifests('$n')", f"rewrite_position_delete_files({everything})"]
        self.run(f"CALL lake.system.{self.draw(st.sampled_from(calls))}")

    def add_column(self) -> None:
        name, type_ = f"c{self.made}", self.draw(st.sampled_from(sorted(TYPES)))
        self.made += 1
        self.columns[name] = type_
        self.run(f"ALTER TABLE $t ADD COLUMN {name} {type_} {self.draw(st.sampled_from(['', 'FIRST', 'AFTER k']))}")

    def drop_column(self) -> None:
        if self.columns:
            name = self.draw(st.sampled_from(sorted(self.columns)))
            del self.columns[name]
            self.run(f"ALTER TABLE $t DROP COLUMN {name}")

    def rename_column(self) -> None:
        if self.columns:
            name, to = self.draw(st.sampled_from(sorted(self.columns))), f"c{self.made}"
            self.made += 1
            self.columns[to] = self.columns.pop(name)
            self.run(f"ALTER TABLE $t RENAME COLUMN {name} TO {to}")

    def widen_column(self) -> None:
        for name, type_ in self.columns.items():
            if type_ in WIDER:
                self.columns[name] = WIDER[type_]
                self.run(f"ALTER TABLE $t ALTER COLUMN {name} TYPE {WIDER[type_]}")
                return

    def move_column(self) -> None:
        self.run(f"ALTER TABLE $t ALTER COLUMN v {self.draw(st.sampled_from(['FIRST', 'AFTER k']))}")

    def partition_otherwise(self) -> None:
        new = self.draw(st.sampled_from([each for each in PARTITIONS if each != self.partition]))
        if self.partition:
            self.run(f"ALTER TABLE $t DROP PARTITION FIELD {self.partition}")
        if new:
            self.run(f"ALTER TABLE $t ADD PARTITION FIELD {new}")
        self.partition = new


OFTEN = ["insert", "delete", "update", "merge"] * 2
ALL = [
    *OFTEN,
    "update_key",
    "overwrite",
    "compact",
    "rewrite",
    "add_column",
    "drop_column",
    "rename_column",
    "widen_column",
    "move_column",
    "partition_otherwise",
]


def check(spark: SparkSession, config: Config, data: st.DataObject) -> None:
    namespace = f"h{uuid.uuid4().hex[:10]}"
    spark.sql(f"CREATE NAMESPACE lake.{namespace}")
    lake = Changing(spark, config, namespace)
    history = History(lake, data)
    for _ in range(history.number(5, 30)):
        getattr(history, history.draw(st.sampled_from(ALL)))()
    key = history.draw(st.sampled_from(["k", "k", ""]))
    keys = [key] if key else []
    lake.told(history.first, *keys)
    lake.per_snapshot(history.first, *keys)
    # Between any two, backwards too; in the columns of either.
    ids = [each.id for each in lake.table.snapshots]
    since, until = (ids[history.number(0, len(ids) - 1)] for _ in range(2))
    lake.told(since, *keys, until=until, schema_of=ids[-1])
    lake.spark.sql(f"DROP TABLE {lake.name} PURGE")


def run(spark: SparkSession, config: Config, histories: int) -> None:
    chosen = random.SystemRandom().randrange(1 << 32)
    print(f"seed {chosen}")

    @seed(chosen)
    @settings(
        max_examples=histories,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a history takes seconds: making it smaller would take hours
        print_blob=True,
    )
    @given(st.data())
    def histories_hold(data: st.DataObject) -> None:
        check(spark, config, data)

    before = spark.conf.get("spark.sql.shuffle.partitions")
    spark.conf.set("spark.sql.shuffle.partitions", "2")
    try:
        histories_hold()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", str(before))


@pytest.mark.timeout(1800)  # about 5 minutes on two idle cores
def test_random_histories(spark: SparkSession, config: Config) -> None:
    run(spark, config, 40)


@pytest.mark.soak
@pytest.mark.timeout(4000)
def test_many_random_histories(spark: SparkSession, config: Config) -> None:
    run(spark, config, 250)
