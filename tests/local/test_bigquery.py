from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("google.cloud.bigquery", reason="google-cloud-bigquery is not installed")

from google.api_core import exceptions
from google.cloud import bigquery

from polyexpose_spark.local.bigquery import serve
from tests.local.bigquery_server import client, load, rows

Scalar, Array = bigquery.ScalarQueryParameter, bigquery.ArrayQueryParameter
UTC = dt.UTC


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bigquery.Client]:
    server = serve(0, tmp_path_factory.mktemp("bigquery"))
    with client(server.url) as connected:
        connected.create_dataset("d")
        yield connected
    server.stop()


# ---- a loader


def test_a_load_creates_the_table_with_the_given_schema_and_layout(c: bigquery.Client) -> None:
    fields = [
        bigquery.SchemaField("id", "INT64", "REQUIRED", description="key"),
        bigquery.SchemaField("day", "DATE"),
        bigquery.SchemaField("price", "NUMERIC", precision=10, scale=2),
        bigquery.SchemaField("tag", "STRING"),
    ]
    data = pa.table(
        {
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "id": [1, 2],
            "day": [dt.date(2026, 1, 1), dt.date(2026, 1, 2)],
        }
    )
    config = {
        "schema": fields,
        "time_partitioning": bigquery.TimePartitioning(field="day", type_="MONTH"),
        "clustering_fields": ["id"],
        "destination_table_description": "orders",
    }
    job = load(c, "d.orders", data, **config)
    assert job.output_rows == 2
    table = c.get_table("d.orders")
    assert [(f.name, f.field_type, f.mode, f.description) for f in table.schema] == [
        ("id", "INTEGER", "REQUIRED", "key"),
        ("day", "DATE", "NULLABLE", None),
        ("price", "NUMERIC", "NULLABLE", None),
        ("tag", "STRING", "NULLABLE", None),
    ]
    assert table.time_partitioning.type_ == "MONTH"
    assert table.clustering_fields == ["id"]
    assert (table.description, table.num_rows) == ("orders", 2)
    assert rows(c, "SELECT * FROM d.orders ORDER BY id") == [
        (1, dt.date(2026, 1, 1), Decimal("1.5"), None),
        (2, dt.date(2026, 1, 2), None, None),
    ]


