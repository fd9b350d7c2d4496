"""Rules that refuse what BigQuery refuses and DuckDB would convert: types that do not go together."""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.oracle import FLOATS, is_decimal, is_integer
from polyexpose_spark.local.bigquery.sql.rules import Context, rule


def kind_class(kind: str) -> str:
    """Return the class of DuckDB types that BigQuery compares with each other; empty for NULL."""
    if is_integer(kind) or is_decimal(kind) or kind in FLOATS:
        return "NUMBER"
    return "" if kind == '"NULL"' else kind


def check_same_class(node: exp.Expression, operands: list[exp.Expression], context: Context) -> None:
    """Raise 400 where BigQuery has no signature and DuckDB would convert one operand, as in ``'1' = 1``."""
    known = {}
    literals = False
    for operand in operands:
        if isinstance(operand, exp.Null):
            continue
        if isinstance(operand, exp.Literal) and operand.is_string:
            literals = True
            continue
        kind = context.types.of(operand)
        if kind_class(kind):
            known[kind_class(kind).split("(")[0]] = kind
    taken = {k for k in known if k not in TAKE_LITERALS}
    if len(known) > 1 or (literals and taken):
        kinds = [*known.values(), *(["STRING"] if literals else [])]
        raise invalid_query(f"No matching signature for {type(node).__name__} for argument types: {', '.join(kinds)}")


# A string literal becomes one of these by itself.
TAKE_LITERALS = ("VARCHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


@rule(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Nullif)
def comparison(node: exp.Expression, context: Context) -> exp.Expression:
    """Compare only what BigQuery compares."""
    if isinstance(node.parent, exp.Update) and node.arg_key == "expressions":
        return node
    check_same_class(node, [node.this, node.expression], context)
    return node


@rule(exp.Between)
def between(node: exp.Expression, context: Context) -> exp.Expression:
    """Compare only what BigQuery compares."""
    check_same_class(node, [node.this, node.args["low"], node.args["high"]], context)
    return node


@rule(exp.In)
def member(node: exp.Expression, context: Context) -> exp.Expression:
    """Compare only what BigQuery compares."""
    if node.expressions:
        check_same_class(node, [node.this, *node.expressions], context)
    return node


@rule(exp.Coalesce, exp.Greatest, exp.Least)
def common_type(node: exp.Expression, context: Context) -> exp.Expression:
    """All arguments of one type."""
    check_same_class(node, [node.this, *node.expressions], context)
    return node


@rule(exp.Case)
def case(node: exp.Expression, context: Context) -> exp.Expression:
    """All results of one type, all values compared of one type."""
    ifs = node.args["ifs"]
    results = [i.args["true"] for i in ifs] + ([node.args["default"]] if node.args.get("default") else [])
    check_same_class(node, results, context)
    if node.this is not None:
        check_same_class(node, [node.this, *[i.this for i in ifs]], context)
    return node


@rule(exp.If)
def if_(node: exp.Expression, context: Context) -> exp.Expression:
    """Both results of one type."""
    if not isinstance(node.parent, exp.Case):
        results = [n for n in (node.args.get("true"), node.args.get("false")) if n is not None]
        check_same_class(node, results, context)
    return node


@rule(exp.Concat, exp.DPipe)
def concat(node: exp.Expression, context: Context) -> exp.Expression:
    """Texts with texts, bytes with bytes, arrays with arrays."""
    parts = node.expressions if isinstance(node, exp.Concat) else [node.this, node.expression]
    kinds = {context.types.of(p) for p in parts} - {'"NULL"'}
    if len(kinds) > 1 or any(k not in ("VARCHAR", "BLOB") and not k.endswith("[]") for k in kinds):
        raise invalid_query(f"No matching signature for CONCAT for argument types: {', '.join(sorted(kinds))}")
    return node


@rule(exp.And, exp.Or, exp.Not, exp.Where, exp.Having, exp.Qualify)
def logical(node: exp.Expression, context: Context) -> exp.Expression:
    """Conditions are BOOL; DuckDB would take numbers."""
    for side in (node.this, node.args.get("expression")):
        if isinstance(side, exp.Expression) and context.types.of(side) not in ("BOOLEAN", '"NULL"'):
            raise invalid_query(f"A condition must be BOOL: {side.sql('bigquery')[:100]}")
    return node


@rule(exp.Upper, exp.Lower, exp.StartsWith, exp.EndsWith, exp.Replace, exp.Split, exp.RegexpLike, exp.StrPosition)
def text_only(node: exp.Expression, context: Context) -> exp.Expression:
    """Functions that are compared for STRING only; DuckDB would convert numbers."""
    for value in node.args.values():
        if isinstance(value, exp.Expression) and context.types.of(value) not in ("VARCHAR", '"NULL"'):
            raise invalid_query(f"{type(node).__name__.upper()} of a value of the type {context.types.of(value)}")
    return node


@rule(exp.Tuple)
def row(node: exp.Expression, context: Context) -> exp.Expression:
    """A tuple is a list of values for IN only."""
    if not isinstance(node.parent, exp.In):
        raise not_implemented("A STRUCT written as (a, b); write STRUCT(a AS x, b AS y)")
    return node


@rule(exp.Struct)
def struct(node: exp.Expression, context: Context) -> exp.Expression:
    """Fields need a name: given, or that of a column."""
    typed = isinstance(node.parent, exp.Cast)
    if not typed and not all(isinstance(e, (exp.PropertyEQ, exp.Column, exp.Dot)) for e in node.expressions):
        raise not_implemented("A STRUCT with a field that has no name")
    return node
