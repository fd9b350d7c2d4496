"""What is exposed as CSV, read back by the readers that people use, compared cell by cell with the table."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pytest

from polyexpose_spark.config import Config
from tests.spark.csv_exposed import Exposed, Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark

MARKER = "\\N"

HOSTILE: tuple[str | None, ...] = (
    None,
    "",
    "plain",
    "a,b",
    ",",
    'say "hi", ok',
    '"',
    '""',
    '"lone in front',
    'lone behind"',
    'in the "middle" of',
    "a\nb",
    "a\rb",
    "a\r\nb",
    "\n",
    "\r",
    "\r\n",
    "ends with a line end\n",
    " lead",
    "trail ",
    "  ",
    "\t",
    "back\\slash",
    'backslash and quote \\"',
    "ends with a backslash\\",
    "NULL",
    "null",
    "NaN",
    "N/A",
    "None",
    "0123",
    "1e5",
    "true",
    "=1+1",
    "#not a comment",
    "'",
    ";",
    "|",
    "\x01\x02\x08\x0b\x0c\x1b\x1f\x7f",
    "\x1c\x1d\x1e\x85\u2028\u2029",
    "emoji \U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\u202bעברית\u202c \u200f",
    "e\u0301 \u00e9",
    "\ufeffnot a byte order mark",
)
ONLY_NUL = "nul \x00 inside"


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str, tmp_path: Path) -> Lake:
    return Lake(spark, config, namespace, tmp_path / "out")


def rows_of(values: tuple[str | None, ...]) -> list[tuple[Any, ...]]:
    """Each value in the first and in the last column, beside each other kind of neighbour."""
    turned = values[1:] + values[:1]
    return [(first, number, last) for number, (first, last) in enumerate(zip(values, turned, strict=True))]


def exposed(lake: Lake, rows: list[tuple[Any, ...]], **settings: Any) -> Exposed:
    lake.create("first STRING, id INT NOT NULL, last STRING", rows)
    return lake.expose(**settings)


def as_text(rows: list[tuple[Any, ...]]) -> list[tuple[str | None, ...]]:
    return [tuple(None if each is None else str(each) for each in row) for row in rows]


@pytest.mark.parametrize("quote_all", [False, True])
def test_polars_sees_every_cell_and_tells_null_from_empty(lake: Lake, quote_all: bool) -> None:
    rows = rows_of((*HOSTILE, MARKER, ONLY_NUL))
    [path] = exposed(lake, rows, quoteAll=quote_all).files
    assert pl.read_csv(path, infer_schema=False).rows() == as_text(rows)


@pytest.mark.parametrize("quote_all", [False, True])
def test_duckdb_sees_every_cell_and_tells_null_from_empty(lake: Lake, quote_all: bool) -> None:
    rows = rows_of((*HOSTILE, MARKER, ONLY_NUL))
    [path] = exposed(lake, rows, quoteAll=quote_all).files
    assert from_duckdb(path) == as_text(rows)


def from_duckdb(path: Path, null: str = "") -> list[tuple[Any, ...]]:
    # Without hive_partitioning=false the folder `snapshot=<id>` becomes a column of its own.
    options = "all_varchar=true, header=true, hive_partitioning=false, allow_quoted_nulls=false"
    return duckdb.execute(f"SELECT * FROM read_csv(?, nullstr=?, {options})", [str(path), null]).fetchall()


def test_python_reads_every_cell_with_a_null_marker(lake: Lake) -> None:
    rows = rows_of((*HOSTILE, ONLY_NUL))
    [path] = exposed(lake, rows, nullMarker=MARKER).files
    assert from_python(path) == as_text(rows)


def from_python(path: Path) -> list[tuple[str | None, ...]]:
    with path.open(encoding="utf-8", newline="") as stream:
        _, *read = csv.reader(stream, strict=True)
    return [tuple(None if each == MARKER else each for each in row) for row in read]


def test_pandas_reads_every_cell_with_a_null_marker(lake: Lake) -> None:
    rows = rows_of(HOSTILE)
    [path] = exposed(lake, rows, nullMarker=MARKER).files
    read = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[MARKER], lineterminator="\n")
    assert [tuple(None if pd.isna(each) else each for each in row) for row in read.itertuples(index=False)] == as_text(
        rows
    )


def test_spark_reads_every_cell_with_a_null_marker(lake: Lake, spark: SparkSession) -> None:
    rows = rows_of(HOSTILE)
    [path] = exposed(lake, rows, nullMarker=MARKER).files
    options = {"header": True, "multiLine": True, "escape": '"', "nullValue": MARKER, "emptyValue": "", "lineSep": "\n"}
    read = spark.read.options(**options).csv(str(path)).collect()
    assert [tuple(row) for row in read] == as_text(rows)


def test_a_cell_that_equals_the_null_marker_is_quoted_and_strict_readers_see_it(lake: Lake) -> None:
    shown = exposed(lake, [(MARKER, 1, None), (None, 2, MARKER)], nullMarker=MARKER)
    assert shown.text == 'first,id,last\n"\\N",1,\\N\n\\N,2,"\\N"\n'
    [path] = shown.files
    assert from_duckdb(path, MARKER) == [(MARKER, "1", None), (None, "2", MARKER)]


def test_null_is_empty_and_the_empty_string_is_two_quotes(lake: Lake) -> None:
    assert exposed(lake, [(None, 1, ""), ("", 2, None)]).text == 'first,id,last\n,1,""\n"",2,\n'


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "¦"])
def test_another_delimiter(lake: Lake, delimiter: str) -> None:
    rows = rows_of((*HOSTILE, delimiter, f"a{delimiter}b"))
    [path] = exposed(lake, rows, delimiter=delimiter, nullMarker=MARKER).files
    with path.open(encoding="utf-8", newline="") as stream:
        _, *read = csv.reader(stream, strict=True, delimiter=delimiter)
    assert [tuple(None if each == MARKER else each for each in row) for row in read] == as_text(rows)


def test_a_column_name_with_a_comma_and_a_quote(lake: Lake) -> None:
    lake.create('`a, "b"` STRING, ` c ` STRING, `d``e` INT, `ünï😀` INT, `x.y` INT', [("1", "2", 3, 4, 5)])
    text = lake.expose().text
    assert text == '"a, ""b""", c ,d`e,ünï😀,x.y\n1,2,3,4,5\n'
    assert next(csv.reader(io.StringIO(text))) == ['a, "b"', " c ", "d`e", "ünï😀", "x.y"]