ALL_TYPES = {
    "BOOL": (pa.bool_(), True),
    "INT64": (pa.int64(), -(2**63)),
    "FLOAT64": (pa.float64(), 0.1),
    "NUMERIC": (pa.decimal128(38, 9), Decimal("-12345678901234567890123456789.123456789")),
    "BIGNUMERIC": (pa.decimal128(38, 18), Decimal("12345678901234567890.123456789012345678")),
    "STRING": (pa.string(), "é\n\x00'"),
    "BYTES": (pa.binary(), b"\x00\xff"),
    "DATE": (pa.date32(), dt.date(1, 1, 1)),
    "TIME": (pa.time64("us"), dt.time(23, 59, 59, 999999)),
    "DATETIME": (pa.timestamp("us"), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
    "TIMESTAMP": (pa.timestamp("us", "UTC"), dt.datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
}


@pytest.mark.parametrize("kind", ALL_TYPES)
def test_a_value_comes_back_as_it_was_loaded(c: bigquery.Client, kind: str) -> None:
    arrow, value = ALL_TYPES[kind]
    schema = [bigquery.SchemaField("v", kind), bigquery.SchemaField("a", kind, "REPEATED")]
    lists = bigquery.ParquetOptions()
    lists.enable_list_inference = True
    data = pa.table({"v": pa.array([value, None], arrow), "a": pa.array([[value], None], pa.list_(arrow))})
    load(c, f"d.type_{kind}", data, schema=schema, parquet_options=lists)
    assert rows(c, f"SELECT v, a FROM d.type_{kind} ORDER BY v IS NULL") == [(value, [value]), (None, [])]
    assert sorted(tuple(r.values()) for r in c.list_rows(f"d.type_{kind}", max_results=1)) == [(value, [value])]


@pytest.mark.parametrize(
    ("second", "disposition", "seen"),
    [
        ({"b": ["y"], "a": [2]}, "WRITE_APPEND", [(1, "x"), (2, "y")]),
        ({"a": [2]}, "WRITE_APPEND", [(1, "x"), (2, None)]),
        ({"a": [2], "b": ["y"]}, "WRITE_TRUNCATE", [(2, "y")]),
    ],
)
def test_a_second_load_matches_columns_by_name(
    c: bigquery.Client, second: dict[str, list[object]], disposition: str, seen: list[tuple[object, ...]]
) -> None:
    load(c, "d.twice", pa.table({"a": [1], "b": ["x"]}), write_disposition="WRITE_TRUNCATE")
    load(c, "d.twice", pa.table(second), write_disposition=disposition)
    assert rows(c, "SELECT a, b FROM d.twice ORDER BY a") == seen


@pytest.mark.parametrize(
    ("data", "config", "reason"),
    [
        ({"a": ["text"]}, {}, "has changed type from INTEGER to STRING"),
        ({"a": [1], "new": [1]}, {}, "Cannot add fields"),
        ({"a": [1]}, {"write_disposition": "WRITE_EMPTY"}, "Already Exists"),
        ({"a": pa.array([None], pa.int64())}, {}, "NOT NULL constraint failed"),
        ({"a": [1]}, {"source_format": "CSV"}, "sourceFormat CSV"),
    ],
)
def test_a_load_that_does_not_fit_leaves_the_table_as_it_was(
    c: bigquery.Client, data: dict[str, object], config: dict[str, str], reason: str
) -> None:
    c.delete_table("d.kept", not_found_ok=True)
    c.create_table(bigquery.Table("p1.d.kept", [bigquery.SchemaField("a", "INT64", "REQUIRED")]))
    load(c, "d.kept", pa.table({"a": [7]}))
    before = c.get_table("d.kept").etag
    with pytest.raises(exceptions.GoogleAPICallError, match=reason):
        load(c, "d.kept", pa.table(data), **config)
    assert rows(c, "SELECT a FROM d.kept") == [(7,)]
    assert c.get_table("d.kept").etag == before


class Storage(BaseHTTPRequestHandler):
    """The two calls of Cloud Storage's JSON API that a load makes: list by prefix, read."""

    objects: ClassVar[dict[str, bytes]] = {}

    def log_message(self, *_: object) -> None:
        return

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        prefix = parse_qs(url.query).get("prefix", [""])[0]
        if url.path.endswith("/o"):
            body = json.dumps({"items": [{"name": n} for n in self.objects if n.startswith(prefix)]}).encode()
        else:
            body = self.objects[unquote(url.path.rsplit("/", 1)[1])]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_load_from_storage_takes_all_objects_or_none(c: bigquery.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        file = io.BytesIO()
        pq.write_table(pa.table({"a": [i]}), file)
        Storage.objects[f"x/part {i}.parquet"] = file.getvalue()
    Storage.objects["broken/1.parquet"] = b"no parquet"
    storage = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    Thread(target=storage.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{storage.server_address[1]}")
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")

    def from_uris(*uris: str) -> bigquery.LoadJob:
        return c.load_table_from_uri(list(uris), "p1.d.uris", job_config=config).result(retry=None)

    try:
        assert from_uris("gs://b/x/*.parquet").input_files == 3
        with pytest.raises(exceptions.BadRequest, match="Error while reading data"):
            from_uris("gs://b/x/part 0.parquet", "gs://b/broken/1.parquet")
        with pytest.raises(exceptions.NotFound, match="gs://b/none"):
            from_uris("gs://b/none/*.parquet")
        assert rows(c, "SELECT a FROM d.uris ORDER BY a") == [(0,), (1,), (2,)]
    finally:
        storage.shutdown()
        storage.server_close()


def test_a_job_id_is_used_once(c: bigquery.Client) -> None:
    load(c, "d.once", pa.table({"a": [1]}), job_id="digest_1")
    with pytest.raises(exceptions.Conflict, match="Already Exists"):
        load(c, "d.once", pa.table({"a": [1]}), job_id="digest_1")
    assert c.get_job("digest_1").state == "DONE"
    assert rows(c, "SELECT COUNT(*) FROM d.once") == [(1,)]


def test_a_view_is_flipped_in_one_step_and_views_over_it_follow(c: bigquery.Client) -> None:
    rows(c, "CREATE OR REPLACE TABLE d.v1 AS SELECT 1 AS a")
    rows(c, "CREATE OR REPLACE TABLE d.v2 AS SELECT 2 AS a, 'new' AS b")
    text = "SELECT  a\n FROM `p1.d.v1` -- as written"
    rows(c, f"CREATE OR REPLACE VIEW d.shown OPTIONS (description = 'flights') AS {text}")
    rows(c, "CREATE OR REPLACE VIEW d.over AS SELECT a * 10 AS a FROM d.shown")
    shown = c.get_table("d.shown")
    assert (shown.view_query, shown.description, shown.table_type) == (text, "flights", "VIEW")
    rows(c, "CREATE OR REPLACE VIEW d.shown AS SELECT a, b FROM d.v2")
    assert rows(c, "SELECT * FROM d.shown") == [(2, "new")]
    assert rows(c, "SELECT * FROM d.over") == [(20,)]
    with pytest.raises(exceptions.NotFound):
        rows(c, "CREATE OR REPLACE VIEW d.shown AS SELECT a FROM d.gone")
    with pytest.raises(exceptions.BadRequest, match="views over each other"):
        rows(c, "CREATE OR REPLACE VIEW d.shown AS SELECT a FROM d.over")
    assert rows(c, "SELECT * FROM d.shown") == [(2, "new")]


def test_a_clone_keeps_what_describes_a_table_and_is_its_own(c: bigquery.Client) -> None:
    rows(
        c,
        "CREATE TABLE d.origin (id INT64 NOT NULL OPTIONS (description = 'key'), day DATE) "
        "PARTITION BY day CLUSTER BY id OPTIONS (description = 'o', labels = [('k', 'v')])",
    )
    rows(c, "INSERT INTO d.origin VALUES (1, DATE '2026-01-01')")
    rows(c, "CREATE TABLE d.cloned CLONE d.origin OPTIONS (description = 'mine')")
    rows(c, "CREATE SNAPSHOT TABLE d.snapped CLONE d.origin")
    rows(c, "INSERT INTO d.origin VALUES (2, NULL)")
    for name, kind, description in (("cloned", "TABLE", "mine"), ("snapped", "SNAPSHOT", "o")):
        table = c.get_table(f"d.{name}")
        assert (table.table_type, table.description, table.labels) == (kind, description, {"k": "v"})
        assert (table.time_partitioning.field, table.clustering_fields) == ("day", ["id"])
        assert (table.schema[0].mode, table.schema[0].description) == ("REQUIRED", "key")
        assert rows(c, f"SELECT id FROM d.{name}") == [(1,)]
    with pytest.raises(exceptions.BadRequest, match="SNAPSHOT"):
        rows(c, "DELETE FROM d.snapped WHERE TRUE")


def test_merge_takes_the_first_branch_that_fits(c: bigquery.Client) -> None:
    rows(c, "CREATE OR REPLACE TABLE d.m AS SELECT 1 AS id, 'a' AS v UNION ALL SELECT 2, 'b' UNION ALL SELECT 3, 'c'")
    source = "SELECT 1 AS id, 'A' AS v, 'u' AS op UNION ALL SELECT 2, '', 'd' UNION ALL SELECT 4, 'D', 'u'"
    job = c.query(
        f"MERGE d.m T USING ({source}) S ON T.id = S.id WHEN MATCHED AND S.op = 'd' THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET v = S.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (S.id, S.v) "
        "WHEN NOT MATCHED BY SOURCE THEN DELETE"
    )
    job.result()
    assert rows(c, "SELECT * FROM d.m ORDER BY id") == [(1, "A"), (4, "D")]
    assert job.num_dml_affected_rows == 4
    with pytest.raises(exceptions.BadRequest, match="at most one source row"):
        rows(
            c,
            "MERGE d.m T USING (SELECT 1 AS id UNION ALL SELECT 1) S ON T.id = S.id "
            "WHEN MATCHED THEN UPDATE SET v = 'z'",
        )


def test_a_transaction_that_fails_leaves_nothing(c: bigquery.Client) -> None:
    rows(c, "CREATE OR REPLACE TABLE d.t1 (a INT64)")
    begin = "BEGIN TRANSACTION; INSERT INTO d.t1 VALUES (1);"
    with pytest.raises(exceptions.BadRequest, match="Division by zero"):
        rows(c, f"{begin} INSERT INTO d.t1 SELECT CAST(1 / 0 AS INT64); COMMIT TRANSACTION;")
    rows(c, f"{begin} ROLLBACK TRANSACTION;")
    rows(c, begin)
    assert rows(c, "SELECT COUNT(*) FROM d.t1") == [(0,)]
    rows(c, f"{begin} COMMIT TRANSACTION;")
    assert rows(c, "SELECT COUNT(*) FROM d.t1") == [(1,)]


# ---- a reader


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("SELECT 1, 'a', x FROM UNNEST([5]) AS x", {"f0_": 1, "f1_": "a", "x": 5}),
        ("SELECT NUMERIC '1' / NUMERIC '3' AS n", {"n": Decimal("0.333333333")}),
        ("SELECT NUMERIC '1.000000001' * NUMERIC '1.000000001' AS n", {"n": Decimal("1.000000002")}),
        ("SELECT AVG(x) AS n FROM UNNEST([NUMERIC '1', NUMERIC '2']) AS x", {"n": Decimal("1.5")}),
        ("SELECT CAST(2.5 AS INT64) AS n", {"n": 3}),
        ("SELECT 2147483647 + 1 AS n", {"n": 2147483648}),
        ("SELECT k FROM UNNEST(['a']) AS x WITH OFFSET AS k", {"k": 0}),
        ("SELECT COUNTIF(x > 1) AS n FROM UNNEST([0]) AS x WHERE FALSE", {"n": 0}),
        ("SELECT ARRAY_AGG(x ORDER BY x DESC LIMIT 2) AS a FROM UNNEST([1, 2, 3]) AS x", {"a": [3, 2]}),
        ("SELECT SUBSTR('hello', 0, 2) AS s, 'a%' LIKE 'a\\\\%' AS l", {"s": "he", "l": True}),
        ("SELECT GREATEST(1, NULL) AS g, CONCAT('a', NULL) AS c", {"g": None, "c": None}),
    ],
)
def test_answers_are_those_of_bigquery_where_duckdb_differs(
    c: bigquery.Client, sql: str, seen: dict[str, object]
) -> None:
    found = list(c.query(sql, retry=None, job_retry=None).result())
    assert [dict(r.items()) for r in found] == [seen]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT 1 / 0", "Division by zero"),
        ("SELECT 1 = '1'", "No matching signature"),
        ("SELECT 1 UNION ALL SELECT 'a'", "incompatible types"),
        ("SELECT IF(TRUE, 1, 'a')", "No matching signature"),
        ("SELECT 1 AND TRUE", "must be BOOL"),
        ("SELECT [1, 2][OFFSET(5)]", "out of bounds"),
        ("SELECT [1, NULL]", "null element"),
        ("SELECT 9223372036854775807 + 1", "Overflow"),
        ("SELECT CAST('2.5' AS INT64)", "Bad int64 value"),
        ("SELECT 1 AS x, 2 AS x", "Duplicate column names"),
        ("SELEC 1", "Syntax error"),
        ("SELECT 'it''s'", "Syntax error"),
        ("DELETE FROM d.r", "must have a WHERE"),
        ("INSERT INTO d.r (a) VALUES ('1')", "cannot be assigned"),
        ("SELECT @missing", "not found"),
    ],
)
def test_what_bigquery_refuses_is_refused(c: bigquery.Client, sql: str, reason: str) -> None:
    rows(c, "CREATE TABLE IF NOT EXISTS d.r (a INT64)")
    with pytest.raises(exceptions.BadRequest, match=reason):
        rows(c, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT FARM_FINGERPRINT('a')",
        "SELECT FORMAT('%t', 1)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT a FROM d.r FOR SYSTEM_TIME AS OF CURRENT_TIMESTAMP()",
        "SELECT a FROM d.r TABLESAMPLE SYSTEM (10 PERCENT)",
        "CREATE MATERIALIZED VIEW d.mv AS SELECT a FROM d.r",
        "CREATE TABLE d.q (a INT64) OPTIONS (require_partition_filter = TRUE)",
        "ALTER TABLE d.r ADD COLUMN b INT64",
        "DECLARE x INT64; SELECT x",
        "GRANT `roles/bigquery.dataViewer` ON TABLE d.r TO 'user:a@b.c'",
        "SELECT * FROM d.INFORMATION_SCHEMA.PARTITIONS",
    ],
)
def test_what_this_server_cannot_do_right_is_refused(c: bigquery.Client, sql: str) -> None:
    rows(c, "CREATE TABLE IF NOT EXISTS d.r (a INT64)")
    with pytest.raises(exceptions.MethodNotImplemented, match="not supported by this local BigQuery server"):
        rows(c, sql)


