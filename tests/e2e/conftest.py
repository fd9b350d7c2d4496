"""A laptop of its own: the shipped profile in a fresh folder, commands in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark import config as configuration
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import Config
from polyexpose_spark.workspace import address_models

AT_STEP = Path(__file__).parent / "at_step.py"

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: orders
name: Orders
version: 1.0.0
status: active
schema:
  - name: orders
    logicalType: object
    physicalName: sales.orders
    properties:
      - {name: id, logicalType: integer, physicalType: long, required: true, primaryKey: true}
      - {name: note, logicalType: string}
servers:
  - {server: source, type: iceberg, catalog: lake, catalogUrl: 'jdbc:sqlite:x', namespace: sales}
  - server: sql
    type: iceberg
    catalog: lake
    catalogUrl: 'jdbc:sqlite:x'
    namespace: sales_exposed
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: sql, keepSnapshots: 2}}
  - server: csv
    type: custom
    format: csv
    location: out
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: csv, keepSnapshots: 2}}
"""


@dataclass
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Laptop:
    """One folder with the state of a user, and the commands he types in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "orders.odcs.yaml").write_text(CONTRACT)

    def start(self, *arguments: str, step: str = "-", what: str = "-") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(AT_STEP), step, what, *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, step: str = "-", what: str = "-") -> Done:
        process = self.start(*arguments, step=step, what=what)
        out, err = process.communicate(timeout=180)
        return Done(process.returncode, out, err)

    def cli(self, *arguments: str) -> Done:
        """Run main.py, without any listener."""
        done = subprocess.run(
            [sys.executable, "-m", "polyexpose_spark.cli", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def sql(self, text: str) -> Done:
        done = self.cli("--mode", "sql", "--allow-writes", "--output", "json", "--query", text)
        assert done.code == 0, done.err
        return done

    def append(self, first: int, last: int) -> None:
        """Commit rows as another engine does (pyiceberg): no JVM has to start for it."""
        import pyarrow as pa
        from pyiceberg.catalog.sql import SqlCatalog

        state = self.folder / ".polyexpose"
        catalog = SqlCatalog(
            "lake", uri=f"sqlite:///{state}/catalog.db?timeout=30", warehouse=f"file://{state}/warehouse"
        )
        ids = list(range(first, last))
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("note", pa.string())])
        catalog.load_table("sales.orders").append(pa.table([ids, [f"n{each}" for each in ids]], schema=schema))
        catalog.engine.dispose()

    @property
    def config(self) -> Config:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            return configuration.load("local", port_models=address_models())
        finally:
            os.chdir(before)

    @property
    def catalog(self) -> Catalog:
        return Catalog(self.config.catalog)

    @property
    def csv(self) -> Path:
        return self.folder / ".polyexpose/exposed/csv/orders"

    def exposed_files(self) -> dict[str, str]:
        """Path below the csv port's folder -> sha256."""
        return {
            str(path.relative_to(self.csv)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.csv.rglob("*"))
            if path.is_file()
        }

    def tags(self) -> set[str]:
        return {name for name, ref in self.catalog.table(("sales", "orders")).refs.items() if ref.kind == "tag"}

    def ledger(self, port: str) -> Any:
        return json.loads((self.folder / f".polyexpose/state/orders/{port}.json").read_text())

    def csv_reader(self) -> tuple[int, int]:
        """Follow the pointer as a consumer does; return snapshot id and rows; fail on anything that is not whole."""
        package = json.loads((self.csv / "datapackage.json").read_text())
        rows = 0
        for resource in package["resources"]:
            data = (self.csv / resource["path"]).read_bytes()
            assert len(data) == resource["bytes"]
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == resource["hash"]
            rows += data.count(b"\n") - 1
        return package["polyexpose"]["snapshotId"], rows

    def sql_reader(self) -> int:
        """Return the snapshot id that the view reads; fail where its tag is not there."""
        view = self.catalog.view(("sales_exposed", "orders"))
        assert view is not None
        snapshot_id = int(view.properties["polyexpose.snapshot-id"])
        ref = self.catalog.table(("sales", "orders")).refs[f"polyexpose_orders_{snapshot_id}"]
        assert ref.snapshot_id == snapshot_id
        assert f"polyexpose_orders_{snapshot_id}" in view.sql
        return snapshot_id


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with the table sales.orders (100 rows), not exposed yet."""
    folder = tmp_path_factory.mktemp("laptop")
    made = Laptop(folder)
    made.sql(
        "CREATE NAMESPACE lake.sales; CREATE TABLE lake.sales.orders (id BIGINT NOT NULL, note STRING) USING iceberg; "
        "INSERT INTO lake.sales.orders SELECT id, concat('n', id) FROM range(100)"
    )
    yield made
    shutil.rmtree(folder, ignore_errors=True)
