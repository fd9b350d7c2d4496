"""Snapshots read in stable order, tagged, and what goes wrong with the files under them; on a real Spark."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark import snapshot
from polyexpose_spark.catalog import Catalog, Table
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.errors import ExitCode, PolyexposeError, Refused, TargetFailed, TargetUnavailable
from polyexpose_spark.scan_tasks import has_jvm
from polyexpose_spark.session import build_session
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark

SPLIT = 128 * 1024 * 1024


class Lake:
    """A namespace of the catalog `lake` with the table `t`."""

    def __init__(self, spark: SparkSession, config: Config, namespace: str) -> None:
        self.spark, self.catalog = spark, Catalog(config.catalog)
        self.identifier = (namespace, "t")
        self.name = snapshot.quoted("lake", self.identifier)

    def sql(self, *statements: str) -> None:
        for each in statements:
            self.spark.sql(each.replace("$t", self.name))

    @property
    def table(self) -> Table:
        return self.catalog.table(self.identifier)

    @property
    def current(self) -> int:
        return snapshot.pin(self.table).id

    def read(self, id_: int, split_bytes: int = SPLIT) -> DataFrame:
        return snapshot.read(self.spark, self.name, id_, split_bytes)

    @property
    def data_files(self) -> list[Path]:
        folder = Path(self.table.location.removeprefix("file:")) / "data"
        return sorted(folder.rglob("*.parquet"))


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str) -> Lake:
    return Lake(spark, config, namespace)


def digest(rows: DataFrame) -> str:
    """Say which rows come in which order in which partition."""
    from pyspark.sql import functions as F

    placed = rows.select(F.spark_partition_id().alias("partition"), "*").collect()
    return hashlib.sha256("\n".join(map(repr, placed)).encode()).hexdigest()


def of_many_files(lake: Lake, files: int, folder: Path) -> int:
    """Make a table of so many data files, in 20 commits, from hard links to 20 small ones; return its snapshot."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lake.sql("CREATE TABLE $t (id BIGINT) USING iceberg")
    jvm: Any = lake.spark._jvm
    table = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(lake.spark._jsparkSession, lake.name)
    id_field = pa.field("id", pa.int64(), metadata={"PARQUET:field_id": "1"})
    for commit in range(20):
        base = folder / f"base-{commit}.parquet"
        pq.write_table(pa.table([pa.array(range(commit * 3, commit * 3 + 3))], pa.schema([id_field])), base)
        known = jvm.org.apache.iceberg.DataFiles.builder(table.spec()).withPath(str(base)).withFormat("PARQUET")
        known = known.withFileSizeInBytes(base.stat().st_size).withRecordCount(3).build()
        append = table.newAppend()
        for number in range(commit, files, 20):
            path = folder / f"{hashlib.sha256(str(number).encode()).hexdigest()}.parquet"
            os.link(base, path)
            builder = jvm.org.apache.iceberg.DataFiles.builder(table.spec()).copy(known)
            append.appendFile(builder.withPath(str(path)).build())
        append.commit()
    return lake.current


@pytest.mark.parametrize("files", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_equal_snapshots_come_in_equal_order(lake: Lake, files: int, tmp_path: Path) -> None:
    pinned = of_many_files(lake, files, tmp_path)
    first = digest(lake.read(pinned))
    assert lake.read(pinned).count() == files * 3
    assert digest(lake.read(pinned)) == first
    lake.sql("INSERT INTO $t VALUES (-1)", "DELETE FROM $t WHERE id = 4", "ALTER TABLE $t ADD COLUMN more INT")
    lake.sql(
        "ALTER TABLE $t SET TBLPROPERTIES ('read.split.target-size' = '1000', 'read.split.planning-lookback' = '3')"
    )
    assert digest(lake.read(pinned)) == first


ELSEWHERE = """
import sys
from polyexpose_spark.config import CatalogConfig, Config, SparkConfig
from polyexpose_spark.session import build_session
from tests.spark.test_snapshot import SPLIT, digest
from polyexpose_spark import snapshot

config = Config.model_validate_json(sys.argv[1])
print("digest", digest(snapshot.read(build_session(config), sys.argv[2], int(sys.argv[3]), SPLIT)))
"""


def test_the_order_is_that_of_another_machine(lake: Lake, config: Config) -> None:
    """Another process: one core, other parallelism, one planning thread, no vectorized reading."""
    lake.sql("CREATE TABLE $t USING iceberg TBLPROPERTIES ('write.delete.mode'='merge-on-read') AS SELECT 0 AS n")
    for each in range(12):
        lake.sql(f"INSERT INTO $t SELECT /*+ REPARTITION(4) */ id + {each}000 FROM range(500)")
    lake.sql("DELETE FROM $t WHERE n % 7 = 0")
    settings = {
        "spark.default.parallelism": "16",
        "spark.sql.files.minPartitionNum": "5",
        "spark.sql.iceberg.vectorization.enabled": "false",
        "spark.sql.adaptive.enabled": "false",
    }
    spark = config.spark.model_copy(update={"master": "local[1]", "conf": settings, "log_file": None})
    other = config.model_copy(update={"spark": spark}).model_dump_json()
    repository = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, other, lake.name, str(lake.current)],
        env=os.environ | {"PYTHONPATH": str(repository), "ICEBERG_WORKER_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert f"digest {digest(lake.read(lake.current))}" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize("version", [2, 3])
def test_deletes_apply_and_the_order_outlives_later_commits(lake: Lake, version: int) -> None:
    lake.sql(
        "CREATE TABLE $t (id BIGINT, a STRING) USING iceberg TBLPROPERTIES "
        f"('format-version'='{version}', 'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')"
    )
    for each in range(6):
        lake.sql(f"INSERT INTO $t SELECT id + {each}00, 'a' FROM range(100)")
    lake.sql("DELETE FROM $t WHERE id % 10 = 3", "UPDATE $t SET a = 'b' WHERE id = 504")
    pinned = lake.current
    rows, first = lake.read(pinned).collect(), digest(lake.read(pinned))
    expected = [n for n in range(600) if n % 100 < 100 and n % 10 != 3]
    assert sorted(r.id for r in rows) == expected
    assert [r.id for r in rows if r.a == "b"] == [504]
    namespace = lake.identifier[0]
    lake.sql("DELETE FROM $t WHERE id < 300", f"CALL lake.system.rewrite_data_files('{namespace}.t')")
    lake.sql("INSERT OVERWRITE $t VALUES (1, 'new')")
    assert digest(lake.read(pinned)) == first
    assert [tuple(r) for r in lake.read(lake.current).collect()] == [(1, "new")]


def test_a_large_file_is_read_in_pieces_of_the_given_size(lake: Lake) -> None:
    lake.sql(
        "CREATE TABLE $t USING iceberg TBLPROPERTIES ('write.parquet.row-group-size-bytes'='65536', "
        "'write.parquet.row-group-check-min-record-count'='1000') AS "
        "SELECT /*+ COALESCE(1) */ id, sha2(string(id), 256) AS text FROM range(40000)"
    )
    assert len(lake.data_files) == 1
    whole, pieces = lake.read(lake.current), lake.read(lake.current, 200_000)
    assert whole.rdd.getNumPartitions() < 5 < pieces.rdd.getNumPartitions()
    assert [r.id for r in whole.collect()] == [r.id for r in pieces.collect()] == list(range(40000))
    assert digest(pieces) == digest(lake.read(lake.current, 200_000))


def test_a_snapshot_is_read_in_its_own_columns(lake: Lake) -> None:
    lake.sql(
        "CREATE TABLE $t (id INT NOT NULL, old STRING, kept STRUCT<a: INT, b: STRING>, f FLOAT, at TIMESTAMP) "
        "USING iceberg PARTITIONED BY (days(at))",
        "INSERT INTO $t VALUES (1, 'x', named_struct('a', 1, 'b', 'y'), 0.5, timestamp'2024-05-01 00:00:00')",
    )
    pinned = lake.current
    before = lake.read(pinned)
    lake.sql(
        "ALTER TABLE $t REPLACE PARTITION FIELD days(at) WITH bucket(2, id)",
        "ALTER TABLE $t DROP COLUMN at",
        "ALTER TABLE $t DROP COLUMN old",
        "ALTER TABLE $t ADD COLUMN old DECIMAL(9,2) FIRST",
        "ALTER TABLE $t RENAME COLUMN kept TO renamed",
        "ALTER TABLE $t DROP COLUMN renamed.b",
        "ALTER TABLE $t ALTER COLUMN f TYPE DOUBLE",
        "ALTER TABLE $t ALTER COLUMN id DROP NOT NULL",
        "INSERT INTO $t VALUES (9.75, 2, named_struct('a', 3), 0.25)",
    )
    again = lake.read(pinned)
    assert again.schema == before.schema
    assert again.schema.simpleString() == "struct<id:int,old:string,kept:struct<a:int,b:string>,f:float,at:timestamp>"
    assert not again.schema["id"].nullable
    assert [(r.id, r.old, tuple(r.kept), r.f, r.at.isoformat()) for r in again.collect()] == [
        (1, "x", (1, "y"), 0.5, "2024-05-01T00:00:00")
    ]
    assert [r.asDict(recursive=True) for r in again.select("kept.b", "old").where("id = 1").collect()] == [
        {"b": "y", "old": "x"}
    ]
    now = lake.read(lake.current)
    assert now.schema.simpleString() == "struct<old:decimal(9,2),id:int,renamed:struct<a:int>,f:double>"
    assert sorted((r.id, r.renamed.a, r.f) for r in now.collect()) == [(1, 1, 0.5), (2, 3, 0.25)]


def test_a_snapshot_without_rows_has_its_columns(lake: Lake, tmp_path: Path) -> None:
    lake.sql("CREATE TABLE $t (id BIGINT NOT NULL, a STRING) USING iceberg", "INSERT INTO $t VALUES (1, 'x')")
    lake.sql("DELETE FROM $t")
    empty = lake.read(lake.current)
    assert empty.schema.simpleString() == "struct<id:bigint,a:string>"
    assert not empty.schema["id"].nullable
    assert empty.collect() == []
    empty.write.parquet(str(tmp_path / "out"))
    assert lake.spark.read.parquet(str(tmp_path / "out")).columns == ["id", "a"]


def test_rows_can_be_used_again_and_reading_again_takes_no_more_room(lake: Lake) -> None:
    lake.sql("CREATE TABLE $t USING iceberg AS SELECT id, id % 3 AS k FROM range(100)")
    rows = lake.read(lake.current)
    for _ in range(3):
        lake.read(lake.current)
    assert rows.count() == rows.where("id >= 0").count() == 100
    assert rows.alias("a").join(rows.alias("b"), "id").groupBy("a.k").count().count() == 3
    jvm: Any = lake.spark._jvm
    table = jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(lake.spark._jsparkSession, lake.name)
    assert jvm.org.apache.iceberg.spark.ScanTaskSetManager.get().fetchSetIds(table).size() == 1


@pytest.mark.parametrize("name", ["with`quote", "with space", "with.dot", "mit-ü", "a/b", "1st", "select"])
def test_every_name_of_a_table_is_read_and_tagged(lake: Lake, name: str) -> None:
    identifier = (lake.identifier[0], name)
    quoted = snapshot.quoted("lake", identifier)
    lake.sql(f"CREATE TABLE {quoted} USING iceberg AS SELECT 1 AS `a``b.c`")
    pinned = snapshot.pin(lake.catalog.table(identifier)).id
    assert snapshot.read(lake.spark, quoted, pinned, SPLIT).collect()[0].asDict() == {"a`b.c": 1}
    snapshot.tag(lake.spark, quoted, "v 1.0`ü", pinned)
    assert "v 1.0`ü" in lake.catalog.table(identifier).refs


def test_what_happens_to_the_table_in_mid_run_does_not_change_what_is_read(lake: Lake) -> None:
    lake.sql("CREATE TABLE $t USING iceberg AS SELECT id FROM range(1000)")
    pinned = lake.current
    rows = lake.read(pinned)
    first = digest(rows)
    lake.sql("INSERT OVERWRITE $t SELECT id + 5 FROM range(10)", "ALTER TABLE $t RENAME COLUMN id TO other")
    assert digest(rows) == first
    lake.sql("DROP TABLE $t")  # without PURGE the files stay
    assert digest(rows) == first
    with pytest.raises(TargetFailed, match=rf"there is no such table: .*{lake.identifier[0]}"):
        lake.read(pinned)


def test_an_expired_snapshot_is_said(lake: Lake) -> None:
    lake.sql("CREATE TABLE $t USING iceberg AS SELECT 1 AS id")
    pinned = lake.current
    rows = lake.read(pinned)
    lake.sql("INSERT OVERWRITE $t VALUES (2)")
    lake.sql(
        f"CALL lake.system.expire_snapshots(table => '{lake.identifier[0]}.t', retain_last => 1, "
        "older_than => TIMESTAMP '2100-01-01 00:00:00')"
    )
    name = ".".join(lake.identifier)
    with pytest.raises(
        TargetFailed, match=rf"^snapshot {pinned} of table lake\.{name} is not there any more: expired$"
    ):
        lake.read(pinned)
    with pytest.raises(TargetFailed, match=rf"table {name}: snapshot {pinned} is not there .*, or expired\); live"):
        snapshot.pin(lake.table, snapshot_id=pinned)
    told = reason(lake, rows)
    assert told.startswith("a file is missing: ")
    assert ".parquet" in told


def reason(lake: Lake, rows: DataFrame) -> str:
    """Return what a user is told when these rows are read; one line."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- which of Spark's classes it is does not matter
        rows.collect()
    told = explained(raised.value, lake.name)
    assert isinstance(told, TargetFailed)
    assert "\n" not in str(told)
    assert "Exception" not in str(told)
    return str(told)


@pytest.fixture
def one_file(lake: Lake) -> Lake:
    lake.sql("CREATE TABLE $t USING iceberg AS SELECT /*+ COALESCE(1) */ id, string(id) AS text FROM range(1000)")
    # Hadoop's own sums beside local files would find the damage first; an object store has none.
    for sums in Path(lake.table.location.removeprefix("file:")).rglob(".*.crc"):
        sums.unlink()
    return lake


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut off"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"PAR1" + bytes(len(data) - 8) + b"PAR1", id="zeros"),
        pytest.param(lambda data: b"no parquet" * 200, id="text"),
        pytest.param(lambda data: data[:4] + bytes(200) + data[204:], id="first page"),
    ],
)
def test_a_damaged_file_is_said(one_file: Lake, damage: Any) -> None:
    rows = one_file.read(one_file.current)
    (file,) = one_file.data_files
    file.write_bytes(damage(file.read_bytes()))
    told = reason(one_file, rows)
    assert told.startswith("a file cannot be read: ")
    # Where the reader of Parquet does not say which file it is, the table is named.
    assert file.name in told or f"(table lake.{'.'.join(one_file.identifier)})" in told


def test_a_missing_file_is_named(one_file: Lake) -> None:
    rows = one_file.read(one_file.current)
    (file,) = one_file.data_files
    file.unlink()
    told = reason(one_file, rows)
    assert told.startswith("a file is missing: ")
    assert file.name in told


@pytest.mark.parametrize("pattern", ["snap-*.avro", "*-m0.avro", "*.metadata.json"])
def test_missing_metadata_is_named(one_file: Lake, pattern: str) -> None:
    pinned = one_file.current
    for file in (Path(one_file.table.location.removeprefix("file:")) / "metadata").glob(pattern):
        file.unlink()
    with pytest.raises(TargetFailed, match=r"^a file is missing: .*metadata/.*\.(avro|json)"):
        one_file.read(pinned)


def test_a_tag_that_is_there_commits_nothing_and_outlives_expiry(lake: Lake) -> None:
    lake.sql("CREATE TABLE $t USING iceberg TBLPROPERTIES ('history.expire.max-ref-age-ms'='1') AS SELECT 1 AS id")
    pinned = lake.current
    snapshot.tag(lake.spark, lake.name, "kept", pinned)
    versions = Path(lake.table.location.removeprefix("file:")) / "metadata"
    before = sorted(versions.glob("*.metadata.json"))
    snapshot.tag(lake.spark, lake.name, "kept", pinned)
    snapshot.untag(lake.spark, lake.name, "never-there")
    assert sorted(versions.glob("*.metadata.json")) == before
    lake.sql("INSERT OVERWRITE $t VALUES (2)")
    lake.sql(
        f"CALL lake.system.expire_snapshots(table => '{lake.identifier[0]}.t', retain_last => 1, "
        "older_than => TIMESTAMP '2100-01-01 00:00:00')"
    )
    assert [r.id for r in lake.read(pinned).collect()] == [1]
    assert snapshot.pin(lake.table, as_of="kept").id == pinned


def test_a_tag_that_cannot_be_put_says_why(lake: Lake) -> None:
    lake.sql("CREATE TABLE $t USING iceberg AS SELECT 1 AS id")
    with pytest.raises(TargetFailed, match="unknown snapshot: 42"):
        snapshot.tag(lake.spark, lake.name, "x", 42)
    lake.sql("ALTER TABLE $t CREATE BRANCH x")
    with pytest.raises(TargetFailed, match=r"(?i)branch"):
        snapshot.tag(lake.spark, lake.name, "x", lake.current)
    with pytest.raises(TargetFailed, match="nope` cannot be found"):
        snapshot.tag(lake.spark, snapshot.quoted("lake", (lake.identifier[0], "nope")), "x", 42)


@pytest.fixture
def forbidding() -> Iterator[str]:
    """A REST catalog that lets in and then answers 403 to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.path.startswith("/v1/config")
            body = {"defaults": {}, "overrides": {}}
            refusal = {"error": {"message": "not yours", "type": "ForbiddenException", "code": 403}}
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps(body if allowed else refusal).encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_what_is_not_permitted_is_told_from_what_is_not_reached(spark: SparkSession, forbidding: str) -> None:
    default = spark.conf.get("spark.sql.defaultCatalog", "spark_catalog")
    try:
        build_session(Config(catalog=CatalogConfig(name="forbidding", type="rest", uri=forbidding)))
        with pytest.raises(TargetFailed, match=r"^not permitted, check the rights on the table: .*not yours"):
            snapshot.tag(spark, "`forbidding`.`db`.`t`", "x", 1)
        build_session(Config(catalog=CatalogConfig(name="gone", type="rest", uri="http://127.0.0.1:9")))
        with pytest.raises(TargetUnavailable, match=r"cannot be reached: .*; run again$"):
            snapshot.tag(spark, "`gone`.`db`.`t`", "x", 1)
        spark.conf.set("spark.sql.defaultCatalog", str(default))
        with pytest.raises(TargetUnavailable, match=r"cannot be reached: .*; run again$"):
            snapshot.tag(spark, "`gone`.`db`.`t`", "x", 1)
    finally:  # the session is that of all tests
        spark.conf.set("spark.sql.defaultCatalog", str(default))


@pytest.mark.filterwarnings("ignore:distutils Version classes:DeprecationWarning")  # PySpark 3.5's own
def test_a_session_without_a_jvm_is_refused_with_what_to_do(spark: SparkSession) -> None:
    assert has_jvm(spark)
    pytest.importorskip("grpc_status", reason="Spark Connect's client is not installed (pyspark[connect])")
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    # Nothing listens there: the session is asked what it is, not to do anything.
    remote: Any = ConnectSession("sc://127.0.0.1:9")
    assert not has_jvm(remote)
    with pytest.raises(Refused, match="a Spark Connect session cannot read a snapshot in stable order: run the job by"):
        snapshot.read(remote, "`lake`.`db`.`t`", 1, SPLIT)


def test_a_python_function_that_fails_on_an_executor_is_quoted(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    with pytest.raises(Exception, match="ZeroDivisionError") as raised:
        spark.range(3).select(F.udf(lambda value: 1 // 0)("id")).collect()
    told = explained(raised.value)
    assert (type(told), str(told)) == (TargetFailed, "ZeroDivisionError: integer division or modulo by zero")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_said() -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        Path("/dev/full").write_text("x")
    assert str(explained(raised.value)).startswith("no space left on the device")


def test_a_wrong_call_into_the_jvm_is_a_bug(spark: SparkSession) -> None:
    jvm: Any = spark._jvm
    with pytest.raises(Exception, match="does not exist") as raised:
        jvm.java.util.ArrayList().nope()
    assert explained(raised.value).exit_code is ExitCode.BUG
    with pytest.raises(Exception, match="does not exist") as raised:
        jvm.java.lang.System.nope()
    assert explained(raised.value).exit_code is ExitCode.BUG


def test_a_bug_stays_a_bug_and_our_own_errors_stay_what_they_are() -> None:
    told = explained(KeyError("column"))
    assert (told.exit_code, str(told)) == (ExitCode.BUG, "KeyError: 'column'")
    ours = Refused("no")
    assert explained(ours) is ours
    assert isinstance(told, PolyexposeError)
