"""--query and --file: what is read-only, what is not, and every byte of what is written."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from polyexpose_spark import query, readonly
from polyexpose_spark.errors import ConfigError, Refused, TargetFailed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

JAVA = "java_method('java.lang.System', 'lineSeparator')"

# {t}: a table with two rows, {n}: its namespace.
READS = [
    "SELECT * FROM {t}",
    "select 1 -- ; drop table {t}",
    "/* insert into {t} values (1, 'x') */ SELECT 'DELETE FROM {t}; DROP TABLE {t}'",
    "WITH a AS (SELECT id FROM {t}) SELECT * FROM a WHERE id IN (SELECT max(id) FROM {t})",
    "VALUES (1, 'a'), (2, 'b')",
    "TABLE {t}",
    "FROM {t} SELECT id",
    "(SELECT id FROM {t}) UNION ALL (SELECT 1)",
    "SELECT * FROM {t}.snapshots",
    "SELECT * FROM {t} VERSION AS OF 'first'",
    "SHOW TABLES IN lake.{n}",
    "SHOW VIEWS IN lake.{n}",
    "SHOW CREATE TABLE {t}",
    "SHOW TBLPROPERTIES {t}",
    "SHOW NAMESPACES IN lake",
    "SHOW FUNCTIONS LIKE 'abs'",
    "DESCRIBE TABLE EXTENDED {t}",
    "DESCRIBE QUERY SELECT 1",
    "DESCRIBE FUNCTION abs",
    "EXPLAIN FORMATTED SELECT * FROM {t}",
    "EXPLAIN INSERT INTO {t} VALUES (9, 'x')",
    "EXPLAIN DROP TABLE {t}",
    "EXPLAIN CREATE TABLE lake.{n}.made USING iceberg AS SELECT 1 AS a",
]
ACTS = {
    "INSERT INTO {t} SELECT 9, 'x'": "is not a query (InsertInto)",
    "FROM {t} INSERT INTO {t} SELECT *": "is not a query (InsertInto)",
    "WITH a AS (SELECT 9 AS id, 'x' AS s) INSERT INTO {t} SELECT * FROM a": "is not a query (InsertInto)",
    "/* SELECT */ INSERT /* ; */ OVERWRITE {t} SELECT /*+ COALESCE(1) */ * FROM {t}": "is not a query (InsertInto)",
    "INSERT INTO lake.{n}.missing VALUES (1)": "is not a query (InsertInto)",
    "INSERT OVERWRITE DIRECTORY '/nonexistent' USING csv SELECT 1": "writes files (INSERT OVERWRITE DIRECTORY)",
    "MERGE INTO {t} a USING {t} b ON a.id = b.id WHEN MATCHED THEN DELETE": "is not a query (MergeIntoTable)",
    "UPDATE {t} SET s = 'x'": "is not a query (UpdateTable)",
    "DELETE FROM {t}": "is not a query (DeleteFromTable)",
    "TRUNCATE TABLE {t}": "is not a query (TruncateTable)",
    "DROP TABLE {t}": "is not a query (DropTable)",
    "DROP VIEW IF EXISTS lake.{n}.hidden": "is not a query (DropIcebergView)",
    "CREATE TABLE lake.{n}.made USING iceberg AS SELECT 1 AS a": "is not a query (CreateTableAsSelect)",
    "CREATE OR REPLACE VIEW lake.{n}.made AS SELECT 1 AS a": "is not a query (CreateIcebergView)",
    "CREATE TEMPORARY VIEW made AS SELECT 1": "is not a query (CreateView)",
    "CREATE TEMPORARY FUNCTION f AS 'x.Y'": "is not a query (CreateFunction)",
    "CREATE NAMESPACE lake.made": "is not a query (CreateNamespace)",
    "ALTER TABLE {t} ADD COLUMN c INT": "is not a query (AddColumns)",
    "ALTER TABLE {t} CREATE TAG x": "is not a query (CreateOrReplaceTag)",
    "ALTER TABLE {t} WRITE ORDERED BY id": "is not a query (SetWriteDistributionAndOrdering)",
    "COMMENT ON TABLE {t} IS 'x'": "is not a query (CommentOnTable)",
    "CALL lake.system.expire_snapshots('{n}.t')": "is not a query (Call)",
    "CACHE TABLE made AS SELECT * FROM {t}": "is not a query (CacheTableAsSelect)",
    "CACHE LAZY TABLE {t}": "is not a query (CacheTable)",
    "CLEAR CACHE": "is not a query (ClearCache)",
    "REFRESH TABLE {t}": "is not a query (RefreshTable)",
    "ANALYZE TABLE {t} COMPUTE STATISTICS": "is not a query (AnalyzeTable)",
    "SET spark.sql.ansi.enabled = false": "is not a query (Set)",
    "RESET": "is not a query (Reset)",
    "USE lake.{n}": "is not a query (SetCatalogAndNamespace)",
    "ADD JAR '/nonexistent.jar'": "is not a query (AddJars)",
    "SELECT TRANSFORM(id) USING 'cat' AS (x) FROM {t}": "runs a program on the executors (TRANSFORM)",
    f"SELECT {JAVA}": "calls Java code (reflect, java_method)",
    f"SELECT 1 WHERE EXISTS (SELECT 1 FROM {{t}} WHERE s = {JAVA})": "calls Java code (reflect, java_method)",
    f"SELECT upper(reflect{JAVA.removeprefix('java_method')}) AS x": "calls Java code (reflect, java_method)",
    f"WITH a AS (SELECT {JAVA} AS x) SELECT * FROM a": "calls Java code (reflect, java_method)",
    f"SELECT max(id) OVER (ORDER BY {JAVA}) FROM {{t}}": "calls Java code (reflect, java_method)",
    "SELECT * FROM lake.{n}.hidden": "calls Java code (reflect, java_method)",
}


@pytest.fixture(scope="module")
def where(spark: SparkSession) -> dict[str, str]:
    """A table, its namespace, and the view `hidden`, which calls Java."""
    spark.sql("CREATE NAMESPACE lake.queried")
    spark.sql("CREATE TABLE lake.queried.t (id BIGINT, s STRING) USING iceberg")
    spark.sql("INSERT INTO lake.queried.t VALUES (1, 'a'), (2, NULL)")
    spark.sql("ALTER TABLE lake.queried.t CREATE TAG first")
    spark.sql(f"CREATE VIEW lake.queried.hidden AS SELECT {JAVA} AS x")
    return {"t": "lake.queried.t", "n": "queried"}


def answered(spark: SparkSession, text: str, output: str, limit: int | None = None) -> bytes:
    stream = io.BytesIO()
    query.write(query.run(spark, text), output, limit, stream)
    return stream.getvalue()


@pytest.mark.parametrize("statement", READS)
def test_reads_are_allowed(spark: SparkSession, where: dict[str, str], statement: str) -> None:
    assert readonly.why_not(spark, statement.format(**where)) is None


@pytest.mark.parametrize("statement", ACTS)
def test_everything_else_is_refused_and_says_why(spark: SparkSession, where: dict[str, str], statement: str) -> None:
    assert readonly.why_not(spark, statement.format(**where)) == ACTS[statement]


def test_looking_at_statements_changes_nothing(spark: SparkSession, where: dict[str, str]) -> None:
    settings = dict(spark.sql("SET").collect())
    for statement in [*READS, *ACTS]:
        readonly.why_not(spark, statement.format(**where))
    for statement in READS:
        list(query.run(spark, statement.format(**where)))
    assert sorted(map(tuple, spark.table("lake.queried.t").collect())) == [(1, "a"), (2, None)]
    assert spark.sql("SELECT count(*) FROM lake.queried.t.snapshots").first() == (1,)
    assert {row[1] for row in spark.sql("SHOW TABLES IN lake.queried").collect()} == {"t"}
    assert {row[1] for row in spark.sql("SHOW VIEWS IN lake.queried").collect()} == {"hidden"}
    assert dict(spark.sql("SET").collect()) == settings


def test_one_write_among_reads_and_nothing_is_run(spark: SparkSession, where: dict[str, str]) -> None:
    text = (
        "SELECT 1;\n-- tidy up; soon\nDELETE FROM lake.queried.t\n  WHERE id = 1;\nSELECT 2; DROP TABLE lake.queried.t"
    )
    with pytest.raises(Refused) as caught:
        query.run(spark, text, source="tidy.sql")
    assert str(caught.value).splitlines() == [
        "tidy.sql:3: DELETE FROM lake.queried.t WHERE id = 1: is not a query (DeleteFromTable)",
        "tidy.sql:5: DROP TABLE lake.queried.t: is not a query (DropTable)",
        "nothing was run; --allow-writes lets statements change things",
    ]
    assert spark.table("lake.queried.t").count() == 2


def test_writes_run_in_order_where_they_are_allowed(spark: SparkSession, namespace: str) -> None:
    text = f"""
        CREATE TABLE lake.{namespace}.w (id INT, s STRING) USING iceberg;
        INSERT INTO lake.{namespace}.w VALUES (1, 'a;b');
        UPDATE lake.{namespace}.w SET s = 'c' WHERE s = 'a;b';
        SELECT * FROM lake.{namespace}.w
    """
    stream = io.BytesIO()
    query.write(query.run(spark, text, allow_writes=True), "csv", None, stream)
    assert stream.getvalue() == b"id,s\n1,c\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no SQL statement"),
        (" -- nothing\n;;", "there is no SQL statement"),
        ("SELECT 1;\nSELEC 2", "f.sql:2: column 1: [PARSE_SYNTAX_ERROR] Syntax error at or near 'SELEC'"),
        ("SELECT 1; SELECT 'open", "f.sql:1: column"),
        (
            "SELECT 1;\n  SELECT id,\n nope FROM lake.queried.t",
            "f.sql:3: column 2: [UNRESOLVED_COLUMN.WITH_SUGGESTION] A column or function parameter with name `nope` "
            "cannot be resolved. Did you mean one of the following? [`id`, `s`].",
        ),
        (
            "SELECT 1; SELECT * FROM lake.queried.nope",
            "f.sql:1: column 25: [TABLE_OR_VIEW_NOT_FOUND] The table or view `lake`.`queried`.`nope` cannot be found.",
        ),
    ],
)
def test_what_spark_does_not_understand_is_told_in_one_line(
    spark: SparkSession, where: dict[str, str], text: str, message: str
) -> None:
    for allow_writes in (False, True):
        with pytest.raises(ConfigError) as caught:
            list(query.run(spark, text, allow_writes=allow_writes, source="f.sql"))
        assert message in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_an_error_while_running_is_the_targets(spark: SparkSession) -> None:
    with pytest.raises(TargetFailed, match=r"^\[DIVIDE_BY_ZERO\] Division by zero\.") as caught:
        answered(spark, "SELECT 1 / (id - 1) FROM range(3)", "csv")
    assert len(str(caught.value).splitlines()) == 1


def test_statements_are_split_where_spark_would(spark: SparkSession) -> None:
    text = (
        "SELECT 'a;b' AS \"x;y\"; -- c;\n/* ; /* ; */ */ SELECT `i;d` FROM t;;\n"
        "  SELECT r'\\' , '\\';', '😀' ; SELECT 4 -- ;"
    )
    assert [(each.text, each.line, each.column) for each in query.split(text)] == [
        ("SELECT 'a;b' AS \"x;y\"", 1, 1),
        ("SELECT `i;d` FROM t", 2, 17),
        ("SELECT r'\\' , '\\';', '😀'", 3, 3),
        ("SELECT 4", 3, 30),
    ]


VALUES = """SELECT true AS flag, 7 AS n, 1.50BD AS price, CAST('1E-20' AS DECIMAL(38, 20)) AS tiny, 0.1F AS f,
  1e100D AS d, DOUBLE('NaN') AS nan,
  DATE'0001-01-01' AS day, TIMESTAMP'2026-02-28 23:59:59.1234Z' AS at, TIMESTAMP_NTZ'2026-02-28 00:00:00' AS local,
  'a,"b"\nc' AS text, '' AS empty, CAST(NULL AS STRING) AS nothing, X'00FF' AS bytes,
  struct(1 AS a, CAST(NULL AS INT) AS b, array(2.50BD) AS c) AS s, map('k', TIMESTAMP'2026-01-01 00:00:00Z') AS m,
  INTERVAL '1' DAY AS i"""


def test_csv_is_rfc_4180_and_tells_null_from_empty(spark: SparkSession) -> None:
    assert answered(spark, VALUES, "csv").decode() == (
        "flag,n,price,tiny,f,d,nan,day,at,local,text,empty,nothing,bytes,s,m,i\n"
        "true,7,1.50,0.00000000000000000001,0.1,1.0E100,NaN,0001-01-01,2026-02-28T23:59:59.1234Z,2026-02-28T00:00:00,"
        '"a,""b""\nc","",,AP8=,"{""a"":1,""b"":null,""c"":[""2.50""]}","{""k"":""2026-01-01T00:00:00Z""}",'
        "INTERVAL '1' DAY\n"
    )


def test_json_is_an_array_of_objects(spark: SparkSession) -> None:
    assert json.loads(answered(spark, VALUES, "json")) == [
        {
            "flag": True,
            "n": 7,
            "price": "1.50",
            "tiny": "0.00000000000000000001",
            "f": 0.1,
            "d": 1e100,
            "nan": "NaN",
            "day": "0001-01-01",
            "at": "2026-02-28T23:59:59.1234Z",
            "local": "2026-02-28T00:00:00",
            "text": 'a,"b"\nc',
            "empty": "",
            "nothing": None,
            "bytes": "AP8=",
            "s": {"a": 1, "b": None, "c": ["2.50"]},
            "m": {"k": "2026-01-01T00:00:00Z"},
            "i": "INTERVAL '1' DAY",
        }
    ]
    assert answered(spark, "SELECT id FROM range(2)", "json") == b'[\n{"id":0},\n{"id":1}\n]\n'
    assert answered(spark, "SELECT 1 AS a WHERE false", "json") == b"[]\n"


def test_json_refuses_two_columns_of_one_name(spark: SparkSession) -> None:
    with pytest.raises(ConfigError, match=r"--output: two columns are called a; give them names of their own"):
        answered(spark, "SELECT 1 AS a, 2 AS a", "json")
    assert answered(spark, "SELECT 1 AS a, 2 AS a", "csv") == b"a,a\n1,2\n"


def test_a_table_is_for_people(spark: SparkSession) -> None:
    text = (
        "SELECT 'long text' AS t, 1 AS n, NULL AS x UNION ALL SELECT '東京\n\x1b[1m', 20000, NULL;SELECT 1 AS a LIMIT 0"
    )
    assert answered(spark, text, "table").decode() == (
        "t               |     n | x\n"
        "----------------+-------+-----\n"
        "long text       |     1 | NULL\n"
        "東京\\n\\u001b[1m | 20000 | NULL\n"
        "(2 rows)\n"
        "\n"
        "a\n"
        "-\n"
        "(0 rows)\n"
    )


def test_a_table_shows_a_thousand_rows_and_says_that_there_are_more(spark: SparkSession) -> None:
    lines = answered(spark, "SELECT id FROM range(1001)", "table").decode().splitlines()
    assert len(lines) == 1003
    assert lines[-1] == "(1,000 rows; there are more: --limit N shows N)"
    assert answered(spark, "SELECT id FROM range(3)", "table", limit=1).decode().splitlines()[-1].startswith("(1 row; ")


@pytest.mark.parametrize(("output", "rows"), [("csv", b"id\n0\n1\n"), ("json", b'[\n{"id":0},\n{"id":1}\n]\n')])
def test_limit_and_order_are_kept(spark: SparkSession, output: str, rows: bytes) -> None:
    assert answered(spark, "SELECT id FROM range(0, 100, 1, 8) ORDER BY id", output, limit=2) == rows


def test_several_results_come_one_after_the_other(spark: SparkSession) -> None:
    text = "SELECT 1 AS a; SELECT 2 AS b"
    assert answered(spark, text, "csv") == b"a\n1\n\nb\n2\n"
    assert answered(spark, text, "json") == b'[\n{"a":1}\n]\n[\n{"b":2}\n]\n'


# PySpark 3.5 compares versions by distutils.
@pytest.mark.filterwarnings("ignore:distutils Version classes:DeprecationWarning")
def test_arrow_keeps_sparks_own_types(spark: SparkSession) -> None:
    text = f"{VALUES}; SELECT id, id AS id FROM range(0, 25000, 1, 3) ORDER BY 1; SELECT 1 AS a LIMIT 0"
    source = io.BytesIO(answered(spark, text.replace(", INTERVAL '1' DAY AS i", ""), "arrow"))
    first, second, third = (pa.ipc.open_stream(source).read_all() for _ in range(3))
    assert first.schema.field("price").type == pa.decimal128(3, 2)
    assert first.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert first.schema.field("local").type == pa.timestamp("us")
    assert first.column("bytes").to_pylist() == [b"\x00\xff"]
    assert second.column_names == ["id", "id"]
    assert second.column(1).to_pylist() == list(range(25000))
    assert (third.num_rows, third.column_names) == (0, ["a"])
    assert source.read() == b""
