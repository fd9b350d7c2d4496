"""Catalogs that are not there, do not answer, refuse or hold what cannot be read: one line, and the exit code."""

from __future__ import annotations

import http.server
import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark import catalog_kinds
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import CatalogConfig
from polyexpose_spark.errors import ConfigError, Refused, TargetFailed, TargetUnavailable
from tests.catalog.conftest import PASSWORD, free_port

# The table of Iceberg's JdbcCatalog as Spark makes it (layout V1); without iceberg_type it is V0.
LAYOUT = """CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000){},
    PRIMARY KEY (catalog_name, table_namespace, table_name));
    CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255), property_value VARCHAR(1000), PRIMARY KEY (catalog_name, namespace, property_key));"""


def catalog(**settings: Any) -> Catalog:
    return Catalog(CatalogConfig.model_validate(settings))


def sqlite(folder: Path) -> Catalog:
    return catalog(type="jdbc", uri=f"jdbc:sqlite:{folder}/catalog.db", warehouse=str(folder / "warehouse"))


def filled(folder: Path, metadata: str, iceberg_type: str = ", iceberg_type VARCHAR(5)") -> Catalog:
    """A catalog with one table, `db.t`, whose metadata file holds this text."""
    location = folder / "00000.metadata.json"
    location.write_text(metadata)
    with sqlite3.connect(folder / "catalog.db") as connection:
        connection.executescript(LAYOUT.format(iceberg_type))
        values = "'lake', 'db', 't', ?, NULL" + (", 'TABLE'" if iceberg_type else "")
        connection.execute(f"INSERT INTO iceberg_tables VALUES ({values})", [str(location)])
    connection.close()
    return sqlite(folder)


def metadata(column_type: Any, version: int = 3) -> str:
    schema = {"type": "struct", "schema-id": 0}
    schema["fields"] = [{"id": 1, "name": "c", "required": False, "type": column_type}]
    return json.dumps(
        {
            "format-version": version,
            "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
            "location": "/nowhere",
            "last-sequence-number": 0,
            "last-updated-ms": 1700000000000,
            "last-column-id": 1,
            "schemas": [schema],
            "current-schema-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": []}],
            "default-spec-id": 0,
            "last-partition-id": 999,
            "sort-orders": [{"order-id": 0, "fields": []}],
            "default-sort-order-id": 0,
            "next-row-id": 0,
        }
    )


def nothing_is_there(empty: Catalog) -> None:
    assert (empty.tables(), empty.namespaces(), empty.views(("db",)), empty.view(("db", "v"))) == ((), (), (), None)
    with pytest.raises(TargetFailed, match=r"there is no table db\.t in catalog lake .*; tables there: none; `--mode"):
        empty.table(("db", "t"))


def test_reading_a_catalog_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    nothing_is_there(sqlite(folder))
    nothing_is_there(catalog(type="hadoop", warehouse=str(folder)))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").touch()
    nothing_is_there(sqlite(tmp_path))
    assert (tmp_path / "catalog.db").stat().st_size == 0


def test_a_file_name_with_every_special_character(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c%20d&e;é'\""
    folder.mkdir()
    assert filled(folder, metadata("int")).table(("db", "t")).format_version == 3
    assert [each.name for each in folder.iterdir() if each.name.startswith("catalog")] == ["catalog.db"]


def test_the_older_layout_without_views_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    old = filled(tmp_path, metadata("int", 2), iceberg_type="")
    before = (tmp_path / "catalog.db").read_bytes()
    assert old.tables() == (("db", "t"),)
    assert old.table(("db", "t")).format_version == 2
    assert (old.views(("db",)), old.view(("db", "t"))) == ((), None)
    assert (tmp_path / "catalog.db").read_bytes() == before


@pytest.mark.parametrize(
    "type_", ["geometry", "geography", "unknown", "timestamp_ns", "timestamptz_ns", "time", "uuid"]
)
def test_types_that_spark_cannot_open_are_still_described(tmp_path: Path, type_: str) -> None:
    table = filled(tmp_path, metadata(type_)).table(("db", "t"))
    assert str(table.schemas[0][0].type) == type_


def test_a_type_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused) as told:
        filled(tmp_path, metadata("variant")).table(("db", "t"))
    assert str(told.value) == "table db.t: it has a column of type variant, which is not read here"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format-version": 9}', "\x00\xff"])
def test_damaged_metadata_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(TargetFailed, match=r"^table db\.t: catalog lake .* cannot be read") as told:
        filled(tmp_path, text).table(("db", "t"))
    assert "\n" not in str(told.value)


def test_missing_metadata_is_said_with_the_file(tmp_path: Path) -> None:
    broken = filled(tmp_path, "")
    (tmp_path / "00000.metadata.json").unlink()
    with pytest.raises(TargetFailed, match=r"points to is missing: .*00000\.metadata\.json"):
        broken.table(("db", "t"))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(TargetFailed, match="file is not a database"):
        sqlite(tmp_path).tables()


def test_a_locked_file_is_unavailable_after_the_time_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_kinds, "ANSWER_SECONDS", 1)
    locked = filled(tmp_path, metadata("int"))
    with sqlite3.connect(tmp_path / "catalog.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            TargetUnavailable, match=r"catalog lake \(jdbc:sqlite:.*\) did not answer: database is locked"
        ):
            locked.tables()
        writer.execute("ROLLBACK")
    writer.close()
    assert locked.tables() == (("db", "t"),)


