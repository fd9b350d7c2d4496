"""A row as one line of CSV (RFC 4180), made by Spark's own expressions: no Python on the way.

Nothing here depends on the session's time zone or ANSI mode: the same value gives the same bytes anywhere.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.value_text import text_of

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression

    from polyexpose_spark.product import Column

NESTED = (LogicalType.STRUCT, LogicalType.LIST, LogicalType.MAP)
_FREE_TEXT = (LogicalType.STRING, *NESTED)
_BINARY = (LogicalType.BINARY, LogicalType.FIXED)

# What a cell of any other kind can consist of; such a cell needs quotes only where it equals the null marker.
_MADE_OF = {
    LogicalType.BOOLEAN: "aeflrstu",
    LogicalType.INT: string.digits + "-",
    LogicalType.LONG: string.digits + "-",
    LogicalType.DECIMAL: string.digits + "-.",
    LogicalType.FLOAT: string.digits + "-.EINFa",
    LogicalType.DOUBLE: string.digits + "-.EINFa",
    LogicalType.DATE: string.digits + "-+",
    LogicalType.TIMESTAMP: string.digits + "-+:.T",
    LogicalType.TIMESTAMPTZ: string.digits + "-+:.TZ",
    LogicalType.UUID: string.hexdigits + "-",
    LogicalType.BINARY: string.ascii_letters + string.digits + "+/=",
    LogicalType.FIXED: string.ascii_letters + string.digits + "+/=",
}
IN_UNQUOTED_CELLS = frozenset("".join(_MADE_OF.values()))
"""Characters of numbers, dates and the like, which are not quoted: none of them can be the delimiter."""

_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True)
class Dialect:
    """How cells become text. Lines end in LF, the quote is `"`, doubled within quotes."""

    delimiter: str = ","
    null_marker: str = ""
    """Stands for NULL, never in quotes; a cell of the same text is quoted."""
    quote_all: bool = False

    def specials(self) -> tuple[str, ...]:
        """Return the characters that make quotes necessary."""
        return ('"', self.delimiter, "\n", "\r")


# Guesses of how wide a cell is, where the type does not say it.
_WIDTHS = {
    LogicalType.BOOLEAN: 5,
    LogicalType.INT: 6,
    LogicalType.LONG: 10,
    LogicalType.FLOAT: 9,
    LogicalType.DOUBLE: 15,
    LogicalType.DATE: 10,
    LogicalType.TIMESTAMP: 26,
    LogicalType.TIMESTAMPTZ: 27,
    LogicalType.STRING: 16,
    LogicalType.UUID: 36,
    LogicalType.BINARY: 44,
}


def estimated_bytes(columns: Sequence[Column]) -> int:
    """Return a guess of the bytes of a line, from the types alone."""
    return sum(_width(each.type) + 1 for each in columns)


def _width(type_: ColumnType) -> int:
    match type_.kind:
        case LogicalType.DECIMAL:
            return type_.precision // 2 + 2
        case LogicalType.FIXED:
            return -(-type_.length // 3) * 4
        case LogicalType.STRUCT:
            return sum(_width(part.type) + len(part.name) + 4 for part in type_.fields)
        case LogicalType.LIST | LogicalType.MAP:
            return 3 * sum(_width(part.type) + 4 for part in type_.fields)
    return _WIDTHS[type_.kind]


def header_line(names: Sequence[str], dialect: Dialect) -> str:
    """Return the header, without a line end; names are quoted by the rules for text cells."""
    return dialect.delimiter.join(_quoted_name(name, dialect, first=i == 0) for i, name in enumerate(names))


def _quoted_name(name: str, dialect: Dialect, first: bool) -> str:
    needed = dialect.quote_all or name in ("", dialect.null_marker)
    needed = needed or any(each in name for each in dialect.specials())
    needed = needed or (first and name.startswith(_BYTE_ORDER_MARK))
    return '"' + name.replace('"', '""') + '"' if needed else name


def line(columns: Sequence[Column], dialect: Dialect, header: str | None) -> Expression:
    """Return the row as text; the first row of each partition carries the header in front.

    Args:
        columns: the columns of the rows, in the order of the cells.
        dialect: how cells become text.
        header: the header line, or None.
    """
    from pyspark.sql import functions as F

    cells = (_cell(column, dialect, first=i == 0) for i, column in enumerate(columns))
    text = F.concat_ws(dialect.delimiter, *cells)
    if header is None:
        return text
    # The lower 33 bits count the rows of a partition. Source: Spark, monotonically_increasing_id.
    is_first = F.monotonically_increasing_id().bitwiseAND(F.lit((1 << 33) - 1)) == F.lit(0)
    return F.when(is_first, F.concat(F.lit(header + "\n"), text)).otherwise(text)


def _cell(column: Column, dialect: Dialect, first: bool) -> Expression:
    from pyspark.sql import functions as F

    text = text_of(F.col("`" + column.name.replace("`", "``") + "`"), column.type)
    if dialect.quote_all:
        cell = _quoted(text, column.type.kind)
    elif column.type.kind in _FREE_TEXT:
        needed = [F.contains(text, F.lit(each)) for each in dialect.specials()]
        needed += [text == F.lit(each) for each in {"", dialect.null_marker}]
        if first:  # at the start of a file it would be taken for a byte order mark
            needed.append(F.startswith(text, F.lit(_BYTE_ORDER_MARK)))
        cell = F.when(reduce(or_, needed), _quoted(text, column.type.kind)).otherwise(text)
    elif _can_be(dialect.null_marker, column.type.kind):
        cell = F.when(text == F.lit(dialect.null_marker), _quoted(text, column.type.kind)).otherwise(text)
    else:
        cell = text
    return F.coalesce(cell, F.lit(dialect.null_marker))


def _can_be(marker: str, kind: LogicalType) -> bool:
    """Say whether a cell of this kind may equal the marker; only bytes can be empty."""
    return set(marker) <= set(_MADE_OF[kind]) if marker else kind in _BINARY


def _quoted(text: Expression, kind: LogicalType) -> Expression:
    from pyspark.sql import functions as F

    inner = F.replace(text, F.lit('"'), F.lit('""')) if kind in _FREE_TEXT else text
    return F.concat(F.lit('"'), inner, F.lit('"'))
