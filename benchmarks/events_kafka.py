"""Events to a real Kafka broker, against Spark's own Kafka sink.

The same 1,000,000 messages: ours are made from the table (envelope, ids, JSON) and sent by producers on the executors;
Spark's sink is given key, value and headers ready made, read from a table. Same compression, lingering and
acknowledgements. In turn, after a round that does not count.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import event_tables
from benchmarks.ports import free_port
from benchmarks.processor import processor_seconds
from polyexpose_spark import app, runtime
from polyexpose_spark.local.kafka import Broker
from polyexpose_spark.ports.event_names import TYPES
from polyexpose_spark.ports.event_text import EventText, Sent
from polyexpose_spark.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = 1_000_000
ROUNDS = int(os.environ.get("ROUNDS", "5"))
RAW = "lake.bench.raw"


def measure() -> dict[str, Any]:
    """Return rows a second of both, and the ratio of ours to Spark's."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        broker = Broker(free_port(), Path(folder) / "kafka", {"log.segment.delete.delay.ms": "1000"})
        broker.start()
        try:
            return _measured(broker.address)
        finally:
            broker.stop()
            os.chdir(before)


def _measured(address: str) -> dict[str, Any]:
    jars = ",".join(map(str, runtime.jars("bench-spark-kafka")))
    settings = ("sink=kafka", f"kafka.bootstrap_servers={address}", "documents=documents")
    workspace = event_tables.workspace(*(f"ports.events.{each}" for each in settings), spark={"spark.jars": jars})
    session = workspace.clients.session()
    event_tables.make(session, ROWS)
    size = _prepare(workspace)
    ours: list[Spent] = []
    theirs: list[Spent] = []
    for number in range(ROUNDS + 1):
        here = _spent(lambda: event_tables.published(workspace))
        event_tables.withdraw(workspace)
        _make_topic(address)
        there = _spent(lambda: _spark_sink(session, address))
        _drop_topic(address)
        if number:
            ours.append(here)
            theirs.append(there)
    session.stop()
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "rows": ROWS,
        "bytes per message": size,
        "ours, rows/s": round(ROWS / median(each.wall for each in ours)),
        "Spark's Kafka sink, rows/s": round(ROWS / median(each.wall for each in theirs)),
        "ratio": round(median(there.wall / here.wall for here, there in pairs), 2),
        "ours, microseconds of processor a row, broker included": round(median(e.processor for e in ours), 1),
        "Spark's, the same": round(median(each.processor for each in theirs), 1),
        "ratio of processor": round(median(there.processor / here.processor for here, there in pairs), 2),
        "rounds": ROUNDS,
    }


class Spent(NamedTuple):
    """Seconds by the clock, and microseconds of processor a row: of Spark, its workers and the broker."""

    wall: float
    processor: float


def _spent(run: Callable[[], object]) -> Spent:
    began, used = time.monotonic(), processor_seconds()
    run()
    return Spent(time.monotonic() - began, (processor_seconds() - used) / ROWS * 1e6)


def _prepare(workspace: Workspace) -> int:
    """Keep the messages that ours are in a table; return their size in bytes."""

    [(product, [port])] = workspace.ports
    prepared = workspace.prepare(product)
    exposure = prepared.exposure
    pieces = app.served(workspace, prepared, port).pieces(exposure.snapshot.id, 32 << 20)
    with pieces.rows(0, len(pieces)) as rows:
        return _kept(EventText(exposure, 0, False).of(rows, [Sent(exposure.snapshot, 0, 1)]))


def _kept(events: DataFrame) -> int:
    from pyspark.sql import functions as F

    said = {
        "ce_specversion": F.lit("1.0"),
        "ce_source": F.lit("/products/orders"),
        "ce_id": F.col("id"),
        "ce_type": F.lit(TYPES["r"]),
        "ce_time": F.lit("2026-11-25T03:39:13.784Z"),
        "ce_sequence": F.lit(f"{1:020}"),
        "content-type": F.lit("application/json"),
        "ce_partitionkey": F.col("key"),
    }
    headers = [F.struct(F.lit(name).alias("key"), value.cast("binary").alias("value")) for name, value in said.items()]
    raw = events.select(
        F.col("key").cast("binary").alias("key"), F.col("value").cast("binary"), F.array(*headers).alias("headers")
    )
    raw.writeTo(RAW).create()
    size = sum((F.octet_length(F.lit(name)) + F.octet_length(value) for name, value in said.items()), F.lit(0))
    found = events.select(F.avg(F.octet_length("key") + F.octet_length("value") + size)).first()
    return round(found[0]) if found else 0


def _spark_sink(session: SparkSession, address: str) -> None:
    options = {"bootstrap.servers": address, "compression.type": "lz4", "linger.ms": "20", "acks": "all"}
    writer = session.table(RAW).write.format("kafka").option("topic", "raw").option("includeHeaders", True)
    writer.options(**{f"kafka.{name}": value for name, value in options.items()}).save()


def _make_topic(address: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("raw", 4, 1)])["raw"].result(20)


def _drop_topic(address: str) -> None:
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": address})
    admin.delete_topics(["raw"])["raw"].result(20)
