"""The schema under which rows of any snapshot are read in the columns of one."""

from __future__ import annotations

from typing import Any

from polyexpose_spark.reading_schema import reading_schema


def field(id_: int, name: str, type_: Any, required: bool = False) -> dict[str, Any]:
    return {"id": id_, "name": name, "type": type_, "required": required}


def schema(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "struct", "fields": list(fields), **more}


def test_types_are_as_wide_and_as_optional_as_they_ever_were_under_the_names_that_are_wanted() -> None:
    inner = schema(field(5, "x", "int", True), field(6, "y", "decimal(5, 2)"))
    listed = {"type": "list", "element-id": 8, "element": "float", "element-required": True}
    mapped = {"type": "map", "key-id": 10, "key": "string", "value-id": 11, "value": inner, "value-required": True}
    old = schema(
        field(1, "id", "int", True), field(2, "f", "float"), field(7, "l", listed), field(9, "m", mapped),
        **{"schema-id": 0, "identifier-field-ids": [1]},
    )  # fmt: skip
    wide = schema(field(5, "z", "long"), field(6, "y", "decimal(12, 2)", True))
    new = schema(
        field(9, "n", mapped | {"value": wide, "value-required": False}),
        field(7, "l", listed | {"element": "double", "element-required": False}),
        field(2, "g", "double"),
        field(1, "key", "long"),
        **{"schema-id": 1},
    )
    read_wide = schema(field(5, "x", "long"), field(6, "y", "decimal(12, 2)"))
    assert reading_schema(old, [old, new]) == schema(
        field(1, "id", "long"),
        field(2, "f", "double"),
        field(7, "l", listed | {"element": "double", "element-required": False}),
        field(9, "m", mapped | {"value": read_wide, "value-required": False}),
        **{"schema-id": 0},
    )
    # The newer one has all that already, whatever the older ones were.
    assert reading_schema(new, [old, new])["fields"][2:] == new["fields"][2:]


def test_dropped_columns_come_last_under_names_of_their_own() -> None:
    one = schema(
        field(1, "id", "long", True), field(2, "gone", "int", True), field(3, "x", "double"), field(4, "t", "time")
    )
    two = schema(
        field(1, "id", "long", True), field(2, "gone", "long", True), field(5, "s", schema(field(6, "a", "int")))
    )
    now = schema(field(1, "id", "long", True), field(7, "gone", "string"))
    # What Spark cannot open, and what no equality delete looks at, is not among them.
    assert reading_schema(now, [one, two, now])["fields"] == [
        field(1, "id", "long", True),
        field(7, "gone", "string"),
        field(2, "polyexpose_dropped_2", "long"),
    ]
