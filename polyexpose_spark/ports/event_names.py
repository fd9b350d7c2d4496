"""The words of an event: operations, CloudEvents types, header names.

Sources: CloudEvents 1.0.2 with its Kafka binding (`ce_`), Google's Pub/Sub binding (`ce-`).
"""

from __future__ import annotations

OPERATIONS = {"insert": "c", "update": "u", "delete": "d", "read": "r"}
"""What happened to a row -> `op` of the event, as Debezium has it; `r`: read, in a first load."""

TYPES = {
    "c": "io.polyexpose.row.created",
    "u": "io.polyexpose.row.updated",
    "d": "io.polyexpose.row.deleted",
    "r": "io.polyexpose.row.read",
}
"""`op` -> CloudEvents type."""

CONTENT_TYPE = "content-type"
"""The one header without a prefix, in both bindings."""
KAFKA_PREFIX = "ce_"
PUBSUB_PREFIX = "ce-"
"""Of attributes of Pub/Sub and Pub/Sub Lite."""


def source_of(product_id: str) -> str:
    """Return the CloudEvents `source` of a product, a URI reference."""
    return f"/products/{product_id}"
