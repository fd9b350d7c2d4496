"""Fields of a table schema: BigQuery's type names, DuckDB's, and the way between them.

A field is a dict as in the REST API's TableFieldSchema. Type names are canonical legacy ones inside this server
(INTEGER, FLOAT, BOOLEAN, RECORD), as BigQuery answers with.
"""

from __future__ import annotations

from typing import Any

from polyexpose_spark.local.bigquery.errors import invalid, not_implemented

Field = dict[str, Any]

CANONICAL = {
    "INT64": "INTEGER",
    "INT": "INTEGER",
    "SMALLINT": "INTEGER",
    "BIGINT": "INTEGER",
    "TINYINT": "INTEGER",
    "BYTEINT": "INTEGER",
    "FLOAT64": "FLOAT",
    "BOOL": "BOOLEAN",
    "STRUCT": "RECORD",
    "DECIMAL": "NUMERIC",
    "BIGDECIMAL": "BIGNUMERIC",
}
STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
ENGINE_TYPES = {
    "INTEGER": "BIGINT",
    "FLOAT": "DOUBLE",
    "BOOLEAN": "BOOLEAN",
    "STRING": "VARCHAR",
    "BYTES": "BLOB",
    "DATE": "DATE",
    "TIME": "TIME",
    "DATETIME": "TIMESTAMP",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "NUMERIC": "DECIMAL(38,9)",
    # 76 digits do not fit DuckDB; 20 before the point and 18 after it do. What does not fit is an error, never cut.
    "BIGNUMERIC": "DECIMAL(38,18)",
    "JSON": "JSON",
    "GEOGRAPHY": "VARCHAR",
    "INTERVAL": "INTERVAL",
}
FROM_ENGINE = {
    "bigint": "INTEGER",
    "hugeint": "INTEGER",
    "integer": "INTEGER",
    "smallint": "INTEGER",
    "tinyint": "INTEGER",
    "uinteger": "INTEGER",
    "usmallint": "INTEGER",
    "utinyint": "INTEGER",
    "ubigint": "INTEGER",
    "double": "FLOAT",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "varchar": "STRING",
    "uuid": "STRING",
    "blob": "BYTES",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "DATETIME",
    "timestamp_ns": "DATETIME",
    "timestamp_ms": "DATETIME",
    "timestamp_s": "DATETIME",
    "timestamp with time zone": "TIMESTAMP",
    "interval": "INTERVAL",
    '"null"': "INTEGER",  # the type BigQuery gives a bare NULL
    "null": "INTEGER",
}
NUMERIC_SCALE = 9
NUMERIC_INTEGER_DIGITS = 29
ENGINE_DIGITS = 38
MAX_FIELD_NAME = 300


def quote_name(name: str) -> str:
    """Quote an identifier for DuckDB."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote a string literal for DuckDB."""
    return "'" + text.replace("'", "''") + "'"


def type_of(field: Field) -> str:
    """Return the canonical type name of a field."""
    name = str(field.get("type", "")).upper()
    return CANONICAL.get(name, name)


def is_repeated(field: Field) -> bool:
    """Tell whether the field is an array."""
    return str(field.get("mode", "")).upper() == "REPEATED"


def is_required(field: Field) -> bool:
    """Tell whether NULL is not allowed."""
    return str(field.get("mode", "")).upper() == "REQUIRED"


def canonical(fields: list[Field], path: str = "") -> list[Field]:
    """Return fields as BigQuery stores them: canonical types, explicit modes; refuse what is not a field.

    Raises ApiError 400 for an unknown type or a name twice, 501 for a type that does not fit DuckDB.
    """
    seen: set[str] = set()
    out = []
    for field in fields:
        name = str(field.get("name", ""))
        where = f"{path}{name}"
        if not name or len(name) > MAX_FIELD_NAME:
            raise invalid(f'Invalid field name "{where}". Field names have 1 to {MAX_FIELD_NAME} characters.')
        if name.lower() in seen:
            raise invalid(f"Field {where} already exists in schema")
        seen.add(name.lower())
        kind = type_of(field)
        if kind != "RECORD" and kind not in ENGINE_TYPES:
            raise invalid(f"Invalid value for type: {field.get('type')} is not a valid value (field {where})")
        mode = str(field.get("mode") or "NULLABLE").upper()
        if mode not in ("NULLABLE", "REQUIRED", "REPEATED"):
            raise invalid(f"Invalid value for mode: {mode} is not a valid value (field {where})")
        clean = {**field, "name": name, "type": kind, "mode": mode}
        if kind == "RECORD":
            if not field.get("fields"):
                raise invalid(f"Field {where} is type RECORD but has no schema")
            clean["fields"] = canonical(list(field["fields"]), f"{where}.")
        engine_type(clean)
        out.append(clean)
    return out