def test_parameters_are_values_never_sql(c: bigquery.Client) -> None:
    text = "'; DROP TABLE x; -- \\ ? @p \""
    found = rows(
        c,
        "SELECT @s, @n IN UNNEST(@l), @t, @b FROM UNNEST([1, 2]) AS x WHERE x = @n LIMIT @k",
        Scalar("s", "STRING", text),
        Scalar("n", "INT64", 2),
        Array("l", "INT64", [1, 2]),
        Scalar("t", "TIMESTAMP", dt.datetime(2026, 1, 1, tzinfo=UTC)),
        Scalar("b", "BYTES", b"\x00"),
        Scalar("k", "INT64", 5),
    )
    assert found == [(text, True, dt.datetime(2026, 1, 1, tzinfo=UTC), b"\x00")]
    assert rows(c, "SELECT ?, '?', ?", Scalar(None, "INT64", 1), Scalar(None, "INT64", 2)) == [(1, "?", 2)]


def test_large_results_come_in_pages(c: bigquery.Client) -> None:
    result = c.query("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 50000)) AS x ORDER BY x").result(page_size=20_000)
    assert [r.x for r in result] == list(range(1, 50_001))


def test_a_stale_etag_is_refused_for_tables_and_datasets(c: bigquery.Client) -> None:
    rows(c, "CREATE OR REPLACE TABLE d.e (a INT64)")
    mine, theirs = c.get_table("d.e"), c.get_table("d.e")
    theirs.description = "theirs"
    c.update_table(theirs, ["description"])
    mine.description = "mine"
    with pytest.raises(exceptions.PreconditionFailed):
        c.update_table(mine, ["description"], retry=None)
    assert c.get_table("d.e").description == "theirs"


