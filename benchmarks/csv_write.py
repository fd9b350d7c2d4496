"""What exposing as CSV costs over Spark's own `df.write.csv` with its defaults: the same table, the same session.

5,000,000 rows of 8 columns, about 550 MB of text. Ours is publish() from end to end: text by RFC 4180, hashes, counts,
manifest, pointer; as parts, as one file, and compressed. The ways are measured in turn, after a round that does not
count. Seconds of processor are those of Python, the JVM and the workers together: on a busy machine they say more.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.processor import processor_seconds
from polyexpose_spark import app
from polyexpose_spark.workspace import Request, Workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS = 5_000_000
ROUNDS = int(os.environ.get("ROUNDS", "5"))
TABLE = "lake.bench.orders"
COLUMNS = {
    "id": "long",
    "customer": "string",
    "remark": "string",
    "amount": "double",
    "price": "decimal(18,2)",
    "ordered_at": "timestamptz",
    "due": "date",
    "paid": "boolean",
}
WAYS = {"parts": {}, "one file": {"singleFile": True}}


def measure() -> dict[str, Any]:
    """Return the medians over ROUNDS, in seconds, and their ratios to Spark's own writer."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            return _measured()
        finally:
            os.chdir(before)


def _measured() -> dict[str, Any]:
    Path("orders.odcs.yaml").write_text(yaml.safe_dump(_contract()))
    workspace = Workspace(Request(products=("orders.odcs.yaml",), modes=("csv",)))
    session = workspace.clients.session()
    _make(session)
    ways: dict[str, Callable[[], None]] = {"df.write.csv": lambda: session.table(TABLE).write.csv("reference")}
    ways |= {port.spec.server: _publishing(workspace, index) for index, port in enumerate(workspace.ports[0][1])}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, run in ways.items():
            for left in ("reference", ".polyexpose/exposed"):
                shutil.rmtree(left, ignore_errors=True)
            began, cpu = time.monotonic(), processor_seconds()
            run()
            if number:
                wall[name].append(time.monotonic() - began)
                busy[name].append(processor_seconds() - cpu)
    return {kind: _ratios(found) for kind, found in (("wall", wall), ("processor", busy))} | {"rounds": ROUNDS}


def _ratios(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    # In turn means in pairs: what the machine did meanwhile hits both of a pair.
    reference = found["df.write.csv"]
    return {
        name: {
            "seconds": round(median(seconds), 2),
            "ratio": round(median(ours / theirs for ours, theirs in zip(seconds, reference, strict=True)), 2),
        }
        for name, seconds in found.items()
    }


def _publishing(workspace: Workspace, index: int) -> Callable[[], None]:
    [(product, ports)] = workspace.ports
    port = ports[index]

    def publish() -> None:
        prepared = workspace.prepare(product)
        served = app.served(workspace, prepared, port)
        published = port.publish(port.plan(prepared.exposure), served, None, lambda *_: None)
        assert published.rows == ROWS

    return publish


def _contract() -> dict[str, Any]:
    stands_for = {"long": "integer", "double": "number", "timestamptz": "timestamp"}
    ports = [
        {
            "server": name,
            "type": "custom",
            "customProperties": [{"property": "port", "vendor": "polyexpose", "value": {"mode": "csv", **settings}}],
        }
        for name, settings in WAYS.items()
    ]
    source = {"server": "source", "type": "iceberg", "namespace": "bench", "catalog": "lake", "catalogUrl": "jdbc:x"}
    return {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "orders",
        "version": "1.0.0",
        "status": "active",
        "schema": [
            {
                "name": "orders",
                "properties": [
                    {"name": n, "physicalType": t, "logicalType": stands_for.get(t, "number" if "(" in t else t)}
                    for n, t in COLUMNS.items()
                ],
            }
        ],
        "servers": [source, *ports],
    }


def _make(session: SparkSession) -> None:
    session.sql("CREATE NAMESPACE lake.bench")
    session.range(0, ROWS, 1, 8).selectExpr(
        "id",
        "concat('customer number ', id % 50000) AS customer",
        """concat('say "hi", ', id % 977) AS remark""",
        "id * 0.37D AS amount",
        "CAST((id % 1000000) / 100 AS DECIMAL(18,2)) AS price",
        "timestamp_micros(1356998400000000 + id * 1234567) AS ordered_at",
        "date_add(DATE'2013-01-01', CAST(id % 3650 AS INT)) AS due",
        "id % 3 = 0 AS paid",
    ).writeTo(TABLE).tableProperty("write.distribution-mode", "none").create()
