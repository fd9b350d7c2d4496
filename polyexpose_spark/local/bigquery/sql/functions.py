"""Rules for operators and functions that DuckDB, or sqlglot's translation to it, does otherwise than BigQuery.

A rule is handed a node whose children are translated already, and returns what stands for it in DuckDB's SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.oracle import (
    FLOATS,
    Oracle,
    is_decimal,
    is_integer,
    is_numeric_shaped,
)

INT64_MAX = 2**63 - 1
NUMERIC = "DECIMAL(38,9)"


@dataclass
class Context:
    """What rules need beyond their node."""

    types: Oracle


Rule = Callable[[exp.Expression, Context], exp.Expression]
RULES: dict[type[exp.Expression], Rule] = {}
# Functions that sqlglot has no class for, allowed under their own name.
NAMED: dict[str, Callable[[exp.Anonymous, Context], exp.Expression]] = {}


def rule(*kinds: type[exp.Expression]) -> Callable[[Rule], Rule]:
    """Register a rule for these kinds of nodes."""

    def register(fn: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = fn
        return fn

    return register


@lru_cache(maxsize=512)
def _parsed(template: str) -> exp.Expression:
    return sqlglot.parse_one(template, read="duckdb")


def duck(template: str, **nodes: exp.Expression) -> exp.Expression:
    """Return DuckDB's SQL with ``:name`` standing for nodes."""
    # A copy for each use: a tree holds a node once.
    tree = _parsed(template).copy()
    for placeholder in list(tree.find_all(exp.Placeholder)):
        new = wrapped(nodes[placeholder.name].copy())
        if placeholder is tree:
            return new
        placeholder.replace(new)
    return tree if isinstance(tree, (exp.Func, exp.Cast, exp.Case, exp.Paren)) else exp.Paren(this=tree)


def wrapped(node: exp.Expression) -> exp.Expression:
    """Return the node in parentheses where precedence could tear it apart."""
    return exp.Paren(this=node) if isinstance(node, (exp.Binary, exp.Unary, exp.Between, exp.In)) else node


def cast(node: exp.Expression, kind: str) -> exp.Expression:
    """Return a cast to a DuckDB type."""
    return exp.Cast(this=node, to=exp.DataType.build(kind, dialect="duckdb"))


# ---- literals and types


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
        from polyexpose_spark.local.bigquery.fields import decimal_type

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


# ---- arithmetic


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
    for side in (node.this, node.expression):
        if context.types.of(side) == "VARCHAR":
            raise invalid_query(f"No matching signature for operator {type(node).__name__} with a STRING")
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


# ---- arrays and structs


@rule(exp.Bracket)
def element(node: exp.Expression, context: Context) -> exp.Expression:
    """arr[OFFSET(n)] and its kin: out of bounds is an error unless SAFE_."""
    if len(node.expressions) != 1:
        raise not_implemented("More than one subscript")
    if context.types.of(node.this) == "JSON" or not context.types.of(node.this).endswith("[]"):
        raise not_implemented("A subscript of what is not an ARRAY")
    base = 1 if node.args.get("offset") == 1 else 0
    position = duck(":i + 1", i=node.expressions[0]) if base == 0 else node.expressions[0]
    inside = duck(":i >= 1 AND :i <= len(:a)", i=position, a=node.this)
    get = duck("list_extract(:a, :i)", a=node.this, i=position)
    if node.args.get("safe"):
        return duck("CASE WHEN :ok THEN :get ELSE NULL END", ok=inside, get=get)
    return duck(
        "CASE WHEN :a IS NULL OR :i IS NULL THEN NULL WHEN :ok THEN :get "
        "ELSE error('Array index is out of bounds (overflow)') END",
        ok=inside, get=get, a=node.this, i=position,
    )  # fmt: skip


