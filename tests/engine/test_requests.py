"""Requests to ``/v1/graphql`` that are not right, and those that ask too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polyexpose_spark.engine.limits import Limits
from tests.engine import tables
from tests.engine.conftest import Api


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ hasura_author { id }", ("validation-failed", "$.query", "not a valid graphql query")),
        ("", ("validation-failed", "$.query", "not a valid graphql query")),
        (
            "{ nothing }",
            ("validation-failed", "$.selectionSet.nothing", "field 'nothing' not found in type: 'query_root'"),
        ),
        (
            "{ hasura_author(wher: {}) { id } }",
            ("validation-failed", "$.selectionSet.hasura_author", "'hasura_author' has no argument named 'wher'"),
        ),
        (
            "{ hasura_author }",
            ("validation-failed", "$.selectionSet.hasura_author", "missing selection set for 'hasura_author'"),
        ),
        (
            "{ hasura_author(where: {x: {_eq: 1}}) { id } }",
            (
                "validation-failed",
                "$.selectionSet.hasura_author",
                "field 'x' not found in type: 'hasura_author_bool_exp'",
            ),
        ),
        ("mutation { x }", ("validation-failed", "$", "no mutations exist")),
        ("subscription { hasura_author { id } }", ("unexpected", "$", "subscriptions are not supported over HTTP")),
        (
            "query a { __typename } query b { __typename }",
            (
                "validation-failed",
                "$",
                "exactly one operation has to be present in the document when operationName is not specified",
            ),
        ),
        (
            "{ hasura_author(where: {id: {_eq: null}}) { id } }",
            ("validation-failed", "$", "unexpected null value for type 'Int'"),
        ),
        (
            "{ hasura_author(order_by: {id: null}) { id } }",
            (
                "validation-failed",
                "$.selectionSet.hasura_author.args.order_by",
                "unexpected null value for type 'order_by'",
            ),
        ),
    ],
)
def test_errors(hasura: Api, query: str, expected: tuple[str, str, str]) -> None:
    assert hasura.error(query) == expected


def test_variables(hasura: Api) -> None:
    query = "query ($id: Int!, $n: Int = 1) { hasura_author(where: {id: {_eq: $id}}, limit: $n) { id } }"
    assert hasura.data(query, {"id": 2}) == {"hasura_author": [{"id": "2"}]}
    assert hasura.error(query, {}) == (
        "validation-failed", "$", 'expecting a value for non-nullable variable: "id"',
    )  # fmt: skip
    assert hasura.error(query, {"id": 1, "more": 2})[2] == "unexpected variables in variableValues: more"
    code, path, message = hasura.error(query, {"id": "one"})
    assert (code, path) == ("validation-failed", "$.variables")
    assert "expected a 32-bit integer for type 'Int', but found \"one\"" in message
    where = """query ($w: hasura_author_bool_exp, $o: [hasura_author_order_by!]) {
        hasura_author(where: $w, order_by: $o) { id } }"""
    assert hasura.data(where, {"w": {"name": {"_like": "%2"}}, "o": [{"id": "desc"}]}) == {
        "hasura_author": [{"id": "2"}]
    }
    assert len(hasura.data(where, {})["hasura_author"]) == 2
    assert (
        hasura.error(where, {"w": {"nothing": {}}})[2] == "field 'nothing' not found in type: 'hasura_author_bool_exp'"
    )


def test_operation_name(hasura: Api) -> None:
    query = "query a { x: __typename } query b { y: __typename __schema { queryType { name } } }"
    assert hasura.graphql(query, operationName="a") == {"data": {"x": "query_root"}}
    for _ in range(2):
        answer = hasura.graphql(query, operationName="b")["data"]
        assert list(answer) == ["y", "__schema"]
    assert hasura.graphql(query, operationName="c")["errors"][0]["extensions"]["code"] == "validation-failed"


@pytest.mark.parametrize("body", [[1], {"q": 1}, "x", {"query": 1}, {"query": "{a}", "variables": []}, None])
def test_bodies_of_another_shape(hasura: Api, body: Any) -> None:
    answer = hasura.post("/v1/graphql", body).body
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["errors"][0]["extensions"]["code"] == "parse-failed"


@pytest.fixture
def small(engines: Any) -> Api:
    limits = Limits(request_bytes=5_000, tokens=300, depth=4, nodes=40, aliases=3, rows=6, batch=2)
    made: Api = engines(limits=limits)
    made.done("replace_metadata", {"version": 3, "sources": tables.METADATA["sources"][1:2]})
    return made


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ hasura_author { articles { author { articles { id } } } } }", "the query has deeper than 4 fields"),
        ("{ hasura_author { " + "id " * 41 + "} }", "the query has more than 40 fields"),
        ("{ a: __typename b: __typename c: __typename d: __typename }", "the query has more than 3 aliases"),
        ("{ hasura_author(where: {id: {_in: [" + "1," * 300 + "]}}) { id } }", "the query has more than 300 tokens"),
        (
            "{ ...a } fragment a on query_root { ...b ...b ...b ...b } "
            "fragment b on query_root { ...c ...c ...c ...c } fragment c on query_root { ...d ...d ...d ...d } "
            "fragment d on query_root { __typename }",
            "the query has more than 40 fields",
        ),
        ("{ hasura_author { articles { author { id } } } }", ""),
        (
            "{ hasura_author { articles { id article_citations { description } } } }",
            "the answer has more than 6 rows: ask for fewer",
        ),
    ],
)  # fmt: skip
def test_limits(small: Api, query: str, message: str) -> None:
    if not message:
        small.data(query)
        return
    code, _, text = small.error(query)
    assert (code, text) == ("limit-exceeded", message)


def test_limits_of_requests(small: Api) -> None:
    reply = small.post("/v1/graphql", {"query": "{ __typename }", "variables": {"x": "y" * 6000}})
    assert (reply.status, reply.body["error"]) == (413, "a request may have at most 5000 bytes")
    three = [{"query": "{ __typename }"}] * 3
    answer = small.post("/v1/graphql", three).body
    assert answer["errors"][0]["extensions"]["code"] == "limit-exceeded"
    assert small.post("/v1/graphql", three[:2]).body == [{"data": {"__typename": "query_root"}}] * 2


def test_conditions_nested_without_end(hasura: Api) -> None:
    where: Any = {}
    for _ in range(600):
        where = {"_not": where}
    query = "query ($w: hasura_author_bool_exp) { hasura_author(where: $w) { id } }"
    assert hasura.error(query, {"w": where}) == (
        "validation-failed", "$.variables", "Variable values are nested too deeply.",
    )  # fmt: skip
    text = "{ hasura_author(where: " + "{_not: " * 600 + "{}" + "}" * 600 + ") { id } }"
    assert hasura.graphql(text)["errors"][0]["extensions"]["code"] in ("validation-failed", "limit-exceeded")
    deep = b'{"query": ' + b"[" * 200_000
    assert hasura.request("POST", "/v1/graphql", deep).status == 400


def test_introspection(hasura: Api) -> None:
    from graphql import build_client_schema, get_introspection_query, print_schema

    found = hasura.data(get_introspection_query(descriptions=True))
    text = print_schema(build_client_schema(found))
    assert "type hasura_article_aggregate_fields" in text
    assert hasura.data(get_introspection_query(descriptions=True)) == found
    assert json.dumps(found).count("hasura_test_all_types") > 1
