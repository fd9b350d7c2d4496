"""Shapes of queries beyond those of Hasura's tests: operators, order, paging, aggregates, names, customization."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark.engine.bigquery import Column
from polyexpose_spark.engine.server import Engine, Settings
from tests.engine.conftest import Api, Recorded
from tests.engine.tables import configuration, related, source, table


def notes(api: Api, where: str) -> list[Any]:
    data = api.data(f"{{ ours_reading(where: {where}, order_by: {{big: asc}}) {{ big }} }}")
    return [each["big"] for each in data["ours_reading"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("{station: {_eq: 1}}", ["2", "3000000000"]),
        ("{station: {_neq: 1}}", ["3", "4"]),
        ("{value: {_gt: 1.5}}", ["3", "4"]),
        ("{value: {_gte: 1.5, _lt: 2.5}}", ["3000000000"]),
        ("{value: {_lte: -7}}", ["5"]),
        ("{station: {_in: [2]}}", ["3", "4"]),
        ("{station: {_in: []}}", []),
        ("{station: {_nin: [2]}}", ["2", "3000000000"]),
        ("{station: {_nin: []}}", ["2", "3", "4", "5", "3000000000"]),
        ("{station: {_is_null: true}}", ["5"]),
        ("{station: {_is_null: false}, note: {_is_null: true}}", ["4"]),
        ('{note: {_like: "%%"}}', ["2", "3", "5", "3000000000"]),
        ('{note: {_like: "O\'B%"}}', ["3"]),
        ('{note: {_nlike: "O%"}}', ["2", "5", "3000000000"]),
        ('{note: {_ilike: "o\'b%"}}', ["3"]),
        ('{note: {_nilike: "o%"}}', ["2", "5", "3000000000"]),
        ('{note: {_eq: "é😀"}}', ["5"]),
        ('{day: {_gt: "2024-01-01"}}', ["2", "5"]),
        ('{day: {_in: ["2024-01-01", "2024-01-03"]}}', ["3", "5", "3000000000"]),
        ('{raw: {_eq: "YQ=="}}', ["3000000000"]),
        ('{exact: {_eq: "1.1"}}', ["3000000000"]),
        ("{exact: {_lt: 0}}", ["5"]),
        ("{_and: [{station: {_eq: 1}}, {value: {_is_null: true}}]}", ["2"]),
        ("{_or: [{station: {_eq: 2}}, {big: {_eq: 5}}]}", ["3", "4", "5"]),
        ("{_not: {station: {_eq: 2}}}", ["2", "3000000000"]),
        ("{_and: []}", ["2", "3", "4", "5", "3000000000"]),
        ("{_or: []}", []),
        ("{}", ["2", "3", "4", "5", "3000000000"]),
        ("{station: {}}", ["2", "3", "4", "5", "3000000000"]),
    ],
)
def test_operators(hasura: Api, where: str, expected: list[str]) -> None:
    assert notes(hasura, where) == expected


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("asc", [None, "-7.0", "1.5", "2.5", "2.5"]),
        ("asc_nulls_first", [None, "-7.0", "1.5", "2.5", "2.5"]),
        ("asc_nulls_last", ["-7.0", "1.5", "2.5", "2.5", None]),
        ("desc", ["2.5", "2.5", "1.5", "-7.0", None]),
        ("desc_nulls_last", ["2.5", "2.5", "1.5", "-7.0", None]),
        ("desc_nulls_first", [None, "2.5", "2.5", "1.5", "-7.0"]),
    ],
)
def test_order_of_nulls(hasura: Api, direction: str, expected: list[Any]) -> None:
    data = hasura.data(f"{{ ours_reading(order_by: {{value: {direction}}}) {{ value }} }}")
    assert [each["value"] for each in data["ours_reading"]] == expected
    nodes = hasura.data(f"{{ ours_reading_aggregate(order_by: {{value: {direction}}}) {{ nodes {{ value }} }} }}")
    assert [each["value"] for each in nodes["ours_reading_aggregate"]["nodes"]] == expected


def test_order_by_aggregates_of_related_rows(hasura: Api) -> None:
    query = "{{ hasura_article(order_by: [{{article_citations_aggregate: {}}}, {{id: asc}}]) {{ id }} }}"

    def ids(order: str) -> list[str]:
        return [each["id"] for each in hasura.data(query.format(order))["hasura_article"]]

    assert ids("{count: desc}") == ["1", "2", "3", "4"]
    assert ids("{count: asc}") == ["3", "4", "2", "1"]
    assert ids("{min: {cited_article_id: desc}}") == ["2", "1", "3", "4"]
    assert ids("{avg: {cited_article_id: asc_nulls_last}}") == ["1", "2", "3", "4"]
    citations = "{ hasura_article_citation(order_by: [{cited_article: {author: {name: desc}}}, {cited_article_id: asc},"
    data = hasura.data(citations + " {citing_article_id: asc}]) { cited_article { id author { name } } } }")
    assert [each["cited_article"]["id"] for each in data["hasura_article_citation"]] == ["3", "3", "2"]


def test_paging_by_key_meets_every_row_once(api: Api, client: Any) -> None:
    client.query_and_wait("CREATE OR REPLACE TABLE ours.counted (id INT64)")
    client.query_and_wait("INSERT INTO ours.counted (id) SELECT n FROM UNNEST(GENERATE_ARRAY(1, 2500)) AS n")
    counted = source("s", [{"table": table("ours", "counted")}], "ours")
    api.done("replace_metadata", {"version": 3, "sources": [counted]})
    query = """query ($after: Int!, $n: Int!) {
        ours_counted(where: {id: {_gt: $after}}, order_by: {id: asc}, limit: $n) { id } }"""
    found: list[int] = []
    while rows := api.data(query, {"after": found[-1] if found else 0, "n": 700})["ours_counted"]:
        found += [int(each["id"]) for each in rows]
    assert found == list(range(1, 2501))
    # Without a limit of one's own, the source's limit cuts: 1000 where nothing is said.
    assert len(api.data("{ ours_counted { id } }")["ours_counted"]) == 1000
    every = api.data("{ ours_counted_aggregate { aggregate { count } nodes { id } } }")["ours_counted_aggregate"]
    assert (every["aggregate"]["count"], len(every["nodes"])) == ("2500", 1000)


def test_paging_by_offset_in_related_rows(hasura: Api) -> None:
    query = "{ hasura_author(order_by: {id: asc}) { articles(order_by: {id: asc}, limit: 1, offset: 1) { id } } }"
    assert hasura.data(query)["hasura_author"] == [{"articles": [{"id": "2"}]}, {"articles": [{"id": "4"}]}]
    assert hasura.data("{ hasura_author(limit: 0) { id } }") == {"hasura_author": []}


def test_aggregates(hasura: Api) -> None:
    query = """{ ours_reading_aggregate { aggregate { count
        sum { value big exact } avg { value station } max { day note value raw } min { day big }
        stddev { value } stddev_samp { value } stddev_pop { value }
        variance { value } var_samp { value } var_pop { value }
    } } }"""
    found = hasura.data(query)["ours_reading_aggregate"]["aggregate"]
    assert found["sum"] == {"value": "-0.5", "big": "3000000014", "exact": "5.6"}
    assert found["avg"] == {"value": "-0.125", "station": "1.5"}
    assert found["max"] == {"day": "2024-01-03", "note": "é😀", "value": "2.5", "raw": "ZA=="}
    assert found["min"] == {"day": "2024-01-01", "big": "2"}
    values = [1.5, 2.5, 2.5, -7.0]
    mean = sum(values) / 4
    squares = sum((value - mean) ** 2 for value in values)
    assert math.isclose(float(found["var_pop"]["value"]), squares / 4)
    for same in ("variance", "var_samp"):
        assert math.isclose(float(found[same]["value"]), squares / 3)
    for same in ("stddev", "stddev_samp"):
        assert math.isclose(float(found[same]["value"]), math.sqrt(squares / 3))
    assert math.isclose(float(found["stddev_pop"]["value"]), math.sqrt(squares / 4))


def test_aggregate_of_limited_and_distinct_rows(hasura: Api) -> None:
    query = """{ a: ours_reading_aggregate(limit: 2, order_by: {big: asc}) { aggregate { count max { big } } }
        b: ours_reading_aggregate(distinct_on: station) { aggregate { count } __typename }
        c: ours_reading_aggregate(distinct_on: value) { aggregate { count } }
        d: ours_reading_aggregate { __typename } e: ours_reading_aggregate { aggregate { __typename } } }"""
    assert hasura.data(query) == {
        "a": {"aggregate": {"count": "2", "max": {"big": "3"}}},
        "b": {"aggregate": {"count": "3"}, "__typename": "ours_reading_aggregate"},
        "c": {"aggregate": {"count": "4"}},
        "d": {"__typename": "ours_reading_aggregate"},
        "e": {"aggregate": {"__typename": "ours_reading_aggregate_fields"}},
    }


def test_one_query_per_root_field(hasura: Api, warehouse: Recorded) -> None:
    before = warehouse.jobs
    hasura.data(
        """{ hasura_author { id articles { id author { name articles_aggregate { aggregate { count } nodes { id } } }
        article_citations { cited_article { title } } } articles_aggregate { aggregate { count } } }
        again: hasura_author_aggregate(where: {articles: {article_citations: {description: {_like: "c%"}}}}) {
        aggregate { count } nodes { name } } __typename }"""
    )
    assert warehouse.jobs - before == 2


def test_nested_conditions_and_merged_selections(hasura: Api) -> None:
    query = """query ($title: String!) {
        hasura_author(where: {_not: {articles: {_or: [{title: {_eq: $title}}, {article_citations: {cited_article:
            {id: {_eq: 2}}}}]}}}) { id articles(order_by: {id: asc}) { id } ...more
            articles(order_by: {id: asc}) { title } } }
        fragment more on hasura_author { name articles(order_by: {id: asc}) { author { id } } }"""
    assert hasura.data(query, {"title": "Title 1"}) == {
        "hasura_author": [
            {
                "id": "2",
                "articles": [
                    {"id": "3", "author": {"id": "2"}, "title": "Title 3"},
                    {"id": "4", "author": {"id": "2"}, "title": "Title 4"},
                ],
                "name": "Author 2",
            }
        ]
    }


def test_response_keys_that_differ_in_case_only(hasura: Api) -> None:
    data = hasura.data("{ hasura_author(limit: 1, order_by: {id: asc}) { a: id A: name Id: id } }")
    assert data == {"hasura_author": [{"a": "1", "A": "Author 1", "Id": "1"}]}


def test_hostile_values_are_values(hasura: Api) -> None:
    for text in ("'", '"', "\\", "`", "') OR TRUE --", "@p0", "\n", "%", "${x}", "\u2028", "\x00"):
        data = hasura.data("query ($x: String!) { ours_reading(where: {note: {_eq: $x}}) { note } }", {"x": text})
        assert data == {"ours_reading": []}


def test_unhelpful_column_names(api: Api) -> None:
    named = {"source": "s", "table": table("ours", "named")}
    api.done("bigquery_add_source", {"name": "s", "configuration": configuration("ours")})
    api.done("bigquery_track_table", named)
    assert api.data("{ ours_named { id select } }") == {"ours_named": [{"id": "1", "select": "s"}]}
    # What is no GraphQL name is not there until it is given one.
    assert api.error("{ ours_named { a_b } }")[0] == "validation-failed"
    configured = {"column_config": {"a b": {"custom_name": "a_b", "comment": "A and b"}}, "comment": "Names"}
    api.done("bigquery_set_table_customization", {**named, "configuration": configured})
    data = api.data('{ ours_named(where: {a_b: {_eq: "ab"}}, order_by: {a_b: asc}, distinct_on: a_b) { a_b } }')
    assert data == {"ours_named": [{"a_b": "ab"}]}
    described = api.data('{ __type(name: "ours_named") { description fields { name description } } }')["__type"]
    assert described["description"] == "Names"
    assert {"name": "a_b", "description": "A and b"} in described["fields"]


def test_customization_of_a_source(api: Api) -> None:
    author = {
        "table": table("hasura", "author"),
        "array_relationships": [related("articles", "hasura", "article", "id", "author_id")],
    }
    tables: list[dict[str, Any]] = [author, {"table": table("hasura", "article")}]
    customization = {
        "root_fields": {"namespace": "press", "prefix": "p_", "suffix": "_q"},
        "type_names": {"prefix": "P_", "suffix": "_T"},
    }
    first = {**source("one", tables, "hasura"), "customization": customization}
    api.done("replace_metadata", {"version": 3, "sources": [first, source("two", tables, "hasura")]})
    query = """{ press { __typename x: p_hasura_author_q(where: {id: {_eq: 1}}) { __typename articles { __typename } }
        p_hasura_author_aggregate_q { aggregate { count } } } hasura_author(limit: 1) { __typename } }"""
    assert api.data(query) == {
        "press": {
            "__typename": "press_query",
            "x": [{"__typename": "P_hasura_author_T", "articles": [{"__typename": "P_hasura_article_T"}] * 2}],
            "p_hasura_author_aggregate_q": {"aggregate": {"count": "2"}},
        },
        "hasura_author": [{"__typename": "hasura_author"}],
    }


def test_integers(hasura: Api, engines: Any) -> None:
    code, _, message = hasura.error("{ ours_reading(where: {big: {_eq: 3000000000}}) { big } }")
    assert code == "validation-failed"
    assert "expected a 32-bit integer for type 'Int', but found 3000000000" in message
    wide: Api = engines(string_numeric_input=True)
    wide.done(
        "replace_metadata", {"version": 3, "sources": [source("s", [{"table": table("ours", "reading")}], "ours")]}
    )
    for value in ("3000000000", '"3000000000"'):
        data = wide.data(f"{{ ours_reading(where: {{big: {{_eq: {value}}}}}) {{ big }} }}")
        assert data == {"ours_reading": [{"big": "3000000000"}]}
    query = """query ($x: [bigquery_int!], $f: bigquery_float) {
        ours_reading(where: {big: {_in: $x}, value: {_eq: $f}}) { big } }"""
    assert wide.data(query, {"x": ["3000000000", 2], "f": "1.5"}) == {"ours_reading": [{"big": "3000000000"}]}


class WithPlaces(Recorded):
    """Servers on a laptop have no geographies: the column is said to be one, and only the text is looked at."""

    def columns(self, project: str, dataset: str, table: str) -> tuple[Column, ...]:
        return (Column("at", "GEOGRAPHY"), Column("id", "INT64"))


def test_geography_operators_are_written_as_bigquery_has_them(endpoint: str, seeded: None, tmp_path: Path) -> None:
    warehouse = WithPlaces(endpoint)
    engine = Engine(Settings(state=tmp_path, port=0), warehouse)
    api = Api(engine.url)
    places = source("s", [{"table": table("ours", "places")}], "ours")
    api.done("replace_metadata", {"version": 3, "sources": [places]})
    already = set(warehouse.texts)
    api.graphql('{ ours_places(where: {at: {_st_within: "POINT(1 1)"}}) { id } }')
    api.graphql('{ ours_places(where: {at: {_st_contains: "{}"}}) { id } }')
    api.graphql(
        '{ ours_places(where: {at: {_st_d_within: {distance: 5, from: "POINT(1 1)", use_spheroid: false}}}) { id } }'
    )
    engine.stop()
    conditions = [
        text.partition(" WHERE ")[2].partition(" LIMIT ")[0] for text in warehouse.texts if text not in already
    ]
    assert conditions == [
        "ST_WITHIN(t1.`at`, ST_GEOGFROMTEXT(@p0))",
        "ST_CONTAINS(t1.`at`, ST_GEOGFROMGEOJSON(@p0))",
        "ST_DWITHIN(t1.`at`, ST_GEOGFROMTEXT(@p2), @p0, @p1)",
    ]
