"""A table, its contract, and the topic that `--mode events` sends it to; and what the table's rows are as JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from polyexpose_spark import app
from polyexpose_spark.catalog import Catalog, Table
from polyexpose_spark.config import Config
from polyexpose_spark.receipt import Receipt
from polyexpose_spark.workspace import Request
from tests.event_buses import Bus
from tests.event_replica import Replica
from tests.spark.gql_exposed import declared

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import DataType


@dataclass
class Events:
    """One table with a topic of its own name."""

    spark: SparkSession
    config: Config
    namespace: str
    folder: Path
    bus: Bus
    key: Sequence[str] = ("id",)
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def table(self) -> str:
        return f"lake.{self.namespace}.t"

    def create(self, columns: str = "id BIGINT NOT NULL, note STRING", properties: str = "") -> None:
        """Create the table; `properties` as in TBLPROPERTIES."""
        given = f"TBLPROPERTIES ({properties})" if properties else ""
        self.spark.sql(f"CREATE TABLE {self.table} ({columns}) USING iceberg {given}")

    def sql(self, text: str) -> None:
        """Run a statement; `t` stands for the table."""
        self.spark.sql(text.format(t=self.table))

    def insert(self, *rows: str) -> None:
        self.sql(f"INSERT INTO {{t}} VALUES {', '.join(rows)}")

    def metadata(self) -> Table:
        return Catalog(self.config.catalog).table((self.namespace, "t"))

    def current(self) -> int:
        return int(self.metadata().current_snapshot_id or 0)

    @property
    def topic(self) -> str:
        return str(self.settings.get("topic") or self.namespace)

    def contract(self, **server: Any) -> Path:
        """Write the contract of the table as it is now."""
        found = self.metadata()
        current = found.snapshot(found.current_snapshot_id or 0)
        columns = found.columns(current) if current else [c for c in found.schemas[found.current_schema_id]]
        properties = [
            {
                "name": column.name,
                **declared(column.type),
                "required": column.required,
                **(
                    {"primaryKey": True, "primaryKeyPosition": list(self.key).index(column.name) + 1}
                    if column.name in self.key
                    else {}
                ),
            }
            for column in columns
        ]
        iceberg = {"type": "iceberg", "catalog": "lake", "catalogUrl": "jdbc:sqlite:x", "namespace": self.namespace}
        port = {"property": "port", "vendor": "polyexpose", "value": {"mode": "events", **self.settings}}
        schema = {"name": "t", "logicalType": "object", "physicalName": f"{self.namespace}.t"}
        document = {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": self.namespace,
            "name": "Things",
            "version": "1.2.0",
            "status": "active",
            "schema": [schema | {"properties": properties}],
            "servers": [
                {"server": "source", **iceberg},
                {"server": "events", "type": "custom", "customProperties": [port], **server},
            ],
        }
        path = self.folder / "t.odcs.yaml"
        path.write_text(json.dumps(document))
        return path

    def request(self, *more_settings: str, **more: Any) -> Request:
        settings = (*self.bus.settings, f"ports.events.documents={self.folder / 'documents'}")
        return Request(
            products=(str(self.contract()),), modes=("events",), settings=(*settings, *more_settings), **more
        )

    def run(self, *more_settings: str, listen: Callable[[str, str], None] | None = None, **more: Any) -> Receipt:
        """Expose once and return the receipt, whatever it says."""
        self.steps.clear()

        def told(name: str, detail: str) -> None:
            self.steps.append((name, detail))
            if listen is not None:
                listen(name, detail)

        [receipt] = app.run(self.request(*more_settings, **more), told)
        return receipt

    def expose(self, *more_settings: str, **more: Any) -> Receipt:
        receipt = self.run(*more_settings, **more)
        assert receipt.error is None, receipt.error
        return receipt

    def replica(self, count: int = 1) -> Replica:
        """Read the whole topic, so many messages at least, into a copy of the table."""
        return Replica().apply(self.bus.messages(self.topic, count))

    def assert_same(self, count: int = 1) -> Replica:
        """Fail unless the topic gives the table as it is now; nothing lost, nothing twice but with equal ids."""
        replica = self.replica(count)
        found, expected = replica.rows, self.rows()
        assert found.keys() == expected.keys()
        for key, row in expected.items():
            assert found[key] == row, [(found[key][n], row[n]) for n in row if found[key][n] != row[n]]
        return replica

    def rows(self) -> dict[str, Any]:
        """Return the rows of the table by key, as events have them."""
        table = self.spark.table(self.table)
        rows = {}
        for row in table.collect():
            said = {each.name: as_json(row[each.name], each.dataType) for each in table.schema.fields}
            rows[json.dumps({name: said[name] for name in self.key}, separators=(",", ":"), ensure_ascii=False)] = said
        return rows


def as_json(value: Any, type_: DataType) -> Any:
    """Return a value as an event has it, from what Spark hands to Python."""
    kind = type_.typeName()
    if value is None:
        return None
    if kind in ("long", "decimal"):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if kind in ("float", "double"):
        if kind == "float":
            value = float(str(numpy.float32(value)))  # the shortest decimal that is this 32-bit number
        return value if math.isfinite(value) else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if kind == "binary":
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        zone = "Z" if kind == "timestamp" else ""
        at = value.astimezone(UTC) if kind == "timestamp" else value
        return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + zone
    if isinstance(value, date):
        return value.isoformat()
    if kind == "array":
        return [as_json(each, type_.elementType) for each in value]  # type: ignore[attr-defined]
    if kind == "map":
        pairs = [(as_json(k, type_.keyType), as_json(v, type_.valueType)) for k, v in value.items()]  # type: ignore[attr-defined]
        texts = type_.keyType.typeName() == "string"  # type: ignore[attr-defined]
        return dict(pairs) if texts else [{"key": k, "value": v} for k, v in pairs]
    if kind == "struct":
        return {each.name: as_json(value[each.name], each.dataType) for each in type_.fields}  # type: ignore[attr-defined]
    return value
