"""A table, its contract and its port, for the benchmarks of events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyexpose_spark import app
from polyexpose_spark.position import Position
from polyexpose_spark.workspace import Prepared, Request, Workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLE = "lake.bench.orders"


class NoPosition:
    """Of a port that has never sent anything: every publication is a first load."""

    def read(self) -> Position | None:
        """Return nothing."""
        return None

    def store(self, position: Position) -> None:
        """Keep nothing."""


def workspace(*settings: str, spark: dict[str, str] | None = None, partitions: int = 4) -> Workspace:
    """Return a workspace with the contract of the table, in the working directory."""
    properties = [
        {"name": "id", "logicalType": "integer", "physicalType": "long", "primaryKey": True},
        {"name": "customer", "logicalType": "string", "physicalType": "string"},
        {"name": "amount", "logicalType": "number", "physicalType": "decimal(18,2)"},
        {"name": "paid", "logicalType": "boolean", "physicalType": "boolean"},
    ]
    port = {"property": "port", "vendor": "polyexpose", "value": {"mode": "events", "partitions": partitions}}
    document = {
        "apiVersion": "v3.2.0",
        "kind": "DataContract",
        "id": "orders",
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": "orders", "physicalName": "bench.orders", "properties": properties}],
        "servers": [
            {"server": "source", "type": "iceberg", "namespace": "bench", "catalog": "lake", "catalogUrl": "jdbc:x"},
            {"server": "events", "type": "custom", "customProperties": [port]},
        ],
    }
    Path("orders.odcs.yaml").write_text(json.dumps(document))
    Path("bench.yaml").write_text(json.dumps({"spark": {"driver_memory": "2g", "conf": spark or {}}}))
    request = Request(products=("orders.odcs.yaml",), modes=("events",), conf=("bench.yaml",), settings=settings)
    return Workspace(request)


def make(session: SparkSession, rows: int, files: int = 16) -> None:
    """Create the table; a row's JSON has about 100 bytes."""
    session.sql("CREATE NAMESPACE IF NOT EXISTS lake.bench")
    session.range(0, rows, 1, files).selectExpr(
        "id",
        "concat('customer number ', id % 50000) AS customer",
        "CAST((id % 1000000) / 100 AS DECIMAL(18,2)) AS amount",
        "id % 3 = 0 AS paid",
    ).writeTo(TABLE).tableProperty("write.distribution-mode", "none").create()


def published(of: Workspace) -> tuple[Any, Prepared]:
    """Send the whole table as a first load, and take everything away again; return what was published."""
    [(product, [port])] = of.ports
    prepared = of.prepare(product)
    found = port.publish(port.plan(prepared.exposure), app.served(of, prepared, port), NoPosition(), lambda *_: None)
    return found, prepared


def withdraw(of: Workspace) -> None:
    """Delete the topic."""
    [(product, [port])] = of.ports
    port.withdraw(product, lambda *_: None)
