"""Clients that we did not write, over the wire."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.engine.conftest import Api


def test_gql_introspects_the_schema_and_checks_a_query_against_it(hasura: Api) -> None:
    from gql import Client, gql
    from gql.transport.requests import RequestsHTTPTransport
    from graphql import GraphQLError

    transport = RequestsHTTPTransport(url=f"{hasura.url}/v1/graphql")
    with Client(transport=transport, fetch_schema_from_transport=True) as session:
        found = session.execute(gql("{ hasura_test_author(limit: 1, order_by: {id: asc}) { id name } }"))
        assert found["hasura_test_author"][0]["id"] == "1"
        with pytest.raises(GraphQLError, match="Cannot query field 'nothing'"):
            session.client.validate(gql("{ nothing }"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(hasura: Api) -> None:
    body = json.dumps({"query": "query ($n: Int!) { hasura_test_author(limit: $n) { id } }", "variables": {"n": 1}})
    command = ["curl", "-sS", "-H", "content-type: application/json", "-d", body, f"{hasura.url}/v1/graphql"]
    answer = subprocess.run(command, capture_output=True, check=True, text=True)
    assert len(json.loads(answer.stdout)["data"]["hasura_test_author"]) == 1
