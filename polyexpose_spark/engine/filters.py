"""Row filters of permissions, read into the same form that a ``where`` argument has after GraphQL's own coercion.

A condition is a mapping of: ``_and``/``_or`` to lists of conditions, ``_not`` to one, ``c:<column>`` to a mapping of
operators to values, ``r:<relationship>`` to a condition on the related rows, ``_exists`` to (table, condition).
Only here can a value be a session variable: a string of a caller that looks like one stays a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyexpose_spark.engine import scalars
from polyexpose_spark.engine.document import TableName

if TYPE_CHECKING:
    from polyexpose_spark.engine.catalog import Table

Condition = Mapping[str, Any]

COMPARISONS = {"_eq": "=", "_neq": "<>", "_gt": ">", "_lt": "<", "_gte": ">=", "_lte": "<="}
LISTS = ("_in", "_nin")
PATTERNS = ("_like", "_nlike", "_ilike", "_nilike")
GEOGRAPHY = {
    "_st_contains": "ST_CONTAINS",
    "_st_equals": "ST_EQUALS",
    "_st_touches": "ST_TOUCHES",
    "_st_within": "ST_WITHIN",
    "_st_intersects": "ST_INTERSECTS",
}


@dataclass(frozen=True)
class SessionVariable:
    """A value that comes with the request: ``x-hasura-...``, in lower case."""

    name: str


@dataclass(frozen=True)
class Exists:
    """Some row of an unrelated table fulfils a condition."""

    table: TableName
    condition: Condition


def operators(type_name: str) -> tuple[str, ...]:
    """The comparison operators of a BigQuery type, in the order of Hasura's schema."""
    if type_name == "GEOGRAPHY":
        return ("_is_null", *GEOGRAPHY, "_st_d_within")
    if type_name == "JSON":  # BigQuery compares no JSON values
        return ("_is_null",)
    plain = (*COMPARISONS, *LISTS, "_is_null")
    patterns = {"STRING": PATTERNS, "BYTES": PATTERNS[:2]}.get(type_name, ())
    return tuple(sorted((*plain, *patterns)))


def read_filter(raw: Mapping[str, Any], table: Table, tables: Mapping[TableName, Table]) -> Condition:
    """Read a filter of a permission on ``table``.

    Raises:
        ValueError: names the column, relationship or operator that does not exist, or the value of the wrong type.
    """
    condition: dict[str, Any] = {}
    for key, value in raw.items():
        operator = key.replace("$", "_", 1) if key.startswith("$") else key
        if operator in ("_and", "_or"):
            if not isinstance(value, list):
                raise ValueError(f"{key} takes a list of conditions")
            condition[operator] = [read_filter(_mapping(each, key), table, tables) for each in value]
        elif operator == "_not":
            condition[operator] = read_filter(_mapping(value, key), table, tables)
        elif operator == "_exists":
            target = TableName.model_validate(_mapping(value, key).get("_table"))
            if target not in tables:
                raise ValueError(f'table "{target}" is not tracked')
            where = read_filter(_mapping(value.get("_where"), "_where"), tables[target], tables)
            condition[operator] = Exists(target, where)
        elif key in table.columns:
            column = table.columns[key]
            if column.mode == "REPEATED":
                raise ValueError(f'column "{key}" holds lists and cannot be compared')
            comparison = value if isinstance(value, Mapping) else {"_eq": value}
            condition[f"c:{key}"] = {
                name.replace("$", "_", 1): _operand(name.replace("$", "_", 1), operand, column.type, key)
                for name, operand in comparison.items()
            }
        elif key in table.relationships:
            remote = tables[table.relationships[key].remote]
            condition[f"r:{key}"] = read_filter(_mapping(value, key), remote, tables)
        else:
            raise ValueError(f'"{key}" does not exist in table "{table.name}"')
    return condition


def _mapping(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} takes an object")
    return value


def _operand(operator: str, value: Any, type_name: str, column: str) -> Any:
    known = operators(type_name)
    if operator not in known:
        raise ValueError(f'column "{column}" has no operator {operator}; it has {", ".join(known)}')
    if value is None:
        raise ValueError(f'column "{column}": {operator} takes no null')
    if isinstance(value, str) and value.lower().startswith("x-hasura-"):
        return SessionVariable(value.lower())
    if operator == "_is_null":
        return scalars.parse("BOOL", value)
    if operator == "_st_d_within":
        return _mapping(value, operator)
    if operator in LISTS:
        if not isinstance(value, list):
            raise ValueError(f'column "{column}": {operator} takes a list or a session variable')
        return [
            SessionVariable(each.lower())
            if isinstance(each, str) and each.lower().startswith("x-hasura-")
            else scalars.parse(type_name, each)
            for each in value
        ]
    return scalars.parse(type_name, value)
