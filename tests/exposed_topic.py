"""An exposure of a product with a key, and its AsyncAPI document for each service."""

from __future__ import annotations

from typing import Any

from polyexpose_spark import logical
from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.ports import asyncapi
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.events_settings import EventsSettings
from polyexpose_spark.product import Column
from tests.products import data_product

COLUMNS = (
    Column("region", logical.parse("string"), True, "", 2),
    Column("order_id", logical.parse("long"), True, "Who it is.", 1),
    Column("total", logical.parse("decimal(10,2)"), False, "", 0),
    Column("lines", logical.parse("list<struct<sku: string, count: int>>"), False, "What was bought.", 0),
    Column("note", logical.parse("string"), False, "", 0),
)
KAFKA = asyncapi.Server("kafka", "a:9092,b:9092", "kafka://a:9092,b:9092/orders")
PUBSUB = asyncapi.Server("googlepubsub", "pubsub.googleapis.com", "pubsub://p1/orders")
LITE = asyncapi.Server("pubsublite", "europe-west1-pubsublite.googleapis.com", "pubsublite://europe-west1-b/p1/orders")


def exposure(columns: tuple[Column, ...] = COLUMNS) -> Exposure:
    changes = {"name": "orders", "version": "1.2.0", "title": "Orders é", "description": "All orders."}
    product = data_product("sales_orders", ("sales", "orders"), **changes)
    snapshot = Snapshot(7425263523458645, None, 1_700_000_000_123, "append", 0, 5, 1, 1, {})
    return Exposure(product, snapshot, columns, "tag", table_uuid="1b5017bc-0000-4000-8000-000000000000")


def described(
    server: asyncapi.Server = KAFKA, columns: tuple[Column, ...] = COLUMNS, **settings: Any
) -> dict[str, Any]:
    return asyncapi.document(exposure(columns), server, "orders", EventsSettings(**settings), "d1")
