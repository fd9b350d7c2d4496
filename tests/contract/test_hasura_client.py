"""HasuraClient over HTTP, against a server with Hasura's metadata rules that goes wrong as scripted."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polyexpose_spark.clients import hasura_http
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
from polyexpose_spark.errors import ConfigError, PolyexposeError, Refused, TargetFailed, TargetUnavailable
from tests.hasura_model import Fault, Hasura, reset_after, reset_before, serving, slow, status, trickle

SECRET = "s3cr3t-of-the-admin"
REFERENCE = "env:HASURA_ADMIN_SECRET"
SOURCE = Source("bq_air", "acme", ("air",), "BIGQUERY_KEY")
FLIGHTS, PLANES = TableName("air", "flights"), TableName("air", "planes")
PRODUCT = Publication(
    product="flights",
    source=SOURCE,
    table=TrackedTable("air", "flights", None, "Departures.", {"tail num": TrackedColumn("tailNumber")}),
    permissions=(
        SelectPermission("analyst", ("tail num", "carrier"), {"carrier": {"_in": ["UA", "B6"]}}),
        SelectPermission("pilot", ("carrier",), {"_and": [{"pilot": {"_eq": "x-hasura-User-Id"}}]}),
    ),
    relationships=(Relationship("flights", FLIGHTS, "plane", "object", PLANES, {"tail num": "id"}),),
)
READING = {"export_metadata", "get_inconsistent_metadata", "/v1/graphql", "/v1/version", "/healthz"}


def answers(_query: str, role: str) -> dict[str, Any]:
    if role == "pilot":
        return {"data": {"__type": {"fields": [{"name": "air_flights"}, {"name": "air_flights_aggregate"}]}}}
    return {"data": {"air_flights": []}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hasura_http, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("HASURA_ADMIN_SECRET", SECRET)


@pytest.fixture
def hasura() -> Iterator[Hasura]:
    with serving({"version": 3, "sources": []}, SECRET) as server:
        server.answer_query = answers
        yield server


@pytest.fixture
def client(hasura: Hasura) -> HasuraClient:
    return HasuraClient(hasura.endpoint, REFERENCE, timeout=5)


def modifying(hasura: Hasura) -> list[str]:
    return [kind for kind in hasura.kinds() if kind not in READING]


def test_one_bulk_under_the_exported_version_then_a_query_as_each_role(hasura: Hasura, client: HasuraClient) -> None:
    applied = client.apply(PRODUCT)
    assert hasura.kinds() == ["export_metadata", "bulk", "get_inconsistent_metadata", "/v1/graphql", "/v1/graphql"]
    assert hasura.requests[1][1]["resource_version"] == 7
    assert applied.changed
    assert applied.root_fields == ("air_flights", "air_flights_aggregate")
    assert applied.select_limit == 1000
    assert [each.name for each in applied.waiting] == ["plane"]
    asked = [(body["query"], headers["x-hasura-role"]) for _, body, headers in hasura.requests[3:]]
    assert asked == [
        ("query Published { air_flights(limit: 1) { tailNumber } }", "analyst"),
        ('query Published { __type(name: "query_root") { fields { name } } }', "pilot"),
    ]
    assert all(headers["x-hasura-admin-secret"] == SECRET for _, _, headers in hasura.requests)


def test_again_there_is_no_modifying_request(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    hasura.requests.clear()
    applied = client.apply(PRODUCT)
    assert modifying(hasura) == []
    assert not applied.changed
    assert applied.commands == ()
    assert applied.root_fields == ("air_flights", "air_flights_aggregate")


def test_other_columns_reload_the_source_in_the_same_bulk(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    hasura.requests.clear()
    client.apply(PRODUCT, columns_changed=True)
    assert [each["type"] for each in hasura.requests[1][1]["args"]] == ["reload_metadata"]
    assert modifying(hasura) == ["bulk"]


def test_without_roles_the_table_is_queried_as_admin(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(dataclasses.replace(PRODUCT, permissions=()))
    assert hasura.requests[-1][1] == {"query": "query Published { air_flights(limit: 1) { tailNumber } }"}
    assert hasura.requests[-1][2]["x-hasura-role"] == "admin"


def test_in_a_source_with_a_namespace_the_query_goes_through_it(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    hasura.metadata["sources"][0]["customization"] = {"root_fields": {"namespace": "bq", "prefix": "p_"}}
    hasura.answer_query = lambda _query, role: (
        {"data": {"__type": {"fields": [{"name": "bq"}]}}} if role == "pilot" else {"data": {"bq": {}}}
    )
    assert client.apply(PRODUCT).root_fields == ("bq.p_air_flights", "bq.p_air_flights_aggregate")
    assert hasura.requests[-2][1]["query"] == "query Published { bq { p_air_flights(limit: 1) { tailNumber } } }"


def test_withdrawn_everything_is_as_before(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    assert [str(each) for each in client.withdraw("flights", SOURCE, FLIGHTS)] == [
        "untrack table air.flights",
        "drop source bq_air",
    ]
    assert hasura.metadata == {"version": 3, "sources": []}
    hasura.requests.clear()
    assert client.withdraw("flights", SOURCE, FLIGHTS) == ()
    assert modifying(hasura) == []


def test_version_and_health(hasura: Hasura, client: HasuraClient) -> None:
    assert client.version() == "v2.50.3"
    assert client.healthy()
    hasura.faults["/healthz"] = [status(500, "ERROR")]
    assert not client.healthy()
    assert not HasuraClient("http://127.0.0.1:9", None).healthy()


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("export_metadata", status(429, headers={"Retry-After": "0"})),
        ("export_metadata", status(503)),
        ("export_metadata", reset_before),
        ("bulk", status(500, {"path": "$", "error": "database is away", "code": "unexpected"})),
        ("bulk", status(429)),
        ("bulk", status(409, {"path": "$", "error": "metadata resource version ...", "code": "conflict"})),
        ("bulk", status(400, {"path": "$", "error": "view/table already tracked", "code": "already-tracked"})),
        ("bulk", reset_before),
        ("bulk", reset_after),
        ("get_inconsistent_metadata", reset_before),
        ("/v1/graphql", status(502, "<html>Bad gateway</html>")),
        ("/v1/graphql", reset_after),
        (
            "/v1/graphql",
            status(200, {"errors": [{"message": "field", "extensions": {"code": "validation-failed"}}]}),
        ),
    ],
)
def test_a_passing_fault_leaves_the_same_as_none(hasura: Hasura, client: HasuraClient, kind: str, fault: Fault) -> None:
    with serving({"version": 3, "sources": []}, SECRET) as undisturbed:
        undisturbed.answer_query = answers
        expected = HasuraClient(undisturbed.endpoint, REFERENCE, timeout=5).apply(PRODUCT)
        hasura.faults[kind] = [fault]
        assert client.apply(PRODUCT) == expected
        assert hasura.metadata == undisturbed.metadata


def test_a_change_by_somebody_else_in_between_is_kept(hasura: Hasura, client: HasuraClient) -> None:
    other = {"name": "theirs", "kind": "postgres", "tables": [], "configuration": {}}

    def somebody(handler: Any, work: Any) -> None:
        hasura.metadata["sources"].append(other)
        hasura.resource_version += 1
        work()

    hasura.faults["bulk"] = [somebody]
    client.apply(PRODUCT)
    assert hasura.kinds()[:4] == ["export_metadata", "bulk", "export_metadata", "bulk"]
    assert hasura.metadata["sources"][0] == other
    assert hasura.metadata["sources"][1]["name"] == "bq_air"


def test_many_runs_at_once_publish_all(hasura: Hasura) -> None:
    def publish(number: int) -> bool:
        table = TrackedTable("air", f"t{number}")
        desired = Publication(f"product{number}", SOURCE, table, (SelectPermission("analyst", ("id",)),))
        return HasuraClient(hasura.endpoint, REFERENCE, timeout=5).apply(desired).changed

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(publish, range(4))) == [True] * 4
    assert {each["table"]["name"] for each in hasura.metadata["sources"][0]["tables"]} == {"t0", "t1", "t2", "t3"}


def test_a_conflict_that_does_not_end_is_unavailable(hasura: Hasura, client: HasuraClient) -> None:
    hasura.faults["bulk"] = [status(409, {"path": "$", "error": "stale", "code": "conflict"})] * 99
    with pytest.raises(TargetUnavailable, match="others keep changing the metadata; run again"):
        client.apply(PRODUCT)
    assert modifying(hasura) == ["bulk"] * 5


ERROR = {
    "path": "$.args[1].args",
    "error": "Inconsistent object: no such\n table/view exists in source",
    "code": "invalid-configuration",
    "internal": [{"type": "table", "reason": f"not found: {SECRET}", "definition": {"key": "-----BEGIN"}}],
}


@pytest.mark.parametrize(
    ("kind", "faults", "error", "said"),
    [
        (
            "bulk",
            [status(400, ERROR)],
            TargetFailed,
            "invalid-configuration: Inconsistent object: no such table/view exists in source: not found: \\*\\*\\*",
        ),
        ("export_metadata", [status(404, "not here")], TargetFailed, "HTTP 404 to /v1/metadata, not as Hasura v2 does"),
        ("export_metadata", [status(302, "", {"Location": "http://127.0.0.1:1/"})], TargetFailed, "HTTP 302"),
        ("export_metadata", [status(200, "<html>")], TargetFailed, "HTTP 200 to /v1/metadata, not as Hasura v2 does"),
        ("export_metadata", [status(200, {})], TargetFailed, "no metadata in the answer to export_metadata"),
        ("bulk", [status(503, f"{SECRET}")] * 9, TargetUnavailable, "/v1/metadata: HTTP 503"),
        ("bulk", [reset_before] * 9, TargetUnavailable, "/v1/metadata: Connection reset by peer"),
        (
            "/v1/graphql",
            [status(200, {"errors": [{"message": f"no right {SECRET}", "extensions": {"code": "unexpected"}}]})],
            TargetFailed,
            "role analyst cannot read: unexpected: no right \\*\\*\\*",
        ),
        ("/v1/graphql", [status(200, {"errors": ["odd"]})], TargetFailed, "role analyst cannot read"),
        ("/v1/graphql", [status(200, ["odd"])], TargetFailed, "not as Hasura v2 does"),
    ],
)
def test_an_error_is_one_line_without_secrets(
    hasura: Hasura,
    client: HasuraClient,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    faults: list[Fault],
    error: type[PolyexposeError],
    said: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    hasura.faults[kind] = list(faults)
    with pytest.raises(error, match=said) as caught:
        client.apply(PRODUCT)
    assert f"Hasura at {hasura.endpoint}" in str(caught.value)
    assert "\n" not in str(caught.value)
    for text in (str(caught.value), repr(caught.value), repr(client), caplog.text):
        assert SECRET not in text
        assert "-----BEGIN" not in text


def test_a_failed_bulk_leaves_everything_as_it_was(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    before = (hasura.metadata, hasura.resource_version)
    hasura.faults["bulk"] = [status(400, ERROR)]
    with pytest.raises(TargetFailed):
        client.apply(dataclasses.replace(PRODUCT, permissions=()))
    assert (hasura.metadata, hasura.resource_version) == before


def test_a_role_that_does_not_see_the_root_field_is_named(hasura: Hasura, client: HasuraClient) -> None:
    hasura.answer_query = lambda _query, _role: {"data": {"__type": {"fields": [{"name": "no_queries_available"}]}}}
    with pytest.raises(TargetFailed, match="role pilot does not see air_flights"):
        client.apply(PRODUCT)


def test_a_wrong_secret_is_named_by_its_reference(hasura: Hasura, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASURA_ADMIN_SECRET", "wrong-secret")
    with pytest.raises(TargetFailed, match=f"the admin secret is wrong: {REFERENCE}") as caught:
        HasuraClient(hasura.endpoint, REFERENCE).apply(PRODUCT)
    assert "wrong-secret" not in str(caught.value)
    with pytest.raises(TargetFailed, match="an admin secret is needed, and no reference to one is configured"):
        HasuraClient(hasura.endpoint, None).apply(PRODUCT)


def test_a_secret_refused_on_graphql_only_is_told_as_well(hasura: Hasura, client: HasuraClient) -> None:
    message = "invalid x-hasura-admin-secret/x-hasura-access-key"
    hasura.faults["/v1/graphql"] = [status(200, {"errors": [{"message": message, "extensions": {}}]})]
    with pytest.raises(TargetFailed, match=f"the admin secret is wrong: {REFERENCE}"):
        client.apply(PRODUCT)


@pytest.mark.parametrize("secret", ["", " s3cr3t", "s3cr3t\nlines", "s3cr3tü"])
def test_a_secret_that_cannot_be_a_header_is_not_repeated(
    hasura: Hasura, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("HASURA_ADMIN_SECRET", secret)
    with pytest.raises(ConfigError, match=f"secret {REFERENCE}: it is empty, or holds blanks") as caught:
        HasuraClient(hasura.endpoint, REFERENCE).version()
    assert "s3cr3t" not in str(caught.value)
    assert hasura.requests == []


@pytest.mark.parametrize("fault", [slow(3), trickle])
def test_no_answer_in_time_ends_at_the_deadline(hasura: Hasura, fault: Fault) -> None:
    hasura.faults["bulk"] = [fault]
    started = time.monotonic()
    with pytest.raises(TargetUnavailable, match=r"/v1/metadata: no answer within 0\.5 s; run again"):
        HasuraClient(hasura.endpoint, REFERENCE, timeout=0.5).apply(PRODUCT)
    assert time.monotonic() - started < 2


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(TargetUnavailable, match=r"Hasura at http://127\.0\.0\.1:9: /v1/version: Connection refused"):
        HasuraClient("http://127.0.0.1:9", None).version()


@pytest.mark.parametrize(
    "endpoint", ["hasura:8080", "ftp://hasura", "http://", "http://admin:s3cr3t@hasura", "http://h:port"]
)
def test_an_endpoint_that_is_no_address_is_a_configuration_error(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="is expected, without a password") as caught:
        HasuraClient(endpoint, None).version()
    assert "s3cr3t" not in str(caught.value)


def test_what_is_ours_and_inconsistent_is_an_error_what_is_others_a_warning(
    hasura: Hasura, client: HasuraClient
) -> None:
    theirs = {"type": "source", "name": "source default", "definition": "default", "reason": "postgres://u:pw@db"}
    hasura.inconsistent = [theirs]
    assert client.apply(PRODUCT).warnings == ("Hasura: inconsistent, not of this product: source default",)
    ours = {
        "type": "table",
        "name": "table air.flights in source bq_air",
        "definition": FLIGHTS.json,
        "reason": "Inconsistent object: no such table/view",
    }
    hasura.inconsistent = [theirs, ours]
    said = r"inconsistent: table air\.flights in source bq_air \(Inconsistent object: no such table/view\)"
    with pytest.raises(TargetFailed, match=said) as caught:
        client.apply(PRODUCT)
    assert "pw" not in str(caught.value)


def test_what_others_made_is_refused_before_anything_is_sent(hasura: Hasura, client: HasuraClient) -> None:
    client.apply(PRODUCT)
    hasura.metadata["sources"][0]["tables"][0]["configuration"]["comment"] = "Mine."
    hasura.requests.clear()
    with pytest.raises(Refused, match="was tracked by somebody else"):
        client.apply(PRODUCT)
    assert hasura.kinds() == ["export_metadata"]
