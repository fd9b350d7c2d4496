"""Does the table keep the contract? Columns are compared by name: missing, extra, other type, other nullability."""

from __future__ import annotations

from collections.abc import Iterator

from polyexpose_spark.errors import Refused
from polyexpose_spark.logical import ColumnType, Field, LogicalType
from polyexpose_spark.product import STANDS_FOR, Column, DataProduct, Property

_NESTED = (LogicalType.STRUCT, LogicalType.LIST, LogicalType.MAP)


def columns(product: DataProduct, table: tuple[Field, ...]) -> tuple[Column, ...]:
    """Return the columns to serve, in the contract's order.

    Args:
        product: the contract.
        table: the columns of the table at the pinned snapshot.

    Raises:
        Refused: the table does not keep the contract; one line per column, each named.
    """
    differences = list(_compare(product.properties, table, ""))
    if differences:
        lines = "\n".join(f"{product.path}: {each}" for each in differences)
        raise Refused(
            f"{lines}\n{product.path}: the table {product.source} does not keep the contract; change one of them"
        )
    by_name = {field.name: field for field in table}
    return tuple(
        Column(
            each.name,
            by_name[each.name].type,
            by_name[each.name].required,
            each.description,
            each.primary_key,
        )
        for each in product.properties
    )


def _compare(declared: tuple[Property, ...], actual: tuple[Field, ...], below: str) -> Iterator[str]:
    in_table = {field.name: field for field in actual}
    in_contract = {each.name for each in declared}
    for each in declared:
        name = below + each.name
        if each.name not in in_table:
            yield f"column {name}: missing in the table (it has: {', '.join(in_table)})"
            continue
        field = in_table[each.name]
        if (difference := _type_difference(each, field.type)) is not None:
            yield f"column {name}: the contract says {difference}, the table has {field.type}"
        elif each.required != field.required and each.name != "key":
            says, has = ("required", "optional") if each.required else ("optional", "required")
            yield f"column {name}: the contract says {says}, the table has {has}"
        elif each.parts:
            yield from _compare(each.parts, field.type.fields, f"{name}.")
    for field in actual:
        if field.name not in in_contract:
            yield f"column {below}{field.name}: in the table ({field.type}), not in the contract"


def _type_difference(declared: Property, actual: ColumnType) -> str | None:
    """Return what the contract says where the table has something else."""
    if declared.declared is not None and not declared.parts:
        return None if _shape(declared.declared) == _shape(actual) else str(declared.declared)
    wanted = declared.logical_type
    if declared.declared is not None:
        return None if declared.declared.kind == actual.kind else str(declared.declared)
    if wanted is not None and actual.kind not in STANDS_FOR.get(wanted, frozenset()):
        return f"{wanted} ({' or '.join(sorted(STANDS_FOR.get(wanted, frozenset())))})"
    zoned = actual.kind in (LogicalType.TIMESTAMPTZ, LogicalType.TIMESTAMPTZ_NS)
    if wanted == "timestamp" and declared.zoned is not None and declared.zoned != zoned:
        return f"timestamp {'with' if declared.zoned else 'without'} time zone"
    return None


def _shape(each: ColumnType) -> object:
    """Return the type without nullability: a type written as text says nothing about it."""
    if each.kind in _NESTED:
        names = [f.name for f in each.fields] if each.kind is LogicalType.STRUCT else []
        return (each.kind, names, [_shape(f.type) for f in each.fields])
    return (each.kind, each.precision, each.scale, each.length)
