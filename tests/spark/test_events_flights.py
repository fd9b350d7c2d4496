"""The whole way for each service: flights, then updates, deletes, inserts, a compaction; read by its official client.

The copy that a consumer keeps equals the table at the exposed snapshot. Kafka is given the whole year; the others a
month of it, and the year under `soak`: their clients and Google's fake hand out some thousands of messages a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyexpose_spark import sample
from polyexpose_spark.clients import Clients
from polyexpose_spark.config import Config
from tests import event_buses
from tests.event_buses import Bus
from tests.spark.events_exposed import Events

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    # Of the official asynchronous client, when it is closed.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KEY = ("time_hour", "carrier", "flight", "origin")
MONTHS = [
    pytest.param("kafka", 12, id="kafka"),
    pytest.param("pubsublite", 1, id="pubsublite"),
    pytest.param("pubsub", 1, id="pubsub"),
    pytest.param("pubsublite", 12, id="pubsublite-year", marks=pytest.mark.soak),
    pytest.param("pubsub", 12, id="pubsub-year", marks=pytest.mark.soak),
]


@pytest.fixture
def bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bus]:
    with event_buses.running(str(request.param), tmp_path / "service") as running:
        yield running


@pytest.mark.parametrize(("bus", "months"), MONTHS, indirect=["bus"])
def test_a_copy_equals_the_table(
    spark: SparkSession, config: Config, namespace: str, tmp_path: Path, bus: Bus, months: int
) -> None:
    events = Events(spark, config, namespace, tmp_path, bus, KEY)
    if bus.name != "pubsub":
        events.settings = {"partitions": 4}
    bus.prepare(namespace)
    sample.load(Clients(config, lambda: spark), lambda *_: None)
    year = spark.table("lake.nyc.flights").where(f"month <= {months}")
    columns = ", ".join(
        f"{each.name} {each.dataType.simpleString()}{' NOT NULL' if each.name in KEY else ''}"
        for each in year.schema.fields
    )
    spark.sql(
        f"CREATE TABLE {events.table} ({columns}) USING iceberg PARTITIONED BY (months(time_hour)) "
        "TBLPROPERTIES ('write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')"
    )
    year.writeTo(events.table).append()
    first = events.expose()
    count = year.count()
    assert first.rows == count
    # A hundredth is updated, another deleted, and both the deleted and new ones inserted.
    events.sql("UPDATE {t} SET dep_delay = coalesce(dep_delay, 0) + 1 WHERE flight % 100 = 7")
    there = spark.table(events.table)
    gone = spark.createDataFrame(there.where("flight % 100 = 8").collect(), there.schema)
    back = gone.count()
    events.sql("DELETE FROM {t} WHERE flight % 100 = 8")
    gone.withColumn("tailnum", gone.dest).writeTo(events.table).append()
    events.sql(f"CALL lake.system.rewrite_data_files(table => '{namespace}.t')")
    second = events.expose()
    updated = spark.table(events.table).where("flight % 100 = 7").count()
    assert second.rows == updated + 2 * back
    replica = events.assert_same(count + updated + 2 * back)
    assert replica.ops == {"r": count, "u": updated, "d": back, "c": back}
    assert replica.repeats == 0
