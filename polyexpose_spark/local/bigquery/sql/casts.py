"""Rules for literals, types and casts."""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.fields import decimal_type
from polyexpose_spark.local.bigquery.sql.oracle import FLOATS, is_decimal, is_integer
from polyexpose_spark.local.bigquery.sql.rules import Context, cast, duck, rule

INT64_MAX = 2**63 - 1
NUMERIC = "DECIMAL(38,9)"


@rule(exp.Literal)
def literal(node: exp.Expression, context: Context) -> exp.Expression:
    """INT64 and FLOAT64, where DuckDB would take INT32 and DECIMAL."""
    parent = node.parent
    if node.args.get("is_string") or isinstance(
        parent, (exp.DataTypeParam, exp.Interval, exp.Limit, exp.Offset, exp.Ordered, exp.Group, exp.WindowSpec)
    ):
        return node
    if isinstance(parent, (exp.StrToDate, exp.StrToTime, exp.UnixToTime, exp.SHA2, exp.SHA2Digest)):
        return node
    text = node.name
    if any(c in text for c in ".eE") and not text.lower().startswith("0x"):
        return exp.Cast(this=exp.Literal.string(text), to=exp.DataType.build("DOUBLE", dialect="duckdb"))
    number = int(text, 0)
    if number > INT64_MAX:
        raise invalid_query(f"Invalid integer literal: {text}")
    return cast(exp.Literal.number(number), "BIGINT")


@rule(exp.DataType)
def data_type(node: exp.Expression, context: Context) -> exp.Expression:
    """Bare NUMERIC, BIGNUMERIC and BYTES in DuckDB's sizes; refuse what does not fit."""
    kinds = exp.DataType.Type
    params = [int(p.this.name) for p in node.expressions if isinstance(p, exp.DataTypeParam)]
    kind = node.this
    if kind in (kinds.DECIMAL, kinds.BIGDECIMAL):
        # After BigQuery's own names: what DuckDB calls DECIMAL is one of the two.
        name = "NUMERIC" if kind == kinds.DECIMAL else "BIGNUMERIC"
        if not params:
            return exp.DataType.build(NUMERIC if name == "NUMERIC" else "DECIMAL(38,18)", dialect="duckdb")
        precision, scale = params[0], params[1] if len(params) > 1 else 0
        return exp.DataType.build(decimal_type(name, precision, scale), dialect="duckdb")
    if params:
        raise not_implemented(f"A cast to {node.sql('bigquery')}")
    if kind in (kinds.GEOGRAPHY, kinds.INTERVAL, kinds.RANGE):
        raise not_implemented(f"The type {node.sql('bigquery')} in a query")
    return node


@rule(exp.Cast)
def cast_node(node: exp.Expression, context: Context) -> exp.Expression:
    """CAST with BigQuery's rounding and texts."""
    return _cast(node, context, safe=False)


@rule(exp.TryCast)
def safe_cast_node(node: exp.Expression, context: Context) -> exp.Expression:
    """SAFE_CAST: NULL where CAST is an error."""
    return exp.Anonymous(this="TRY", expressions=[_cast(node, context, safe=True)])


def _cast(node: exp.Expression, context: Context, *, safe: bool) -> exp.Expression:
    value, target = node.this, node.args["to"]
    kinds = exp.DataType.Type
    plain = exp.Cast(this=value, to=target)
    if isinstance(value, exp.Null):
        return plain
    if isinstance(value, exp.Literal) and value.is_string and target.this in (kinds.DATE, kinds.TIME, kinds.TIMESTAMP):
        return plain
    if isinstance(value, exp.Literal) and value.is_string and target.this == kinds.DECIMAL and not safe:
        return _decimal_literal(value, target)
    source = context.types.of(value)
    if source == '"NULL"':
        return plain
    if target.this == kinds.BIGINT:
        return _to_int64(value, source)
    if target.this == kinds.TEXT:
        return _to_string(value, source)
    if target.this == kinds.BOOLEAN and source == "VARCHAR":
        # DuckDB also takes "1", "t" and "yes".
        return duck(
            "CAST(CASE WHEN lower(:x) IN ('true', 'false') THEN :x ELSE 'Bad bool value: ' || :x END AS BOOLEAN)",
            x=value,
        )
    if target.this in (kinds.VARBINARY, kinds.BLOB):
        if source == "VARCHAR":
            return duck("encode(:x)", x=value)
        if source != "BLOB":
            raise invalid_query(f"Invalid cast from {source} to BYTES")
    if source == "JSON" or target.this == kinds.JSON:
        raise invalid_query("Invalid cast from or to JSON")
    if target.this == kinds.TIMESTAMPTZ and source == "VARCHAR":
        return plain
    if target.this == kinds.DECIMAL and (source == "BOOLEAN" or source.startswith(("DATE", "TIME"))):
        raise invalid_query(f"Invalid cast from {source} to a decimal type")
    return plain