SERVERS = {
    "postgresql": {
        "type": "jdbc",
        "uri": "jdbc:postgresql://lake:{pw}@127.0.0.1:{port}/db?password={pw}",
        "warehouse": "/w",
    },
    "rest": {"type": "rest", "uri": "http://lake:{pw}@127.0.0.1:{port}", "properties": {"token": "env:SECRET"}},
}


def server(kind: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("SECRET", PASSWORD)
    settings: dict[str, Any] = dict(SERVERS[kind])
    settings["uri"] = settings["uri"].format(pw=PASSWORD, port=port)
    return catalog(password="env:SECRET", **settings)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_not_there_is_unavailable(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with pytest.raises(TargetUnavailable, match=f"127.0.0.1:{port}.* did not answer: .*Connection refused") as told:
        server(kind, port, monkeypatch).tables()
    assert PASSWORD not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_never_answers_is_unavailable(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_kinds, "ANSWER_SECONDS", 2)
    monkeypatch.setattr(catalog_kinds, "CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(TargetUnavailable, match=r"did not answer: .*(?:timed out|timeout expired)"):
            server(kind, silent.getsockname()[1], monkeypatch).tables()
        assert time.monotonic() - started < 10


@pytest.mark.postgres
def test_a_wrong_password_and_a_wrong_database_say_what_to_check(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "not-" + PASSWORD)
    known = {"type": "jdbc", "warehouse": "/w", "user": "lake"}
    with pytest.raises(TargetFailed, match=r"password authentication failed for user.*check `user`") as told:
        catalog(uri=postgresql, password="env:WRONG", **known).tables()
    assert PASSWORD not in str(told.value)
    with pytest.raises(TargetFailed, match='database "nope" does not exist'):
        catalog(uri=postgresql.replace("/postgres", "/nope"), password="env:PG_PASSWORD", **known).tables()
    monkeypatch.delenv("WRONG")
    with pytest.raises(ConfigError, match="secret env:WRONG: this environment variable is not set"):
        catalog(uri=postgresql, password="env:WRONG", **known).tables()


@pytest.mark.postgres
def test_a_postgresql_catalog_without_iceberg_tables_gets_none(postgresql: str) -> None:
    known = {"type": "jdbc", "warehouse": "/w", "user": "lake", "password": "env:PG_PASSWORD"}
    nothing_is_there(catalog(uri=f"{postgresql}?currentSchema=pg_temp&ApplicationName=polyexpose", **known))


@contextmanager
def answering(status: int, body: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_address[1]
        running.shutdown()


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, TargetFailed, "refuses access .*; check the secrets and properties of `catalog` in the profile"),
        (403, TargetFailed, "refuses access .*; check the secrets"),
        (404, TargetFailed, "cannot be read"),
        (400, TargetFailed, "cannot be read"),
        (429, TargetUnavailable, "did not answer"),
        (500, TargetUnavailable, "did not answer"),
        (503, TargetUnavailable, "did not answer"),
        (200, TargetFailed, "cannot be read"),
    ],
)
@pytest.mark.parametrize("body", ["", "<html>no JSON</html>", '{"error": {"message": "m", "type": "t", "code": 1}}'])
def test_what_a_rest_server_may_say(
    status: int, error: type[Exception], message: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, body) as port, pytest.raises(error, match=message) as told:
        server("rest", port, monkeypatch).tables()
    assert PASSWORD not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_hive_metastore_that_is_not_there() -> None:
    pytest.importorskip("thrift", reason="pyiceberg[hive] is not installed")
    with pytest.raises(TargetUnavailable, match="did not answer: Could not connect"):
        catalog(type="hive", uri=f"thrift://127.0.0.1:{free_port()}").tables()


def test_a_missing_driver_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(
        ConfigError, match=r"needs the Python package psycopg2: pip install 'polyexpose-spark\[postgres\]'"
    ):
        catalog(type="jdbc", uri="jdbc:postgresql://127.0.0.1:1/db", warehouse="/w").tables()


def test_folders_that_are_no_tables_are_namespaces(tmp_path: Path) -> None:
    (tmp_path / "db" / "t" / "metadata").mkdir(parents=True)
    (tmp_path / "db" / "t" / "metadata" / "v1.metadata.json").write_text(metadata("int"))
    (tmp_path / "db" / "t" / "metadata" / "v10.metadata.json").write_text(metadata("long"))
    (tmp_path / "db" / "t" / "metadata" / "v9.metadata.json").write_text(metadata("string"))
    (tmp_path / "db" / "t" / "metadata" / "version-hint.text").write_text("9")
    (tmp_path / "db" / "half" / "metadata").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "db" / "file").touch()
    folders = catalog(type="hadoop", warehouse=str(tmp_path))
    assert folders.tables() == (("db", "t"),)
    assert folders.namespaces() == (("db",), ("db", "half"), ("db", "half", "metadata"))
    assert str(folders.table(("db", "t")).schemas[0][0].type) == "long"


def test_looking_into_a_catalog_imports_neither_pandas_nor_spark(tmp_path: Path) -> None:
    filled(tmp_path, metadata("int"))
    program = f"""
import sys
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import CatalogConfig
from polyexpose_spark.snapshot import pin
assert not {{"pyiceberg", "sqlalchemy", "pyarrow"}} & sys.modules.keys()
lake = CatalogConfig(type="jdbc", uri="jdbc:sqlite:{tmp_path}/catalog.db", warehouse="/w")
assert Catalog(lake).table(("db", "t")).format_version == 3
assert not {{"pandas", "pyspark", "pyarrow.parquet", "pyiceberg.catalog.rest"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
