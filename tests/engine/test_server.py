"""The engine as a program: routes, headers, addresses, what survives a kill, what happens when BigQuery is away."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark.engine.access import Access
from polyexpose_spark.engine.catalog import Catalog
from polyexpose_spark.engine.limits import Limits
from polyexpose_spark.engine.server import Engine, Settings, serve
from polyexpose_spark.errors import ConfigError, TargetFailed, TargetUnavailable
from tests.engine.conftest import Api, Recorded, free_port
from tests.engine.tables import METADATA, configuration, permission, source, table


def test_routes(hasura: Api) -> None:
    assert hasura.request("GET", "/healthz").body == "OK"
    version = hasura.request("GET", "/v1/version").body
    assert version["server_type"] == "ce"
    assert re.match(r"v2\.\d+\.\d+", version["version"])
    for path in ("/v1/graphql", "/v1/metadata"):
        reply = hasura.request("GET", path + "?query={__typename}")
        assert (reply.status, reply.headers["Allow"]) == (405, "POST, OPTIONS")
    assert hasura.request("GET", "/nothing").status == 404
    assert hasura.request("POST", "/nothing", b"{}").status == 404
    assert hasura.request("POST", "/v1/graphql", b"{").body["code"] == "invalid-json"
    assert hasura.request("PUT", "/v1/graphql", b"{}").status == 501


def test_how_long_bigquery_took_is_told(hasura: Api) -> None:
    reply = hasura.post("/v1/graphql", {"query": "{ hasura_author { id } }"})
    assert re.fullmatch(r"bigquery;dur=\d+\.\d\d, total;dur=\d+\.\d\d", reply.headers["Server-Timing"])


def test_one_connection_serves_many_requests(hasura: Api) -> None:
    connection = http.client.HTTPConnection(hasura.url.removeprefix("http://"))
    for _ in range(3):
        connection.request("POST", "/v1/graphql", b'{"query": "{ __typename }"}')
        assert json.load(connection.getresponse()) == {"data": {"__typename": "query_root"}}
    connection.putrequest("POST", "/v1/graphql")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_cors_is_off_unless_set(hasura: Api, engines: Any) -> None:
    origin = {"Origin": "https://app.example"}
    for method, data in (("OPTIONS", None), ("POST", b'{"query": "{ __typename }"}')):
        assert "Access-Control-Allow-Origin" not in hasura.request(method, "/v1/graphql", data, origin).headers
    api: Api = engines(cors_origins=("https://app.example",))
    for method, data in (("OPTIONS", None), ("POST", b'{"query": "{ __typename }"}')):
        headers = api.request(method, "/v1/graphql", data, origin).headers
        assert headers["Access-Control-Allow-Origin"] == "https://app.example"
        other = api.request(method, "/v1/graphql", data, {"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_console(hasura: Api, engines: Any, tmp_path: Path) -> None:
    reply = hasura.request("GET", "/console")
    assert (reply.status, "is not installed" in reply.body) == (404, True)
    for name in ("react.production.min.js", "react-dom.production.min.js", "graphiql.min.js", "graphiql.min.css"):
        (tmp_path / name).write_text(f"/* {name} */")
    (tmp_path / "secret").write_text("no")
    api: Api = engines(console_assets=tmp_path)
    page = api.request("GET", "/console")
    assert page.status == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.body):
        if path != "data:,":  # no icon
            assert path.startswith("/console/")
            assert api.request("GET", path).status == 200
    assert "http" not in page.body
    for path in ("/console/secret", "/console/../secret", "/console/%2e%2e/secret", "/console//etc/passwd"):
        assert api.request("GET", path).status == 404


def test_addresses_that_others_reach_need_a_secret(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(ConfigError, match="--admin-secret-reference is required"):
            serve(Settings(state=tmp_path, host=host, port=0, bigquery_endpoint="http://127.0.0.1:1"))
    with pytest.raises(ConfigError, match="the secret is empty"):
        serve(Settings(state=tmp_path, port=0, access=Access(""), bigquery_endpoint="http://127.0.0.1:1"))


def test_port_and_folder_in_use(tmp_path: Path, warehouse: Recorded, hasura: Api) -> None:
    port = int(hasura.url.rpartition(":")[2])
    with pytest.raises(TargetFailed, match=f"cannot listen on 127.0.0.1:{port}"):
        Engine(Settings(state=tmp_path, port=port), warehouse)
    first = Engine(Settings(state=tmp_path, port=0), warehouse)
    try:
        with pytest.raises(TargetUnavailable, match="another engine uses this folder"):
            Engine(Settings(state=tmp_path, port=0), warehouse)
    finally:
        first.stop()
    (tmp_path / "metadata.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a metadata file"):
        Engine(Settings(state=tmp_path, port=0), warehouse)
    Engine(Settings(state=tmp_path / "other", port=0), warehouse).stop()


class Program:
    """``python -m polyexpose_spark.engine`` in a process of its own."""

    def __init__(self, endpoint: str, state: Path, *more: str, **environment: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "polyexpose_spark.engine", "--port", str(self.port), "--state", str(state)]
        self.process = subprocess.Popen(
            [*command, "--bigquery-endpoint", endpoint, *more], stderr=subprocess.PIPE, text=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()
        self.api = Api(f"http://127.0.0.1:{self.port}")

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        status = self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


@pytest.fixture
def programs(endpoint: str, seeded: None, tmp_path: Path) -> Iterator[Any]:
    started: list[Program] = []

    def start(*more: str, **environment: str) -> Program:
        started.append(Program(endpoint, tmp_path / "state", *more, **environment))
        return started[-1]

    yield start
    for program in started:
        program.end(signal.SIGKILL)


def test_the_program(programs: Any) -> None:
    program: Program = programs("--admin-secret-reference", "env:THE_SECRET", THE_SECRET="s3cret")
    assert f"listening on http://127.0.0.1:{program.port}" in program.first
    assert program.api.error("{ __typename }")[0] == "access-denied"
    assert Api(program.api.url, {"x-hasura-admin-secret": "s3cret"}).data("{ __typename }")
    command = Path(f"/proc/{program.process.pid}/cmdline").read_bytes()
    assert b"s3cret" not in command
    assert program.end(signal.SIGTERM) == 0
    again: Program = programs("--host", "0.0.0.0")
    assert "--admin-secret-reference is required" in again.first
    assert again.process.wait(20) == 2


def test_kill_keeps_the_last_commit(programs: Any) -> None:
    program: Program = programs()
    program.api.done("bigquery_add_source", {"name": "s", "configuration": configuration("hasura_test", "ours")})
    author = {"source": "s", "table": table("hasura_test", "author")}
    program.api.done("bigquery_track_table", author)
    acknowledged = [0]

    def change() -> None:
        for n in range(10_000):
            each = {**author, **permission(f"role_{n}", "*", {})}
            try:
                if program.api.metadata("bigquery_create_select_permission", each).status == 200:
                    acknowledged[0] = n + 1
            except (OSError, http.client.HTTPException):
                return

    writer = threading.Thread(target=change)
    writer.start()
    time.sleep(1.0)
    program.end(signal.SIGKILL)
    writer.join()
    assert acknowledged[0] > 3
    after: Program = programs()
    found = after.api.done("export_metadata", {}, version=2)
    roles = [each["role"] for each in found["metadata"]["sources"][0]["tables"][0]["select_permissions"]]
    # Everything that was acknowledged is there; at most the one under way is there as well.
    assert roles == [f"role_{n}" for n in range(len(roles))]
    assert acknowledged[0] <= len(roles) <= acknowledged[0] + 1
    assert found["resource_version"] == 3 + len(roles)
    assert len(after.api.data("{ hasura_test_author { id } }")["hasura_test_author"]) == 2


class Forwarder(socketserver.BaseRequestHandler):
    """Hands a connection on to BigQuery."""

    def handle(self) -> None:
        host, _, port = self.server.target.removeprefix("http://").rpartition(":")  # type: ignore[attr-defined]
        with socket.create_connection((host, int(port))) as there:
            pair = {self.request: there, there: self.request}
            while not self.server.ended:  # type: ignore[attr-defined]
                for ready in select.select(list(pair), [], [], 0.1)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    pair[ready].sendall(data)


def test_bigquery_away_at_start_and_back_later(tmp_path: Path, endpoint: str, warehouse: Recorded) -> None:
    first = Engine(Settings(state=tmp_path, port=0), warehouse)
    Api(first.url).done("replace_metadata", METADATA)
    first.stop()
    port = free_port()
    second = Engine(Settings(state=tmp_path, port=0), Recorded(f"http://127.0.0.1:{port}"))
    api = Api(second.url)
    try:
        answer = api.done("get_inconsistent_metadata", {})
        assert {each["type"] for each in answer["inconsistent_objects"]} == {"source"}
        assert "BigQuery cannot be reached" in answer["inconsistent_objects"][0]["reason"]
        assert api.request("GET", "/healthz").body == "WARN: inconsistent objects in schema"
        assert api.error("{ hasura_author { id } }")[0] == "validation-failed"
        assert api.done("export_metadata", {}, version=2)["metadata"] == METADATA
        with socketserver.ThreadingTCPServer(("127.0.0.1", port), Forwarder) as forwarder:
            forwarder.daemon_threads = True
            forwarder.target, forwarder.ended = endpoint, False  # type: ignore[attr-defined]
            threading.Thread(target=forwarder.serve_forever, daemon=True).start()
            for _ in range(300):
                if api.request("GET", "/healthz").body == "OK":
                    break
                time.sleep(0.1)
            assert len(api.data("{ hasura_author { id } }")["hasura_author"]) == 2
            forwarder.ended = True  # type: ignore[attr-defined]
            forwarder.shutdown()
        started = time.monotonic()
        api.graphql("{ hasura_author { id } }")  # may still go over the connection that is open
        while "errors" not in (body := api.graphql("{ hasura_author { id } }")):
            time.sleep(0.1)
        assert body["errors"][0]["message"] == "database cannot be reached"
        assert time.monotonic() - started < 20
    finally:
        second.stop()


def test_failures_of_bigquery_are_short(api: Api, client: Any, warehouse: Recorded) -> None:
    client.query_and_wait("CREATE OR REPLACE TABLE ours.gone (a INT64)")
    api.done("replace_metadata", {"version": 3, "sources": [source("s", [{"table": table("ours", "gone")}], "ours")]})
    client.delete_table("ours.gone")
    assert api.error("{ ours_gone { a } }") == ("unexpected", "$", "database query error")


def test_time_limit(engines: Any) -> None:
    api: Api = engines(limits=Limits(seconds=0.000001))
    api.done(
        "replace_metadata", {"version": 3, "sources": [source("s", [{"table": table("ours", "reading")}], "ours")]}
    )
    code, _, message = api.error("{ ours_reading { note } }")
    assert (code, message) == ("time-limit-exceeded", "the query took longer than 1e-06 s")


def test_schema_is_built_once_per_state(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from polyexpose_spark.engine import schema

    built: list[str] = []
    real = schema.build

    def build(catalog: Catalog, role: str, wide: bool) -> schema.RoleSchema:
        built.append(role)
        return real(catalog, role, wide)

    monkeypatch.setattr(schema, "build", build)
    api: Api = engines()
    api.done("replace_metadata", METADATA)
    for role in ("user", "admin", "nobody", "someone", "user", "admin"):
        api.as_role(role).graphql("{ __typename }")
    assert built == ["user", "admin", ""]
    api.done("reload_metadata", {})
    api.graphql("{ __typename }")
    assert built == ["user", "admin", "", "admin"]