def test_one_column_of_nulls_and_empty_strings_with_a_null_marker(lake: Lake) -> None:
    lake.create("only STRING", [(None,), ("",), ("a",), (MARKER,)])
    shown = lake.expose(nullMarker=MARKER)
    assert shown.text == 'only\n\\N\n""\na\n"\\N"\n'
    [path] = shown.files
    assert pl.read_csv(path, infer_schema=False)["only"].to_list() == [MARKER, "", "a", MARKER]
    assert from_duckdb(path, MARKER) == [(None,), ("",), ("a",), (MARKER,)]


def test_without_header(lake: Lake) -> None:
    shown = exposed(lake, [("\ufeffa", 1, "b")], header=False)
    # In quotes, or the first cell of the file would begin with a byte order mark.
    assert shown.text == '"\ufeffa",1,b\n'
    assert shown.package["resources"][0]["dialect"]["header"] is False


@pytest.mark.parametrize(("compression", "single"), [(c, s) for c in ("gzip", "zstd") for s in (False, True)])
def test_compressed_files_are_read_by_all(lake: Lake, compression: str, single: bool) -> None:
    rows = rows_of(HOSTILE)
    [path] = exposed(lake, rows, compression=compression, singleFile=single, nullMarker=MARKER).files
    assert path.name.endswith({"gzip": ".csv.gz", "zstd": ".csv.zst"}[compression])
    wanted = as_text(rows)
    assert from_duckdb(path, MARKER) == wanted
    assert pl.read_csv(path, infer_schema=False, null_values=[MARKER]).rows() == wanted
    read = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[MARKER], lineterminator="\n")
    assert [tuple(None if pd.isna(each) else each for each in row) for row in read.itertuples(index=False)] == wanted
