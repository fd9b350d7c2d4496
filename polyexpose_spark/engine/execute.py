"""Answers GraphQL requests: parse, limits, validate, select, write SQL, run, read.

There is no resolver per field: a row is read into what goes out in one step.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    SelectionSetNode,
    execute_sync,
    get_named_type,
    parse,
    validate,
)
from graphql.execution.values import VariableValues, get_variable_values

from polyexpose_spark.engine import limits as limiting
from polyexpose_spark.engine import meaning, messages, schema, sql
from polyexpose_spark.engine.access import Session
from polyexpose_spark.engine.bigquery import QueryFailed, QueryTimeout, Unreachable, Warehouse
from polyexpose_spark.engine.catalog import ADMIN, Catalog
from polyexpose_spark.engine.failure import QueryError
from polyexpose_spark.engine.limits import Limits
from polyexpose_spark.engine.schema import RoleSchema
from polyexpose_spark.engine.selection import Found, Selector

logger = logging.getLogger(__name__)

_DOCUMENTS = 500  # parsed documents kept per role


@dataclass
class Prepared:
    """A document that is valid for a role, or the error it has; ``introspection`` keeps answers that never change."""

    operations: tuple[OperationDefinitionNode, ...] = ()
    fragments: Mapping[str, FragmentDefinitionNode] = field(default_factory=dict)
    error: QueryError | None = None
    introspection: dict[str | None, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Answer:
    """The body of a response, and the seconds BigQuery took for it (the longest of those that ran side by side)."""

    body: dict[str, Any]
    bigquery_seconds: float = 0.0


class RoleCache:
    """The schema of one role over one state of the metadata, with the documents that were checked against it."""

    def __init__(self, role_schema: RoleSchema) -> None:
        self.role_schema = role_schema
        self._documents: OrderedDict[str, Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def prepared(self, text: str, make: Callable[[str], Prepared]) -> Prepared:
        """The document of a text; made once while it is among the last used ones."""
        with self._lock:
            found = self._documents.get(text)
            if found is not None:
                self._documents.move_to_end(text)
                return found
        found = make(text)
        with self._lock:
            self._documents[text] = found
            if len(self._documents) > _DOCUMENTS:
                self._documents.popitem(last=False)
        return found


class Graphql:
    """The engine behind ``/v1/graphql``. ``catalog`` gives the present state of the metadata."""

    def __init__(
        self, catalog: Callable[[], Catalog], warehouse: Warehouse, limits: Limits, string_numeric: bool
    ) -> None:
        self._catalog = catalog
        self._warehouse = warehouse
        self._limits = limits
        self._string_numeric = string_numeric
        self._lock = threading.Lock()
        self._of: Catalog | None = None
        self._roles: dict[str, RoleCache] = {}
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="query")

    def close(self) -> None:
        """End the threads that run queries side by side."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def role(self, role: str) -> RoleCache:
        """The schema of a role, built once per state of the metadata."""
        catalog = self._catalog()
        # All roles without any permission see the same empty schema: callers cannot fill the memory with names.
        known = role if role == ADMIN or role in catalog.roles else ""
        with self._lock:
            if self._of is not catalog:
                self._of, self._roles = catalog, {}
            if known not in self._roles:
                self._roles[known] = RoleCache(schema.build(catalog, known, self._string_numeric))
            return self._roles[known]

    def answer(self, request: Any, session: Session) -> Answer:
        """Answer one operation; never raises."""
        answer = Answer({})
        try:
            answer.body = {"data": self._data(request, session, answer)}
        except QueryError as error:
            answer.body = error.body()
        except RecursionError:
            answer.body = QueryError("the query is nested too deeply", code="limit-exceeded").body()
        except Exception:
            logger.exception("request failed")
            answer.body = QueryError("internal error", code="unexpected").body()
        return answer

    def _data(self, request: Any, session: Session, answer: Answer) -> dict[str, Any]:
        text, variables, wanted = _request(request)
        cache = self.role(session.role)
        prepared = cache.prepared(text, lambda text: self._prepare(text, cache.role_schema))
        if prepared.error is not None:
            raise prepared.error
        operation = _operation(prepared.operations, wanted)
        coerced = self._variables(operation, variables, cache.role_schema)
        query = cache.role_schema.schema.query_type
        assert query is not None  # noqa: S101 - build() always makes one
        selector = Selector(prepared.fragments, coerced)
        run = _Run(session, selector, sql.Budget(self._limits.rows))
        data = run.collect(query, "$", operation.selection_set)
        if run.introspects:
            found = None if variables else prepared.introspection.get(wanted)
            if found is None:
                found = _introspect(cache.role_schema, prepared, operation, variables, selector)
            if not variables:
                prepared.introspection[wanted] = found
            data.update(found)
            data = {key: data[key] for key in run.order}
        self._run(run.queries, answer)
        return data

    def _prepare(self, text: str, role_schema: RoleSchema) -> Prepared:
        try:
            document = parse(text, max_tokens=self._limits.tokens, no_location=False)
            limiting.check(document, self._limits)
            prepared = _split(document)
            messages.check_kind(prepared.operations)
            errors = validate(role_schema.schema, document, max_errors=1)
            if errors:
                raise messages.translated(errors[0], document)
        except GraphQLSyntaxError as error:
            # graphql-core has no class of its own for this.
            if "tokens. Parsing aborted" in error.message:
                return Prepared(
                    error=QueryError(f"the query has more than {self._limits.tokens} tokens", code="limit-exceeded")
                )
            return Prepared(error=QueryError("not a valid graphql query", path="$.query"))
        except QueryError as error:
            return Prepared(error=error)
        return prepared

    def _variables(
        self, operation: OperationDefinitionNode, given: dict[str, Any], role_schema: RoleSchema
    ) -> VariableValues | None:
        definitions = operation.variable_definitions or ()
        if not definitions and not given:
            return None
        messages.check_variables(definitions, given)
        coerced = get_variable_values(role_schema.schema, definitions, given, max_errors=1)
        if isinstance(coerced, list):
            raise messages.variable_error(coerced[0])
        return coerced

    def _run(self, queries: list[tuple[sql.Query, Callable[[Any], None]]], answer: Answer) -> None:
        deadline = time.monotonic() + self._limits.seconds
        if len(queries) == 1:
            spent = [self._one(queries[0][0], queries[0][1], deadline)]
        else:
            spent = list(self._pool.map(lambda each: self._one(each[0], each[1], deadline), queries))
        answer.bigquery_seconds = max(spent, default=0.0)

    def _one(self, query: sql.Query, put: Callable[[Any], None], deadline: float) -> float:
        start = time.perf_counter()
        try:
            left = deadline - time.monotonic()
            if left <= 0:
                raise QueryTimeout
            # All rows are fetched before any is read, so that the clock tells BigQuery's share from ours.
            rows = list(self._warehouse.query(query.project, query.sql, query.parameters, left))
        except QueryTimeout:
            message = f"the query took longer than {self._limits.seconds:g} s"
            raise QueryError(message, code="time-limit-exceeded") from None
        except QueryFailed as error:
            logger.warning("query failed: %s", error)
            raise QueryError("database query error", code="unexpected") from None
        except Unreachable as error:
            logger.warning("%s", error)
            raise QueryError("database cannot be reached", code="unexpected") from None
        spent = time.perf_counter() - start
        put(query.read(rows))
        return spent


