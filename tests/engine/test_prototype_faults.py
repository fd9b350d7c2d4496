"""Six faults of an earlier trial, each of which must not come back."""

from __future__ import annotations

import pytest

from tests.engine.conftest import Api
from tests.engine.tables import permission, related, source, table


def test_a_string_like_a_session_variable_in_a_callers_where_is_a_string(hasura: Api) -> None:
    query = '{ ours_reading(where: {note: {_eq: "x-hasura-user-id"}}) { note } }'
    expected = {"ours_reading": [{"note": "x-hasura-user-id"}]}
    assert hasura.data(query) == expected
    assert Api(hasura.url, {"x-hasura-user-id": "O'Brien"}).data(query) == expected


@pytest.fixture
def limited(api: Api) -> Api:
    author = {
        "table": table("hasura", "author"),
        "array_relationships": [related("articles", "hasura", "article", "id", "author_id")],
        "select_permissions": [permission("own", "*", {"id": {"_eq": "X-Hasura-User-Id"}})],
    }
    article = {
        "table": table("hasura", "article"),
        "object_relationships": [related("author", "hasura", "author", "author_id", "id")],
        "select_permissions": [permission("own", "*", {})],
    }
    api.done("replace_metadata", {"version": 3, "sources": [source("s", [author, article], "hasura")]})
    return api


def test_b_missing_session_variable_is_a_clean_error(limited: Api) -> None:
    assert limited.as_role("own").error("{ hasura_author { id } }") == (
        "not-found", "$", 'missing session variable: "x-hasura-user-id"',
    )  # fmt: skip


def test_c_ordering_by_several_keys_of_a_related_row_under_its_permission(limited: Api) -> None:
    query = "{ hasura_article(order_by: [{author: {created_at: asc, name: desc}}, {id: asc}]) { id } }"
    assert [each["id"] for each in limited.data(query)["hasura_article"]] == ["3", "4", "1", "2"]
    # Author 2 is hidden from this reader: its name must not show through the order (hidden is NULL, and comes last).
    query = "{ hasura_article(order_by: [{author: {name: desc}}, {id: desc}]) { id author { name } } }"
    rows = limited.as_role("own", user_id="1").data(query)["hasura_article"]
    assert [(each["id"], each["author"]) for each in rows] == [
        ("2", {"name": "Author 1"}), ("1", {"name": "Author 1"}), ("4", None), ("3", None),
    ]  # fmt: skip


@pytest.mark.parametrize("order", ["{id: asc}", "[{author_id: asc}, {id: asc}]", "[{author: {name: asc}}]"])
def test_d_distinct_on_must_begin_the_order(hasura: Api, order: str) -> None:
    distinct = "[author_id, is_published]"
    code, path, message = hasura.error(f"{{ hasura_article(distinct_on: {distinct}, order_by: {order}) {{ id }} }}")
    assert (code, path) == ("validation-failed", "$.selectionSet.hasura_article.args")
    assert message == '"distinct_on" columns must match initial "order_by" columns'


@pytest.mark.parametrize("argument", ["limit", "offset"])
def test_e_negative_limit_and_offset(hasura: Api, argument: str) -> None:
    for query, place in (
        (f"{{ hasura_article({argument}: -1) {{ id }} }}", "hasura_article"),
        (f"{{ hasura_author {{ articles({argument}: -1) {{ id }} }} }}", "hasura_author.selectionSet.articles"),
    ):
        assert hasura.error(query) == (
            "validation-failed",
            f"$.selectionSet.{place}.args.{argument}",
            "expected a non-negative 32-bit integer for type 'Int', but found -1",
        )


def test_f_count_over_several_columns(hasura: Api) -> None:
    # That no sub-query is correlated is checked on every text that any test makes the engine write (conftest.py).
    query = """{ ours_reading_aggregate { aggregate {
        all: count one: count(columns: station) two: count(columns: [station, day])
        different: count(columns: station, distinct: true) pairs: count(columns: [station, value], distinct: true)
        floats: count(columns: value, distinct: true) } } }"""
    assert hasura.data(query)["ours_reading_aggregate"]["aggregate"] == {
        "all": "5", "one": "4", "two": "3", "different": "2", "pairs": "2", "floats": "3",
    }  # fmt: skip
