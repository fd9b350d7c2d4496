"""The words of an event: operations, CloudEvents types."""

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
