"""Port gql while its servers go wrong: what passes is not seen by the user, what stays leaves everything as it was."""

from __future__ import annotations

import pytest

from polyexpose_spark.receipt import Outcome
from tests.http_faults import Fault
from tests.spark.gql_exposed import Gql

pytestmark = pytest.mark.spark

# Every kind of request of a first run, by method and path. (What creates is asked for again; nothing is made twice.)
AT_BIGQUERY = [
    ("GET", r"/datasets/\w+/tables/"),
    ("GET", r"/datasets/\w+\?"),
    ("POST", r"/datasets\?"),
    ("PATCH", r"/datasets/\w+__versions\?"),
    ("POST", r"^/upload/"),
    ("GET", r"/jobs/"),
    ("PATCH", r"/tables/"),
    ("POST", r"^/bigquery/.*/jobs\?"),
    ("GET", r"/tables\?"),
]
AT_HASURA = [("POST", "/v1/metadata"), ("POST", "/v1/graphql")]


@pytest.fixture
def exposed(gql: Gql) -> Gql:
    """Three rows, exposed, and a fourth that is not."""
    gql.create("id BIGINT, name STRING", "(1, 'one')", "(2, 'two')", "(3, NULL)")
    assert gql.expose(gql.contract(roles=("analyst",))).outcome is Outcome.PUBLISHED
    gql.insert("(4, 'four')")
    return gql


def rows(gql: Gql) -> tuple[int, int]:
    """Return how many rows BigQuery's view and GraphQL have."""
    [(in_bigquery,)] = gql.rows(f"SELECT COUNT(*) FROM {gql.view()}")
    return in_bigquery, len(gql.ask(f"{{ {gql.root()} {{ id }} }}", "analyst")[gql.root()])


@pytest.mark.parametrize("kind", ["429", "503", "reset before", "reset after"])
def test_what_passes_is_not_seen(gql: Gql, kind: str) -> None:
    gql.create("id BIGINT, name STRING", "(1, 'one')", "(2, 'two')")

    def fault(method: str, path: str) -> Fault:
        if kind.startswith("reset"):
            return Fault(method, path, reset=kind.removeprefix("reset "))
        return Fault(method, path, status=int(kind), reason="rateLimitExceeded" if kind == "429" else "backendError")

    bigquery, hasura = gql.servers.for_port.faults, gql.servers.hasura.faults
    bigquery += [fault(*each) for each in AT_BIGQUERY]
    hasura += [fault(*each) for each in AT_HASURA]
    receipt = gql.expose(gql.contract(roles=("analyst",)))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert [each for each in bigquery + hasura if each.times] == [], "not every kind of request was made"
    assert rows(gql) == (2, 2)
    assert len(gql.tables()) == 1
    gql.servers.forget()
    assert gql.expose(gql.contract(roles=("analyst",))).outcome is Outcome.UNCHANGED
    assert gql.servers.modifying == []


@pytest.mark.parametrize(
    ("method", "path"), [("POST", r"^/upload/"), ("POST", r"^/bigquery/.*/jobs\?"), ("PATCH", r"/tables/")]
)
@pytest.mark.parametrize("status", [403, 404])
def test_what_bigquery_refuses_leaves_the_old_view(exposed: Gql, method: str, path: str, status: int) -> None:
    exposed.servers.for_port.faults.append(Fault(method, path, status=status, reason="accessDenied", times=10))
    receipt = exposed.expose(exposed.contract(roles=("analyst",)))  # looks into the staging folder as well
    assert receipt.exit_code == 4, receipt.error
    assert "\n" not in str(receipt.error)
    assert exposed.named("t") in str(receipt.error)
    assert rows(exposed) == (3, 3)
    exposed.servers.for_port.faults.clear()
    assert exposed.expose(exposed.contract(roles=("analyst",))).outcome is Outcome.PUBLISHED
    assert rows(exposed) == (4, 4)


@pytest.mark.parametrize(("status", "code"), [(401, 4), (400, 4), (503, 5)])
def test_what_hasura_refuses_is_done_by_the_next_run(exposed: Gql, status: int, code: int) -> None:
    contract = exposed.contract(roles=("analyst", "clerk"))
    exposed.servers.hasura.faults.append(Fault("POST", "/v1/metadata", status=status, times=100))
    receipt = exposed.expose(contract)
    assert receipt.exit_code == code, receipt.error
    assert "\n" not in str(receipt.error)
    assert "Hasura at http://127.0.0.1" in str(receipt.error)
    assert "errors" in exposed.answer(f"{{ {exposed.root()} {{ id }} }}", "clerk")
    exposed.servers.hasura.faults.clear()
    assert exposed.expose(contract).outcome is Outcome.PUBLISHED
    assert len(exposed.ask(f"{{ {exposed.root()} {{ id }} }}", "clerk")[exposed.root()]) == 4


@pytest.mark.soak
@pytest.mark.parametrize("reset", ["before", "after"])
def test_a_reset_at_every_single_request(exposed: Gql, reset: str) -> None:
    """The n-th request of a run breaks, for every n, each time in a run of its own."""
    contract = exposed.contract(roles=("analyst",))
    number, number_of_rows = 0, 4
    while True:
        number += 1
        breaks_at = [Fault(seconds=0.0, times=number - 1), Fault(reset=reset)]
        exposed.servers.for_port.faults[:] = breaks_at
        receipt = exposed.expose(contract)
        assert receipt.outcome is Outcome.PUBLISHED, (number, receipt.error)
        assert rows(exposed) == (number_of_rows, number_of_rows)
        if breaks_at[-1].times:
            break
        exposed.insert(f"({number_of_rows + 1}, 'more')")
        number_of_rows += 1
    assert number > 15