def engine_type(field: Field, *, element: bool = False) -> str:
    """Return the DuckDB type of a field, of one element of it if `element`."""
    kind = type_of(field)
    if kind == "RECORD":
        inner = ", ".join(f"{quote_name(x['name'])} {engine_type(x)}" for x in field["fields"])
        text = f"STRUCT({inner})"
    elif kind in ("NUMERIC", "BIGNUMERIC") and field.get("precision"):
        text = decimal_type(kind, int(field["precision"]), int(field.get("scale") or 0))
    else:
        text = ENGINE_TYPES[kind]
    return text + ("[]" if is_repeated(field) and not element else "")


def decimal_type(kind: str, precision: int, scale: int) -> str:
    """Return the DuckDB type of NUMERIC(P,S) or BIGNUMERIC(P,S)."""
    fits_numeric = scale <= NUMERIC_SCALE and precision - scale <= NUMERIC_INTEGER_DIGITS
    if kind == "NUMERIC" and not fits_numeric:
        raise invalid(f"NUMERIC({precision},{scale}) has more than 29 digits before the point or 9 after it")
    if kind == "BIGNUMERIC" and (fits_numeric or precision > ENGINE_DIGITS):
        # Results know their type by their digits only, so a BIGNUMERIC must not look like a NUMERIC.
        raise not_implemented(f"BIGNUMERIC({precision},{scale})")
    return f"DECIMAL({precision},{scale})"


def from_engine(name: str, engine: Any) -> Field:
    """Return the field for a DuckDB result column.

    Raises ApiError 501 for a type that BigQuery does not have.
    """
    kind = engine.id
    if kind in ("list", "array"):
        inner = from_engine(name, engine.children[0][1])
        if is_repeated(inner):
            raise invalid("Cannot construct array with element type ARRAY; arrays of arrays are not supported")
        return {**inner, "mode": "REPEATED"}
    field: Field = {"name": name, "mode": "NULLABLE"}
    if kind == "struct":
        inner_fields = [from_engine(n, t) for n, t in engine.children]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": inner_fields}
    if kind == "decimal":
        digits = dict(engine.children)
        numeric = digits["scale"] <= NUMERIC_SCALE and digits["precision"] - digits["scale"] <= NUMERIC_INTEGER_DIGITS
        return {**field, "type": "NUMERIC" if numeric else "BIGNUMERIC"}
    text = str(engine).lower()
    if text == "json":
        return {**field, "type": "JSON"}
    known = FROM_ENGINE.get(text) or FROM_ENGINE.get(str(kind))
    if known is None:
        raise not_implemented(f"A result of the type {engine}")
    return {**field, "type": known}


def standard_sql_type(field: Field) -> str:
    """Return the type as INFORMATION_SCHEMA.COLUMNS.data_type spells it."""
    kind = type_of(field)
    text = STANDARD.get(kind, kind)
    if kind == "RECORD":
        text = "STRUCT<" + ", ".join(f"{x['name']} {standard_sql_type(x)}" for x in field["fields"]) + ">"
    elif field.get("precision"):
        scale = field.get("scale")
        text += f"({field['precision']}, {scale})" if scale else f"({field['precision']})"
    elif field.get("maxLength"):
        text += f"({field['maxLength']})"
    return f"ARRAY<{text}>" if is_repeated(field) else text


def same_shape(one: Field, other: Field) -> bool:
    """Tell whether two fields hold the same values: types, modes of arrays, nested names."""
    if type_of(one) != type_of(other) or is_repeated(one) != is_repeated(other):
        return False
    if type_of(one) != "RECORD":
        return True
    mine = {x["name"].lower(): x for x in one["fields"]}
    theirs = {x["name"].lower(): x for x in other["fields"]}
    return mine.keys() == theirs.keys() and all(same_shape(x, theirs[n]) for n, x in mine.items())
