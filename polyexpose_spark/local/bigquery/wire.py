"""Values on the wire: rows as BigQuery's JSON (every value a string), query parameters from it.

Checked against raw answers: TIMESTAMP is microseconds with ``formatOptions.useInt64Timestamp`` and float seconds
without; BYTES is base64; a NULL array is ``[]``; NUMERIC has no trailing zeros; nesting is ``{"v": ...}`` and
``{"f": ...}``.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from polyexpose_spark.local.bigquery.errors import ApiError, invalid, not_implemented
from polyexpose_spark.local.bigquery.fields import (
    CANONICAL,
    ENGINE_TYPES,
    NUMERIC_SCALE,
    Field,
    engine_type,
    is_repeated,
    type_of,
)

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
BIGNUMERIC_SCALE = 38

Encoder = Callable[[Any], Any]


def rows(values: Iterable[Sequence[Any]], fields: Sequence[Field], int64_timestamps: bool) -> list[dict[str, Any]]:
    """Return rows as ``tabledata.list`` and ``jobs.getQueryResults`` answer them."""
    encoders = [_encoder(field, int64_timestamps) for field in fields]
    return [{"f": [{"v": e(v)} for e, v in zip(encoders, row, strict=True)]} for row in values]


def _encoder(field: Field, int64_timestamps: bool) -> Encoder:
    one = _scalar_encoder(field, int64_timestamps)
    if not is_repeated(field):
        return one

    def array(value: Any) -> list[dict[str, Any]]:
        out = []
        for element in value or ():
            if element is None:
                raise invalid(f"Array cannot have a null element; error in writing field {field['name']}")
            out.append({"v": one(element)})
        return out

    return array


def _scalar_encoder(field: Field, int64_timestamps: bool) -> Encoder:
    kind = type_of(field)
    if kind == "RECORD":
        inner = [(x["name"], _encoder(x, int64_timestamps)) for x in field["fields"]]
        return lambda v: None if v is None else {"f": [{"v": e(v[n])} for n, e in inner]}
    if kind in ("INTERVAL", "GEOGRAPHY"):
        raise not_implemented(f"Reading a value of the type {kind}")
    encode = _timestamp_seconds if kind == "TIMESTAMP" and not int64_timestamps else ENCODERS[kind]
    return lambda v: None if v is None else encode(v)


def _integer(value: int) -> str:
    if not INT64_MIN <= value <= INT64_MAX:
        raise ApiError(400, "invalidQuery", f"int64 overflow: {value}")
    return str(value)


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _decimal(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _timestamp_micros(value: dt.datetime) -> str:
    return str((value - EPOCH) // MICROSECOND)


def _timestamp_seconds(value: dt.datetime) -> str:
    micros = (value - EPOCH) // MICROSECOND
    mantissa, _, exponent = f"{Decimal(micros).scaleb(-6):E}".partition("E")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent or 0)}"


def _json(value: str) -> str:
    return json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False)


ENCODERS: dict[str, Callable[[Any], str]] = {
    "INTEGER": _integer,
    "FLOAT": _float,
    "BOOLEAN": lambda v: "true" if v else "false",
    "STRING": str,
    "BYTES": lambda v: base64.b64encode(v).decode(),
    "DATE": lambda v: str(v.isoformat()),
    "TIME": lambda v: str(v.isoformat()),
    "DATETIME": lambda v: str(v.isoformat()),
    "TIMESTAMP": _timestamp_micros,
    "NUMERIC": _decimal,
    "BIGNUMERIC": _decimal,
    "JSON": _json,
}


def parameter(spec: dict[str, Any]) -> tuple[str, Any]:
    """Return the DuckDB type of a query parameter and the value to bind under a cast to that type.

    Raises ApiError 400 for a value that is none of its type.
    """
    kind, value = spec.get("parameterType") or {}, spec.get("parameterValue") or {}
    return _parameter_type(kind), _parameter_value(kind, value)


def _parameter_field(kind: dict[str, Any], name: str = "p") -> Field:
    text = str(kind.get("type", "")).upper()
    if text == "ARRAY":
        return {**_parameter_field(kind["arrayType"], name), "mode": "REPEATED"}
    if text == "STRUCT":
        inner = [_parameter_field(x["type"], x["name"]) for x in kind["structTypes"]]
        return {"name": name, "type": "RECORD", "fields": inner}
    text = CANONICAL.get(text, text)
    if text not in ENGINE_TYPES or text in ("GEOGRAPHY", "INTERVAL"):
        raise not_implemented(f"A query parameter of the type {text or 'nothing'}")
    return {"name": name, "type": text}


def _parameter_type(kind: dict[str, Any]) -> str:
    return engine_type(_parameter_field(kind))


def _parameter_value(kind: dict[str, Any], value: dict[str, Any]) -> Any:
    text = str(kind.get("type", "")).upper()
    if text == "ARRAY":
        # BigQuery makes no difference between a NULL and an empty array parameter.
        return [_parameter_value(kind["arrayType"], x) for x in value.get("arrayValues") or []]
    if text == "STRUCT":
        given = value.get("structValues") or {}
        return {x["name"]: _parameter_value(x["type"], given.get(x["name"]) or {}) for x in kind["structTypes"]}
    raw = value.get("value")
    return None if raw is None else _scalar_parameter(CANONICAL.get(text, text), str(raw))


def _scalar_parameter(kind: str, raw: str) -> Any:
    try:
        if kind == "INTEGER":
            return _integer(int(raw))
        if kind == "FLOAT":
            return _float(float(raw))
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[raw.lower()]
        if kind == "BYTES":
            return base64.b64decode(raw, validate=True)
        if kind in ("NUMERIC", "BIGNUMERIC"):
            return _decimal_parameter(kind, raw)
        if kind == "JSON":
            return _json(raw)
    except (ValueError, KeyError, InvalidOperation, binascii.Error) as error:
        raise invalid(f"Invalid value for a query parameter of the type {kind}: {raw[:100]}") from error
    return raw


def _decimal_parameter(kind: str, raw: str) -> str:
    digits = -int(Decimal(raw).normalize().as_tuple().exponent)
    limit = NUMERIC_SCALE if kind == "NUMERIC" else BIGNUMERIC_SCALE
    if digits > limit:
        raise invalid(f"Invalid {kind} value: {raw[:100]} has more than {limit} digits after the point")
    if kind == "BIGNUMERIC" and digits > 18:
        raise not_implemented("A BIGNUMERIC parameter with more than 18 digits after the point")
    return raw
