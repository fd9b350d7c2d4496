"""What it costs to tell what changed: 10,000,000 rows in 64 files, one touched.

Ours, by key and without one, against EXCEPT ALL both ways, on merge-on-read of format 2 and 3 and on copy-on-write,
where Iceberg's create_changelog_view works as well. All in turn in one session, after a round that does not count. Then
a window that only compacts, and a table of 100,000 data files (in the metadata only) of which one went.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from polyexpose_spark import changes, snapshot
from polyexpose_spark import config as configuration
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.scan_tasks import ScanTasks
from polyexpose_spark.session import build_session
from polyexpose_spark.workspace import address_models

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS = int(os.environ.get("ROWS", "10_000_000"))
FILES = 64
ROUNDS = int(os.environ.get("ROUNDS", "3"))
PLANNED_FILES = 100_000
LAYOUTS = {
    "merge-on-read v2": ("merge-on-read", 2),
    "merge-on-read v3": ("merge-on-read", 3),
    "copy-on-write": ("copy-on-write", 2),
}


def measure() -> dict[str, Any]:
    """Return the medians over ROUNDS, in seconds, and how many times as fast ours is as the others."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            config = configuration.load("local", port_models=address_models())
            Path(".polyexpose").mkdir()
            session = build_session(config)
            session.sql("CREATE NAMESPACE lake.bench")
            catalog = Catalog(config.catalog)
            measured: dict[str, Any] = {"rows": ROWS, "rounds": ROUNDS, "plan": _plan(session, catalog)}
            for name, layout in LAYOUTS.items():
                print(name, flush=True)  # each takes minutes
                measured[name] = _layout(session, catalog, *layout)
            return measured
        finally:
            os.chdir(before)


def _layout(session: SparkSession, catalog: Catalog, mode: str, version: int) -> dict[str, Any]:
    name, identifier = "`lake`.`bench`.`t`", ("bench", "t")
    session.sql(f"DROP TABLE IF EXISTS {name} PURGE")
    data = session.range(0, ROWS, 1, FILES).selectExpr(
        "id",
        "concat('name ', id % 50000) AS a",
        "id * 0.5D AS x",
        "date_add(DATE'2013-01-01', CAST(id % 3650 AS INT)) d",
    )
    writer = data.writeTo(name).tableProperty("format-version", str(version))
    writer = writer.tableProperty("write.distribution-mode", "none")
    for verb in ("delete", "update", "merge"):
        writer = writer.tableProperty(f"write.{verb}.mode", mode)
    writer.create()
    since = catalog.table(identifier).current_snapshot_id or 0
    low = ROWS // FILES * 10
    session.sql(f"UPDATE {name} SET a = 'changed' WHERE id >= {low + 100} AND id < {low + 1100}")
    session.sql(f"DELETE FROM {name} WHERE id >= {low + 5000} AND id < {low + 5300}")
    session.sql(f"INSERT INTO {name} SELECT id + {ROWS}, a, x, d FROM {name} WHERE id < 500")
    table = catalog.table(identifier)
    until = table.current_snapshot_id or 0
    window = changes.Window(table, since, until, until)

    def net(key: list[str]) -> dict[str, int]:
        with changes.net(session, name, window, lambda rows: rows, key) as changed:
            return _counted(changed, "op")

    def except_all() -> dict[str, int]:
        old, new = (session.sql(f"SELECT * FROM {name} VERSION AS OF {each}") for each in (since, until))
        return {"delete": old.exceptAll(new).count(), "insert": new.exceptAll(old).count()}

    def changelog_view() -> dict[str, int]:
        session.sql(
            "CALL lake.system.create_changelog_view(table => 'bench.t', changelog_view => 'changelog', "
            f"options => map('start-snapshot-id', '{since}', 'end-snapshot-id', '{until}'), "
            "identifier_columns => array('id'), net_changes => false)"
        )
        return _counted(session.table("changelog"), "_change_type")

    by_key = {"update": 1000, "delete": 300, "insert": 500}
    as_rows = {"delete": 1300, "insert": 1500}
    ways: dict[str, tuple[Callable[[], dict[str, int]], dict[str, int] | None]] = {
        "by key": (lambda: net(["id"]), by_key),
        "without a key": (lambda: net([]), as_rows),
        "EXCEPT ALL": (except_all, as_rows),
    }
    if mode == "copy-on-write":
        ways["create_changelog_view"] = (changelog_view, None)
    seconds: dict[str, list[float]] = {each: [] for each in ways}
    for number in range(ROUNDS + 1):
        for each, (run, expected) in ways.items():
            began = time.monotonic()
            found = run()
            if number:
                seconds[each].append(time.monotonic() - began)
            assert expected in (None, found), (each, found)
    result: dict[str, Any] = {each: round(median(taken), 2) for each, taken in seconds.items()}
    result["times as fast as EXCEPT ALL"] = _ratio(seconds, "EXCEPT ALL")
    if "create_changelog_view" in seconds:
        result["times the time of create_changelog_view"] = round(1 / _ratio(seconds, "create_changelog_view"), 2)
    return result | {"a window that only compacts": _compaction(session, catalog, name, identifier)}


