"""Servers that speak BigQuery's API: ours, and one of other people, so that we do not only agree with ourselves."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from polyexpose_spark.clients.bigquery import BigQueryClient, Deadlines
from tests import servers
from tests.http_faults import Proxy, proxy

# Long enough for a busy machine, short enough to wait for.
DEADLINES = Deadlines(metadata=6.0, query=20.0, load=30.0)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of our own server."""
    with servers.bigquery(tmp_path_factory.mktemp("bigquery")) as address:
        yield address


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server that others wrote."""
    with servers.local_bigquery(tmp_path_factory.mktemp("local-bigquery")) as address:
        yield address


@pytest.fixture(scope="session", params=["stand_in", pytest.param("local_bigquery", marks=pytest.mark.second_opinion)])
def bigquery(request: pytest.FixtureRequest) -> str:
    """Address of a running server."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def faulty(bigquery: str) -> Iterator[Proxy]:
    """The server behind a proxy that can go wrong."""
    with proxy(bigquery) as running:
        yield running


@pytest.fixture
def client(faulty: Proxy) -> BigQueryClient:
    """A client whose requests go through the proxy."""
    return BigQueryClient("test-project", "EU", faulty.address, "anonymous", DEADLINES)


@pytest.fixture
def dataset(bigquery: str) -> str:
    """Name of a dataset of this test, made together with `<name>__versions`."""
    name = f"d{uuid.uuid4().hex[:10]}"
    direct = BigQueryClient("test-project", "EU", bigquery, "anonymous", DEADLINES)
    direct.ensure_dataset(name)
    direct.ensure_dataset(f"{name}__versions")
    return name


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server of Cloud Storage."""
    with servers.gcs(tmp_path_factory.mktemp("gcs")) as address:
        yield address
