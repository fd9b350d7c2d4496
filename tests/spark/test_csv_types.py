"""How each type is written: the text of cells, character by character."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark.config import Config
from polyexpose_spark.errors import ConfigError, Refused
from tests.spark.csv_exposed import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str, tmp_path: Path) -> Lake:
    return Lake(spark, config, namespace, tmp_path / "out")


@pytest.fixture(params=[("UTC", "true"), ("America/New_York", "false")], ids=["house", "elsewhere"])
def session_state(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[None]:
    """The same bytes, whatever time zone and mode somebody has set in the session."""
    keys = ("spark.sql.session.timeZone", "spark.sql.ansi.enabled")
    before = [spark.conf.get(key) for key in keys]
    for key, value in zip(keys, request.param, strict=True):
        spark.conf.set(key, value)
    yield
    for key, value in zip(keys, before, strict=True):
        spark.conf.set(key, str(value))


def cells(lake: Lake, type_: str, *values: str, **settings: Any) -> list[str]:
    """Write values, given as SQL in UTC and ANSI mode, into a column; return the cells as they stand in the file."""
    lake.create(f"id INT, v {type_}")
    spark = lake.spark
    zone, ansi = spark.conf.get("spark.sql.session.timeZone"), spark.conf.get("spark.sql.ansi.enabled")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    spark.conf.set("spark.sql.ansi.enabled", "true")
    union = " UNION ALL ".join(f"SELECT {i} AS id, {value} AS v" for i, value in enumerate(values))
    lake.insert(f"SELECT * FROM (SELECT /*+ COALESCE(1) */ * FROM ({union})) ORDER BY id")
    spark.conf.set("spark.sql.session.timeZone", str(zone))
    spark.conf.set("spark.sql.ansi.enabled", str(ansi))
    lines = lake.expose(**settings).text.splitlines()[1:]
    return [line.partition(",")[2] for line in sorted(lines, key=lambda line: int(line.partition(",")[0]))]


@pytest.mark.usefixtures("session_state")
def test_booleans_and_integers(lake: Lake) -> None:
    assert cells(lake, "BOOLEAN", "true", "false", "NULL") == ["true", "false", ""]
    lake.spark.sql(f"DROP TABLE lake.{lake.namespace}.t")
    assert cells(lake, "BIGINT", "-9223372036854775808", "9223372036854775807", "0") == [
        "-9223372036854775808",
        "9223372036854775807",
        "0",
    ]


@pytest.mark.usefixtures("session_state")
def test_floating_point(lake: Lake) -> None:
    written = cells(
        lake,
        "DOUBLE",
        "0D",
        "-0D",
        "0.1D",
        "1e300D",
        "DOUBLE('NaN')",
        "DOUBLE('Infinity')",
        "DOUBLE('-Infinity')",
        "NULL",
    )
    assert written == ["0.0", "-0.0", "0.1", "1.0E300", "NaN", "INF", "-INF", ""]


@pytest.mark.usefixtures("session_state")
def test_floats_keep_their_own_digits(lake: Lake) -> None:
    assert cells(lake, "FLOAT", "FLOAT(0.1)", "FLOAT('Infinity')") == ["0.1", "INF"]


@pytest.mark.usefixtures("session_state")
def test_decimals_are_never_written_with_an_exponent(lake: Lake) -> None:
    written = cells(
        lake,
        "DECIMAL(38,18)",
        "0",
        "CAST('0.000000000000000001' AS DECIMAL(38,18))",
        "CAST('-0.0000001' AS DECIMAL(38,18))",
        "CAST('99999999999999999999.999999999999999999' AS DECIMAL(38,18))",
        "CAST('12.5' AS DECIMAL(38,18))",
    )
    assert written == [
        "0.000000000000000000",
        "0.000000000000000001",
        "-0.000000100000000000",
        "99999999999999999999.999999999999999999",
        "12.500000000000000000",
    ]


@pytest.mark.usefixtures("session_state")
def test_dates(lake: Lake) -> None:
    written = cells(
        lake, "DATE", "DATE'2024-02-29'", "DATE'0001-01-01'", "DATE'1582-10-15'", "DATE'9999-12-31'", "NULL"
    )
    assert written == ["2024-02-29", "0001-01-01", "1582-10-15", "9999-12-31", ""]


TIMES = {
    "2024-02-29 23:59:59.999999": "2024-02-29T23:59:59.999999",
    "2024-02-29 00:00:00": "2024-02-29T00:00:00.000000",
    "2024-02-29 12:30:00.5": "2024-02-29T12:30:00.500000",
    "2024-03-10 02:30:00.000001": "2024-03-10T02:30:00.000001",  # a gap in New York
    "2024-11-03 01:30:00.120000": "2024-11-03T01:30:00.120000",  # twice in New York
    "1969-12-31 23:59:59.999999": "1969-12-31T23:59:59.999999",
    "1883-11-18 16:59:59.000100": "1883-11-18T16:59:59.000100",
    "0001-01-01 00:00:00": "0001-01-01T00:00:00.000000",
    "9999-12-31 23:59:59.999999": "9999-12-31T23:59:59.999999",
}


@pytest.mark.usefixtures("session_state")
def test_timestamps_with_time_zone_are_utc_with_all_digits(lake: Lake) -> None:
    written = cells(lake, "TIMESTAMP", *(f"TIMESTAMP'{each}'" for each in TIMES), "NULL")
    assert written == [*(f"{each}Z" for each in TIMES.values()), ""]


@pytest.mark.usefixtures("session_state")
def test_timestamps_without_time_zone_have_no_z(lake: Lake) -> None:
    written = cells(lake, "TIMESTAMP_NTZ", *(f"TIMESTAMP_NTZ'{each}'" for each in TIMES), "NULL")
    assert written == [*TIMES.values(), ""]


def test_years_that_have_not_four_digits_are_written_by_iso_8601_with_a_sign(lake: Lake) -> None:
    lake.create("id INT, d DATE, t TIMESTAMP, n TIMESTAMP_NTZ")
    # -719893 is the first day of the year -1, two before the year 1 in astronomical reckoning.
    days = {0: 2_932_897, 1: -719_893}
    selects = [
        f"SELECT {row} AS id, date_from_unix_date({day}) AS d, timestamp_micros({day * 86_400_000_000 + row}) AS t"
        for row, day in days.items()
    ]
    lake.insert(f"SELECT *, CAST(t AS TIMESTAMP_NTZ) FROM ({' UNION ALL '.join(selects)})")
    assert sorted(lake.expose().text.splitlines()[1:]) == [
        "0,+10000-01-01,+10000-01-01T00:00:00.000000Z,+10000-01-01T00:00:00.000000",
        "1,-0001-01-01,-0001-01-01T00:00:00.000001Z,-0001-01-01T00:00:00.000001",
    ]


def test_bytes_are_base64_without_line_ends_and_empty_is_not_null(lake: Lake) -> None:
    written = cells(lake, "BINARY", "X'00FF10'", "CAST(repeat('x', 100) AS BINARY)", "X''", "NULL")
    assert written == ["AP8Q", "eHh4" * 33 + "eA==", '""', ""]


def test_text_that_looks_like_the_marker_is_quoted_whatever_its_type(lake: Lake) -> None:
    lake.create("i INT, b BOOLEAN, y BINARY, d DOUBLE")
    lake.insert("SELECT 0, true, X'34D4B3', 0D UNION ALL SELECT NULL, NULL, NULL, NULL")
    assert sorted(lake.expose(nullMarker="0").text.splitlines()[1:]) == ['"0",true,NNSz,0.0', "0,0,0,0"]
    assert sorted(lake.expose(nullMarker="NNSz").text.splitlines()[1:]) == ['0,true,"NNSz",0.0', "NNSz,NNSz,NNSz,NNSz"]
    assert sorted(lake.expose(nullMarker="true").text.splitlines()[1:]) == ['0,"true",NNSz,0.0', "true,true,true,true"]


def test_quote_all_quotes_every_cell_but_null(lake: Lake) -> None:
    lake.create("i INT, s STRING, d DATE")
    lake.insert("SELECT 1, 'a \"b\"', DATE'2024-01-02' UNION ALL SELECT NULL, '', NULL")
    assert sorted(lake.expose(quoteAll=True).text.splitlines()) == [
        '"1","a ""b""","2024-01-02"',
        '"i","s","d"',
        ',"",',
    ]


