"""The table of rules, and how a rule writes DuckDB's SQL.

A rule is handed a node whose children are translated already, and returns what stands for it in DuckDB's SQL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp

from polyexpose_spark.local.bigquery.sql.oracle import Oracle


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
    tree: Any = sqlglot.parse_one(template, read="duckdb")
    parsed: exp.Expression = tree
    return parsed


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
