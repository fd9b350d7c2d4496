"""kill -9 at named steps of `--mode gql`, then the same command again; faults of both servers in between."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests import servers
from tests.e2e.conftest import CONTRACT, Laptop
from tests.http_faults import Fault, Proxy, proxy

pytestmark = pytest.mark.spark

# With files in staging; with a table that nobody reads; with a view that Hasura has not seen.
IN_CI = ("graphql.staged", "graphql.loaded", "graphql.flipped")

PORT = """\
  - server: graphql
    type: bigquery
    project: test-project
    dataset: sales
    roles: [{role: analyst}]
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: gql, keepSnapshots: 2}}
"""


@dataclass
class Served:
    """A laptop with both servers, exposed once; every round of a test commits 100 rows more."""

    laptop: Laptop
    bigquery: Proxy
    hasura: Proxy
    engine: str
    client: bigquery.Client
    rows: int = 100

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.addressed(self.bigquery.address, self.hasura.address)

    def addressed(self, at: str, hasura: str) -> tuple[str, ...]:
        product = ("--mode", "gql", "--product", "orders_gql.odcs.yaml", "--set", "ports.gql.project=test-project")
        return (*product, "--set", f"ports.gql.endpoint={at}", "--set", f"ports.gql.hasura.endpoint={hasura}")

    def commit(self) -> tuple[int, int]:
        """Append to the table; return how many rows there were and are."""
        self.laptop.append(self.rows, self.rows + 100)
        self.rows += 100
        return self.rows - 100, self.rows

    def reader(self) -> tuple[int, int]:
        """Return the rows that BigQuery's view and GraphQL have; fail on anything that is not whole."""
        [row] = self.client.query_and_wait("SELECT COUNT(*) AS n, MAX(id) AS last FROM `test-project.sales.orders`")
        assert row["last"] == row["n"] - 1
        query = "{ sales_orders_aggregate { aggregate { count max { id } } } }"
        request = urllib.request.Request(
            f"{self.engine}/v1/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json", "x-hasura-role": "analyst"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            body = json.load(response)
        assert "errors" not in body, body
        found = body["data"]["sales_orders_aggregate"]["aggregate"]
        assert int(found["max"]["id"]) == int(found["count"]) - 1
        return row["n"], int(found["count"])

    def check_done(self) -> None:
        """The end of an undisturbed run: the new rows are served, nothing is left behind."""
        assert self.reader() == (self.rows, self.rows)
        entry = self.laptop.ledger("graphql")
        assert entry["claim"] is None
        kept = [str(each["snapshotId"]) for each in entry["kept"]]
        assert len(kept) == 2
        versions = [each.table_id for each in self.client.list_tables("sales__versions")]
        assert sorted(each.split("__")[1].split("_")[0] for each in versions) == sorted(kept)
        assert not list((self.laptop.folder / ".polyexpose/staging").rglob("*"))
        assert self.laptop.tags() <= {f"polyexpose_orders_{each}" for each in self.snapshots()}

    def snapshots(self) -> list[int]:
        return [each.id for each in self.laptop.catalog.table(("sales", "orders")).snapshots]


@pytest.fixture(scope="module")
def served(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(laptop, tmp_path_factory.mktemp("servers"), PORT) as made:
        yield made


@contextmanager
def serving(laptop: Laptop, folder: Path, port: str) -> Iterator[Served]:
    """Run both servers, and expose a first time; `port` is the server's block of the contract."""
    (laptop.folder / "orders_gql.odcs.yaml").write_text(CONTRACT + port)
    with (
        servers.bigquery(folder / "bigquery") as at,
        proxy(at) as faulty,
        servers.engine(folder / "engine", at) as engine,
        proxy(engine) as hasura,
    ):
        client = bigquery.Client("test-project", AnonymousCredentials(), client_options={"api_endpoint": at})
        made = Served(laptop, faulty, hasura, engine, client)
        done = laptop.run(*made.arguments)
        assert done.code == 0, done.err + done.out
        yield made
        client.close()


@pytest.fixture(autouse=True)
def no_faults(served: Served) -> None:
    served.bigquery.faults.clear()
    served.hasura.faults.clear()


def kill_and_repeat(served: Served, step: str) -> None:
    old, new = served.commit()
    killed = served.laptop.run(*served.arguments, step=step, what="kill")
    assert killed.code == -signal.SIGKILL, f"{step} was not reached: {killed.err}"
    assert set(served.reader()) <= {old, new}
    again = served.laptop.run(*served.arguments)
    assert again.code == 0, again.err + again.out
    served.check_done()


@pytest.mark.parametrize("step", IN_CI)
def test_killed_at_a_step(served: Served, step: str) -> None:
    kill_and_repeat(served, step)


@pytest.mark.soak
def test_killed_at_every_step(served: Served) -> None:
    served.commit()
    quiet = served.laptop.run(*served.arguments)
    steps = [line.removeprefix("step ") for line in quiet.out.splitlines() if line.startswith("step ")]
    assert len(set(steps)) >= 14, steps
    served.check_done()
    for step in dict.fromkeys(steps):
        if step != "graphql.released":  # nothing is left to be done then, and nothing told
            kill_and_repeat(served, step)


def failed(served: Served, code: int, *expected: str, **addresses: str) -> Any:
    """Run; the run fails in one line."""
    arguments = served.addressed(
        addresses.get("at", served.bigquery.address), addresses.get("hasura", served.hasura.address)
    )
    done = served.laptop.cli(*arguments, "--output", "json")
    assert done.code == code, done.err + done.out
    [receipt] = done.json()
    assert receipt["exitCode"] == code
    assert "\n" not in receipt["error"]
    assert "Traceback" not in done.err
    assert all(each in receipt["error"] for each in expected), receipt["error"]
    return receipt


def test_faults_that_pass_are_not_seen_and_those_that_stay_lose_nothing(served: Served) -> None:
    versions = "/datasets/sales__versions"
    failed(served, 5, "BigQuery", "is it running?", at=f"http://127.0.0.1:{servers.free_port()}")
    old, new = served.commit()
    # Rows are loaded, the view is refused.
    served.bigquery.faults += [
        Fault("GET", f"{versions}\\?", status=429, reason="rateLimitExceeded"),
        Fault("POST", "/upload/", status=503, reason="backendError"),
        Fault("POST", "/upload/", reset="after"),
        Fault("PATCH", f"{versions}/tables/", reset="after"),
        Fault("POST", "^/bigquery/.*/jobs\\?", status=403, reason="accessDenied"),
    ]
    failed(served, 4, "view test-project.sales.orders", "accessDenied")
    assert [each for each in served.bigquery.faults if each.times] == []
    assert served.reader() == (old, old)
    # The view is flipped, Hasura is out of order.
    served.bigquery.faults = [Fault("POST", "^/bigquery/.*/jobs\\?", reset="after"), Fault("GET", "/jobs/", status=500)]
    served.hasura.faults += [Fault("POST", "/v1/metadata", status=503, times=100)]
    failed(served, 5, "Hasura at http://127.0.0.1", "503")
    assert served.reader() == (new, new), "the columns are the same: what is tracked reads the new view"
    served.hasura.faults = [
        Fault("POST", "/v1/metadata", status=429),
        Fault("POST", "/v1/metadata", reset="before"),
        Fault("POST", "/v1/metadata", reset="after", times=2),
        Fault("POST", "/v1/graphql", status=500),
    ]
    done = served.laptop.cli(*served.arguments)
    assert done.code == 0, done.err + done.out
    assert [each for each in served.hasura.faults if each.times] == []
    served.check_done()


@pytest.mark.soak
def test_a_bigquery_that_answers_503_for_minutes_is_given_up(served: Served) -> None:
    old, _ = served.commit()
    served.bigquery.faults.append(Fault(status=503, reason="backendError", times=10_000))
    failed(served, 5, "BigQuery at http://127.0.0.1", "run again later")
    assert served.reader() == (old, old)


def test_of_two_runs_at_once_one_wins_and_the_other_says_so(served: Served, tmp_path: Path) -> None:
    import time

    old, _ = served.commit()
    go = tmp_path / "go"
    first = served.laptop.start(*served.arguments, step="graphql.loaded", what=str(go))
    while not Path(f"{go}.reached").exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.05)
    failed(served, 5, "is publishing this port; nothing was changed")
    assert served.reader() == (old, old)
    go.touch()
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    served.check_done()