@rule(exp.Unnest)
def unnest(node: exp.Expression, context: Context) -> exp.Expression:
    """WITH OFFSET counts from 0; SELECT * over structs is refused (BigQuery spreads their fields)."""
    if len(node.expressions) != 1:
        raise not_implemented("UNNEST of several arrays")
    offset = node.args.get("offset")
    if isinstance(node.parent, exp.In):
        return node
    alias = node.args.get("alias")
    columns = list(alias.columns) if alias is not None else []
    column = columns[0] if columns else exp.to_identifier("_element", quoted=True)
    select = node.find_ancestor(exp.Select)
    if select is not None and any(e.is_star for e in select.expressions):
        kind = context.types.of(node.expressions[0])
        if kind.startswith("STRUCT("):
            raise not_implemented("SELECT * over UNNEST of an array of STRUCT; name the fields")
    name = exp.TableAlias(this=exp.to_identifier("_unnest", quoted=True))
    if not isinstance(offset, exp.Expression):
        node.set("alias", exp.TableAlias(this=name.this, columns=[column]))
        return node
    node.set("offset", exp.to_identifier("_ordinal", quoted=True))
    node.set("alias", exp.TableAlias(this=name.this, columns=[column]))
    inner = exp.select(
        exp.column(column.copy()),
        exp.alias_(duck('CAST("_ordinal" AS BIGINT) - 1'), offset.name, quoted=True),
    ).from_(node.copy())
    return exp.Subquery(this=inner, alias=exp.TableAlias(this=exp.to_identifier("_unnest", quoted=True)))


@rule(exp.ArrayAgg)
def array_agg(node: exp.Expression, context: Context) -> exp.Expression:
    """LIMIT within ARRAY_AGG as a slice."""
    inner = node.this
    if not isinstance(inner, exp.Limit):
        return node
    count = inner.expression
    node.set("this", inner.this)
    return duck("list_slice(:list, 1, :n)", list=node, n=count) if not _ignoring(node) else node


def _ignoring(node: exp.Expression) -> bool:
    return isinstance(node.parent, exp.IgnoreNulls)


@rule(exp.IgnoreNulls)
def ignore_nulls(node: exp.Expression, context: Context) -> exp.Expression:
    """ARRAY_AGG(x IGNORE NULLS) as a FILTER; window functions have it in DuckDB."""
    agg = node.this
    if not isinstance(agg, exp.ArrayAgg):
        return node
    inner = agg.this
    while isinstance(inner, (exp.Order, exp.Limit, exp.Distinct)):
        inner = inner.this if not isinstance(inner, exp.Distinct) else inner.expressions[0]
    if agg.find(exp.Limit):
        raise not_implemented("ARRAY_AGG with both IGNORE NULLS and LIMIT")
    present = exp.Not(this=exp.Is(this=inner.copy(), expression=exp.Null()))
    return exp.Filter(this=agg, expression=exp.Where(this=present))


@rule(exp.GroupConcat)
def string_agg(node: exp.Expression, context: Context) -> exp.Expression:
    """STRING_AGG; its LIMIT is not supported."""
    if node.find(exp.Limit):
        raise not_implemented("STRING_AGG with LIMIT")
    return node


@rule(exp.ApproxDistinct)
def approx_distinct(node: exp.Expression, context: Context) -> exp.Expression:
    """Exactly counted: the best of approximations."""
    return exp.Count(this=exp.Distinct(expressions=[node.this]))


@rule(exp.GenerateDateArray)
def date_array(node: exp.Expression, context: Context) -> exp.Expression:
    """GENERATE_DATE_ARRAY by sqlglot's translation."""
    return node


# ---- text


@rule(exp.Like)
def like(node: exp.Expression, context: Context) -> exp.Expression:
    """BigQuery's LIKE escapes with a backslash."""
    return exp.Escape(this=node, expression=exp.Literal.string("\\"))


@rule(exp.Substring)
def substring(node: exp.Expression, context: Context) -> exp.Expression:
    """Position 0 means 1, and one before the start means the start."""
    if context.types.of(node.this) != "VARCHAR":
        raise not_implemented("SUBSTR of BYTES")
    start = node.args.get("start") or cast(exp.Literal.number(1), "BIGINT")
    template = "substring(:x, CASE WHEN :p = 0 OR :p < -length(:x) THEN 1 ELSE :p END"
    length = node.args.get("length")
    if length is None:
        return duck(template + ")", x=node.this, p=start)
    bad = "CASE WHEN :n < 0 THEN error('Third argument in SUBSTR() cannot be negative') ELSE :n END"
    return duck(f"{template}, {bad})", x=node.this, p=start, n=length)


