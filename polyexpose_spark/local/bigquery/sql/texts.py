"""Rules for texts and bytes."""

from __future__ import annotations

import re

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import invalid_query, not_implemented
from polyexpose_spark.local.bigquery.sql.rules import NAMED, Context, cast, duck, rule


@rule(exp.Like)
def like(node: exp.Expression, context: Context) -> exp.Expression:
    """BigQuery's LIKE escapes with a backslash."""
    if {context.types.of(node.this), context.types.of(node.expression)} - {"VARCHAR", '"NULL"'}:
        raise invalid_query("No matching signature for LIKE; it compares STRING with STRING")
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


WHITE_SPACE = "".join(
    map(chr, [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000])
)


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


@rule(exp.ByteLength)
def byte_length(node: exp.Expression, context: Context) -> exp.Expression:
    """BYTE_LENGTH of STRING or BYTES."""
    if context.types.of(node.this) == "VARCHAR":
        return duck("octet_length(encode(:x))", x=node.this)
    return duck("octet_length(:x)", x=node.this)