def test_an_expired_table_is_gone(c: bigquery.Client) -> None:
    table = bigquery.Table("p1.d.short", [bigquery.SchemaField("a", "INT64")])
    table.expires = dt.datetime.now(UTC) - dt.timedelta(seconds=1)
    c.create_table(table)
    with pytest.raises(exceptions.NotFound):
        c.get_table("d.short", retry=None)
    assert "short" not in [t.table_id for t in c.list_tables("d")]


def test_information_schema_tells_types_as_bigquery_does(c: bigquery.Client) -> None:
    rows(c, "CREATE OR REPLACE TABLE d.cols (a INT64 NOT NULL, s STRUCT<x INT64, y ARRAY<STRING>>, n NUMERIC(10, 2))")
    found = rows(
        c,
        "SELECT column_name, is_nullable, data_type FROM d.INFORMATION_SCHEMA.COLUMNS "
        "WHERE table_name = 'cols' ORDER BY ordinal_position",
    )
    assert found == [
        ("a", "NO", "INT64"),
        ("s", "YES", "STRUCT<x INT64, y ARRAY<STRING>>"),
        ("n", "YES", "NUMERIC(10, 2)"),
    ]


def test_the_state_belongs_to_one_server(tmp_path: Path) -> None:
    server = serve(0, tmp_path)
    try:
        with pytest.raises(OSError, match="Address already in use"):
            serve(server.port, tmp_path / "other")
    finally:
        server.stop()