WHITE_SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


@rule(exp.Trim)
def trim(node: exp.Expression, context: Context) -> exp.Expression:
    """Trims all white space where DuckDB trims blanks."""
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position") or "").upper(), "trim")
    if context.types.of(node.this) != "VARCHAR":
        raise not_implemented("TRIM of BYTES")
    return exp.Anonymous(this=name, expressions=[node.this, node.expression or exp.Literal.string(WHITE_SPACE)])


@rule(exp.RegexpReplace)
def regexp_replace(node: exp.Expression, context: Context) -> exp.Expression:
    """Replaces every match."""
    return duck("regexp_replace(:x, :p, :r, 'g')", x=node.this, p=node.expression, r=node.args["replacement"])


@rule(exp.RegexpExtract)
def regexp_extract(node: exp.Expression, context: Context) -> exp.Expression:
    """NULL where nothing matches; the group where there is one."""
    return duck(
        "CASE WHEN regexp_matches(:x, :p) THEN regexp_extract(:x, :p, :g) ELSE NULL END",
        x=node.this, p=node.expression, g=exp.Literal.number(_groups(node.expression)),
    )  # fmt: skip


@rule(exp.RegexpExtractAll)
def regexp_extract_all(node: exp.Expression, context: Context) -> exp.Expression:
    """All matches, of the group where there is one."""
    return duck(
        "regexp_extract_all(:x, :p, :g)",
        x=node.this, p=node.expression, g=exp.Literal.number(_groups(node.expression)),
    )  # fmt: skip


def _groups(pattern: exp.Expression) -> int:
    import re

    if not isinstance(pattern, exp.Literal):
        raise not_implemented("A regular expression to extract with that is not a literal")
    try:
        groups = re.compile(pattern.name).groups
    except re.error as error:
        raise not_implemented(f"The regular expression {pattern.name}") from error
    if groups > 1:
        raise invalid_query("Regular expression has more than 1 capturing group")
    return groups


@rule(exp.Normalize)
def normalize(node: exp.Expression, context: Context) -> exp.Expression:
    """NORMALIZE in NFC, its default."""
    if str(node.args.get("form") or "NFC").upper().strip("'") != "NFC":
        raise not_implemented("NORMALIZE to another form than NFC")
    return exp.Anonymous(this="nfc_normalize", expressions=[node.this])


@rule(exp.SessionUser)
def session_user(node: exp.Expression, context: Context) -> exp.Expression:
    """There are no users here: always the same address."""
    return exp.Literal.string("local@localhost")


@rule(exp.SHA2, exp.SHA2Digest)
def sha2(node: exp.Expression, context: Context) -> exp.Expression:
    """SHA256 gives BYTES."""
    if node.args.get("length") is not None and node.args["length"].name != "256":
        raise not_implemented(f"SHA{node.args['length'].name}")
    return duck("unhex(sha256(:x))", x=node.this)


@rule(exp.MD5Digest)
def md5(node: exp.Expression, context: Context) -> exp.Expression:
    """MD5 gives BYTES."""
    return duck("unhex(md5(:x))", x=node.this)


@rule(exp.SafeFunc)
def safe_function(node: exp.Expression, context: Context) -> exp.Expression:
    """SAFE.f(): NULL where f is an error."""
    return exp.Anonymous(this="TRY", expressions=[node.this])


def _error(node: exp.Anonymous, context: Context) -> exp.Expression:
    return exp.Anonymous(this="error", expressions=node.expressions)


NAMED["ERROR"] = _error


@rule(exp.Anonymous)
def named(node: exp.Expression, context: Context) -> exp.Expression:
    """Functions that sqlglot has no class for."""
    assert isinstance(node, exp.Anonymous)  # noqa: S101 (how the rule is registered)
    return NAMED[node.name.upper()](node, context)


# ---- types that go together


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


# Rules for dates and JSON register themselves in the same table.
from polyexpose_spark.local.bigquery.sql import dates, documents  # noqa: E402, F401
