"""A value as text, made by Spark's own expressions: what a CSV cell holds, and JSON for nested values.

Nothing here depends on the session's time zone or ANSI mode: the same value gives the same text anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyexpose_spark.logical import ColumnType, LogicalType

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression


def text_of(value: Expression, type_: ColumnType) -> Expression:
    """Return the value as text, NULL as NULL; a struct, list or map as JSON."""
    from pyspark.sql import functions as F

    match type_.kind:
        case LogicalType.STRING | LogicalType.UUID:
            return value
        case LogicalType.DECIMAL:
            return _decimal(value, type_.scale)
        case LogicalType.FLOAT | LogicalType.DOUBLE:
            infinity = F.when(value > F.lit(0), F.lit("INF")).otherwise(F.lit("-INF"))
            return F.when(F.abs(value) == F.lit(float("inf")), infinity).otherwise(value.cast("string"))
        case LogicalType.TIMESTAMP:
            return _timestamp(value)
        case LogicalType.TIMESTAMPTZ:
            return _timestamptz(value)
        case LogicalType.BINARY | LogicalType.FIXED:
            # Some releases of Spark break base64 into lines of 76 characters.
            return F.replace(F.base64(value), F.lit("\r\n"), F.lit(""))
        case LogicalType.STRUCT | LogicalType.LIST | LogicalType.MAP:
            return F.to_json(_json_ready(value, type_), {"ignoreNullFields": "false"})
    return value.cast("string")


def _decimal(value: Expression, scale: int) -> Expression:
    from pyspark.sql import functions as F

    text = value.cast("string")
    if scale <= 6:  # java.math.BigDecimal never writes an exponent then
        return text
    # Without ANSI mode a small value is cast to -1.23E-10: the sign and all its digits stand before the E.
    digits = F.translate(F.substring_index(text, "E", 1), "-.", "")
    plain = F.concat(F.when(value < F.lit(0), "-0.").otherwise("0."), F.lpad(digits, scale, "0"))
    return F.when(F.contains(text, F.lit("E")), plain).otherwise(text)


def _timestamp(value: Expression) -> Expression:
    """Return yyyy-MM-ddTHH:mm:ss.SSSSSS. The cast knows no time zone, but leaves trailing zeros out."""
    from pyspark.sql import functions as F

    time = F.substring_index(value.cast("string"), " ", -1)
    micros = F.rpad(F.substring(time, 10, 6), 6, "0")
    day = value.cast("date").cast("string")
    return F.concat(day, F.lit("T"), F.substring(time, 1, 8), F.lit("."), micros)


def _timestamptz(value: Expression) -> Expression:
    """Return yyyy-MM-ddTHH:mm:ss.SSSSSSZ in UTC, whatever the session's time zone is.

    Reckoned from the microseconds, with hours, minutes and seconds looked up: it takes a third of the time of
    date_format, which also goes by the session's time zone.
    """
    from pyspark.sql import functions as F

    def divided(number: Expression, by: int) -> Expression:
        return F.call_function("div", number, F.lit(by)).cast("int")

    def looked_up(number: Expression, count: int, pattern: str) -> Expression:
        # One text, split: Spark folds it into a constant; as an array of literals each would be planned.
        texts = F.split(F.lit(" ".join(pattern.format(each) for each in range(count))), " ")
        return texts[number]

    micros = F.unix_micros(value)
    of_day = F.pmod(micros, F.lit(86_400_000_000))
    sixty = F.lit(60)
    return F.concat(
        F.date_from_unix_date(divided(micros - of_day, 86_400_000_000)).cast("string"),
        looked_up(divided(of_day, 3_600_000_000), 24, "T{:02}:"),
        looked_up(divided(of_day, 60_000_000) % sixty, 60, "{:02}:"),
        looked_up(divided(of_day, 1_000_000) % sixty, 60, "{:02}."),
        F.substring((F.lit(1_000_000) + of_day % F.lit(1_000_000)).cast("string"), 2, 6),
        F.lit("Z"),
    )


def json_of(value: Expression, type_: ColumnType) -> Expression:
    """Return the value as JSON that any reader gets back exactly; NULL as NULL.

    As text_of() has it for nested values, and 64-bit integers as text as well: JavaScript has 53 bits for them.
    """
    from pyspark.sql import functions as F

    exact = _json_ready(value, type_, _AS_TEXT | {LogicalType.LONG})
    return F.to_json(exact, {"ignoreNullFields": "false"})


_AS_TEXT = frozenset({LogicalType.DECIMAL, LogicalType.DATE, LogicalType.TIMESTAMP, LogicalType.TIMESTAMPTZ})


def _json_ready(value: Expression, type_: ColumnType, texts: frozenset[LogicalType] = _AS_TEXT) -> Expression:
    """Return the value with all that JSON (or to_json) would spoil turned into text, deep inside as well.

    Values of these types become text; a map whose keys are not text becomes a list of {key, value}.
    NaN and the infinities are written as text by to_json, bytes as base64.
    """
    from pyspark.sql import functions as F

    if not _spoilt(type_, texts):
        return value
    match type_.kind:
        case LogicalType.STRUCT:
            parts = [_json_ready(value.getField(f.name), f.type, texts).alias(f.name) for f in type_.fields]
            return F.when(value.isNotNull(), F.struct(*parts))
        case LogicalType.LIST:
            return F.transform(value, lambda element: _json_ready(element, type_.fields[0].type, texts))
        case LogicalType.MAP:
            return _json_map(value, type_, texts)
    return text_of(value, type_)


def has_text_keys(type_: ColumnType) -> bool:
    """Say whether the keys of a map are text, so that it can be a JSON object."""
    return type_.fields[0].type.kind in (LogicalType.STRING, LogicalType.UUID)


def _json_map(value: Expression, type_: ColumnType, texts: frozenset[LogicalType]) -> Expression:
    from pyspark.sql import functions as F

    key, item = type_.fields
    if has_text_keys(type_):
        return F.transform_values(value, lambda _, each: _json_ready(each, item.type, texts))

    def pair(entry: Expression) -> Expression:
        return F.struct(
            _json_ready(entry.getField("key"), key.type, texts).alias("key"),
            _json_ready(entry.getField("value"), item.type, texts).alias("value"),
        )

    return F.transform(F.map_entries(value), pair)


def _spoilt(type_: ColumnType, texts: frozenset[LogicalType]) -> bool:
    """Say whether to_json would not keep a value of this type as it is promised."""
    if type_.kind is LogicalType.MAP and not has_text_keys(type_):
        return True
    return type_.kind in texts or any(_spoilt(part.type, texts) for part in type_.fields)
