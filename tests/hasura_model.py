"""What Hasura v2 does with its metadata, command by command, and a server that does it over HTTP.

The rules and codes are those of Hasura's own metadata API (track: already-tracked; bulk: all or nothing, under a
resource version; drop_relationship and untrack_table: refused while something depends on it). Stricter than Hasura:
a request that the JSON Schema does not know fails the test.
"""

from __future__ import annotations

import copy
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = json.loads((Path(__file__).parent / "bigquery_metadata.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Refusal(Exception):
    def __init__(self, code: str, error: str) -> None:
        super().__init__(error)
        self.code = code


def run(metadata: dict[str, Any], commands: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the metadata after a bulk; all or nothing."""
    after = copy.deepcopy(metadata)
    for command in commands:
        _run(after, command["type"], copy.deepcopy(command["args"]))
    return after


def _run(metadata: dict[str, Any], type_: str, args: dict[str, Any]) -> None:
    sources = metadata["sources"]
    if type_ == "reload_metadata":
        for name in args["reload_sources"]:
            _one(sources, "name", name, "not-exists", f"Source with name {name} not found in metadata")
        return
    if type_ == "bigquery_add_source":
        if any(each["name"] == args["name"] for each in sources):
            raise Refusal("already-exists", f"source with name {args['name']!r} already exists")
        new = {"name": args["name"], "kind": "bigquery", "tables": [], "configuration": args["configuration"]}
        sources.append(new)
        return
    name = args.get("source", args.get("name"))
    source = _one(sources, "name", name, "not-exists", f"source with name {name!r} does not exist")
    if type_ == "bigquery_update_source":
        source["configuration"] = args["configuration"]
    elif type_ == "bigquery_drop_source":
        sources.remove(source)
    elif type_ == "bigquery_track_table":
        if any(each["table"] == args["table"] for each in source["tables"]):
            raise Refusal("already-tracked", f"view/table already tracked: {args['table']}")
        source["tables"].append({"table": args["table"], "configuration": _exported(args["configuration"])})
    else:
        tracked = _one(source["tables"], "table", args["table"], "not-exists", f"no table {args['table']}")
        _run_on_table(source, tracked, type_, args)


def _exported(configuration: dict[str, Any]) -> dict[str, Any]:
    """Hasura writes custom column names twice, and an empty object where there is nothing."""
    columns = configuration.get("column_config", {})
    older = {name: each["custom_name"] for name, each in columns.items() if "custom_name" in each}
    return {**configuration, "custom_root_fields": {}, "custom_column_names": older}


def _run_on_table(source: dict[str, Any], tracked: dict[str, Any], type_: str, args: dict[str, Any]) -> None:
    table = args["table"]
    if type_ == "bigquery_set_table_customization":
        tracked["configuration"] = _exported(args["configuration"])
    elif type_ == "bigquery_untrack_table":
        for on in source["tables"]:
            for each in _relationships(on):
                if on is not tracked and each["using"]["manual_configuration"]["remote_table"] == table:
                    raise Refusal("dependency-error", f"relationship {each['name']} depends on it")
        source["tables"].remove(tracked)
    elif type_ == "bigquery_create_select_permission":
        there = tracked.setdefault("select_permissions", [])
        if any(each["role"] == args["role"] for each in there) or args["role"] == "admin":
            raise Refusal("already-exists", f"select permission already defined for role {args['role']}")
        there.append({key: args[key] for key in ("role", "permission", "comment")})
    elif type_ == "bigquery_drop_select_permission":
        there = tracked.get("select_permissions", [])
        there.remove(_one(there, "role", args["role"], "permission-denied", "permission does not exist"))
    elif type_ == "bigquery_drop_relationship":
        for kind in ("object", "array"):
            there = tracked.get(f"{kind}_relationships", [])
            for each in [each for each in there if each["name"] == args["relationship"]]:
                there.remove(each)
                return
        raise Refusal("not-exists", f"no relationship {args['relationship']}")
    else:
        kind = type_.split("_")[2]
        if any(each["name"] == args["name"] for each in _relationships(tracked)):
            raise Refusal("already-exists", f"field with name {args['name']} already exists")
        remote = args["using"]["manual_configuration"]["remote_table"]
        _one(source["tables"], "table", remote, "unexpected", "cannot continue due to new inconsistent metadata")
        entry = {key: args[key] for key in ("name", "using", "comment")}
        tracked.setdefault(f"{kind}_relationships", []).append(entry)


def _relationships(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [*table.get("object_relationships", []), *table.get("array_relationships", [])]


def _one(entries: list[dict[str, Any]], key: str, value: Any, code: str, message: str) -> dict[str, Any]:
    for each in entries:
        if each[key] == value:
            return each
    raise Refusal(code, message)


# A fault: handles one request (the handler, and what would do the request's work) instead of the server.
Fault = Callable[["Handler", Callable[[], None]], None]


class Hasura(ThreadingHTTPServer):
    """Keeps metadata, records every request, and goes wrong as scripted: one fault for each request of a kind."""

    daemon_threads = True

    def __init__(self, metadata: dict[str, Any], secret: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.metadata = metadata
        self.secret = secret
        self.resource_version = 7
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.faults: dict[str, list[Fault]] = {}
        self.inconsistent: list[dict[str, Any]] = []
        self.answer_query: Callable[[str, str], dict[str, Any]] = lambda _query, _role: {"data": {}}
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.requests]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no error of this server."""


class Handler(BaseHTTPRequestHandler):
    server: Hasura
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.server.requests.append((self.path, {}, dict(self.headers)))
        self._faulty(self.path, self._get)

    def _get(self) -> None:
        if self.path == "/v1/version":
            self.answer(200, {"server_type": "ce", "version": "v2.50.3"})
        else:
            self.answer(200, "OK")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = body["type"] if self.path == "/v1/metadata" else self.path
        if self.path == "/v1/metadata":
            VALIDATOR.validate(body)
        self.server.requests.append((kind, body, {key.lower(): value for key, value in self.headers.items()}))
        self._faulty(kind, lambda: self._post(body))

    def _faulty(self, kind: str, work: Callable[[], None]) -> None:
        faults = self.server.faults.get(kind)
        if faults:
            faults.pop(0)(self, work)
        else:
            work()

    def _post(self, body: dict[str, Any]) -> None:
        if self.server.secret is not None and self.headers.get("x-hasura-admin-secret") != self.server.secret:
            message = "invalid x-hasura-admin-secret/x-hasura-access-key"
            if self.path == "/v1/metadata":
                return self.answer(401, {"path": "$", "error": message, "code": "access-denied"})
            extensions = {"path": "$", "code": "access-denied"}
            return self.answer(200, {"errors": [{"message": message, "extensions": extensions}]})
        if self.path == "/v1/graphql":
            return self.answer(200, self.server.answer_query(body["query"], self.headers["x-hasura-role"]))
        with self.server.lock:
            return self.answer(*self.effect(body))

    def effect(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Carry out a metadata command; return status and answer."""
        hasura = self.server
        if body["type"] == "export_metadata":
            return 200, {"resource_version": hasura.resource_version, "metadata": hasura.metadata}
        if body["type"] == "get_inconsistent_metadata":
            found = hasura.inconsistent
            return 200, {"is_consistent": not found, "inconsistent_objects": found}
        if body.get("resource_version", hasura.resource_version) != hasura.resource_version:
            said = f"metadata resource version referenced ({body['resource_version']}) did not match current version"
            return 409, {"path": "$", "error": said, "code": "conflict"}
        try:
            hasura.metadata = run(hasura.metadata, body["args"])
        except Refusal as refusal:
            return 400, {"path": "$.args[0].args", "error": str(refusal), "code": refusal.code}
        hasura.resource_version += 1
        return 200, [{"message": "success"} for _ in body["args"]]

    def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def reset(self) -> None:
        """Close the connection as a crashed server does: with a reset, not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def status(code: int, body: Any = "", headers: dict[str, str] | None = None) -> Fault:
    """Answer with this status; the request has no effect."""
    return lambda handler, _work: handler.answer(code, body, headers)


def reset_before(handler: Handler, _work: Callable[[], None]) -> None:
    """Reset the connection; the request has no effect."""
    handler.reset()


def reset_after(handler: Handler, work: Callable[[], None]) -> None:
    """Let the request take effect, then reset the connection instead of answering."""
    handler.answer = lambda *_: None  # type: ignore[method-assign]
    work()
    del handler.answer
    handler.reset()


def slow(seconds: float) -> Fault:
    def fault(_handler: Handler, work: Callable[[], None]) -> None:
        time.sleep(seconds)
        work()

    return fault


def trickle(handler: Handler, _work: Callable[[], None]) -> None:
    """Answer with one byte every 50 ms, for 50 s."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


@contextmanager
def serving(metadata: dict[str, Any], secret: str | None = None) -> Iterator[Hasura]:
    hasura = Hasura(copy.deepcopy(metadata), secret)
    thread = threading.Thread(target=hasura.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hasura
    finally:
        hasura.shutdown()
        thread.join()
        hasura.server_close()