def _decimal_literal(value: exp.Expression, target: exp.Expression) -> exp.Expression:
    """Keep all digits of NUMERIC '...' and BIGNUMERIC '...'; a literal with too many is an error."""
    digits = [int(p.this.name) for p in target.expressions]
    _, _, fraction = value.name.strip().partition(".")
    if len(fraction) <= digits[1]:
        return exp.Cast(this=value, to=target)
    if digits == [38, 9]:
        raise invalid_query(f"Invalid NUMERIC literal: {value.name}")
    if digits == [38, 18] and len(fraction) < 38:
        return cast(value, f"DECIMAL(38,{len(fraction)})")
    raise not_implemented(f"The value {value.name} as {target.sql('bigquery')}")


def _to_int64(value: exp.Expression, source: str) -> exp.Expression:
    if source in FLOATS or is_decimal(source):
        return duck("CAST(round(:x) AS BIGINT)", x=value)  # half away from zero; DuckDB's cast rounds to even
    if source == "VARCHAR":
        return duck(
            "CAST(CASE WHEN regexp_full_match(trim(:x), '[+-]?[0-9]+') THEN trim(:x) "
            "ELSE 'Bad int64 value: ' || :x END AS BIGINT)",
            x=value,
        )
    if is_integer(source) or source == "BOOLEAN":
        return cast(value, "BIGINT")
    raise invalid_query(f"Invalid cast from {source} to INT64")


FRACTION = (
    "CASE WHEN epoch_us(:x) % 1000000 = 0 THEN '' WHEN epoch_us(:x) % 1000 = 0 "
    "THEN strftime(:t, '.%g') ELSE strftime(:t, '.%f') END"
)


def _to_string(value: exp.Expression, source: str) -> exp.Expression:
    if source == "VARCHAR" or is_integer(source) or source in ("BOOLEAN", "DATE"):
        return cast(value, "VARCHAR")
    if source in FLOATS:
        return duck("replace(regexp_replace(CAST(:x AS VARCHAR), '\\.0$', ''), 'nan', 'NaN')", x=value)
    if is_decimal(source):
        return duck(
            "CASE WHEN contains(CAST(:x AS VARCHAR), '.') THEN rtrim(rtrim(CAST(:x AS VARCHAR), '0'), '.') "
            "ELSE CAST(:x AS VARCHAR) END",
            x=value,
        )
    if source == "BLOB":
        return duck("decode(:x)", x=value)
    if source == "TIMESTAMP":
        return duck(f"strftime(:x, '%Y-%m-%d %H:%M:%S') || {FRACTION}", x=value, t=value)
    if source == "TIMESTAMP WITH TIME ZONE":
        plain = duck(":x AT TIME ZONE 'UTC'", x=value)
        return duck(f"strftime(:t, '%Y-%m-%d %H:%M:%S') || {FRACTION} || '+00'", x=value, t=plain)
    raise not_implemented(f"A cast from {source} to STRING")


@rule(exp.ByteString)
def byte_string(node: exp.Expression, context: Context) -> exp.Expression:
    """b'...': sqlglot gives one character a byte; DuckDB takes hexadecimal text."""
    return exp.Anonymous(this="unhex", expressions=[exp.Literal.string(node.this.encode("latin-1").hex())])
