"""A real Iceberg table, exposed by the real csv port into a real folder: what the tests of the port start from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyexpose_spark import snapshot
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.clients import Clients
from polyexpose_spark.clients.files import LocalFiles
from polyexpose_spark.config import Config
from polyexpose_spark.ports.base import Exposure, Published
from polyexpose_spark.ports.csv import CsvPort
from polyexpose_spark.ports.csv_settings import CsvAddresses, CsvSettings
from polyexpose_spark.product import Column, DataProduct, PortSpec
from polyexpose_spark.served import PinnedRows
from tests.products import NoPositions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class Exposed:
    """What a consumer finds, and what the port told."""

    root: Path
    published: Published
    steps: list[str]

    @property
    def package(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / "datapackage.json").read_text(encoding="utf-8"))
        return found

    @property
    def files(self) -> list[Path]:
        return [self.root / each["path"] for each in self.package["resources"]]

    @property
    def data(self) -> bytes:
        """The bytes of all files, in order."""
        return b"".join(each.read_bytes() for each in self.files)

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class Lake:
    """A namespace of the catalog, and a folder to expose into."""

    spark: SparkSession
    config: Config
    namespace: str
    folder: Path
    primary_key: tuple[str, ...] = ()
    content: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)

    def create(self, columns: str, rows: Sequence[tuple[Any, ...]] = (), name: str = "t") -> None:
        """Create a table; the rows, if any, are one data file in this order."""
        self.spark.sql(f"CREATE TABLE lake.{self.namespace}.{name} ({columns}) USING iceberg")
        if rows:
            self.append(rows, name)

    def append(self, rows: Sequence[tuple[Any, ...]], name: str = "t") -> None:
        schema = self.spark.table(f"lake.{self.namespace}.{name}").schema
        self.spark.createDataFrame(list(rows), schema).coalesce(1).writeTo(f"lake.{self.namespace}.{name}").append()

    def insert(self, query: str, name: str = "t") -> None:
        self.spark.sql(f"INSERT INTO lake.{self.namespace}.{name} {query}")

    def exposure(self, snapshot_id: int | None = None, name: str = "t") -> Exposure:
        table = Catalog(self.config.catalog).table((self.namespace, name))
        pinned = snapshot.pin(table, snapshot_id)
        columns = tuple(
            Column(
                each.name,
                each.type,
                each.required,
                f"about {each.name}",
                self.primary_key.index(each.name) + 1 if each.name in self.primary_key else 0,
            )
            for each in table.columns(pinned)
        )
        of = DataProduct(
            path="things.odcs.yaml",
            id="things",
            name=name,
            version="1.0.0",
            title="Things",
            description="Things of all kinds.",
            table=(self.namespace, name),
            properties=(),
            relationships=(),
            ports=(),
            row_filters=(),
            quality_rules=0,
            state_location=None,
            content=self.content,
        )
        return Exposure(of, pinned, columns, f"polyexpose_things_{pinned.id}")

    def port(self, **settings: Any) -> CsvPort:
        given = CsvSettings.model_validate(settings)
        spec = PortSpec("csv", "csv", given, {"location": str(self.folder)}, (), "servers[1]")
        return CsvPort(spec, given, CsvAddresses(), Clients(self.config, lambda: self.spark))

    def served(self, exposure: Exposure) -> PinnedRows:
        name = snapshot.quoted("lake", exposure.product.table)
        source = Catalog(self.config.catalog).table(exposure.product.table)
        return PinnedRows(exposure, name, lambda: self.spark, source, LocalFiles(), str(self.folder / "checkpoints"))

    def expose(self, snapshot_id: int | None = None, name: str = "t", **settings: Any) -> Exposed:
        """Plan and publish, as the app does."""
        port, exposure = self.port(**settings), self.exposure(snapshot_id, name)
        steps: list[str] = []
        plan = port.plan(exposure)
        published = port.publish(plan, self.served(exposure), NoPositions(), lambda step, _: steps.append(step))
        return Exposed(self.folder, published, steps)