class _Run:
    """The root fields of one operation: what is known at once, and the queries for the rest."""

    def __init__(self, session: Session, selector: Selector, budget: sql.Budget) -> None:
        self._session = session
        self._selector = selector
        self._budget = budget
        self.queries: list[tuple[sql.Query, Callable[[Any], None]]] = []
        self.introspects = False
        self.order: list[str] = []

    def collect(self, of: GraphQLObjectType, path: str, *sets: SelectionSetNode | None) -> dict[str, Any]:
        """The data of root fields; what needs BigQuery is None until its query is read."""
        data: dict[str, Any] = {}
        fields = self._selector.fields(of, *sets)
        for key, found in fields.items():
            below = f"{path}.selectionSet.{key}"
            if found.field is None:
                if found.name == "__typename":
                    data[key] = of.name
                else:
                    self.introspects = True
                continue
            means = meaning.of(found.field)
            if means is None:
                data[key] = "no queries available"
            elif isinstance(means, meaning.IsNamespace):
                inner = get_named_type(found.field.type)
                assert isinstance(inner, GraphQLObjectType)  # noqa: S101 - as build() makes it
                data[key] = self.collect(inner, below, *(node.selection_set for node in found.nodes))
            else:
                data[key] = None
                self._query(found, below, data, key)
        if path == "$":
            self.order = list(fields)
        return data

    def _query(self, found: Found, path: str, data: dict[str, Any], key: str) -> None:
        try:
            selected = self._selector.root(found, path)
        except GraphQLError as error:
            raise QueryError(error.message, path=path) from None
        query = sql.write(selected, self._session.role, self._session.variables, self._budget)

        def put(value: Any) -> None:
            data[key] = value

        self.queries.append((query, put))


def _introspect(
    role_schema: RoleSchema,
    prepared: Prepared,
    operation: OperationDefinitionNode,
    variables: dict[str, Any],
    selector: Selector,
) -> dict[str, Any]:
    query = role_schema.schema.query_type
    assert query is not None  # noqa: S101 - build() always makes one
    fields = selector.fields(query, operation.selection_set)
    nodes = tuple(node for found in fields.values() if found.name in ("__schema", "__type") for node in found.nodes)
    only = OperationDefinitionNode(
        operation=operation.operation,
        selection_set=SelectionSetNode(selections=nodes),
        variable_definitions=operation.variable_definitions,
        directives=(),
    )
    document = DocumentNode(definitions=(only, *prepared.fragments.values()))
    result = execute_sync(role_schema.schema, document, variable_values=variables)
    if result.errors:
        raise QueryError(result.errors[0].message)
    return dict(result.data or {})


def _request(request: Any) -> tuple[str, dict[str, Any], str | None]:
    if not isinstance(request, Mapping) or not isinstance(request.get("query"), str):
        raise QueryError('the key "query" must hold the text of a query', code="parse-failed")
    variables = request.get("variables")
    if not isinstance(variables, dict | None):
        raise QueryError('the key "variables" must hold an object', code="parse-failed", path="$.variables")
    name = request.get("operationName")
    if not isinstance(name, str | None):
        raise QueryError('the key "operationName" must hold a name', code="parse-failed", path="$.operationName")
    return request["query"], variables or {}, name


def _split(document: DocumentNode) -> Prepared:
    return Prepared(
        tuple(each for each in document.definitions if isinstance(each, OperationDefinitionNode)),
        {each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)},
    )


def _operation(operations: tuple[OperationDefinitionNode, ...], name: str | None) -> OperationDefinitionNode:
    if name:
        for each in operations:
            if each.name is not None and each.name.value == name:
                return each
        raise QueryError(f"no such operation found in the document: {name!r}".replace("'", '"'))
    if len(operations) != 1:
        raise QueryError("exactly one operation has to be present in the document when operationName is not specified")
    return operations[0]