NESTED = (
    "s STRUCT<a: INT, b: STRING, d: DECIMAL(38,18), t: TIMESTAMP, n: TIMESTAMP_NTZ, f: DOUBLE, x: BINARY>, "
    "l ARRAY<DECIMAL(9,2)>, m MAP<STRING, DATE>, k MAP<INT, ARRAY<TIMESTAMP>>, "
    "e ARRAY<STRUCT<m: MAP<DATE, DECIMAL(3,1)>>>, p ARRAY<STRING>"
)
WHEN = dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)


def from_json(lake: Lake, **settings: Any) -> list[list[Any]]:
    text = lake.expose(**settings).text
    return [[json.loads(each) if each else None for each in row] for row in list(csv.reader(io.StringIO(text)))[1:]]


@pytest.mark.usefixtures("session_state")
def test_nested_values_are_json_and_lose_no_digit(lake: Lake) -> None:
    lake.create(NESTED)
    naive = WHEN.replace(tzinfo=None)
    struct = (1, 'q" \\ é 😀\n', Decimal("0.000000000000000001"), WHEN, naive, float("nan"), bytearray(b"\x00\xff"))
    lake.append(
        [
            (
                struct,
                [Decimal("1.50"), None],
                {"a": dt.date(1, 1, 1), "b": None},
                {7: [WHEN, None]},
                [({dt.date(2024, 1, 1): Decimal("1.5")},), (None,), None],
                ["", None, "x"],
            ),
            ((None,) * 7, [], {}, {}, [], []),
            (None,) * 6,
        ]
    )
    when = "2024-01-02T03:04:05.000006"
    assert from_json(lake) == [
        [
            {
                "a": 1,
                "b": 'q" \\ é 😀\n',
                "d": "0.000000000000000001",
                "t": f"{when}Z",
                "n": when,
                "f": "NaN",
                "x": "AP8=",
            },
            ["1.50", None],
            {"a": "0001-01-01", "b": None},
            [{"key": 7, "value": [f"{when}Z", None]}],
            [{"m": [{"key": "2024-01-01", "value": "1.5"}]}, {"m": None}, None],
            ["", None, "x"],
        ],
        [dict.fromkeys("abdtnfx"), [], {}, [], [], []],
        [None] * 6,
    ]


