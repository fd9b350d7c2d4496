"""Encodings and inputs of single values (TypeInterpretationSpec.hs and BigQuery's REST interface)."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from polyexpose_spark.engine import scalars


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"), (1.0, "1.0"), (-7.0, "-7.0"), (1.23e23, "1.23E23"), (1e7, "1.0E7"), (9999999.0, "9999999.0"),
        (1e-3, "0.001"), (1e-4, "1.0E-4"), (12345678.9, "1.23456789E7"), (-1.5e300, "-1.5E300"), (5e-324, "5.0E-324"),
        (0.0, "0.0"), (123456789012345680.0, "1.2345678901234568E17"),
        (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_floats(value: float, text: str) -> None:
    assert scalars.float_text(value) == text
    if value == value:
        assert float(text) == value


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("INT64", 2**63 - 1, "9223372036854775807"),
        ("NUMERIC", decimal.Decimal("1000.000"), "1000"),
        ("NUMERIC", decimal.Decimal("1E+3"), "1000"),
        ("BIGNUMERIC", decimal.Decimal("-0.50"), "-0.5"),
        ("BYTES", b"\x00\x01", "AAE="),
        ("DATE", dt.date(1, 1, 1), "0001-01-01"),
        ("TIME", dt.time(7, 30, 0, 500_000), "07:30:00.5"),
        ("DATETIME", dt.datetime(1998, 10, 18, 13, 45, 55), "1998-10-18T13:45:55"),
        ("TIMESTAMP", dt.datetime(2008, 12, 25, 7, 30, 0, 120_000, tzinfo=dt.UTC), "2008-12-25T07:30:00.12Z"),
        (
            "TIMESTAMP",
            dt.datetime(2008, 12, 25, 8, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))),
            "2008-12-25T07:30:00Z",
        ),
    ],
)
def test_values_in_json(kind: str, value: Any, text: str) -> None:
    encode = scalars.encode(kind)
    assert encode is not None
    assert encode(value) == text


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        ("INT64", "9223372036854775807", 2**63 - 1),
        ("NUMERIC", 1.1, decimal.Decimal("1.1")),
        ("FLOAT64", "-Infinity", float("-inf")),
        ("BOOL", "true", True),
        ("TIMESTAMP", "2008-12-26", dt.datetime(2008, 12, 26, tzinfo=dt.UTC)),
        ("TIMESTAMP", "2008-12-25T08:30:00+01:00", dt.datetime(2008, 12, 25, 7, 30, tzinfo=dt.UTC)),
        ("DATETIME", "1998-10-18 13:45:55", dt.datetime(1998, 10, 18, 13, 45, 55)),
    ],
)
def test_inputs(kind: str, given: Any, value: Any) -> None:
    assert scalars.parse(kind, given) == value


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("INT64", 2**63), ("INT64", "1.5"), ("INT64", True), ("INT64", "nan"), ("NUMERIC", "x"), ("STRING", 1),
        ("BOOL", 1), ("BYTES", "?"), ("DATE", "2000-13-01"), ("TIME", 7), ("DATETIME", "1998-10-18T13:45:55Z"),
        ("TIMESTAMP", "yesterday"), ("FLOAT64", []),
    ],
)  # fmt: skip
def test_inputs_refused(kind: str, given: Any) -> None:
    with pytest.raises(ValueError, match=f"expected a value of type {kind}, but found "):
        scalars.parse(kind, given)
