"""What the gql port talks to: a BigQuery server and an engine, behind proxies that keep what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyexpose_spark.config import Config
from tests import event_buses, servers
from tests.event_buses import Bus
from tests.http_faults import proxy
from tests.spark.events_exposed import Events
from tests.spark.gql_exposed import Gql, Servers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def gql_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Our BigQuery server and our engine. All the SQL that they were sent is checked when the tests are done."""
    folder = tmp_path_factory.mktemp("servers")
    with (
        servers.bigquery(folder / "bigquery") as bigquery,
        proxy(bigquery) as for_port,
        proxy(bigquery) as for_engine,
        servers.engine(folder / "engine", for_engine.address) as engine,
        proxy(engine) as hasura,
    ):
        running = Servers(bigquery, engine, for_port, for_engine, hasura)
        yield running
        running.check_statements()


@pytest.fixture(scope="session")
def local_bigquery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the server that others wrote."""
    with servers.local_bigquery(tmp_path_factory.mktemp("local-bigquery")) as address:
        yield address


@pytest.fixture
def gql(spark: SparkSession, config: Config, namespace: str, gql_servers: Servers, tmp_path: Path) -> Gql:
    """A namespace of the catalog, exposed into a dataset of its own."""
    for each in (gql_servers.for_port, gql_servers.for_engine, gql_servers.hasura):
        each.faults.clear()
    return Gql(spark, config, namespace, tmp_path, gql_servers)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    """A real Kafka broker."""
    with event_buses.running("kafka", tmp_path_factory.mktemp("kafka")) as bus:
        yield bus


@pytest.fixture
def events(spark: SparkSession, config: Config, namespace: str, kafka: Bus, tmp_path: Path) -> Events:
    """A namespace of the catalog with one table, to be sent to a topic of Kafka."""
    return Events(spark, config, namespace, tmp_path, kafka)
