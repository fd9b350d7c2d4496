"""The tables and metadata of Hasura's tests for BigQuery, and a few of our own.

``hasura_test``: hasura-bq-ddl-dml.sql at 5a4f162f (three articles). ``hasura``: the later state that agg_nodes.yaml and
distinct_on.yaml show (four articles, citations, albums). ``all_types``: TypeInterpretationSpec.hs.
"""

from __future__ import annotations

from typing import Any

PROJECT = "shop"
DATASETS = ("hasura_test", "hasura", "ours")

_AUTHOR = "id INT64, name STRING, created_at TIMESTAMP"
_ARTICLE = (
    "id INT64, title STRING, content STRING, author_id INT64, is_published BOOL, published_on DATETIME, "
    "created_at TIMESTAMP"
)
_ARTICLES = [
    "(1, 'Title 1', 'Content 1', 1, FALSE, NULL, TIMESTAMP '2008-12-25 07:30:01+00')",
    "(2, 'Title 2', 'Content 2', 1, TRUE, DATETIME '1998-10-18 13:45:55', TIMESTAMP '2008-12-25 07:30:02+00')",
    "(3, 'Title 3', 'Content 3', 2, FALSE, NULL, TIMESTAMP '2008-12-25 07:30:03+00')",
    "(4, 'Title 4', 'Content 4', 2, FALSE, NULL, TIMESTAMP '2008-12-25 07:30:04+00')",
]
_ALL = (
    "string STRING, bytes BYTES, `integer` INT64, `float` FLOAT64, special_floats ARRAY<FLOAT64>, `numeric` NUMERIC, "
    "`bignumeric` BIGNUMERIC, boolean BOOL, `timestamp` TIMESTAMP, `date` DATE, `time` TIME, `datetime` DATETIME"
)
_COLUMNS = {
    "hasura_test.author": _AUTHOR,
    "hasura_test.article": _ARTICLE,
    "hasura_test.all_types": _ALL,
    "hasura.author": _AUTHOR,
    "hasura.article": _ARTICLE,
    "hasura.article_citation": "citing_article_id INT64, cited_article_id INT64, description STRING",
    "hasura.Artist": "artist_self_id INT64, name STRING",
    "hasura.Album": "album_self_id INT64, title STRING, artist_other_id INT64",
    "hasura.LimitedArtist": "artist_self_id INT64, name STRING",
    "hasura.LimitedAlbum": "album_self_id INT64, title STRING, artist_other_id INT64",
    "ours.reading": "station INT64, day DATE, value FLOAT64, note STRING, big INT64, raw BYTES, exact NUMERIC",
    "ours.nested": "id INT64, inside STRUCT<a INT64>",
    "ours.named": "id INT64, `select` STRING, `a b` STRING",
}
STATEMENTS = [
    *(f"CREATE TABLE {name} ({columns})" for name, columns in _COLUMNS.items()),
    *(
        f"INSERT INTO {dataset}.author VALUES (1, 'Author 1', TIMESTAMP '2008-12-25 07:30:00+00'), "
        "(2, 'Author 2', TIMESTAMP '2008-12-25 07:30:00+00')"
        for dataset in ("hasura_test", "hasura")
    ),
    f"INSERT INTO hasura_test.article VALUES {', '.join(_ARTICLES[:3])}",
    f"INSERT INTO hasura.article VALUES {', '.join(_ARTICLES)}",
    "INSERT INTO hasura.article_citation VALUES (1, 2, 'citing the 2nd'), (1, 3, 'citing the third as well'), "
    "(2, 3, 'the second also cites the third')",
    *(
        f"INSERT INTO hasura.{prefix}Artist VALUES (1000, 'Artist 1'), (1001, 'Artist 2'), (1002, 'Artist 3')"
        for prefix in ("", "Limited")
    ),
    *(
        f"INSERT INTO hasura.{prefix}Album VALUES (2000, 'A', 1001), (2001, 'B', 1001), (2002, 'C', 1000), "
        "(2003, 'D', 1002), (2004, 'E', 1002), (2005, 'F', 1000)"
        for prefix in ("", "Limited")
    ),
    "INSERT INTO hasura_test.all_types VALUES ('STRING', b'\\x00\\x01\\x02\\x03\\x04\\x05', 1, 0.1, "
    "[1.23e23, CAST('-inf' AS FLOAT64), CAST('nan' AS FLOAT64)], NUMERIC '1000', BIGNUMERIC '12345678987654321', TRUE, "
    "TIMESTAMP '2008-12-25 07:30:00+00', DATE '2000-12-30', TIME '07:30:00', DATETIME '1998-10-18 13:45:55')",
    "INSERT INTO ours.reading VALUES "
    "(1, DATE '2024-01-01', 1.5, 'x-hasura-user-id', 3000000000, b'a', NUMERIC '1.10'), "
    "(1, DATE '2024-01-02', NULL, '100%', 2, b'b', NUMERIC '2'), "
    "(2, DATE '2024-01-01', 2.5, 'O\\'Brien', 3, NULL, NUMERIC '3'), "
    "(2, NULL, 2.5, NULL, 4, b'c', NULL), "
    "(NULL, DATE '2024-01-03', -7.0, 'é😀', 5, b'd', NUMERIC '-0.5')",
    "INSERT INTO ours.named VALUES (1, 's', 'ab')",
]


