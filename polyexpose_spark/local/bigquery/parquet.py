"""What a Parquet file says that DuckDB's types do not: INT96, and how its lists are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from polyexpose_spark.local.bigquery.errors import not_implemented
from polyexpose_spark.local.bigquery.fields import quote_name, quote_text

REFUSED_TYPES = ("uuid", "timestamp_ns", "time_ns", "hugeint", "uhugeint", "map", "union", "bit", "interval")


@dataclass
class Node:
    """One node of the file's schema tree."""

    name: str
    physical: str = ""
    children: list[Node] = field(default_factory=list)


def columns_of(con: duckdb.DuckDBPyConnection, file: Path) -> dict[str, Node]:
    """Return the top-level nodes of a file's schema by name."""
    rows = con.execute(f"SELECT name, type, num_children FROM parquet_schema({quote_text(str(file))})").fetchall()
    position = 0

    def read() -> Node:
        nonlocal position
        name, physical, children = rows[position]
        position += 1
        return Node(name, physical or "", [read() for _ in range(children or 0)])

    return {node.name: node for node in read().children}


def as_written(expression: str, kind: Any, node: Node, *, infer_lists: bool) -> str:
    """Return the DuckDB expression that gives a column as BigQuery loads it.

    Without ``enableListInference`` a list is a record of the file's own group names; INT96 is a TIMESTAMP.
    """
    if kind.id in REFUSED_TYPES or str(kind) in ("TIMESTAMP_NS", "UUID"):
        raise not_implemented(f"Loading the Parquet column {node.name} of the type {kind}")
    if node.physical == "INT96":
        return f"CAST({expression} AS TIMESTAMPTZ)"
    if kind.id == "struct":
        by_name = {c.name: c for c in node.children}
        inner = ", ".join(
            f"{quote_name(n)} := "
            + as_written(
                f"struct_extract({expression}, {quote_text(n)})", t, by_name.get(n, Node(n)), infer_lists=infer_lists
            )
            for n, t in kind.children
        )
        return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({inner}) END"
    if kind.id not in ("list", "array"):
        return expression
    element_kind = kind.children[0][1]
    group = node.children[0] if node.children else Node("list")
    element = group.children[0] if group.children else Node("element")
    variable = f"x{expression.count('lambda') + len(expression)}"
    converted = as_written(variable, element_kind, element, infer_lists=infer_lists)
    if infer_lists:
        return expression if converted == variable else f"list_transform({expression}, lambda {variable}: {converted})"
    if not group.children:
        raise not_implemented(f"Loading the two-level Parquet list {node.name} without enableListInference")
    wrapped = f"list_transform({expression}, lambda {variable}: struct_pack({quote_name(element.name)} := {converted}))"
    return f"CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({quote_name(group.name)} := {wrapped}) END"
