"""The GraphQL engine: its own share of a nested query, 50 clients at once, memory over many requests.

Own share: what the client waits, less what the engine says it waited for BigQuery (header `Server-Timing`).
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.ports import free_port

QUERIES = 500
CLIENTS, EACH = 50, 20
REQUESTS = 50_000

TABLES = (
    "CREATE TABLE air.flights AS SELECT n AS id, CONCAT('N', CAST(MOD(n, 3000) AS STRING)) AS tailnum, "
    "CONCAT('C', CAST(MOD(n, 16) AS STRING)) AS carrier, MOD(n, 1440) AS dep, MOD(n, 7) * 1.5 AS delay, "
    "TIMESTAMP '2013-01-01 00:00:00+00' AS t, DATE '2013-01-01' AS d FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS n",
    "CREATE TABLE air.planes AS SELECT CONCAT('N', CAST(n AS STRING)) AS tailnum, 'm' AS model, 100 AS seats "
    "FROM UNNEST(GENERATE_ARRAY(0, 2999)) AS n",
    "CREATE TABLE air.airlines AS SELECT CONCAT('C', CAST(n AS STRING)) AS carrier, 'name' AS name "
    "FROM UNNEST(GENERATE_ARRAY(0, 15)) AS n",
)
QUERY = (
    "query ($after: Int!) { air_flights(where: {id: {_gt: $after}}, order_by: {id: asc}, limit: 50) "
    "{ id tailnum carrier dep delay t d plane { model seats } airline { name } } }"
)


def measure() -> dict[str, Any]:
    """Return milliseconds, requests a second and MiB."""
    with tempfile.TemporaryDirectory() as folder, _bigquery(folder) as bigquery:
        _fill(bigquery)
        with _engine(folder, bigquery) as (process, port):
            _track(port)
            return {
                "list of 50 rows with two object relationships": _own_share(port),
                f"{CLIENTS} clients at once": _crowd(port),
                f"memory over {REQUESTS} requests": _memory(process, port),
            }


def _own_share(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    own, total = [], []
    for number in range(QUERIES):
        began = time.perf_counter()
        _, timing = _ask(connection, {"query": QUERY, "variables": {"after": number * 7}})
        waited = (time.perf_counter() - began) * 1000
        total.append(waited)
        own.append(waited - float(timing.split("dur=")[1].split(",")[0]))
    own, total = sorted(own[20:]), sorted(total[20:])  # the first ones build the schema
    return {
        "own p50 ms": _at(own, 0.5),
        "own p99 ms": _at(own, 0.99),
        "total p50 ms": _at(total, 0.5),
        "total p99 ms": _at(total, 0.99),
    }


def _crowd(port: int) -> dict[str, float]:
    waited: list[float] = []
    errors: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for number in range(EACH):
            began = time.perf_counter()
            try:
                _ask(connection, {"query": QUERY, "variables": {"after": number}})
            except (OSError, KeyError, http.client.HTTPException) as error:
                errors.append(str(error))
            waited.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    waited.sort()
    return {
        "requests/s": round(len(waited) / took),
        "p50 ms": _at(waited, 0.5),
        "p99 ms": _at(waited, 0.99),
        "errors": len(errors),
    }


def _memory(process: subprocess.Popen[bytes], port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    found = {}
    for number in range(REQUESTS + 1):
        if number in (REQUESTS // 10, REQUESTS):
            found[f"MiB after {number}"] = _resident(process.pid)
        _ask(connection, {"query": "{ __typename }"})
    return found


def _ask(connection: http.client.HTTPConnection, body: dict[str, Any], path: str = "/v1/graphql") -> tuple[Any, str]:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    if path == "/v1/graphql":
        found = found["data"]
    return found, answer.headers.get("Server-Timing") or ""


def _fill(endpoint: str) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    client = bigquery.Client("p", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint})
    client.create_dataset("air")
    for statement in TABLES:
        client.query_and_wait(statement)


def _track(port: int) -> None:
    def relationship(name: str, to: str, column: str) -> dict[str, Any]:
        mapping = {"remote_table": {"dataset": "air", "name": to}, "column_mapping": {column: column}}
        return {"name": name, "using": {"manual_configuration": mapping}}

    related = [relationship("plane", "planes", "tailnum"), relationship("airline", "airlines", "carrier")]
    tables: list[dict[str, Any]] = [{"table": {"dataset": "air", "name": name}} for name in ("planes", "airlines")]
    tables.append({"table": {"dataset": "air", "name": "flights"}, "object_relationships": related})
    configuration = {"service_account": {"from_env": "X"}, "project_id": "p", "datasets": ["air"]}
    source = {"name": "s", "kind": "bigquery", "configuration": configuration, "tables": tables}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    _ask(connection, {"type": "replace_metadata", "args": {"version": 3, "sources": [source]}}, "/v1/metadata")


@contextmanager
def _bigquery(folder: str) -> Iterator[str]:
    port = free_port()
    with _server("polyexpose_spark.local.bigquery", port, "--state", f"{folder}/bigquery"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _engine(folder: str, bigquery: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    arguments = ("--state", f"{folder}/engine", "--bigquery-endpoint", bigquery)
    with _server("polyexpose_spark.engine", port, *arguments) as process:
        yield process, port


@contextmanager
def _server(module: str, port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise SystemExit(f"{module} does not answer")
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def _resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return round(int(status.split("VmRSS:")[1].split()[0]) / 1024)


def _at(ordered: list[float], share: float) -> float:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 2)
