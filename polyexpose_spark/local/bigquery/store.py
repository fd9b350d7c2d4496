"""State: one DuckDB file with the rows, the catalog of datasets and tables, and the finished jobs.

The catalog is kept in memory as values that are never changed in place; a transaction works on copies and writes what
differs into the same DuckDB transaction as the rows. So rows, catalog and the job that made them appear together or
not at all, whatever ends the process.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from polyexpose_spark.local.bigquery.errors import not_found
from polyexpose_spark.local.bigquery.fields import Field, engine_type, is_required, quote_name
from polyexpose_spark.local.bigquery.macros import MACROS

Resource = dict[str, Any]

SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_progress_bar": "false",
    "ieee_floating_point_ops": "false",  # BigQuery: division by zero is an error
    "memory_limit": "1GB",
    "threads": "2",
    "TimeZone": "UTC",
}
LAYOUT = """
CREATE SCHEMA IF NOT EXISTS data;
CREATE SCHEMA IF NOT EXISTS state;
CREATE TABLE IF NOT EXISTS state.datasets (project VARCHAR, dataset VARCHAR, body VARCHAR);
CREATE TABLE IF NOT EXISTS state.tables (
  project VARCHAR, dataset VARCHAR, name VARCHAR, physical VARCHAR, view_default VARCHAR, body VARCHAR);
CREATE TABLE IF NOT EXISTS state.jobs (project VARCHAR, job VARCHAR, body VARCHAR);
"""


class DatasetKey(NamedTuple):
    """Name of a dataset."""

    project: str
    dataset: str

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}"


class TableKey(NamedTuple):
    """Name of a table or view."""

    project: str
    dataset: str
    table: str

    @property
    def parent(self) -> DatasetKey:
        """The dataset of the table."""
        return DatasetKey(self.project, self.dataset)

    @property
    def reference(self) -> Resource:
        """The TableReference of the REST API."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"


@dataclass(frozen=True)
class Entry:
    """One table or view: its REST resource, never changed in place, and where its rows are.

    `physical` is the name of the DuckDB table in the schema `data`, empty for a view. `view_default` is the dataset
    (``project.dataset``) that unqualified names in a view's query mean.
    """

    resource: Resource
    physical: str = ""
    view_default: str = ""

    @property
    def fields(self) -> list[Field]:
        """The fields of the schema."""
        return list(self.resource.get("schema", {}).get("fields", []))

    @property
    def is_view(self) -> bool:
        """Whether this is a view."""
        return bool(self.resource["type"] == "VIEW")

    @property
    def source(self) -> str:
        """The rows as a DuckDB table name."""
        return f"data.{quote_name(self.physical)}"


@dataclass
class Catalog:
    """Datasets and tables; `shape` counts changes that a translated query would notice."""

    datasets: dict[DatasetKey, Resource] = field(default_factory=dict)
    tables: dict[TableKey, Entry] = field(default_factory=dict)
    shape: int = 0

    def dataset(self, key: DatasetKey) -> Resource:
        """Return a dataset, or raise 404."""
        if key not in self.datasets:
            raise not_found("Dataset", str(key))
        return self.datasets[key]

    def table(self, key: TableKey) -> Entry:
        """Return a table or view, or raise 404."""
        self.dataset(key.parent)
        if key not in self.tables:
            raise not_found("Table", f"{key} was not found in location {self.datasets[key.parent]['location']}")
        return self.tables[key]

    def of(self, parent: DatasetKey) -> list[tuple[TableKey, Entry]]:
        """Return the tables of a dataset, by name."""
        return sorted((k, e) for k, e in self.tables.items() if k.parent == parent)


