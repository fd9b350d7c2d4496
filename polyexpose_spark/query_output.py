"""Rows of a query as a table, CSV, JSON or an Arrow stream.

Values are text by one rule for all text formats: decimals without exponent, timestamps in ISO 8601 (with `Z`
where they are instants: the session is in UTC), binary in base64, struct, list and map as JSON. Rows come
partition by partition, so that memory does not grow with the result.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from polyexpose_spark.errors import ConfigError, Problem, Refused

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.types import DataType

_TABLE_ROWS = 1000
"""Rows shown in a table unless said otherwise."""
_Convert = Callable[[Any], Any]


def write_table(frame: DataFrame, limit: int | None, stream: BinaryIO) -> None:
    """Write a table for people: numbers right-aligned, NULL for null, control characters escaped."""
    from pyspark.sql.types import NumericType
    from rich.cells import cell_len

    shown = _TABLE_ROWS if limit is None else limit
    # One more than shown, to know whether there are more.
    rows = list(_texts(frame.limit(shown + 1)))
    grid = [[_visible(name) for name in frame.columns]]
    grid += [["NULL" if text is None else _visible(text) for text in row] for row in rows[:shown]]
    widths = [max(map(cell_len, column)) for column in zip(*grid, strict=True)]
    right = [isinstance(field.dataType, NumericType) for field in frame.schema]

    def line(cells: list[str]) -> str:
        blanks = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
        padded = [b + c if r else c + b for b, c, r in zip(blanks, cells, right, strict=True)]
        return " | ".join(padded).rstrip()

    count = len(grid) - 1
    end = f"({count:,} row{'' if count == 1 else 's'}"
    end += "; there are more: --limit N shows N)" if len(rows) > shown else ")"
    lines = [line(grid[0]), "-+-".join("-" * width for width in widths), *map(line, grid[1:]), end]
    stream.write("".join(f"{each}\n" for each in lines).encode())


# Characters that would move the cursor, or turn the direction of what follows.
_ESCAPED = {
    code: f"\\u{code:04x}" for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def _visible(text: str) -> str:
    return text.translate(_ESCAPED)


def write_csv(frame: DataFrame, limit: int | None, stream: BinaryIO) -> None:
    """Write RFC 4180 with LF and a header: NULL is empty, the empty string is `""`."""
    stream.write((",".join(map(_cell, frame.columns)) + "\n").encode())
    for row in _texts(frame if limit is None else frame.limit(limit)):
        stream.write((",".join(map(_cell, row)) + "\n").encode())


def _cell(text: str | None) -> str:
    if text is None:
        return ""
    if text == "" or any(each in text for each in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def write_json(frame: DataFrame, limit: int | None, stream: BinaryIO) -> None:
    """Write an array with one object a row and line; decimals are strings, and so are NaN and the infinities."""
    names = frame.columns
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"two columns are called {', '.join(twice)}; give them names of their own (AS) for JSON"
        raise ConfigError([Problem("--output", 0, "", message)])
    begin = b"[\n"
    for row in _values(frame if limit is None else frame.limit(limit), _json):
        stream.write(begin + _dumped(dict(zip(names, row, strict=True))).encode())
        begin = b",\n"
    stream.write(b"[]\n" if begin == b"[\n" else b"\n]\n")


def write_arrow(frame: DataFrame, limit: int | None, stream: BinaryIO) -> None:
    """Write an Arrow IPC stream, in Spark's own Arrow types."""
    import pyarrow as pa
    from pyspark.sql.pandas.types import to_arrow_schema

    # Within this function, so that it travels to the workers as it is and they need no package of ours.
    def packed(batches: Iterable[Any]) -> Iterator[Any]:
        import pyarrow as pa

        for batch in batches:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            yield pa.record_batch([pa.array([sink.getvalue().to_pybytes()], pa.binary())], names=["stream"])

    limited = _numbered(frame if limit is None else frame.limit(limit))
    fields = zip(frame.columns, to_arrow_schema(limited.schema), strict=True)
    schema = pa.schema([field.with_name(name) for name, field in fields])
    with pa.ipc.new_stream(stream, schema) as writer:
        for row in limited.mapInArrow(packed, "stream binary").toLocalIterator():
            for batch in pa.ipc.open_stream(row[0]):
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