def _ratio(seconds: dict[str, list[float]], other: str) -> float:
    # In turn means in pairs: what the machine did meanwhile hits both of a pair.
    return round(median(b / a for a, b in zip(seconds["by key"], seconds[other], strict=True)), 2)


def _counted(rows: DataFrame, column: str) -> dict[str, int]:
    return {row[0]: row[1] for row in rows.groupBy(column).count().collect()}


def _compaction(session: SparkSession, catalog: Catalog, name: str, identifier: tuple[str, ...]) -> float:
    since = catalog.table(identifier).current_snapshot_id or 0
    session.sql("CALL lake.system.rewrite_data_files(table => 'bench.t', options => map('rewrite-all', 'true'))")
    table = catalog.table(identifier)
    until = table.current_snapshot_id or 0
    assert until != since
    began = time.monotonic()
    with changes.net(session, name, changes.Window(table, since, until, until), lambda rows: rows, ["id"]) as changed:
        assert changed.count() == 0
    return round(time.monotonic() - began, 2)


def _plan(session: SparkSession, catalog: Catalog) -> dict[str, Any]:
    """Plan a table of many files in two states and find the one file that went. Nothing is read: there are no files."""
    name, identifier = "`lake`.`bench`.`many`", ("bench", "many")
    session.sql(f"CREATE TABLE {name} (id BIGINT) USING iceberg TBLPROPERTIES ('format-version'='2')")
    jvm: Any = session._jvm
    table = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(session._jsparkSession, name)
    builder = jvm.org.apache.iceberg.DataFiles.builder(table.spec()).withFormat("PARQUET")
    builder = builder.withFileSizeInBytes(10_000_000).withRecordCount(1000)
    for commit in range(10):
        append = table.newAppend()
        for number in range(PLANNED_FILES // 10):
            path = f"/there/is/no/such/folder/{commit}-{number:06}-of-the-usual-length-of-a-name.parquet"
            append.appendFile(builder.withPath(path).build())
        append.commit()
    since = catalog.table(identifier).current_snapshot_id or 0
    table.newDelete().deleteFile(builder.build()).commit()  # the last one
    until = catalog.table(identifier).current_snapshot_id or 0
    taken = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        touched = ScanTasks(session, name, until, of_any=True).touched(since, until)
        taken.append(time.monotonic() - began)
        assert (touched.before.size(), touched.after.size()) == (1, 0)
    began = time.monotonic()
    pieces = snapshot.pieces(session, name, until, until, 128 * 1024 * 1024)
    assert len(pieces) > PLANNED_FILES // 13
    return {
        "data files": PLANNED_FILES,
        "both planned and compared": round(median(taken), 2),
        "cut into pieces": round(time.monotonic() - began, 2),
    }
