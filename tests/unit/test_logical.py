"""Types as text."""

from __future__ import annotations

import pytest

from polyexpose_spark import logical
from polyexpose_spark.logical import LogicalType


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bigint", "long"),
        ("decimal(18, 2)", "decimal(18,2)"),
        ("fixed(16)", "fixed[16]"),
        ("array<integer>", "list<int>"),
        (
            "map<string,list<struct<a: int, b: decimal(3,1)>>>",
            "map<string, list<struct<a: int, b: decimal(3,1)>>>",
        ),
        ("timestamptz", "timestamptz"),
    ],
)
def test_parse(text: str, expected: str) -> None:
    assert str(logical.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "varchar", "decimal", "decimal(1", "list<int", "map<int>", "int>", "in t;"])
def test_what_is_not_a_type(text: str) -> None:
    with pytest.raises(ValueError, match="is not a type"):
        logical.parse(text)


def test_walk_names_every_part() -> None:
    type_ = logical.parse("map<string, list<struct<a: int>>>")
    assert [(path, part.kind) for path, part in type_.walk("c")] == [
        ("c", LogicalType.MAP),
        ("c.key", LogicalType.STRING),
        ("c.value", LogicalType.LIST),
        ("c.value.element", LogicalType.STRUCT),
        ("c.value.element.a", LogicalType.INT),
    ]
