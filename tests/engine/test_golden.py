"""Cases of Hasura's own tests, each with the file it is from.

Paths are under ``server/tests-py/queries/graphql_query/bigquery/`` of hasura/graphql-engine, or
``server/lib/api-tests/src/Test/Databases/BigQuery/Queries/``.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.conftest import Api

CASES: list[tuple[str, str, Any, str | None]] = [
    (
        "select_query_author_where.yaml",
        '{ hasura_test_author(order_by: {id: asc}, where: {name: {_eq: "Author 2"}}) { id name } }',
        {"hasura_test_author": [{"id": "2", "name": "Author 2"}]},
        None,
    ),
    (
        "select_query_author.yaml",
        "query { hasura_test_author(order_by: {id: asc}) { id name } }",
        {"hasura_test_author": [{"id": "1", "name": "Author 1"}, {"id": "2", "name": "Author 2"}]},
        None,
    ),
    (
        "nested_select_query_article_author_where_on_relationship.yaml",
        '{ hasura_test_article(order_by: {id: asc}, where: {author: {name: {_eq: "Author 1"}}}) '
        "{ id title author { id name } } }",
        {
            "hasura_test_article": [
                {"id": "1", "title": "Title 1", "author": {"id": "1", "name": "Author 1"}},
                {"id": "2", "title": "Title 2", "author": {"id": "1", "name": "Author 1"}},
            ]
        },
        None,
    ),
    (
        "nested_select_query_deep.yaml",
        "{ hasura_article(where: {id: {_eq: 1}}) { id author { id articles(where: {id: {_eq: 1}}) { id author { id "
        "articles(where: {id: {_eq: 1}}) { id author { id } } } } } } }",
        {
            "hasura_article": [
                {
                    "id": "1",
                    "author": {
                        "id": "1",
                        "articles": [
                            {"id": "1", "author": {"id": "1", "articles": [{"id": "1", "author": {"id": "1"}}]}}
                        ],
                    },
                }
            ]
        },
        None,
    ),
    (
        "agg_nodes.yaml: object relation in agg nodes",
        "{ hasura_article(order_by: {id: asc}, where: {id: {_in: [1, 4]}}) { id author { name articles_aggregate("
        "order_by: {id: asc}) { nodes { id title author { id name } } } } } }",
        {
            "hasura_article": [
                {
                    "id": "1",
                    "author": {
                        "name": "Author 1",
                        "articles_aggregate": {
                            "nodes": [
                                {"id": "1", "title": "Title 1", "author": {"id": "1", "name": "Author 1"}},
                                {"id": "2", "title": "Title 2", "author": {"id": "1", "name": "Author 1"}},
                            ]
                        },
                    },
                },
                {
                    "id": "4",
                    "author": {
                        "name": "Author 2",
                        "articles_aggregate": {
                            "nodes": [
                                {"id": "3", "title": "Title 3", "author": {"id": "2", "name": "Author 2"}},
                                {"id": "4", "title": "Title 4", "author": {"id": "2", "name": "Author 2"}},
                            ]
                        },
                    },
                },
            ]
        },
        None,
    ),
    (
        "agg_nodes.yaml: array relation in agg nodes",
        "{ hasura_author(order_by: {id: asc}) { id name articles_aggregate(order_by: {id: asc}) { nodes { title "
        "article_citations(order_by: {cited_article_id: asc}) { description } } } } }",
        {
            "hasura_author": [
                {
                    "id": "1",
                    "name": "Author 1",
                    "articles_aggregate": {
                        "nodes": [
                            {
                                "title": "Title 1",
                                "article_citations": [
                                    {"description": "citing the 2nd"},
                                    {"description": "citing the third as well"},
                                ],
                            },
                            {
                                "title": "Title 2",
                                "article_citations": [{"description": "the second also cites the third"}],
                            },
                        ]
                    },
                },
                {
                    "id": "2",
                    "name": "Author 2",
                    "articles_aggregate": {
                        "nodes": [
                            {"title": "Title 3", "article_citations": []},
                            {"title": "Title 4", "article_citations": []},
                        ]
                    },
                },
            ]
        },
        None,
    ),
    (
        "distinct_on.yaml: oldest articles by author",
        "{ hasura_article(distinct_on: [author_id, is_published], order_by: [{author_id: asc}, {is_published: asc}, "
        "{created_at: asc}]) { id created_at is_published author { name } article_citations_aggregate { aggregate "
        "{ count } } } }",
        {
            "hasura_article": [
                {
                    "id": "1",
                    "created_at": "2008-12-25T07:30:01Z",
                    "is_published": False,
                    "author": {"name": "Author 1"},
                    "article_citations_aggregate": {"aggregate": {"count": "2"}},
                },
                {
                    "id": "2",
                    "created_at": "2008-12-25T07:30:02Z",
                    "is_published": True,
                    "author": {"name": "Author 1"},
                    "article_citations_aggregate": {"aggregate": {"count": "1"}},
                },
                {
                    "id": "3",
                    "created_at": "2008-12-25T07:30:03Z",
                    "is_published": False,
                    "author": {"name": "Author 2"},
                    "article_citations_aggregate": {"aggregate": {"count": "0"}},
                },
            ]
        },
        None,
    ),
    (
        "distinct_on.yaml: author with newest articles",
        "{ hasura_author(order_by: [{id: asc}]) { id articles(distinct_on: is_published, order_by: "
        "[{is_published: asc}, {created_at: desc}]) { title id } "
        "articles_aggregate(distinct_on: is_published, order_by: [{is_published: "
        "asc}, {created_at: desc}]) { aggregate { sum { id } } } } }",
        {
            "hasura_author": [
                {
                    "id": "1",
                    "articles": [{"title": "Title 1", "id": "1"}, {"title": "Title 2", "id": "2"}],
                    "articles_aggregate": {"aggregate": {"sum": {"id": "3"}}},
                },
                {
                    "id": "2",
                    "articles": [{"title": "Title 4", "id": "4"}],
                    "articles_aggregate": {"aggregate": {"sum": {"id": "4"}}},
                },
            ]
        },
        None,
    ),
    (
        "distinct_on.yaml: first and last",
        "{ first: hasura_article(distinct_on: [author_id, is_published], order_by: [{author_id: asc}, {is_published: "
        "asc}, {created_at: asc}]) { id } last: hasura_article(distinct_on: [author_id, is_published], order_by: "
        "[{author_id: asc}, {is_published: asc}, {created_at: desc}]) { id } }",
        {"first": [{"id": "1"}, {"id": "2"}, {"id": "3"}], "last": [{"id": "1"}, {"id": "2"}, {"id": "4"}]},
        None,
    ),
    (
        "offset_regression.yaml: limit with nodes, count, sum",
        "{ hasura_Artist(order_by: {artist_self_id: asc}, limit: 2) { artist_self_id albums_aggregate(order_by: "
        "{album_self_id: asc}, limit: 1) { nodes { album_self_id } aggregate { count sum { album_self_id } } } } }",
        {
            "hasura_Artist": [
                {
                    "artist_self_id": "1000",
                    "albums_aggregate": {
                        "nodes": [{"album_self_id": "2002"}],
                        "aggregate": {"count": "1", "sum": {"album_self_id": "2002"}},
                    },
                },
                {
                    "artist_self_id": "1001",
                    "albums_aggregate": {
                        "nodes": [{"album_self_id": "2000"}],
                        "aggregate": {"count": "1", "sum": {"album_self_id": "2000"}},
                    },
                },
            ]
        },
        None,
    ),
    (
        "offset_regression.yaml: offset with sum, nodes",
        "{ hasura_Artist(order_by: {artist_self_id: asc}) { albums_aggregate(order_by: {album_self_id: asc}, offset: 1)"
        " { nodes { album_self_id } aggregate { count sum { album_self_id } } } } }",
        {
            "hasura_Artist": [
                {
                    "albums_aggregate": {
                        "nodes": [{"album_self_id": number}],
                        "aggregate": {"count": "1", "sum": {"album_self_id": number}},
                    }
                }
                for number in ("2005", "2001", "2004")
            ]
        },
        None,
    ),
    (
        "select_join_provenance.yaml: aggregates of nothing keep their structure",
        "{ hasura_author(order_by: {id: asc}) { id articles_aggregate(offset: 10) { aggregate { count(distinct: true) "
        "max { is_published } min { is_published } sum { id author_id } } } } }",
        {
            "hasura_author": [
                {
                    "id": number,
                    "articles_aggregate": {
                        "aggregate": {
                            "count": "0",
                            "max": {"is_published": None},
                            "min": {"is_published": None},
                            "sum": {"id": None, "author_id": None},
                        }
                    },
                }
                for number in ("1", "2")
            ]
        },
        None,
    ),
    (
        "select_join_provenance.yaml: offset past the end",
        "{ hasura_article(offset: 10) { id author { id articles { id } } } }",
        {"hasura_article": []},
        None,
    ),
    (
        "global_limit.yaml: rows",
        "{ hasura_LimitedAlbum(limit: 5, order_by: {album_self_id: asc}) { album_self_id } }",
        {"hasura_LimitedAlbum": [{"album_self_id": "2000"}]},
        None,
    ),
    (
        "global_limit.yaml: nodes",
        "{ hasura_LimitedAlbum_aggregate(order_by: {album_self_id: asc}) { nodes { album_self_id } "
        "aggregate { count } } }",
        {"hasura_LimitedAlbum_aggregate": {"nodes": [{"album_self_id": "2000"}], "aggregate": {"count": "6"}}},
        None,
    ),
    (
        "timestamp_filter.yaml",
        '{ hasura_author(where: {created_at: {_gt: "2008-12-26"}}) { id name created_at } }',
        {"hasura_author": []},
        None,
    ),
    (
        "user_perms.yaml",
        "{ hasura_test_article(order_by: {id: asc}) { id title content } }",
        {"hasura_test_article": [{"id": str(n), "title": f"Title {n}", "content": f"Content {n}"} for n in (1, 2, 3)]},
        "user",
    ),
    (
        "perms_published_articles.yaml",
        "{ hasura_article { id title is_published } }",
        {"hasura_article": [{"id": "2", "title": "Title 2", "is_published": True}]},
        "published_only",
    ),
    (
        "exact_article_id.yaml",
        "{ hasura_article { id title content } }",
        {"hasura_article": [{"id": "2", "title": "Title 2", "content": "Content 2"}]},
        "exact_article_id",
    ),
    (
        "timestamp_perm.yaml",
        "{ hasura_article { id title content } }",
        {"hasura_article": [{"id": "2", "title": "Title 2", "content": "Content 2"}]},
        "test_timestamp_perm",
    ),
    (
        "TypeInterpretationSpec.hs",
        "{ hasura_test_all_types { string bytes integer float special_floats numeric bignumeric boolean timestamp date "
        "time datetime } }",
        {
            "hasura_test_all_types": [
                {
                    "string": "STRING",
                    "bytes": "AAECAwQF",
                    "integer": "1",
                    "float": "0.1",
                    "special_floats": ["1.23E23", "-Infinity", "NaN"],
                    "numeric": "1000",
                    "bignumeric": "12345678987654321",
                    "boolean": True,
                    "timestamp": "2008-12-25T07:30:00Z",
                    "date": "2000-12-30",
                    "time": "07:30:00",
                    "datetime": "1998-10-18T13:45:55",
                }
            ]
        },
        None,
    ),
    (
        "Test/Queries/AggregationSpec.hs, numbers as strings",
        "{ hasura_test_all_types_aggregate(where: {integer: {_eq: 1}}) { aggregate { count sum { integer } "
        "avg { integer } max { bytes timestamp numeric } } } }",
        {
            "hasura_test_all_types_aggregate": {
                "aggregate": {
                    "count": "1",
                    "sum": {"integer": "1"},
                    "avg": {"integer": "1.0"},
                    "max": {"bytes": "AAECAwQF", "timestamp": "2008-12-25T07:30:00Z", "numeric": "1000"},
                }
            }
        },
        None,
    ),
    (
        "select_query_nested_fragment.yaml, select_query_top_level_fragment.yaml",
        "query { ...q } fragment q on query_root { hasura_test_author(order_by: {id: asc}) { ...a } } "
        "fragment a on hasura_test_author { id ...b } fragment b on hasura_test_author { name }",
        {"hasura_test_author": [{"id": "1", "name": "Author 1"}, {"id": "2", "name": "Author 2"}]},
        None,
    ),
]


@pytest.mark.parametrize(("source", "query", "expected", "role"), CASES, ids=[case[0] for case in CASES])
def test_answers_as_hasura_does(hasura: Api, source: str, query: str, expected: Any, role: str | None) -> None:
    api = hasura.as_role(role) if role else hasura
    assert api.data(query) == expected


def test_directives(hasura: Api) -> None:
    # select_query_author_include_directive.yaml, select_query_author_skip_directive.yaml
    query = """query ($with: Boolean!) { hasura_test_author(order_by: {id: asc}, limit: 1) {
        id @include(if: $with) name @skip(if: $with) } }"""
    assert hasura.data(query, {"with": True}) == {"hasura_test_author": [{"id": "1"}]}
    assert hasura.data(query, {"with": False}) == {"hasura_test_author": [{"name": "Author 1"}]}


def test_fragment_with_variable(hasura: Api) -> None:
    # select_query_fragment_with_variable.yaml
    query = """query ($id: Int!) { hasura_test_author(where: {id: {_eq: $id}}) { ...f } }
        fragment f on hasura_test_author { articles(where: {id: {_eq: $id}}) { id } }"""
    assert hasura.data(query, {"id": 1}) == {"hasura_test_author": [{"articles": [{"id": "1"}]}]}


def test_unknown_field(hasura: Api) -> None:
    # select_query_author_col_not_present_err.yaml
    assert hasura.error("{ hasura_test_author(order_by: {id: asc}) { id name notPresentCol } }") == (
        "validation-failed",
        "$.selectionSet.hasura_test_author.selectionSet.notPresentCol",
        "field \"notPresentCol\" not found in type: 'hasura_test_author'",
    )


def test_batching_with_one_error(hasura: Api) -> None:
    # select_query_batching_with_one_error.yaml
    reply = hasura.post(
        "/v1/graphql",
        [{"query": "query { does_not_exist { id } }"}, {"query": "{ hasura_author(order_by: {id: asc}) { id } }"}],
    )
    assert reply.status == 200
    assert reply.body == [
        {
            "errors": [
                {
                    "extensions": {"path": "$.selectionSet.does_not_exist", "code": "validation-failed"},
                    "message": "field 'does_not_exist' not found in type: 'query_root'",
                }
            ]
        },
        {"data": {"hasura_author": [{"id": "1"}, {"id": "2"}]}},
    ]


def test_fragment_cycle(hasura: Api) -> None:
    # select_query_fragment_cycles.yaml; the path is not held to Hasura's
    code, _, message = hasura.error(
        """query { hasura_test_author { ...authorFragment } }
        fragment authorFragment on hasura_test_author { articles { ...articleFragment } }
        fragment articleFragment on hasura_test_article { title author { ...authorFragment } }"""
    )
    assert (code, message) == (
        "validation-failed",
        "the fragment definition(s) authorFragment and articleFragment form a cycle",
    )


def test_role_without_columns_sees_no_field(hasura: Api) -> None:
    # empty_perms.yaml: the table is not in the role's schema
    code, _, message = hasura.as_role("empty_perms").error("{ hasura_article { id } }")
    assert (code, message) == ("validation-failed", "field 'hasura_article' not found in type: 'query_root'")


def test_customization(api: Api, hasura: Api) -> None:
    # set_table_customization_and_test_query.yaml, track_table_with_customization_and_test_query.yaml,
    # replace_metadata_with_customization_and_test_query.yaml
    from tests.engine.tables import configuration, table

    api.done("bigquery_add_source", {"name": "bigquery", "configuration": configuration("hasura_test")})
    api.done("bigquery_track_table", {"source": "bigquery", "table": table("hasura_test", "article")})
    custom = {
        "custom_root_fields": {
            "select": "sileckte",
            "select_by_pk": "sileckte_by_pk",
            "select_aggregate": "sileckte_aggrigeyte",
        },
        "custom_name": "articilis",
        "column_config": {"id": {"custom_name": "di"}, "title": {"custom_name": "tittelle"}},
    }
    where = {"source": "bigquery", "table": table("hasura_test", "article")}
    expected = {
        "sileckte": [{"di": str(n), "tittelle": f"Title {n}"} for n in (1, 2, 3)],
        "sileckte_aggrigeyte": {"aggregate": {"count": "3"}},
    }
    query = "{ sileckte(order_by: {di: asc}) { di tittelle } sileckte_aggrigeyte { aggregate { count } } }"
    assert api.done("bigquery_set_table_customization", {**where, "configuration": custom}) == {"message": "success"}
    assert api.data(query) == expected
    assert api.data('{ sileckte(where: {tittelle: {_eq: "Title 2"}}, distinct_on: di) { __typename di } }') == {
        "sileckte": [{"__typename": "articilis", "di": "2"}]
    }
    api.done("bigquery_untrack_table", where)
    older = {**custom, "custom_column_names": {"id": "di", "title": "tittelle"}}
    del older["column_config"]
    api.done("bigquery_track_table", {**where, "configuration": older})
    assert api.data(query) == expected
