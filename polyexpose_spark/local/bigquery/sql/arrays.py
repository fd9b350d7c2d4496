"""Rules for arrays: subscripts, UNNEST, aggregates into arrays."""

from __future__ import annotations

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import not_implemented
from polyexpose_spark.local.bigquery.sql.rules import Context, duck, rule


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