def now_millis() -> str:
    """Return the time as the REST API writes it: milliseconds in a string."""
    return str(time.time_ns() // 1_000_000)


def touched(resource: Resource) -> Resource:
    """Return the resource with a new etag and modification time."""
    return {**resource, "etag": uuid.uuid4().hex, "lastModifiedTime": now_millis()}


class Transaction:
    """Changes that become visible together. Made by `Store.transaction` only."""

    def __init__(self, con: duckdb.DuckDBPyConnection, catalog: Catalog) -> None:
        self.con = con
        self.catalog = Catalog(dict(catalog.datasets), dict(catalog.tables), catalog.shape)
        self.jobs: dict[tuple[str, str], Resource | None] = {}

    def put_dataset(self, key: DatasetKey, resource: Resource) -> Resource:
        """Create or replace a dataset's resource; give it a new etag."""
        self.catalog.datasets[key] = touched(resource)
        self.catalog.shape += 1
        return self.catalog.datasets[key]

    def drop_dataset(self, key: DatasetKey) -> None:
        """Delete a dataset and all its tables."""
        for table, _ in self.catalog.of(key):
            self.drop_table(table)
        del self.catalog.datasets[key]

    def put_table(self, key: TableKey, entry: Entry) -> Entry:
        """Create or replace a table's entry; give it a new etag. The rows are the caller's."""
        self.catalog.tables[key] = replace(entry, resource=touched(entry.resource))
        self.catalog.shape += 1
        return self.catalog.tables[key]

    def rows_changed(self, key: TableKey) -> None:
        """Give a table whose rows changed a new etag."""
        entry = self.catalog.tables[key]
        self.catalog.tables[key] = replace(entry, resource=touched(entry.resource))

    def drop_table(self, key: TableKey) -> None:
        """Delete a table or view with its rows."""
        entry = self.catalog.tables.pop(key)
        self.catalog.shape += 1
        if entry.physical:
            self.con.execute(f"DROP TABLE {entry.source}")

    def new_rows(self, fields: list[Field], defaults: dict[str, str] | None = None) -> str:
        """Create an empty DuckDB table for these fields; return its name.

        `defaults` holds DuckDB expressions by field name.
        """
        physical = f"t_{uuid.uuid4().hex}"
        columns = []
        for x in fields:
            text = f"{quote_name(x['name'])} {engine_type(x)}"
            if defaults and x["name"] in defaults:
                text += f" DEFAULT {defaults[x['name']]}"
            columns.append(text + (" NOT NULL" if is_required(x) else ""))
        # DuckDB has no table without columns, BigQuery has.
        listed = ", ".join(columns) or "_no_columns BOOLEAN"
        self.con.execute(f"CREATE TABLE data.{quote_name(physical)} ({listed})")
        return physical

    def persist(self, before: Catalog) -> None:
        """Write what differs from the catalog before into the state tables."""
        execute = self.con.execute
        for dataset in before.datasets.keys() | self.catalog.datasets.keys():
            new = self.catalog.datasets.get(dataset)
            if new is before.datasets.get(dataset):
                continue
            execute("DELETE FROM state.datasets WHERE project = ? AND dataset = ?", [*dataset])
            if new is not None:
                execute("INSERT INTO state.datasets VALUES (?, ?, ?)", [*dataset, json.dumps(new)])
        for key in before.tables.keys() | self.catalog.tables.keys():
            entry = self.catalog.tables.get(key)
            if entry is before.tables.get(key):
                continue
            execute("DELETE FROM state.tables WHERE project = ? AND dataset = ? AND name = ?", [*key])
            if entry is not None:
                row = [*key, entry.physical, entry.view_default, json.dumps(entry.resource)]
                execute("INSERT INTO state.tables VALUES (?, ?, ?, ?, ?, ?)", row)
        for (project, job), body in self.jobs.items():
            execute("DELETE FROM state.jobs WHERE project = ? AND job = ?", [project, job])
            if body is not None:
                execute("INSERT INTO state.jobs VALUES (?, ?, ?)", [project, job, json.dumps(body)])


class Store:
    """The DuckDB file under `folder`, and its catalog. Calls from several threads take turns."""

    def __init__(self, folder: Path) -> None:
        """Open or create the file.

        Raises duckdb.IOException if another process has it open.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.uploads = folder / "uploads"
        self.uploads.mkdir(exist_ok=True)
        for left in self.uploads.iterdir():  # of a process that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.lock = threading.RLock()
        self.con = duckdb.connect(str(folder / "bigquery.duckdb"))
        for name, value in SETTINGS.items():
            self.con.execute(f"SET {name} = '{value}'")
        self.con.execute(f"SET temp_directory = '{str(folder / 'spill').replace(chr(39), chr(39) * 2)}'")
        self.con.execute(LAYOUT)
        for macro in MACROS:
            self.con.execute(f"CREATE OR REPLACE TEMP MACRO {macro}")
        self.catalog = Catalog()
        # Of sql/script.py: queries in DuckDB's SQL, valid as long as the catalog's shape stays.
        self.translations: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.finished_jobs: dict[tuple[str, str], Resource] = {}
        self._read()
        self._open: Transaction | None = None

    def _read(self) -> None:
        for project, dataset, body in self.con.execute("FROM state.datasets").fetchall():
            self.catalog.datasets[DatasetKey(project, dataset)] = json.loads(body)
        for project, dataset, name, physical, default, body in self.con.execute("FROM state.tables").fetchall():
            self.catalog.tables[TableKey(project, dataset, name)] = Entry(json.loads(body), physical, default)
        for project, job, body in self.con.execute("FROM state.jobs").fetchall():
            self.finished_jobs[project, job] = json.loads(body)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Change rows, catalog and jobs together; any exception undoes all of it.

        Within a transaction of the same thread this is that transaction: the outermost one commits.
        """
        with self.lock:
            if self._open is not None:
                yield self._open
                return
            self._expire()
            self.con.execute("BEGIN")
            tx = self._open = Transaction(self.con, self.catalog)
            try:
                yield tx
                tx.persist(self.catalog)
                self.con.execute("COMMIT")
            except BaseException:
                self._undo()
                raise
            finally:
                self._open = None
            self.catalog = tx.catalog
            for key, body in tx.jobs.items():
                if body is None:
                    self.finished_jobs.pop(key, None)
                else:
                    self.finished_jobs[key] = body

    def _undo(self) -> None:
        # Where the failure was in COMMIT, DuckDB has ended it.
        with suppress(duckdb.TransactionException):
            self.con.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[Catalog]:
        """Keep others from changing anything while reading; expired tables are gone."""
        with self.lock:
            if self._open is None:
                self._expire()
            yield self._open.catalog if self._open else self.catalog

    def _expire(self) -> None:
        now = time.time_ns() // 1_000_000
        gone = [k for k, e in self.catalog.tables.items() if int(e.resource.get("expirationTime") or now + 1) <= now]
        if not gone:
            return
        self.con.execute("BEGIN")
        tx = Transaction(self.con, self.catalog)
        for key in gone:
            tx.drop_table(key)
        tx.persist(self.catalog)
        self.con.execute("COMMIT")
        self.catalog = tx.catalog

    def close(self) -> None:
        """Write everything into the file and let go of it."""
        with self.lock:
            self.con.close()
