"""The Frictionless tools over what is exposed: what they pass, and what their own rules refuse, with the exact text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark.config import Config
from tests.spark.csv_exposed import Exposed, Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    pytest.mark.spark,
    # The tools leave compressed files open.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
]

TYPES = """
    id INT NOT NULL, b BOOLEAN, l BIGINT, f FLOAT, d DOUBLE, n DECIMAL(38,18), day DATE, ts TIMESTAMP,
    ntz TIMESTAMP_NTZ, s STRING, y BINARY, st STRUCT<a: INT, t: TIMESTAMP>, li ARRAY<STRING>,
    m MAP<STRING, INT>, k MAP<INT, STRING>
"""
ROW = """
    SELECT {id}, true, 9223372036854775807, float(0.1), double('NaN'), 12.5, DATE'2024-02-29',
    TIMESTAMP'2024-02-29 23:59:59.999999', TIMESTAMP_NTZ'2024-02-29 23:59:59.5', 'a "b", c\nd', X'00FF',
    named_struct('a', 1, 't', TIMESTAMP'2024-01-01 00:00:00'), array('x', NULL, ''), map('a', 1), map(1, 'a')
"""
NULLS = f"SELECT 2{', NULL' * 14}"
INFINITE = ROW.replace("double('NaN')", "double('-Infinity')").format(id=3)


@pytest.fixture
def lake(spark: SparkSession, config: Config, namespace: str, tmp_path: Path) -> Lake:
    return Lake(spark, config, namespace, tmp_path / "out", primary_key=("id",))


def errors(shown: Exposed) -> list[tuple[str, str]]:
    """Validate as `frictionless validate datapackage.json` does; return type and note of every error."""
    import frictionless

    report = frictionless.validate(str(shown.root / "datapackage.json"))
    return [(type_, note) for type_, note in report.flatten(["type", "note"])]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"compression": "gzip"},
        {"singleFile": True},
        {"singleFile": True, "compression": "gzip"},
        {"nullMarker": "\\N", "delimiter": ";", "quoteAll": True},
        {"header": False},
    ],
    ids=str,
)
def test_every_type_passes(lake: Lake, settings: dict[str, Any]) -> None:
    lake.create(TYPES)
    lake.insert(f"{ROW.format(id=1)} UNION ALL {NULLS} UNION ALL {INFINITE}")
    assert errors(lake.expose(**settings)) == []


def test_the_tools_read_the_values_and_the_types(lake: Lake) -> None:
    import datetime as dt
    from decimal import Decimal

    from frictionless import Package

    lake.create(TYPES)
    lake.insert(ROW.format(id=1))
    [resource] = Package(str(lake.expose().root / "datapackage.json")).resources
    [row] = resource.read_rows()
    read = row.to_dict()
    assert read["l"] == 9223372036854775807
    assert read["n"] == Decimal("12.500000000000000000")
    assert read["day"] == dt.date(2024, 2, 29)
    assert read["ts"] == dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.UTC)
    assert read["ntz"] == dt.datetime(2024, 2, 29, 23, 59, 59, 500000)
    assert read["s"] == 'a "b", c\nd'
    assert read["st"] == {"a": 1, "t": "2024-01-01T00:00:00.000000Z"}
    assert read["li"] == ["x", None, ""]
    assert read["m"] == {"a": 1}
    assert read["k"] == [{"key": 1, "value": "a"}]


def test_several_files_and_no_rows_pass(lake: Lake) -> None:
    lake.create("id INT NOT NULL, s STRING")
    for first in (0, 10, 20):
        lake.insert(f"SELECT id, repeat('x', 200000) FROM range({first}, {first + 10}, 1, 1)")
    shown = lake.expose(targetBytesPerFile="1MiB")
    assert len(shown.files) >= 6
    assert errors(shown) == []
    lake.spark.sql(f"DELETE FROM lake.{lake.namespace}.t WHERE id >= 0")
    assert errors(lake.expose()) == []


def test_what_changed_after_it_was_exposed_is_found(lake: Lake) -> None:
    lake.create("id INT NOT NULL, s STRING")
    lake.insert("SELECT 1, 'a'")
    shown = lake.expose()
    [path] = shown.files
    path.write_text("id,s\n2,b\n")
    [(type_, _)] = errors(shown)
    assert type_ == "hash-count"


def test_what_the_rules_of_the_tools_refuse(lake: Lake) -> None:
    lake.create("id INT NOT NULL, s STRING NOT NULL, d DATE")
    lake.insert("SELECT 1, '', DATE'2024-01-01' UNION ALL SELECT 2, 'x', date_from_unix_date(2932897)")
    assert sorted(errors(lake.expose(singleFile=True))) == [
        # NULL and "" are the same to the tools, so that "" is missing in a required column.
        ("constraint-error", 'constraint "required" is "True"'),
        ("type-error", 'type is "date/default"'),  # +10000-01-01
    ]


def test_a_row_of_nulls_is_refused(lake: Lake) -> None:
    lake.primary_key = ()
    lake.create("a INT, b STRING", [(None, None), (1, "x")])
    assert errors(lake.expose()) == [("blank-row", "")]


def test_zstd_is_refused(lake: Lake) -> None:
    lake.create("id INT NOT NULL, s STRING", [(1, "a")])
    assert errors(lake.expose(compression="zstd")) == [("compression-error", 'compression "zst" is not supported')]


def test_an_empty_file_without_header_is_refused(lake: Lake) -> None:
    lake.create("id INT NOT NULL, s STRING", [(1, "a")])
    lake.spark.sql(f"DELETE FROM lake.{lake.namespace}.t WHERE id >= 0")
    assert errors(lake.expose(header=False)) == [("source-error", "the source is empty")]
