"""What a role may read: columns, rows, how many, aggregates, related rows."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import Api
from tests.engine.tables import permission, related, source, table


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    article = {
        "table": table("hasura", "article"),
        "object_relationships": [related("author", "hasura", "author", "author_id", "id")],
        "select_permissions": [
            permission("own", ["id", "title", "author_id"], {"author_id": {"_eq": "X-Hasura-User-Id"}}),
            permission("listed", ["id"], {"id": {"_in": "X-Hasura-Ids"}}, allow_aggregations=True),
            permission("some", ["id", "title"], {"_or": [{"id": 1}, {"title": {"_eq": "X-Hasura-Title"}}]}),
            permission("two", ["id", "author_id"], {}, limit=2, allow_aggregations=True),
            permission("through", ["id"], {"author": {"name": {"_eq": "Author 2"}}}),
            permission(
                "exists", ["id"], {"_exists": {"_table": table("hasura", "author"), "_where": {"id": "X-Hasura-Id"}}}
            ),
            permission("inner", ["id"], {}, query_root_fields=[], allow_aggregations=True),
            permission("not", ["id"], {"_not": {"id": {"$gt": 1}}}),
        ],
    }
    author = {
        "table": table("hasura", "author"),
        "array_relationships": [related("articles", "hasura", "article", "id", "author_id")],
        "select_permissions": [
            permission("own", ["id", "name"], {"id": {"_lte": "x-hasura-user-id"}}),
            permission("two", ["id"], {}),
            permission("inner", ["id"], {}),
            permission("aggregates", ["name"], {}, allow_aggregations=True, query_root_fields=["select_aggregate"]),
        ],
    }
    return {"version": 3, "sources": [source("s", [article, author], "hasura")]}


@pytest.fixture
def roles(api: Api, whole: dict[str, Any]) -> Api:
    api.done("replace_metadata", {"metadata": whole}, version=2)
    return api


def ids(data: Any, field: str = "hasura_article") -> list[str]:
    return sorted(each["id"] for each in data[field])


def test_rows_by_session_variable(roles: Api) -> None:
    query = "{ hasura_article { id author { name } } }"
    assert ids(roles.as_role("own", user_id="1").data(query)) == ["1", "2"]
    assert ids(roles.as_role("own", user_id="2").data(query)) == ["3", "4"]
    assert roles.as_role("own", user_id="two").error(query)[0] == "data-exception"


def test_callers_conditions_are_under_the_row_filter(roles: Api) -> None:
    own = roles.as_role("own", user_id="1")
    assert ids(own.data("{ hasura_article(where: {_or: [{id: {_gt: 0}}, {id: {_is_null: true}}]}) { id } }")) == [
        "1",
        "2",
    ]
    # Related rows in where and order_by are those that the role may see.
    hidden = "{ hasura_author(where: {articles: {id: {_eq: 3}}}) { id } }"
    assert own.data(hidden) == {"hasura_author": []}
    assert ids(roles.data(hidden), "hasura_author") == ["2"]


def test_columns_that_are_not_permitted_do_not_exist(roles: Api) -> None:
    own = roles.as_role("own", user_id="1")
    for query in (
        "{ hasura_article { content } }",
        '{ hasura_article(where: {content: {_eq: "x"}}) { id } }',
        "{ hasura_article(order_by: {content: asc}) { id } }",
        "{ hasura_article(distinct_on: content) { id } }",
    ):
        code, _, message = own.error(query)
        assert code == "validation-failed"
        assert "content" in message
    assert own.error("{ hasura_article_aggregate { aggregate { count } } }")[2] == (
        "field 'hasura_article_aggregate' not found in type: 'query_root'"
    )


def test_lists_in_session_variables(roles: Api) -> None:
    for text in ("{1,3}", "[1, 3]", "{ 1 , 3 }"):
        assert ids(roles.as_role("listed", ids=text).data("{ hasura_article { id } }")) == ["1", "3"]
    assert roles.as_role("listed", ids="{}").data("{ hasura_article { id } }") == {"hasura_article": []}
    assert roles.as_role("listed", ids="1").error("{ hasura_article { id } }")[0] == "data-exception"
    counted = roles.as_role("listed", ids="{1,3}").data("{ hasura_article_aggregate { aggregate { count } } }")
    assert counted == {"hasura_article_aggregate": {"aggregate": {"count": "2"}}}


def test_other_filters(roles: Api) -> None:
    query = "{ hasura_article { id } }"
    assert ids(roles.as_role("some", title="Title 3").data(query)) == ["1", "3"]
    assert ids(roles.as_role("through").data(query)) == ["3", "4"]
    assert ids(roles.as_role("not").data(query)) == ["1"]
    assert len(ids(roles.as_role("exists", id="2").data(query))) == 4
    assert ids(roles.as_role("exists", id="7").data(query)) == []


def test_row_limit_of_a_role(roles: Api) -> None:
    two = roles.as_role("two")
    assert len(two.data("{ hasura_article(limit: 3) { id } }")["hasura_article"]) == 2
    assert len(two.data("{ hasura_article(limit: 1) { id } }")["hasura_article"]) == 1
    data = two.data("{ hasura_article_aggregate { aggregate { count } nodes { id } } }")["hasura_article_aggregate"]
    assert (data["aggregate"]["count"], len(data["nodes"])) == ("4", 2)
    authors = two.data("{ hasura_author { id articles { id } } }")["hasura_author"]
    assert {len(each["articles"]) for each in authors} == {2}


def test_root_fields_of_a_role(roles: Api) -> None:
    query = "{ __schema { queryType { fields { name } } } }"
    names = [each["name"] for each in roles.as_role("inner").data(query)["__schema"]["queryType"]["fields"]]
    assert names == ["hasura_author"]
    assert roles.as_role("inner").data("{ hasura_author { articles_aggregate { aggregate { count } } } }")
    names = [each["name"] for each in roles.as_role("aggregates").data(query)["__schema"]["queryType"]["fields"]]
    assert names == ["hasura_author_aggregate"]


def test_role_without_permissions(roles: Api) -> None:
    assert roles.as_role("nobody").data("{ __schema { queryType { fields { name } } } }") == {
        "__schema": {"queryType": {"fields": [{"name": "no_queries_available"}]}}
    }


def test_unauthorized_role(engines: Any, whole: dict[str, Any]) -> None:
    admin: Api = engines(secret="s", unauthorized="two")
    admin.done("replace_metadata", {"metadata": whole}, version=2)
    anyone = Api(admin.url)
    assert len(anyone.data("{ hasura_article { id } }")["hasura_article"]) == 2
    # What a caller without the secret says of itself is not believed.
    lying = Api(admin.url).as_role("admin", user_id="1")
    assert lying.error("{ hasura_article { content } }")[0] == "validation-failed"
    assert anyone.metadata("export_metadata", {}).body["code"] == "access-denied"
    assert ids(admin.as_role("own", user_id="1").data("{ hasura_article { id } }")) == ["1", "2"]
    strict: Api = engines(secret="s")
    assert Api(strict.url).error("{ __typename }")[0] == "access-denied"
