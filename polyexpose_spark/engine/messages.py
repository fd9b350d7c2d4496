"""graphql-core's validation errors in Hasura's words, where those are known from Hasura's own tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableDefinitionNode,
)

from polyexpose_spark.engine.failure import QueryError

_UNKNOWN_FIELD = re.compile(r"Cannot query field '(\w+)' on type '(\w+)'")
_UNKNOWN_ARGUMENT = re.compile(r"Unknown argument '(\w+)' on field '\w+\.(\w+)'")
_UNKNOWN_INPUT = re.compile(r"Expected value of type '(\w+)' not to include unknown field '(\w+)'")
_NO_SELECTION = re.compile(r"Field '\w+' of type '([^']+)' must have a selection of subfields")
_CYCLE = re.compile(r"Cannot spread fragment '(\w+)' within itself(?: via (.+?))?\.$")


def check_kind(operations: Sequence[OperationDefinitionNode]) -> None:
    """Refuse what BigQuery sources of Hasura do not have (mutations), and what needs a socket."""
    for each in operations:
        if each.operation is OperationType.MUTATION:
            raise QueryError("no mutations exist")
        if each.operation is OperationType.SUBSCRIPTION:
            raise QueryError("subscriptions are not supported over HTTP", code="unexpected")


def check_variables(definitions: Sequence[VariableDefinitionNode], given: Mapping[str, Any]) -> None:
    """Refuse variables that the operation does not name, and name the first that is missing."""
    names = {each.variable.name.value for each in definitions}
    unexpected = [name for name in given if name not in names]
    if unexpected:
        raise QueryError(f"unexpected variables in variableValues: {', '.join(unexpected)}")
    for each in definitions:
        name = each.variable.name.value
        if isinstance(each.type, NonNullTypeNode) and each.default_value is None and name not in given:
            raise QueryError(f'expecting a value for non-nullable variable: "{name}"')


def variable_error(error: GraphQLError) -> QueryError:
    """A variable whose value does not fit its type."""
    return QueryError(_input_message(error), path="$.variables")


def translated(error: GraphQLError, document: DocumentNode) -> QueryError:
    """One validation error; where Hasura's words are not known, graphql-core's stay."""
    text = error.message
    place = _place(document, error)
    if found := _UNKNOWN_FIELD.match(text):
        name, kind = found.groups()
        shown = f"'{name}'" if kind == "query_root" else f'"{name}"'
        return QueryError(f"field {shown} not found in type: '{kind}'", path=place)
    if found := _UNKNOWN_ARGUMENT.match(text):
        return QueryError(f"'{found[2]}' has no argument named '{found[1]}'", path=place)
    if found := _NO_SELECTION.match(text):
        return QueryError(f"missing selection set for '{found[1].strip('[]!')}'", path=place)
    if found := _CYCLE.match(text):
        names = [found[1], *re.findall(r"'(\w+)'", found[2] or "")]
        return QueryError(f"the fragment definition(s) {_listed(names)} form a cycle", path=place)
    return QueryError(_input_message(error), path=place)


def _input_message(error: GraphQLError) -> str:
    if found := _UNKNOWN_INPUT.search(error.message):
        return f"field '{found[2]}' not found in type: '{found[1]}'"
    return error.message


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _place(document: DocumentNode, error: GraphQLError) -> str:
    """Hasura's path of the field an error stands at: ``$.selectionSet.author.selectionSet.name``."""
    nodes = error.nodes or []
    at = next((node.loc for node in nodes if node.loc is not None), None)
    if at is None:
        return "$"
    fragments = {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
    best = "$"
    for each in document.definitions:
        if isinstance(each, OperationDefinitionNode):
            for path, field in _fields(each.selection_set, "$", fragments, ()):
                # The innermost field whose text encloses the error: later ones lie deeper.
                if field.loc is not None and field.loc.start <= at.start and at.end <= field.loc.end:
                    best = path
    return best


def _fields(
    selections: SelectionSetNode, path: str, fragments: Mapping[str, FragmentDefinitionNode], inside: tuple[str, ...]
) -> Iterator[tuple[str, FieldNode]]:
    for node in selections.selections:
        if isinstance(node, FieldNode):
            here = f"{path}.selectionSet.{node.alias.value if node.alias else node.name.value}"
            yield here, node
            if node.selection_set is not None:
                yield from _fields(node.selection_set, here, fragments, inside)
        elif isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name in fragments and name not in inside:
                below = f"{path}.selectionSet.{name}"
                yield from _fields(fragments[name].selection_set, below, fragments, (*inside, name))
        else:
            yield from _fields(node.selection_set, path, fragments, inside)  # type: ignore[attr-defined]
