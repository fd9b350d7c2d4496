"""A BigQuery over its real protocol, the tables of Hasura's own tests in it, and engines in front.

``POLYEXPOSE_TEST_BIGQUERY=http://host:port`` runs the tests against another server that speaks BigQuery's REST.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from sqlglot import exp

from polyexpose_spark.engine.access import Access
from polyexpose_spark.engine.bigquery import BigQuery, Parameter
from polyexpose_spark.engine.limits import Limits
from polyexpose_spark.engine.server import Engine, Settings
from tests.engine import tables

PROJECT = "shop"
GOOGLESQL = Path(__file__).parents[3] / "shared/tools/googlesql-check/run"


@dataclass
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]


class Api:
    """An engine as a client meets it: over HTTP."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self.headers = dict(headers or {})

    def as_role(self, role: str, **variables: str) -> Api:
        given = {f"x-hasura-{name.replace('_', '-')}": value for name, value in variables.items()}
        return Api(self.url, {**self.headers, "X-Hasura-Role": role, **given})

    def request(self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] = {}) -> Reply:
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **self.headers, **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, body, got = answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                status, body, got = error.code, error.read(), dict(error.headers)
        kind = got.get("Content-Type", "")
        return Reply(status, json.loads(body) if "json" in kind else body.decode(), got)

    def post(self, path: str, body: Any) -> Reply:
        return self.request("POST", path, json.dumps(body).encode())

    def metadata(self, kind: str, args: Any, **more: Any) -> Reply:
        return self.post("/v1/metadata", {"type": kind, "args": args, **more})

    def done(self, kind: str, args: Any, **more: Any) -> Any:
        reply = self.metadata(kind, args, **more)
        assert reply.status == 200, reply.body
        return reply.body

    def graphql(self, query: str, variables: Any = None, **more: Any) -> Any:
        reply = self.post("/v1/graphql", {"query": query, "variables": variables, **more})
        assert reply.status == 200, reply.body
        return reply.body

    def data(self, query: str, variables: Any = None) -> Any:
        body = self.graphql(query, variables)
        assert "errors" not in body, body
        return body["data"]

    def error(self, query: str, variables: Any = None) -> tuple[str, str, str]:
        body = self.graphql(query, variables)
        assert list(body) == ["errors"], body
        first = body["errors"][0]
        return first["extensions"]["code"], first["extensions"]["path"], first["message"]


class Recorded(BigQuery):
    """The real client; what it is asked to run is kept, and is held against the rule on sub-queries at once."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.texts: dict[str, None] = {}
        self.jobs = 0

    def query(
        self, project: str, sql: str, parameters: Sequence[Parameter], seconds: float
    ) -> Iterator[Mapping[str, Any]]:
        no_subquery_in_expressions(sql)
        self.texts.setdefault(sql)
        self.jobs += 1
        return super().query(project, sql, parameters, seconds)


def no_subquery_in_expressions(sql: str) -> None:
    """BigQuery refuses correlated sub-queries over another table. One in FROM or JOIN cannot be correlated."""
    tree = sqlglot.parse_one(sql, read="bigquery")
    for select in tree.find_all(exp.Select):
        if select is tree:
            continue
        holder = select.parent
        assert isinstance(holder, exp.Subquery), sql
        assert isinstance(holder.parent, exp.From | exp.Join), sql
    assert not list(tree.find_all(exp.Exists, exp.Lateral)), sql
    for literal in tree.find_all(exp.Literal):
        # 0 and 1 are the engine's own; whatever came from a caller is a parameter.
        assert literal.this in ("0", "1"), sql


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("POLYEXPOSE_TEST_BIGQUERY")
    if given:
        yield given
        return
    port = free_port()
    state = tmp_path_factory.mktemp("bigquery")
    command = [sys.executable, "-m", "polyexpose_spark.local.bigquery", "--port", str(port), "--state", str(state)]
    with (state / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            for _ in range(300):
                if server.poll() is not None:
                    pytest.fail((state / "log").read_text())
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="session")
def client(endpoint: str) -> Iterator[bigquery.Client]:
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = bigquery.Client(PROJECT, credentials=anonymous, client_options={"api_endpoint": endpoint})
    yield client
    client.close()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def seeded(client: bigquery.Client) -> None:
    for dataset in tables.DATASETS:
        client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
        client.create_dataset(dataset)
    for statement in tables.STATEMENTS:
        client.query_and_wait(statement)


@pytest.fixture(scope="session")
def warehouse(endpoint: str, seeded: None) -> Iterator[Recorded]:
    recorded = Recorded(endpoint)
    yield recorded
    check_with_googlesql(recorded.texts)


def check_with_googlesql(texts: Iterable[str]) -> None:
    """Google's own parser and analyzer over every text of this run, where the tool is there."""
    if not GOOGLESQL.exists():
        return
    # The tool's catalogue of functions lacks the numbering and geography functions. COUNT(*) OVER has the type of
    # ROW_NUMBER() OVER; texts with geography functions are parsed only.
    # It also takes no two tables of one name, whatever their datasets: those of hasura_test get another.
    statements = [
        re.sub(r"`hasura_test`\.`(\w+)`", r"`hasura_test`.`\1_test`", text.replace("ROW_NUMBER()", "COUNT(*)"))
        for text in texts
    ]
    declared = [
        {**each, "name": f"{each['name']}_test" if ".hasura_test." in each["name"] else each["name"]}
        for each in tables.DECLARED
    ]
    document = {"tables": declared, "statements": statements}
    found = subprocess.run([GOOGLESQL], input=json.dumps(document).encode(), capture_output=True, check=True)
    for text, verdict in zip(texts, json.loads(found.stdout), strict=True):
        assert verdict["parses"], (text, verdict)
        assert verdict["analyzes"] or "ST_" in text, (text, verdict)


@pytest.fixture
def engines(warehouse: Recorded, tmp_path: Path) -> Iterator[Any]:
    """Start engines of one's own: ``engines(secret="...", ...)``."""
    started: list[Engine] = []

    def start(secret: str | None = None, unauthorized: str | None = None, **settings: Any) -> Api:
        state = settings.pop("state", tmp_path / f"state{len(started)}")
        access = Access(secret, unauthorized)
        engine = Engine(Settings(state=state, port=0, access=access, **settings), warehouse)
        started.append(engine)
        return Api(engine.url, {"x-hasura-admin-secret": secret} if secret else {})

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture
def api(engines: Any) -> Api:
    """An engine with no metadata yet."""
    made: Api = engines()
    return made


@pytest.fixture(scope="session")
def hasura(warehouse: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An engine with the metadata of Hasura's own BigQuery tests. Tests only read from it."""
    engine = Engine(Settings(state=tmp_path_factory.mktemp("hasura"), port=0, limits=Limits(seconds=120)), warehouse)
    api = Api(engine.url)
    api.done("replace_metadata", tables.METADATA)
    yield api
    engine.stop()
