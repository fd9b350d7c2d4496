"""The Spark session: spark_conf() is the only source of settings, build_session() the only builder.

The class path must be set before the JVM starts. Under `spark-submit` the set-up writes spark_conf() to a properties
file; where Python starts the JVM itself (`polyexpose`, `python main.py`), the builder hands the same settings on.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from polyexpose_spark.clients import secrets
from polyexpose_spark.config import CatalogConfig, Config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def spark_conf(config: Config) -> dict[str, str]:
    """Return every Spark setting of this configuration, without any secret (it ends up on a command line)."""
    spark, catalog = config.spark, config.catalog
    conf = {
        # Bytes must not differ by machine or Spark line: time zone and ANSI mode are always said.
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        # Parquet for BigQuery: microseconds, and dates before 1900 as they are.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
        # HotSpot never compiles a method of more than 8000 bytes of bytecode; the default lets Spark make such ones,
        # which then run interpreted: a row of CSV with 19 columns took 2.3 times as long as it should.
        "spark.sql.codegen.hugeMethodLimit": "8000",
        # `nyc_exposed.flights` in a query is a view of our catalog.
        "spark.sql.defaultCatalog": catalog.name,
        **_catalog_conf(catalog),
    }
    if spark.master:
        conf["spark.master"] = spark.master
    if spark.driver_memory:
        conf["spark.driver.memory"] = spark.driver_memory
    if spark.provision:
        conf |= _laptop_conf(spark.log_file)
    return conf | dict(spark.conf)


def _catalog_conf(catalog: CatalogConfig) -> dict[str, str]:
    prefix = f"spark.sql.catalog.{catalog.name}"
    conf = {
        prefix: "org.apache.iceberg.spark.SparkCatalog",
        f"{prefix}.type": catalog.type,
        # Cached tables would hide what pyiceberg and other engines commit.
        f"{prefix}.cache-enabled": "false",
    }
    if catalog.uri:
        conf[f"{prefix}.uri"] = jdbc_uri(catalog.uri)
    if catalog.warehouse:
        conf[f"{prefix}.warehouse"] = catalog.warehouse
    if catalog.type == "jdbc":
        conf[f"{prefix}.jdbc.schema-version"] = "V1"  # views need it
        if catalog.user:
            conf[f"{prefix}.jdbc.user"] = catalog.user
    return conf | {
        f"{prefix}.{key}": value for key, value in catalog.properties.items() if not secrets.is_reference(value)
    }


def jdbc_uri(uri: str) -> str:
    """Return the URI as the JVM takes it: an SQLite file with time to wait for another writer."""
    return uri if "?" in uri or not uri.startswith("jdbc:sqlite:") else f"{uri}?busy_timeout=30000"


def _laptop_conf(log_file: str | None) -> dict[str, str]:
    from polyexpose_spark import runtime

    jars = runtime.jars()
    archive = runtime.class_data_archive(jars, runtime.java_home())
    java = ["-Dderby.stream.error.file=/dev/null"]
    if archive:
        java += [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    if log_file:
        # Spark's own log goes to a file; the terminal is for the user.
        settings = Path(__file__).parent / "conf" / "log4j2-laptop.properties"
        java += [f"-Dlog4j2.configurationFile=file:{settings}", f"-Dpolyexpose.log.file={log_file}"]
    return {
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jars)),
        "spark.driver.extraJavaOptions": " ".join(java),
        "spark.pyspark.python": sys.executable,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # The default of 200 is for clusters.
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": str(Path(log_file).parent.parent / "spark-warehouse")
        if log_file
        else "spark-warehouse",
    }


def build_session(config: Config) -> SparkSession:
    """Return the Spark session, starting it where there is none; a running one takes over what can be changed."""
    from pyspark.sql import SparkSession

    if config.spark.provision and not SparkSession.getActiveSession():
        from polyexpose_spark import runtime

        os.environ["JAVA_HOME"] = str(runtime.java_home())
        # Python workers run on the Python that has pyarrow: this one. (Under spark-submit the setting below says it.)
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        if config.spark.log_file:
            Path(config.spark.log_file).parent.mkdir(parents=True, exist_ok=True)
    builder = SparkSession.builder.appName("polyexpose")
    for key, value in spark_conf(config).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    # Secrets go straight into the session: as a start setting they would be on the JVM's command line.
    prefix = f"spark.sql.catalog.{config.catalog.name}"
    if config.catalog.password:
        session.conf.set(f"{prefix}.jdbc.password", secrets.resolve(config.catalog.password))
    for key, value in config.catalog.properties.items():
        if secrets.is_reference(value):
            session.conf.set(f"{prefix}.{key}", secrets.resolve(value))
    return session
