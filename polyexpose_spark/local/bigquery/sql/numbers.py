"""Rules for arithmetic and aggregates of numbers."""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.oracle import FLOATS, is_decimal, is_integer, is_numeric_shaped
from polyexpose_spark.local.bigquery.sql.rules import Context, cast, duck, rule, wrapped

NUMERIC = "DECIMAL(38,9)"


def _decimals(context: Context, *nodes: exp.Expression) -> list[str]:
    kinds = [context.types.of(n) for n in nodes]
    if "VARCHAR" in kinds:
        raise invalid_query("No matching signature for an arithmetic operator with a STRING")
    return kinds if any(is_decimal(k) for k in kinds) and not any(k in FLOATS for k in kinds) else []


@rule(exp.Div)
def division(node: exp.Expression, context: Context) -> exp.Expression:
    """FLOAT64 for numbers, exact NUMERIC for decimals."""
    kinds = _decimals(context, node.this, node.expression)
    if not kinds:
        return node
    return _numeric_division(node.this, node.expression, kinds)


def _numeric_division(a: exp.Expression, b: exp.Expression, kinds: list[str]) -> exp.Expression:
    if any(is_decimal(k) and not is_numeric_shaped(k) for k in kinds):
        raise not_implemented("Division of BIGNUMERIC values")
    return duck("bq_divide(CAST(:a AS DECIMAL(38,9)), CAST(:b AS DECIMAL(38,9)))", a=a, b=b)


@rule(exp.Add, exp.Sub, exp.Mul)
def arithmetic(node: exp.Expression, context: Context) -> exp.Expression:
    """Keep NUMERIC a NUMERIC: DuckDB's multiplication adds the scales."""
    if _is_plain(node.this) and _is_plain(node.expression):
        return node
    with_interval = isinstance(node.this, exp.Interval) or isinstance(node.expression, exp.Interval)
    for side in (node.this, node.expression):
        kind = context.types.of(side)
        if kind in ("VARCHAR", "BOOLEAN", "BLOB"):
            raise invalid_query(f"No matching signature for operator {type(node).__name__} with a {kind}")
        if kind.startswith(("DATE", "TIME")) and not with_interval:
            raise not_implemented(f"Arithmetic with a value of the type {kind} (use DATE_ADD, DATE_DIFF and their kin)")
    kinds = _decimals(context, node.this, node.expression)
    if not kinds:
        return node
    result = context.types.of(node)
    all_numeric = all(is_numeric_shaped(k) for k in kinds if is_decimal(k))
    if all_numeric and not is_numeric_shaped(result):
        return cast(exp.Paren(this=node), NUMERIC)
    if not all_numeric and is_numeric_shaped(result):
        return cast(exp.Paren(this=node), "DECIMAL(38,18)")
    return node


def _is_plain(node: exp.Expression) -> bool:
    """Whether the node is an INT64 or FLOAT64 literal or an interval, of which DuckDB need not be asked."""
    plain = (exp.DataType.Type.BIGINT, exp.DataType.Type.DOUBLE)
    return isinstance(node, exp.Interval) or (isinstance(node, exp.Cast) and node.to.this in plain)


@rule(exp.SafeDivide)
def safe_divide(node: exp.Expression, context: Context) -> exp.Expression:
    """NULL for a division by zero."""
    inner = division(exp.Div(this=wrapped(node.this), expression=wrapped(node.expression)), context)
    return duck("CASE WHEN :b = 0 THEN NULL ELSE :q END", b=node.expression, q=inner)


@rule(exp.Sum)
def total(node: exp.Expression, context: Context) -> exp.Expression:
    """SUM of NUMERIC is NUMERIC, of INT64 an INT64 with overflow as an error."""
    kind = _argument_type(node, context)
    if is_decimal(kind):
        return cast(node, NUMERIC if is_numeric_shaped(kind) else "DECIMAL(38,18)")
    return cast(node, "BIGINT") if is_integer(kind) and not isinstance(node.parent, exp.Window) else node


@rule(exp.Avg)
def average(node: exp.Expression, context: Context) -> exp.Expression:
    """AVG of NUMERIC is exact."""
    kind = _argument_type(node, context)
    if not is_decimal(kind):
        return node
    if isinstance(node.parent, exp.Window):
        raise not_implemented("AVG(NUMERIC) OVER (...)")
    args = node.this.sql("duckdb", identify=True)
    return duck(f"bq_divide(CAST(sum({args}) AS DECIMAL(38,9)), CAST(count({args}) AS DECIMAL(38,9)))")


def _argument_type(node: exp.Expression, context: Context) -> str:
    inner = node.this
    if isinstance(inner, exp.Distinct):
        inner = inner.expressions[0]
    return context.types.of(inner)


@rule(exp.Round)
def rounding(node: exp.Expression, context: Context) -> exp.Expression:
    """ROUND of INT64 is FLOAT64, of NUMERIC NUMERIC."""
    kind = context.types.of(node.this)
    digits = node.args.get("decimals")
    if isinstance(digits, exp.Cast):
        node.set("decimals", cast(digits.this, "INTEGER"))
    if is_decimal(kind):
        return cast(node, NUMERIC if is_numeric_shaped(kind) else "DECIMAL(38,18)")
    if is_integer(kind):
        node.set("this", cast(node.this, "DOUBLE"))
    return node


@rule(exp.Ceil, exp.Floor)
def whole(node: exp.Expression, context: Context) -> exp.Expression:
    """CEIL and FLOOR of NUMERIC are NUMERIC."""
    kind = context.types.of(node.this)
    if is_decimal(kind):
        return cast(node, NUMERIC if is_numeric_shaped(kind) else "DECIMAL(38,18)")
    return cast(node, "DOUBLE")


@rule(exp.Exp, exp.Ln, exp.Sqrt, exp.Pow, exp.Sign)
def float_only(node: exp.Expression, context: Context) -> exp.Expression:
    """Functions that are compared for INT64 and FLOAT64 only."""
    if is_decimal(context.types.of(node.this)):
        raise not_implemented(f"{type(node).__name__.upper()} of a NUMERIC")
    if isinstance(node, exp.Sign):
        return cast(node, "BIGINT") if is_integer(context.types.of(node.this)) else cast(node, "DOUBLE")
    return node


@rule(exp.BitwiseLeftShift, exp.BitwiseRightShift)
def shift(node: exp.Expression, context: Context) -> exp.Expression:
    """Shifts of non-negative numbers by constants; DuckDB refuses what overflows, BigQuery drops it."""
    return node


@rule(exp.CountIf)
def count_if(node: exp.Expression, context: Context) -> exp.Expression:
    """0 where there are no rows; DuckDB's own gives NULL."""
    one = exp.Case(ifs=[exp.If(this=node.this, true=exp.Literal.number(1))])
    return exp.Count(this=one)
