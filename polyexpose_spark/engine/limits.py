"""What one request may cost: counted before it is validated, because validation itself can be made expensive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from polyexpose_spark.engine.failure import QueryError


@dataclass(frozen=True)
class Limits:
    """Upper bounds of one request; introspection is measured by ``nodes`` and ``tokens`` only.

    ``depth``: fields inside fields. ``nodes``: fields in all, fragments counted where they are used. ``seconds``: for
    all of its queries together. ``rows``: of the answer, related rows counted. ``batch``: operations in one request.
    """

    request_bytes: int = 1_000_000
    tokens: int = 10_000
    depth: int = 12
    nodes: int = 1_000
    aliases: int = 50
    seconds: float = 60.0
    rows: int = 100_000
    batch: int = 10


def check(document: DocumentNode, limits: Limits) -> None:
    """Raise QueryError where a document is too deep, has too many fields or too many aliases."""
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    count = _Count(fragments, limits)
    for each in document.definitions:
        if isinstance(each, OperationDefinitionNode):
            count.walk(each.selection_set, 1, ())


class _Count:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], limits: Limits) -> None:
        self._fragments = fragments
        self._limits = limits
        self._nodes = 0
        self._aliases = 0

    def walk(self, selections: SelectionSetNode, depth: int, inside: tuple[str, ...]) -> None:
        for node in selections.selections:
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                # A cycle is for validation to name.
                if name in self._fragments and name not in inside:
                    self._count(node)
                    self.walk(self._fragments[name].selection_set, depth, (*inside, name))
                continue
            self._count(node)
            if isinstance(node, FieldNode) and node.name.value in ("__schema", "__type"):
                # Introspection queries are deep by nature; graphql-core has a rule of its own for them.
                self.walk_flat(node.selection_set, inside)
                continue
            below = depth + 1 if isinstance(node, FieldNode) else depth
            inner: SelectionSetNode | None = getattr(node, "selection_set", None)
            if inner is not None:
                if below > self._limits.depth:
                    raise _exceeded(f"deeper than {self._limits.depth} fields")
                self.walk(inner, below, inside)

    def walk_flat(self, selections: SelectionSetNode | None, inside: tuple[str, ...]) -> None:
        for node in selections.selections if selections else ():
            self._count(node)
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name in self._fragments and name not in inside:
                    self.walk_flat(self._fragments[name].selection_set, (*inside, name))
            else:
                self.walk_flat(getattr(node, "selection_set", None), inside)

    def _count(self, node: object) -> None:
        self._nodes += 1
        if isinstance(node, FieldNode) and node.alias is not None:
            self._aliases += 1
        if self._nodes > self._limits.nodes:
            raise _exceeded(f"more than {self._limits.nodes} fields")
        if self._aliases > self._limits.aliases:
            raise _exceeded(f"more than {self._limits.aliases} aliases")


def _exceeded(what: str) -> QueryError:
    return QueryError(f"the query has {what}", code="limit-exceeded")