WRITERS: Mapping[str, Callable[[DataFrame, int | None, BinaryIO], None]] = {
    "table": write_table,
    "csv": write_csv,
    "json": write_json,
    "arrow": write_arrow,
}


def _texts(frame: DataFrame) -> Iterator[list[str | None]]:
    return _values(frame, _text)


def _values(frame: DataFrame, convert: Callable[[DataType], _Convert]) -> Iterator[list[Any]]:
    from pyspark.sql import functions

    types = [field.dataType for field in frame.schema]
    converts = [convert(each) for each in types]
    numbered = _numbered(frame)
    rows = numbered.select(
        *(functions.col(name).cast(_fetched(each)) for name, each in zip(numbered.columns, types, strict=True))
    )
    for row in rows.toLocalIterator(prefetchPartitions=True):
        yield [None if value is None else each(value) for each, value in zip(converts, row, strict=True)]


def _numbered(frame: DataFrame) -> DataFrame:
    """Return the frame with names of its own: a query may give two columns one name."""
    return frame.toDF(*(f"c{index}" for index in range(len(frame.columns))))


def _fetched(type_: DataType) -> DataType:
    """Return the type in which values are fetched: text, where Python's own type would lose something.

    PySpark makes a float32 a float64, shifts timestamps to the zone of the machine, and has no year 0 or 10000.
    """
    from pyspark.sql import types as spark

    match type_:
        case spark.BooleanType() | spark.IntegralType() | spark.DecimalType() | spark.BinaryType():
            return type_
        case spark.StructType():
            fields = [spark.StructField(f.name, _fetched(f.dataType), f.nullable) for f in type_.fields]
            return spark.StructType(fields)
        case spark.ArrayType():
            return spark.ArrayType(_fetched(type_.elementType), type_.containsNull)
        case spark.MapType():
            if isinstance(type_.keyType, spark.StructType | spark.ArrayType | spark.BinaryType):
                kind = type_.keyType.simpleString()
                raise Refused(f"a map with keys of type {kind} has no text form: select map_entries(...) instead")
            return spark.MapType(_fetched(type_.keyType), _fetched(type_.valueType), type_.valueContainsNull)
    return spark.StringType()


def _json(type_: DataType) -> _Convert:
    """Return what makes a fetched value one that JSON can carry."""
    from pyspark.sql import types as spark

    match type_:
        case spark.BooleanType() | spark.IntegralType() | spark.StringType():
            return _same
        case spark.FloatType() | spark.DoubleType():
            return _number
        case spark.StructType():
            parts = [(field.name, _nullable(_json(field.dataType))) for field in type_.fields]
            return lambda row: {name: each(value) for (name, each), value in zip(parts, row, strict=True)}
        case spark.ArrayType():
            element = _nullable(_json(type_.elementType))
            return lambda values: [element(value) for value in values]
        case spark.MapType():
            key, item = _text(type_.keyType), _nullable(_json(type_.valueType))
            return lambda entries: {key(name): item(value) for name, value in entries.items()}
    return _text(type_)


def _text(type_: DataType) -> _Convert:
    """Return what makes a fetched value text."""
    from pyspark.sql import types as spark

    match type_:
        case spark.BooleanType():
            return lambda value: "true" if value else "false"
        case spark.IntegralType():
            return str
        case spark.DecimalType():
            # The scale is the type's: on its way to Python a value may gain a digit (1E-20 comes as 10E-21).
            return lambda value: f"{value:.{type_.scale}f}"
        case spark.BinaryType():
            return lambda value: base64.b64encode(value).decode()
        case spark.TimestampType():
            return lambda value: value.replace(" ", "T", 1) + "Z"
        case spark.TimestampNTZType():
            return lambda value: value.replace(" ", "T", 1)
        case spark.StructType() | spark.ArrayType() | spark.MapType():
            nested = _json(type_)
            return lambda value: _dumped(nested(value))
    return _same


def _same(value: Any) -> Any:
    return value


def _number(text: str) -> float | str:
    return text if text in ("NaN", "Infinity", "-Infinity") else float(text)


def _nullable(convert: _Convert) -> _Convert:
    return lambda value: None if value is None else convert(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
