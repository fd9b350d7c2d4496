"""The schema under which the rows of any snapshot of a table can be read in the columns of one of them.

Iceberg reads older rows under a newer schema, not the other way round: a type may have become wider since, a required
column optional, and a column that equality deletes look at dropped. Schemas are in the JSON of the Iceberg spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

_DROPPED = "polyexpose_dropped_"

_WIDTH = {"int": 0, "long": 1, "float": 0, "double": 1, "date": 0, "timestamp": 1}
"""Type promotions other than those of decimals. Source: Iceberg spec, "Schema Evolution"."""

_COMPARED = re.compile(r"boolean|int|long|date|timestamp|timestamptz|string|uuid|binary|(decimal|fixed)[(\[].*")
"""What equality deletes can look at in a table that Spark can open."""


def reading_schema(wanted: dict[str, Any], known: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return `wanted` with each type as wide and as optional as any known schema has it, and with dropped columns.

    Args:
        wanted: the schema whose columns are read.
        known: all schemas of the table.

    Returns:
        The fields of `wanted` by the same ids, names and order; then, under names of their own, the top-level columns
        that it has not.
    """
    states = [*known, wanted]
    types: dict[int, str] = {}
    optional: set[int] = set()
    for schema in states:
        for id_, type_, required in _parts(schema):
            if not required:
                optional.add(id_)
            if isinstance(type_, str):
                types[id_] = max(types.get(id_, type_), type_, key=_width)
    ours = {id_ for id_, _, _ in _parts(wanted)}
    dropped = {
        field["id"]: field | {"name": f"{_DROPPED}{field['id']}", "required": False, "type": types[field["id"]]}
        for schema in states
        for field in schema["fields"]
        if field["id"] not in ours and isinstance(field["type"], str) and _COMPARED.fullmatch(types[field["id"]])
    }
    read: dict[str, Any] = _widened(wanted, types, optional)
    return read | {"fields": [*read["fields"], *(dropped[id_] for id_ in sorted(dropped))]}


def _width(type_: str) -> int:
    decimal = re.match(r"decimal\(\s*(\d+)", type_)
    return int(decimal[1]) if decimal else _WIDTH.get(type_, 0)


def _parts(type_: Any) -> Iterator[tuple[int, Any, bool]]:
    """Yield (field id, type, required) of everything in a type that has an id."""
    match type_:
        case {"type": "struct", "fields": fields}:
            found = [(each["id"], each["type"], each["required"]) for each in fields]
        case {"type": "list"}:
            found = [(type_["element-id"], type_["element"], type_["element-required"])]
        case {"type": "map"}:
            found = [
                (type_["key-id"], type_["key"], True),
                (type_["value-id"], type_["value"], type_["value-required"]),
            ]
        case _:
            found = []
    for each in found:
        yield each
        yield from _parts(each[1])


def _widened(type_: Any, types: dict[int, str], optional: set[int]) -> Any:
    def of(id_: int, part: Any) -> Any:
        return types[id_] if isinstance(part, str) else _widened(part, types, optional)

    match type_:
        case {"type": "struct", "fields": fields}:
            changed = [
                each | {"type": of(each["id"], each["type"]), "required": each["id"] not in optional} for each in fields
            ]
            # Identifier fields must be required ones, and are of no use here.
            return {key: value for key, value in type_.items() if key != "identifier-field-ids"} | {"fields": changed}
        case {"type": "list"}:
            return type_ | {
                "element": of(type_["element-id"], type_["element"]),
                "element-required": type_["element-id"] not in optional,
            }
        case _:
            return type_ | {
                "key": of(type_["key-id"], type_["key"]),
                "value": of(type_["value-id"], type_["value"]),
                "value-required": type_["value-id"] not in optional,
            }
