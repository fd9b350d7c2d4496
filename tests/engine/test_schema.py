"""The schema: names and types as Hasura makes them, and what another GraphQL implementation says of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema, build_client_schema, get_introspection_query, print_schema, validate_schema

from tests.engine.conftest import Api
from tests.engine.tables import METADATA
from tests.missing import missing


def introspected(api: Api) -> GraphQLSchema:
    return build_client_schema(api.data(get_introspection_query(descriptions=True)))


def fields(schema: GraphQLSchema, name: str) -> dict[str, str]:
    kind: Any = schema.type_map[name]
    return {key: str(each.type) for key, each in kind.fields.items()}


def test_types_of_columns(hasura: Api) -> None:
    schema = introspected(hasura)
    assert fields(schema, "hasura_test_all_types") == {
        "string": "String",
        "bytes": "Bytes",
        "integer": "Int",
        "float": "Float",
        "special_floats": "Float!",  # one value, answered with a list: graphql-engine#10714
        "numeric": "decimal",
        "bignumeric": "decimal",
        "boolean": "Boolean",
        "timestamp": "Timestamp",
        "date": "Date",
        "time": "Time",
        "datetime": "Datetime",
    }


def test_string_numeric_input(engines: Any) -> None:
    api: Api = engines(string_numeric_input=True)
    api.done("replace_metadata", METADATA)
    found = fields(introspected(api), "hasura_test_all_types")
    assert {key: found[key] for key in ("integer", "float", "numeric", "bignumeric")} == {
        "integer": "bigquery_int",
        "float": "bigquery_float",
        "numeric": "bigquery_decimal",
        "bignumeric": "bigquery_bigdecimal",
    }


def test_root_fields_and_arguments(hasura: Api) -> None:
    schema = introspected(hasura)
    assert schema.mutation_type is None
    assert schema.subscription_type is None
    query = schema.query_type
    assert query is not None
    assert query.name == "query_root"
    assert "hasura_article" in query.fields
    assert str(query.fields["hasura_article"].type) == "[hasura_article!]!"
    assert str(query.fields["hasura_article_aggregate"].type) == "hasura_article_aggregate!"
    assert not [name for name in query.fields if name.endswith("_by_pk")]
    assert {name: str(each.type) for name, each in query.fields["hasura_article"].args.items()} == {
        "distinct_on": "[hasura_article_select_column!]",
        "limit": "Int",
        "offset": "Int",
        "order_by": "[hasura_article_order_by!]",
        "where": "hasura_article_bool_exp",
    }


def test_comparisons_and_aggregates(hasura: Api) -> None:
    schema = introspected(hasura)
    plain = {"_eq", "_gt", "_gte", "_in", "_is_null", "_lt", "_lte", "_neq", "_nin"}
    assert set(fields(schema, "Int_BigQuery_comparison_exp")) == plain
    likes = {"_like", "_nlike", "_ilike", "_nilike"}
    assert set(fields(schema, "String_BigQuery_comparison_exp")) == plain | likes
    assert set(fields(schema, "Bytes_BigQuery_comparison_exp")) == plain | {"_like", "_nlike"}
    assert fields(schema, "hasura_article_aggregate") == {
        "aggregate": "hasura_article_aggregate_fields",
        "nodes": "[hasura_article!]!",
    }
    aggregate = fields(schema, "hasura_article_aggregate_fields")
    assert aggregate["count"] == "Int!"
    assert set(aggregate) == {
        "count", "avg", "max", "min", "stddev", "stddev_pop", "stddev_samp", "sum", "var_pop", "var_samp", "variance",
    }  # fmt: skip
    assert fields(schema, "hasura_article_sum_fields") == {"id": "Int", "author_id": "Int"}
    assert fields(schema, "hasura_article_avg_fields") == {"id": "Float", "author_id": "Float"}
    assert fields(schema, "hasura_article_order_by") == {
        **dict.fromkeys(
            ("id", "title", "content", "author_id", "is_published", "published_on", "created_at"), "order_by"
        ),
        "author": "hasura_author_order_by",
        "article_citations_aggregate": "hasura_article_citation_aggregate_order_by",
    }


def test_valid_by_graphql_core(hasura: Api) -> None:
    for role in ("admin", "user", "published_only", "empty_perms", "nobody"):
        assert validate_schema(introspected(hasura.as_role(role))) == []


@pytest.mark.skipif(shutil.which("npm") is None, reason="graphql-js needs npm")
def test_valid_by_graphql_js(hasura: Api, tmp_path: Path) -> None:
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), "graphql@16"]
    if subprocess.run(install, check=False, timeout=120).returncode:
        missing("graphql-js cannot be installed: no package registry")
    (tmp_path / "schema.graphql").write_text(print_schema(introspected(hasura)))
    query = "{ hasura_author(where: {articles: {id: {_in: [1]}}}) { id articles_aggregate { aggregate { count } } } }"
    (tmp_path / "check.js").write_text(
        f"""const g = require('graphql'), fs = require('fs');
        const schema = g.buildSchema(fs.readFileSync('schema.graphql', 'utf8'));
        const errors = [...g.validateSchema(schema), ...g.validate(schema, g.parse({json.dumps(query)}))];
        console.log(JSON.stringify(errors.map(String)));"""
    )
    found = subprocess.run(["node", "check.js"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == []
