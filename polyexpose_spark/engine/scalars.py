"""BigQuery types as GraphQL scalars: names, what is accepted as input, how values are written in JSON.

Names and encodings are those of Hasura's ``Backends/BigQuery/Types.hs``, ``Execute.hs``, ``TypeInterpretationSpec.hs``
(every number is a JSON string, INT64 input is a 32-bit Int unless ``bigquery_string_numeric_input`` is on).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import math
from collections.abc import Callable, Mapping
from typing import Any

from graphql import GraphQLBoolean, GraphQLError, GraphQLScalarType, GraphQLString
from graphql.language import FloatValueNode, IntValueNode, ValueNode
from graphql.utilities import value_from_ast_untyped

from polyexpose_spark.engine.bigquery import utc

NUMERIC = ("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC")
# BigQuery has no order over these.
UNORDERED = ("GEOGRAPHY", "JSON")
# Hasura's own words for what it cannot carry; one such column makes the table inconsistent.
UNSUPPORTED = {"STRUCT": "Type currently unsupported for BigQuery: StructScalarType"}

Encode = Callable[[Any], Any]


def parse(type_name: str, value: Any) -> Any:
    """Read an input value of a BigQuery type, from GraphQL, a permission filter or a session variable.

    Raises:
        ValueError: the text says what was expected.
    """
    try:
        return _PARSE[type_name](value)
    except (ValueError, TypeError, decimal.InvalidOperation, OverflowError, binascii.Error):
        raise ValueError(f"expected a value of type {type_name}, but found {_shown(value)}") from None


def encode(type_name: str) -> Encode | None:
    """Give the function that writes a value in JSON; None where values go out as they are. NULL is not passed."""
    return _ENCODE.get(type_name)


def scalars(string_numeric: bool) -> Mapping[str, GraphQLScalarType]:
    """The GraphQL scalar of every carried BigQuery type."""
    return _STRING_NUMERIC if string_numeric else _PLAIN


def float_text(value: float) -> str:
    """Write a float as BigQuery's REST interface does: ``0.1``, ``1.0``, ``1.23E23``, ``-Infinity``, ``NaN``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    # From the shortest text that reads back as the same number.
    sign, digits, exponent = decimal.Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - infinities and NaN went before
    text = "".join(map(str, digits))
    return f"{'-' if sign else ''}{text[0]}.{text[1:] or '0'}E{exponent + len(text) - 1}"


def _int32(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal) or value != int(value):
        raise ValueError
    if not -(2**31) <= value < 2**31:
        raise ValueError
    return int(value)


def _int64(value: Any) -> int:
    number = _decimal(value)
    if number != number.to_integral_value() or not -(2**63) <= number < 2**63:
        raise ValueError
    return int(number)


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str | decimal.Decimal):
        raise ValueError
    number = decimal.Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str | decimal.Decimal):
        raise ValueError
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    # Session variables are text.
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise ValueError
    return value


def _datetime(value: Any) -> dt.datetime:
    moment = dt.datetime.fromisoformat(_string(value))
    if moment.tzinfo is not None:
        raise ValueError
    return moment


_PARSE: Mapping[str, Callable[[Any], Any]] = {
    "INT64": _int64,
    "FLOAT64": _float,
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "STRING": _string,
    "BOOL": _boolean,
    "BYTES": lambda value: base64.b64decode(_string(value), validate=True),
    "DATE": lambda value: dt.date.fromisoformat(_string(value)),
    "TIME": lambda value: dt.time.fromisoformat(_string(value)),
    "DATETIME": _datetime,
    "TIMESTAMP": lambda value: utc(dt.datetime.fromisoformat(_string(value))),
    "GEOGRAPHY": _string,
    "JSON": lambda value: value,
}
CARRIED = frozenset(_PARSE)


def _fraction(text: str) -> str:
    return text.rstrip("0") if "." in text else text


def plain(value: decimal.Decimal) -> str:
    """Write a decimal without exponent and trailing zeros, as BigQuery does."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_ENCODE: Mapping[str, Encode] = {
    "INT64": str,
    "FLOAT64": float_text,
    "NUMERIC": plain,
    "BIGNUMERIC": plain,
    "BYTES": lambda value: base64.b64encode(value).decode("ascii"),
    "DATE": dt.date.isoformat,
    "TIME": lambda value: _fraction(value.isoformat()),
    "DATETIME": lambda value: _fraction(value.isoformat()),
    "TIMESTAMP": lambda value: _fraction(utc(value).replace(tzinfo=None).isoformat()) + "Z",
}


def _shown(value: Any) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _scalar(name: str, read: Callable[[Any], Any], type_name: str) -> GraphQLScalarType:
    def parse_value(value: Any) -> Any:
        try:
            return read(value)
        except (ValueError, TypeError, decimal.InvalidOperation, OverflowError, binascii.Error):
            message = f"expected {_EXPECTED.get(type_name, 'a value')} for type '{name}', but found {_shown(value)}"
            raise GraphQLError(message) from None

    def parse_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        if isinstance(node, IntValueNode):
            return parse_value(int(node.value))
        if isinstance(node, FloatValueNode):
            return parse_value(decimal.Decimal(node.value))
        return parse_value(value_from_ast_untyped(node, variables))

    # graphql-core refuses to make a second scalar with a built-in name, although a schema may hold one: ours reads and
    # writes numbers as Hasura does.
    scalar = GraphQLScalarType(name + "_", parse_value=parse_value, parse_literal=parse_literal)
    scalar.name = name
    return scalar


_EXPECTED = {
    "INT64": "a 32-bit integer",
    "FLOAT64": "a float",
    "NUMERIC": "a number",
    "BIGNUMERIC": "a number",
    "BYTES": "base64 text",
    "DATE": "a date (2000-12-30)",
    "TIME": "a time (07:30:00)",
    "DATETIME": "a datetime without zone (1998-10-18T13:45:55)",
    "TIMESTAMP": "a timestamp (2008-12-25T07:30:00Z)",
}

INT = _scalar("Int", _int32, "INT64")
FLOAT = _scalar("Float", _float, "FLOAT64")
_DECIMAL = _scalar("decimal", _decimal, "NUMERIC")
_SHARED = {
    "STRING": GraphQLString,
    "BOOL": GraphQLBoolean,
    "BYTES": _scalar("Bytes", _PARSE["BYTES"], "BYTES"),
    "DATE": _scalar("Date", _PARSE["DATE"], "DATE"),
    "TIME": _scalar("Time", _PARSE["TIME"], "TIME"),
    "DATETIME": _scalar("Datetime", _PARSE["DATETIME"], "DATETIME"),
    "TIMESTAMP": _scalar("Timestamp", _PARSE["TIMESTAMP"], "TIMESTAMP"),
    "GEOGRAPHY": _scalar("Geography", _string, "GEOGRAPHY"),
    "JSON": _scalar("json", _PARSE["JSON"], "JSON"),
}
_PLAIN = {"INT64": INT, "FLOAT64": FLOAT, "NUMERIC": _DECIMAL, "BIGNUMERIC": _DECIMAL, **_SHARED}
_STRING_NUMERIC = {
    "INT64": _scalar("bigquery_int", _int64, ""),
    "FLOAT64": _scalar("bigquery_float", _float, ""),
    "NUMERIC": _scalar("bigquery_decimal", _decimal, ""),
    "BIGNUMERIC": _scalar("bigquery_bigdecimal", _decimal, ""),
    **_SHARED,
}
