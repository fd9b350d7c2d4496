"""LogicalType, the canonical types, and ColumnType, the type of one column with all that is nested in it.

The names are Iceberg's. Source: Iceberg spec, "Schemas and Data Types".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyiceberg.types import IcebergType


class LogicalType(StrEnum):
    """Every type that an Iceberg column can have; each port carries or refuses each of them."""

    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    DECIMAL = "decimal"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    TIMESTAMP_NS = "timestamp_ns"
    TIMESTAMPTZ_NS = "timestamptz_ns"
    STRING = "string"
    UUID = "uuid"
    FIXED = "fixed"
    BINARY = "binary"
    STRUCT = "struct"
    LIST = "list"
    MAP = "map"
    VARIANT = "variant"
    GEOMETRY = "geometry"
    GEOGRAPHY = "geography"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Field:
    """A named part of a nested type; list elements are named `element`, map parts `key` and `value`."""

    name: str
    type: ColumnType
    required: bool


@dataclass(frozen=True)
class ColumnType:
    """A type with its parameters: precision and scale of a decimal, length of a fixed, parts of a nested type."""

    kind: LogicalType
    precision: int = 0
    scale: int = 0
    length: int = 0
    fields: tuple[Field, ...] = ()
    """struct: its fields; list: (element,); map: (key, value)."""

    def __str__(self) -> str:
        match self.kind:
            case LogicalType.DECIMAL:
                return f"decimal({self.precision},{self.scale})"
            case LogicalType.FIXED:
                return f"fixed[{self.length}]"
            case LogicalType.STRUCT:
                return f"struct<{', '.join(f'{f.name}: {f.type}' for f in self.fields)}>"
            case LogicalType.LIST | LogicalType.MAP:
                return f"{self.kind}<{', '.join(str(f.type) for f in self.fields)}>"
        return self.kind.value

    def walk(self, path: str) -> Iterator[tuple[str, ColumnType]]:
        """Yield (path, type) of this type and of all that is nested in it (``lines.element.sku``)."""
        yield path, self
        for part in self.fields:
            yield from part.type.walk(f"{path}.{part.name}")


def from_iceberg(source: IcebergType) -> ColumnType:
    """Return the type of an Iceberg column as pyiceberg reads it."""
    from pyiceberg import types as iceberg

    match source:
        case iceberg.StructType():
            fields = (Field(f.name, from_iceberg(f.field_type), f.required) for f in source.fields)
            return ColumnType(LogicalType.STRUCT, fields=tuple(fields))
        case iceberg.ListType():
            element = Field("element", from_iceberg(source.element_type), source.element_required)
            return ColumnType(LogicalType.LIST, fields=(element,))
        case iceberg.MapType():
            key = Field("key", from_iceberg(source.key_type), True)
            value = Field("value", from_iceberg(source.value_type), source.value_required)
            return ColumnType(LogicalType.MAP, fields=(key, value))
        case iceberg.DecimalType():
            return ColumnType(LogicalType.DECIMAL, precision=source.precision, scale=source.scale)
        case iceberg.FixedType():
            return ColumnType(LogicalType.FIXED, length=len(source))
    return parse(str(source))


_TOKEN = re.compile(r"\s*([A-Za-z_][\w]*|\d+|[<>(),:\[\]])")
_ALIASES = {"integer": "int", "bigint": "long", "array": "list", "numeric": "decimal"}


def parse(text: str) -> ColumnType:
    """Parse ``decimal(18,2)``, ``fixed[16]``, ``list<int>``, ``map<string, long>``, ``struct<a: int, b: string>``.

    Raises:
        ValueError: the text is not a type; says which types there are.
    """
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise ValueError(f"{text!r} is not a type; types: {', '.join(LogicalType)}")
    parsed, rest = _parse(tokens, text)
    if rest:
        raise ValueError(f"{text!r} is not a type: {''.join(rest)!r} is left over")
    return parsed


def _parse(tokens: list[str], text: str) -> tuple[ColumnType, list[str]]:
    name = _ALIASES.get(tokens[0].lower(), tokens[0].lower()) if tokens else ""
    if name not in set(LogicalType):
        raise ValueError(f"{text!r} is not a type; types: {', '.join(LogicalType)}")
    kind, rest = LogicalType(name), tokens[1:]
    try:
        match kind:
            case LogicalType.DECIMAL:
                _expect(rest, "(", None, ",", None, ")")
                return ColumnType(kind, precision=int(rest[1]), scale=int(rest[3])), rest[5:]
            case LogicalType.FIXED:
                _expect(rest, "[" if rest[0] == "[" else "(", None, "]" if rest[0] == "[" else ")")
                return ColumnType(kind, length=int(rest[1])), rest[3:]
            case LogicalType.LIST | LogicalType.MAP | LogicalType.STRUCT if rest[:1] == ["<"]:
                return _nested(kind, rest[1:], text)
    except (IndexError, ValueError) as error:
        if "is not a type" in str(error):
            raise
        raise ValueError(f"{text!r} is not a type: written decimal(18,2), fixed[16], list<...>, map<...>") from None
    return ColumnType(kind), rest


def _nested(kind: LogicalType, rest: list[str], text: str) -> tuple[ColumnType, list[str]]:
    names = {LogicalType.LIST: ["element"], LogicalType.MAP: ["key", "value"]}.get(kind, [])
    fields: list[Field] = []
    while True:
        if kind is LogicalType.STRUCT:
            name, rest = rest[0], rest[2:] if rest[1] == ":" else rest[1:]
        else:
            name = names[len(fields)]
        inner, rest = _parse(rest, text)
        fields.append(Field(name, inner, required=name == "key" and kind is LogicalType.MAP))
        if rest[0] != ",":
            break
        rest = rest[1:]
    _expect(rest, ">")
    if names and len(fields) != len(names):
        raise ValueError(f"{text!r} is not a type: a {kind} has {len(names)} part(s)")
    return ColumnType(kind, fields=tuple(fields)), rest[1:]


def _expect(tokens: list[str], *expected: str | None) -> None:
    for token, wanted in zip(tokens, expected, strict=False):
        if wanted is not None and token != wanted:
            raise ValueError(f"{wanted!r} expected")
