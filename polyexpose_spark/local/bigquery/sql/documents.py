"""Rules for JSON."""

from __future__ import annotations

import re

from sqlglot import exp

from polyexpose_spark.local.bigquery.errors import not_implemented
from polyexpose_spark.local.bigquery.sql.rules import Context, cast, duck, rule

# What to_json writes as BigQuery's TO_JSON_STRING does: no floats, decimals, times or bytes.
SAME_TEXT = ("BIGINT", "VARCHAR", "BOOLEAN", "JSON")


def _path(node: exp.Expression) -> exp.Expression:
    path = node.expression
    if not isinstance(path, exp.JSONPath):
        raise not_implemented("A JSON path that is not a literal")
    text = "$"
    for part in path.expressions[1:]:
        if isinstance(part, exp.JSONPathKey) and isinstance(part.this, str):
            text += '."' + part.this.replace('"', '\\"') + '"'
        elif isinstance(part, exp.JSONPathSubscript) and isinstance(part.this, int):
            text += f"[{part.this}]"
        else:
            raise not_implemented(f"The JSON path {path.sql('bigquery')}")
    return exp.Literal.string(text)


@rule(exp.JSONExtractScalar)
def json_value(node: exp.Expression, context: Context) -> exp.Expression:
    """JSON_VALUE: NULL for what is not a scalar."""
    extracted = duck("json_extract(CAST(:x AS JSON), :p)", x=node.this, p=_path(node))
    return duck(
        "CASE WHEN json_type(:e) IN ('OBJECT', 'ARRAY', 'NULL') THEN NULL ELSE json_extract_string(:e, '$') END",
        e=extracted,
    )


@rule(exp.JSONExtract)
def json_query(node: exp.Expression, context: Context) -> exp.Expression:
    """JSON_QUERY: JSON from JSON, STRING from STRING."""
    kind = context.types.of(node.this)
    extracted = duck("json_extract(CAST(:x AS JSON), :p)", x=node.this, p=_path(node))
    if kind == "JSON":
        return extracted
    return duck("CASE WHEN json_type(:e) = 'NULL' THEN NULL ELSE CAST(:e AS VARCHAR) END", e=extracted)


@rule(exp.ParseJSON)
def parse_json(node: exp.Expression, context: Context) -> exp.Expression:
    """PARSE_JSON and JSON '...'."""
    if node.args.get("expression"):
        raise not_implemented("PARSE_JSON with a mode")
    return cast(node.this, "JSON")


@rule(exp.JSONFormat)
def to_json_string(node: exp.Expression, context: Context) -> exp.Expression:
    """TO_JSON_STRING and TO_JSON for types whose text is the same in both."""
    kind = context.types.of(node.this)
    if node.args.get("options") or not _same_text(kind):
        raise not_implemented(f"TO_JSON_STRING of a value of the type {kind}")
    text = duck("CAST(to_json(:x) AS VARCHAR)", x=node.this)
    text = duck("CASE WHEN :x IS NULL THEN 'null' ELSE :t END", x=node.this, t=text)
    return cast(text, "JSON") if node.args.get("to_json") else text


def _same_text(kind: str) -> bool:
    stripped = kind.removesuffix("[]")
    if stripped.startswith("STRUCT("):
        words = re.sub(r'"(?:[^"]|"")*"', "", stripped)
        found = re.findall(r"\b(DOUBLE|FLOAT|DECIMAL|HUGEINT|BLOB|DATE|TIME|TIMESTAMP|INTERVAL)\b", words)
        return not found
    return stripped in SAME_TEXT