def test_nested_can_be_refused(lake: Lake) -> None:
    lake.create("id INT, l ARRAY<INT>, s STRUCT<a: INT>", [(1, [1], (1,))])
    with pytest.raises(Refused) as caught:
        lake.expose(nested="reject")
    assert str(caught.value).splitlines() == [
        "column l: list<int> is refused by port csv (csv): `nested` is reject",
        "column s: struct<a: int> is refused by port csv (csv): `nested` is reject",
    ]
    assert not lake.folder.exists()


def test_one_column_that_can_be_null_needs_a_null_marker(lake: Lake) -> None:
    lake.create("only INT", [(1,)])
    with pytest.raises(ConfigError, match=r"things\.odcs\.yaml: servers\[1\].*nullMarker.*only"):
        lake.expose()
    assert not lake.folder.exists()


def test_one_column_that_cannot_be_null_needs_none(lake: Lake) -> None:
    lake.create("only STRING NOT NULL", [("",), ("a",)])
    assert lake.expose().text == 'only\n""\na\n'


def test_a_plan_says_how_each_column_is_carried(lake: Lake) -> None:
    lake.create("i INT, m MAP<STRING, INT>, k MAP<INT, STRING>")
    lake.insert("SELECT 1, map('a', 1), map(1, 'a')")
    plan = lake.port().plan(lake.exposure())
    assert {name: native.name for name, native in plan.columns.items()} == {
        "i": "integer",
        "m": "text, JSON object",
        "k": "text, JSON array of {key, value}",
    }
    assert plan.columns["k"].loses == "the types of its keys and values"
