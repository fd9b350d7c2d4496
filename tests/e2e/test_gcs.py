"""Everything on gs://: warehouse, contracts, ledger, CSV, staging, checkpoints, documents; and nothing on the disk.

Spark and Iceberg go through Google's connector and GCSFileIO, as on Dataproc; only their settings for another server
than Google's are ours.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import google_crc32c
import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from polyexpose_spark import runtime
from polyexpose_spark.clients.gcs import GcsFiles
from polyexpose_spark.config import GcsConfig
from tests import event_buses, servers
from tests.e2e.conftest import CONTRACT, Done, Laptop
from tests.event_buses import Bus
from tests.event_replica import Replica
from tests.servers import BUCKET

pytestmark = pytest.mark.spark

LITE_LOCATION = "europe-west1-b"  # that of the consumers in event_services
ROOT = f"gs://{BUCKET}"
PORTS = """\
  - server: whole
    type: custom
    format: csv
    location: out
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: csv, singleFile: true, compression: gzip}}
  - server: graphql
    type: bigquery
    project: test-project
    dataset: sales
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: gql, keepSnapshots: 2}}
  - server: events
    type: custom
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: events, partitions: 3}}
"""
SERVED = ("sql", "csv", "whole", "graphql", "events")
ALL = ("--mode", "all", "--product", f"{ROOT}/products")
CATALOG = {
    "gcs.project-id": "p",
    "gcs.oauth2.token": "anon",
    "gcs.oauth2.token-expires-at": "4102444800000",
}


def settings(gcs: str, bigquery: str, engine: str, bus: Bus) -> dict[str, Any]:
    """Return what a profile of this cloud would say."""
    catalog = {"io-impl": "org.apache.iceberg.gcp.gcs.GCSFileIO", "gcs.service.host": gcs, **CATALOG}
    hadoop = {
        "fs.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem",
        "fs.AbstractFileSystem.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFS",
        "fs.gs.storage.root.url": gcs,
        "fs.gs.project.id": "p",
        "fs.gs.auth.service.account.enable": "false",
        "fs.gs.auth.null.enable": "true",
        "fs.gs.operation.move.enable": "false",  # the server has no such request
    }
    jars = os.pathsep.join(map(str, (*runtime.jars(), *runtime.jars("gcs"))))
    spark = {"spark.driver.extraClassPath": jars} | {f"spark.hadoop.{key}": value for key, value in hadoop.items()}
    events: dict[str, Any] = {}
    for each in bus.settings:
        key, _, value = each.removeprefix("ports.events.").partition("=")
        block, _, name = key.rpartition(".")
        (events.setdefault(block, {}) if block else events)[name] = value
    events["pubsublite"]["location"] = LITE_LOCATION
    gql = {
        "endpoint": bigquery,
        "hasura": {"endpoint": engine},
        "project": "test-project",
        "staging": f"{ROOT}/staging",
    }
    return {
        "catalog": {"warehouse": f"{ROOT}/lake", "properties": catalog},
        "state": {"location": f"{ROOT}/state"},
        "gcs": {"endpoint": gcs, "credentials": "anonymous"},
        "spark": {"conf": spark},
        "ports": {
            "csv": {"root": f"{ROOT}/exposed"},
            "gql": gql,
            "events": events | {"documents": f"{ROOT}/exposed"},
        },
    }


@dataclass
class Cloud:
    """A machine that has nothing but its catalog, and services."""

    laptop: Laptop
    files: GcsFiles
    address: str
    client: bigquery.Client
    bus: Bus
    rows: int = 100

    def run(self, *arguments: str, step: str = "-", what: str = "-") -> Done:
        return self.laptop.run(*arguments, "--conf", "cloud.yaml", step=step, what=what)

    def receipts(self, *arguments: str) -> dict[str, Any]:
        done = self.laptop.cli(*arguments, "--conf", "cloud.yaml", "--output", "json")
        assert done.code == 0, done.err + done.out
        return {each["port"]: each for each in done.json()}

    def append(self, rows: int) -> None:
        """Commit rows as another engine does: no JVM has to start for it."""
        import pyarrow as pa
        from pyiceberg.catalog.sql import SqlCatalog

        properties = {"gcs.service.host": self.address, **CATALOG}
        state = self.laptop.folder / ".polyexpose"
        catalog = SqlCatalog("lake", uri=f"sqlite:///{state}/catalog.db?timeout=30", **properties)
        ids = list(range(self.rows, self.rows + rows))
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("note", pa.string())])
        catalog.load_table("sales.orders").append(pa.table([ids, [f"n{each}" for each in ids]], schema=schema))
        catalog.engine.dispose()
        self.rows += rows

    def content(self, path: str) -> bytes:
        with self.files.open(path) as stream:
            return stream.read()

    def json(self, path: str) -> Any:
        return json.loads(self.content(path))

    def csv_reader(self, port: str) -> tuple[int, int]:
        """Follow the pointer as a consumer does; return snapshot id and rows; fail on anything that is not whole."""
        package = self.json(f"{ROOT}/exposed/{port}/orders/datapackage.json")
        rows = 0
        for resource in package["resources"]:
            data = self.content(f"{ROOT}/exposed/{port}/orders/{resource['path']}")
            assert len(data) == resource["bytes"]
            if port == "whole":
                checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
                assert resource["hash"] == f"crc32c:{checksum}"
                data = gzip.decompress(data)
            rows += data.count(b"\n") - 1
        return package["polyexpose"]["snapshotId"], rows

    def names(self, folder: str) -> list[str]:
        return [each.path.removeprefix(f"{ROOT}/{folder}/") for each in self.files.list(f"{ROOT}/{folder}/")]

    def assert_served(self) -> None:
        """Every consumer sees all rows of the current snapshot, and nothing is left behind."""
        snapshots = set()
        for port in ("csv", "whole"):
            snapshot_id, rows = self.csv_reader(port)
            assert rows == self.rows
            snapshots.add(snapshot_id)
        [row] = self.client.query_and_wait("SELECT COUNT(*) AS n, MAX(id) AS last FROM `test-project.sales.orders`")
        assert (row["n"], row["last"]) == (self.rows, self.rows - 1)
        replica = Replica().apply(self.bus.messages("orders"))
        assert sorted(int(each["id"]) for each in replica.rows.values()) == list(range(self.rows))
        document = self.json(f"{ROOT}/exposed/events/orders/asyncapi.json")
        snapshots.add(int(document["info"]["x-polyexpose"]["snapshotId"]))
        for port in SERVED:
            entry = self.json(f"{ROOT}/state/orders/{port}.json")
            assert entry["claim"] is None
            snapshots.add(entry["kept"][0]["snapshotId"])
        assert len(snapshots) == 1
        assert self.names("staging") == []
        assert [each for each in self.names("exposed") if "_staging" in each] == []


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("cloud")
    with servers.gcs(folder / "gcs") as gcs, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs)  # where the BigQuery server loads from
        with (
            servers.bigquery(folder / "bigquery") as at,
            servers.engine(folder / "engine", at) as engine,
            event_buses.running("pubsublite", folder / "bus") as bus,
        ):
            patch.delenv("STORAGE_EMULATOR_HOST")
            (folder / "laptop").mkdir()
            laptop = Laptop(folder / "laptop")
            (laptop.folder / "orders.odcs.yaml").unlink()
            (laptop.folder / "cloud.yaml").write_text(yaml.safe_dump(settings(gcs, at, engine, bus)))
            files = GcsFiles(GcsConfig(endpoint=gcs, credentials="anonymous"))
            files.put(f"{ROOT}/products/orders.odcs.yaml", (CONTRACT + PORTS).encode())
            client = bigquery.Client("test-project", AnonymousCredentials(), client_options={"api_endpoint": at})
            made = Cloud(laptop, files, gcs, client, bus)
            bus.prepare("orders")
            created = made.run(
                *("--mode", "sql", "--allow-writes", "--query"),
                "CREATE NAMESPACE lake.sales; "
                "CREATE TABLE lake.sales.orders (id BIGINT NOT NULL, note STRING) USING iceberg; "
                "INSERT INTO lake.sales.orders SELECT id, concat('n', id) FROM range(100)",
            )
            assert created.code == 0, created.err
            yield made
            client.close()


@pytest.fixture(scope="module")
def exposed(cloud: Cloud) -> dict[str, Any]:
    """The receipts of the first exposure, by port."""
    return cloud.receipts(*ALL)


def test_every_port_is_served_from_cloud_storage(cloud: Cloud, exposed: dict[str, Any]) -> None:
    assert {each: exposed[each]["outcome"] for each in exposed} == dict.fromkeys(SERVED, "published")
    cloud.assert_served()
    assert exposed["csv"]["address"] == f"{ROOT}/exposed/csv/orders"
    assert len(cloud.names("state/orders/receipts")) == len(SERVED)
    here = {str(path.relative_to(cloud.laptop.folder)) for path in cloud.laptop.folder.rglob("*") if path.is_file()}
    assert here == {"cloud.yaml", ".polyexpose/catalog.db", ".polyexpose/log/spark.log"}


@pytest.mark.usefixtures("exposed")
def test_again_there_is_nothing_to_do_and_no_session_starts(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAVA_HOME", "PATH"):
        monkeypatch.setenv(name, "/nonexistent")
    before = {each.path for each in cloud.files.list(f"{ROOT}/")}
    again = cloud.receipts(*ALL)
    assert {each: again[each]["outcome"] for each in again} == dict.fromkeys(SERVED, "unchanged")
    assert {each.path for each in cloud.files.list(f"{ROOT}/")} == before


@pytest.mark.usefixtures("exposed")
def test_killed_in_the_middle_and_run_again(cloud: Cloud) -> None:
    old = {port: cloud.csv_reader(port) for port in ("csv", "whole")}
    cloud.append(50)
    killed = cloud.run(*ALL, step="csv.moved", what="kill")
    assert killed.code == -signal.SIGKILL, killed.err + killed.out
    assert {port: cloud.csv_reader(port) for port in ("csv", "whole")} == old
    again = cloud.run(*ALL)
    assert again.code == 0, again.err + again.out
    cloud.assert_served()
    # The events were read by a stream, whose checkpoint is there as well.
    assert [each for each in cloud.names("state/orders/checkpoints/events") if "/offsets/" in each]


@pytest.mark.usefixtures("exposed")
def test_a_bucket_that_is_not_there_is_named_in_one_line(cloud: Cloud) -> None:
    done = cloud.laptop.cli(
        *ALL, "--conf", "cloud.yaml", "--set", "state.location=gs://elsewhere/x", "--output", "json"
    )
    assert done.code == 4
    assert "Traceback" not in done.err
    for each in done.json():
        assert f"Cloud Storage at {cloud.address}: gs://elsewhere/x/orders/{each['port']}.json" in each["error"]
        assert "\n" not in each["error"]


def test_what_is_left_when_it_is_withdrawn(cloud: Cloud, exposed: dict[str, Any]) -> None:
    gone = cloud.receipts(*ALL, "--withdraw")
    assert {each: gone[each]["outcome"] for each in gone} == dict.fromkeys(exposed, "withdrawn")
    # Not even the empty objects that stand for folders.
    left = {each.name for each in cloud.files._client.list_blobs(BUCKET)}
    assert {each.partition("/")[0] for each in left} == {"lake", "products", "state"}