def _typed(columns: str) -> list[dict[str, str]]:
    found = [column.strip().split(" ", 1) for column in columns.replace("`a b`", "`a_b`").split(", ")]
    return [{"name": name.strip("`").replace("a_b", "a b"), "type": kind} for name, kind in found]


# For the analyzer; `changing` is made and changed by a test.
DECLARED = [
    {"name": f"{PROJECT}.{name}", "columns": _typed(columns)}
    for name, columns in {
        **_COLUMNS,
        "ours.changing": "a INT64, b INT64",
        "ours.counted": "id INT64",
        "ours.gone": "a INT64",
        "ours.places": "at GEOGRAPHY, id INT64",
    }.items()
]


def table(dataset: str, name: str) -> dict[str, str]:
    return {"dataset": dataset, "name": name}


def related(name: str, dataset: str, to: str, here: str, there: str) -> dict[str, Any]:
    manual = {"remote_table": table(dataset, to), "column_mapping": {here: there}}
    return {"name": name, "using": {"manual_configuration": manual}}


def configuration(*datasets: str, limit: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "service_account": {"from_env": "HASURA_BIGQUERY_SERVICE_ACCOUNT"},
        "project_id": PROJECT,
        "datasets": list(datasets),
    }
    return found if limit is None else {**found, "global_select_limit": limit}


def source(name: str, tables: list[dict[str, Any]], *datasets: str, limit: int | None = None) -> dict[str, Any]:
    return {"name": name, "kind": "bigquery", "configuration": configuration(*datasets, limit=limit), "tables": tables}


def permission(role: str, columns: Any, filter: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "permission": {"columns": columns, "filter": filter, **more}}


_PUBLIC = ["id", "title", "content", "author_id", "is_published", "published_on", "created_at"]
# server/tests-py/queries/graphql_query/bigquery/setup_bigquery.yaml
_PERMISSIONS = [
    permission("published_only", ["is_published", "id", "title"], {"is_published": True}),
    permission("exact_article_id", ["id", "title", "content"], {"id": {"_eq": 2}}),
    permission("empty_perms", [], {}),
    permission("user", _PUBLIC, {}),
    permission("test_timestamp_perm", ["id", "title", "content"], {"created_at": {"_eq": "2008-12-25T07:30:02"}}),
]


def _articles(dataset: str, citations: bool) -> list[dict[str, Any]]:
    article = {
        "table": table(dataset, "article"),
        "object_relationships": [related("author", dataset, "author", "author_id", "id")],
        "select_permissions": _PERMISSIONS,
    }
    author = {
        "table": table(dataset, "author"),
        "array_relationships": [related("articles", dataset, "article", "id", "author_id")],
    }
    if not citations:
        return [author, article]
    article["array_relationships"] = [
        related("article_citations", dataset, "article_citation", "id", "citing_article_id")
    ]
    citation = {
        "table": table(dataset, "article_citation"),
        "object_relationships": [related("cited_article", dataset, "article", "cited_article_id", "id")],
    }
    return [author, article, citation]


def _albums(prefix: str) -> list[dict[str, Any]]:
    return [
        {
            "table": table("hasura", f"{prefix}Album"),
            "object_relationships": [
                related("artist", "hasura", f"{prefix}Artist", "artist_other_id", "artist_self_id")
            ],
        },
        {
            "table": table("hasura", f"{prefix}Artist"),
            "array_relationships": [related("albums", "hasura", f"{prefix}Album", "artist_self_id", "artist_other_id")],
        },
    ]


METADATA: dict[str, Any] = {
    "version": 3,
    "sources": [
        source("hasura_global_limited", _albums("Limited"), "hasura", limit=1),
        source("hasura", [*_albums(""), *_articles("hasura", True)], "hasura", limit=10),
        source(
            "hasura_test",
            [*_articles("hasura_test", False), {"table": table("hasura_test", "all_types")}],
            "hasura_test",
        ),
        source("ours", [{"table": table("ours", "reading")}], "ours"),
    ],
}
