"""HasuraClient with the embedded engine, which reads its tables from a BigQuery server: nothing is scripted."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google

from polyexpose_spark.clients.hasura import HasuraClient
from polyexpose_spark.clients.hasura_metadata import (
    Publication,
    Relationship,
    SelectPermission,
    Source,
    TableName,
    TrackedColumn,
    TrackedTable,
)
from polyexpose_spark.errors import TargetFailed

PROJECT = "acme-air"
SECRET = "s3cr3t-of-the-engine"


@pytest.fixture
def dataset(bigquery: str) -> Iterator[str]:
    """A dataset with two tables and rows; flights lead to planes."""
    client = google.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": bigquery})
    name = f"air_{uuid.uuid4().hex[:8]}"
    client.create_dataset(name)
    for table, columns, rows in (
        (
            "flights",
            "flight INT64, tailnum STRING, carrier STRING",
            "(1, 'N1', 'UA'), (2, 'N2', 'B6'), (3, 'N1', 'UA')",
        ),
        ("planes", "tailnum STRING, seats INT64", "('N1', 180), ('N2', 20)"),
    ):
        client.query_and_wait(f"CREATE TABLE `{PROJECT}.{name}.{table}` ({columns})")
        client.query_and_wait(f"INSERT INTO `{PROJECT}.{name}.{table}` VALUES {rows}")
    yield name
    client.delete_dataset(name, delete_contents=True)
    client.close()


@pytest.fixture
def engine(bigquery: str, tmp_path: Path) -> Iterator[str]:
    """Address of an engine of its own, on a free port."""
    log = tmp_path / "engine.log"
    arguments = ["--port", "0", "--state", str(tmp_path / "state"), "--bigquery-endpoint", bigquery]
    command = [sys.executable, "-m", "polyexpose_spark.engine", *arguments]
    environment = {**os.environ, "ENGINE_SECRET": SECRET, "BIGQUERY_KEY": "{}"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, "--admin-secret-reference", "env:ENGINE_SECRET"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"listening on (http://\S+)", log.read_text())):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[1]
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
def client(engine: str, monkeypatch: pytest.MonkeyPatch) -> HasuraClient:
    monkeypatch.setenv("ENGINE_SECRET", SECRET)
    return HasuraClient(engine, "env:ENGINE_SECRET")


def products(dataset: str) -> tuple[Publication, Publication]:
    source = Source("bq_air", PROJECT, (dataset,), "BIGQUERY_KEY", 100)
    flights_at, planes_at = TableName(dataset, "flights"), TableName(dataset, "planes")
    both_ways = (
        Relationship("flights", flights_at, "plane", "object", planes_at, {"tailnum": "tailnum"}),
        Relationship("flights", planes_at, "flights", "array", flights_at, {"tailnum": "tailnum"}),
    )
    flights = Publication(
        "flights",
        source,
        TrackedTable(
            dataset, "flights", "departures", "Departures.", {"flight": TrackedColumn("number", "its number")}
        ),
        (
            SelectPermission("analyst", ("flight", "tailnum", "carrier"), {}, 2, True),
            SelectPermission("airline", ("flight", "tailnum"), {"carrier": {"_eq": "X-Hasura-Carrier"}}),
        ),
        both_ways,
    )
    planes = Publication(
        "planes",
        source,
        TrackedTable(dataset, "planes"),
        (SelectPermission("analyst", ("tailnum", "seats")),),
        both_ways,
    )
    return flights, planes


def asked(engine: str, query: str, role: str, **variables: str) -> Any:
    headers = {"x-hasura-admin-secret": SECRET, "x-hasura-role": role, "Content-Type": "application/json", **variables}
    request = urllib.request.Request(f"{engine}/v1/graphql", json.dumps({"query": query}).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        body = json.load(response)
    assert "errors" not in body, body
    return body["data"]


def test_two_products_one_source_published_queried_changed_and_withdrawn(
    engine: str, client: HasuraClient, dataset: str
) -> None:
    assert client.healthy()
    assert client.version().startswith("v2.")
    flights, planes = products(dataset)

    first = client.apply(flights)
    assert first.changed
    assert first.root_fields == ("departures", "departures_aggregate")
    assert first.select_limit == 100
    assert len(first.waiting) == 2
    second = client.apply(planes)
    assert second.waiting == ()
    before = client.export()
    for each in (flights, planes):
        again = client.apply(each)
        assert (again.changed, again.commands) == (False, ())
        assert client.difference(each) == ()
    assert client.export() == before

    rows = asked(engine, "{ departures(order_by: {number: asc}) { number plane { seats } } }", "analyst")
    assert [(str(row["number"]), str(row["plane"]["seats"])) for row in rows["departures"]] == [
        ("1", "180"),
        ("2", "20"),
    ]
    query = f'{{ {dataset}_planes(where: {{tailnum: {{_eq: "N1"}}}}) {{ flights {{ number }} }} }}'
    assert len(asked(engine, query, "analyst")[f"{dataset}_planes"][0]["flights"]) == 2
    assert len(asked(engine, "{ departures { number } }", "airline", **{"x-hasura-carrier": "B6"})["departures"]) == 1

    fewer = dataclasses.replace(flights, permissions=(dataclasses.replace(flights.permissions[0], limit=1),))
    assert len(client.apply(fewer).commands) == 3
    assert len(asked(engine, "{ departures { number } }", "analyst")["departures"]) == 1

    assert [str(each) for each in client.withdraw("flights", flights.source, flights.table.address)] == [
        f"drop relationship flights on {dataset}.planes",
        f"untrack table {dataset}.flights",
    ]
    assert client.withdraw("flights", flights.source, flights.table.address) == ()
    client.withdraw("planes", planes.source, planes.table.address)
    assert client.export()[0] == {"version": 3, "sources": []}


def test_columns_that_come_and_go(bigquery: str, client: HasuraClient, dataset: str) -> None:
    flights, _ = products(dataset)
    client.apply(flights)
    google_client = google.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": bigquery})
    table = f"`{PROJECT}.{dataset}.flights`"
    google_client.query_and_wait(f"DROP TABLE {table}")
    google_client.query_and_wait(f"CREATE TABLE {table} (flight INT64, gate STRING)")
    google_client.close()
    changed = dataclasses.replace(
        flights, permissions=(SelectPermission("analyst", ("flight", "gate")),), relationships=()
    )
    applied = client.apply(changed, columns_changed=True)
    assert [str(each).split()[0] for each in applied.commands] == ["drop", "drop", "reload", "create"]
    assert client.difference(changed) == ()


def test_what_is_not_there_is_refused_by_the_engine_and_nothing_is_half_tracked(
    client: HasuraClient, dataset: str
) -> None:
    flights, _ = products(dataset)
    before = client.export()
    missing = dataclasses.replace(flights, table=dataclasses.replace(flights.table, name="absent"), relationships=())
    with pytest.raises(TargetFailed, match=r"invalid-configuration: Inconsistent object: no such table/view exists"):
        client.apply(missing)
    unknown = dataclasses.replace(flights, permissions=(SelectPermission("analyst", ("nowhere",)),))
    with pytest.raises(TargetFailed, match="nowhere"):
        client.apply(unknown)
    assert client.export() == before


def test_a_root_field_that_is_taken_is_told(client: HasuraClient, dataset: str) -> None:
    flights, planes = products(dataset)
    client.apply(flights)
    same = dataclasses.replace(planes, table=dataclasses.replace(planes.table, custom_name="departures"))
    with pytest.raises(TargetFailed, match="remote-schema-conflicts: node departures already exists"):
        client.apply(same)
