"""The HTTP side: routes, limits of a request, who may call what. No stack trace ever leaves it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from polyexpose_spark import __version__
from polyexpose_spark.engine.access import Access, AccessDenied
from polyexpose_spark.engine.bigquery import BigQuery, Warehouse
from polyexpose_spark.engine.catalog import ADMIN
from polyexpose_spark.engine.console import Console
from polyexpose_spark.engine.execute import Graphql
from polyexpose_spark.engine.failure import MetadataError, QueryError
from polyexpose_spark.engine.limits import Limits
from polyexpose_spark.engine.metadata import MetadataApi
from polyexpose_spark.engine.store import Store
from polyexpose_spark.errors import ConfigError, TargetFailed

logger = logging.getLogger(__name__)

# The Hasura release whose behaviour is followed; clients look at the number (2.26 brought track_tables).
VERSION = f"v2.50.3-polyexpose.{__version__}"
_SECONDS_IDLE = 75.0


@dataclass(frozen=True)
class Settings:
    """Everything that can be set about an engine.

    Args:
        state: folder of the metadata file.
        port: 0 takes a free one.
        host: anything but a loopback address needs ``access.secret``.
        bigquery_endpoint: None is Google's BigQuery with application default credentials.
        string_numeric_input: Hasura's experimental feature ``bigquery_string_numeric_input``.
        cors_origins: origins that browsers may call from; ``*`` is any.
        console_assets: folder of the four files of the console page; None serves no console.
    """

    state: Path
    port: int = 8080
    host: str = "127.0.0.1"
    bigquery_endpoint: str | None = None
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    string_numeric_input: bool = False
    cors_origins: tuple[str, ...] = ()
    console_assets: Path | None = None


class Engine:
    """A running engine: ``url``, ``stop()``."""

    def __init__(self, settings: Settings, warehouse: Warehouse) -> None:
        self.settings = settings
        self._store = Store(settings.state)
        try:
            self.metadata = MetadataApi(self._store, warehouse)
            self.graphql = Graphql(self.metadata.catalog, warehouse, settings.limits, settings.string_numeric_input)
            self.console = Console(settings.console_assets)
            self._server = _Server((settings.host, settings.port), self)
        except BaseException:
            self._store.close()
            raise
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests and let go of port and state folder."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.graphql.close()
        self._store.close()


def serve(settings: Settings) -> Engine:
    """Start an engine in threads of this process.

    Raises:
        ConfigError: an address that others can reach without an admin secret, a folder that cannot be used.
        TargetFailed: the port is taken.
        TargetUnavailable: another engine uses the state folder.
    """
    if settings.access.secret is None and settings.host not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(
            f"--host {settings.host}: others can reach this address, so --admin-secret-reference is required"
        )
    if settings.access.secret == "":
        raise ConfigError("--admin-secret-reference: the secret is empty")
    return Engine(settings, BigQuery(settings.bigquery_endpoint))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], engine: Engine) -> None:
        self.engine = engine
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise TargetFailed(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from error

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which can take seconds where there is no resolver.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("connection from %s ended", client_address, exc_info=True)


class _Refused(Exception):
    """A request that gets no further than HTTP."""

    def __init__(self, status: int, code: str, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"path": "$", "error": error, "code": code}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "polyexpose"
    sys_version = ""
    timeout = _SECONDS_IDLE
    # Without it every answer waits for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        engine = self.server.engine
        if path == "/healthz":
            wrong = engine.metadata.catalog().inconsistent
            self._send(200, b"WARN: inconsistent objects in schema" if wrong else b"OK", "text/plain; charset=utf-8")
        elif path == "/v1/version":
            self._json(200, {"server_type": "ce", "version": VERSION})
        elif path in ("/v1/graphql", "/v1/metadata"):
            self._json(405, _Refused(405, "not-supported", "only POST is supported").body, {"Allow": "POST, OPTIONS"})
        elif path == "/":
            self._send(302, b"", "text/plain; charset=utf-8", {"Location": "/console"})
        elif path == "/console" or path.startswith("/console/"):
            page = engine.console.get(path)
            self._send(page.status, page.body, page.content_type, page.headers)
        else:
            self._json(404, {"path": "$", "error": "resource does not exist", "code": "not-found"})

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        try:
            body = self._body()
            if path == "/v1/graphql":
                self._graphql(body)
            elif path == "/v1/metadata":
                self._metadata(body)
            else:
                raise _Refused(404, "not-found", "resource does not exist")
        except _Refused as refused:
            self._json(refused.status, refused.body)
        except Exception:
            logger.exception("request failed")
            self._json(500, {"path": "$", "error": "internal error", "code": "unexpected"})

    def do_OPTIONS(self) -> None:
        allowed = {
            "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
            "Access-Control-Allow-Headers": self.headers.get("Access-Control-Request-Headers", ""),
            "Access-Control-Max-Age": "600",
        }
        self._send(204, b"", "text/plain; charset=utf-8", allowed if self._origin() else {})

    def _graphql(self, body: bytes) -> None:
        started = time.perf_counter()
        engine = self.server.engine
        try:
            session = engine.settings.access.session(self._headers())
        except AccessDenied as denied:
            self._json(200, QueryError(str(denied), code="access-denied").body())
            return
        request = _parsed(body)
        if isinstance(request, list):
            if len(request) > engine.settings.limits.batch:
                limit = f"more than {engine.settings.limits.batch} operations in one request"
                self._json(200, QueryError(limit, code="limit-exceeded").body())
                return
            answers = [engine.graphql.answer(each, session) for each in request]
            bigquery = sum(each.bigquery_seconds for each in answers)
            payload: Any = [each.body for each in answers]
        else:
            answer = engine.graphql.answer(request, session)
            bigquery, payload = answer.bigquery_seconds, answer.body
        data = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        total = time.perf_counter() - started
        timing = f"bigquery;dur={bigquery * 1000:.2f}, total;dur={total * 1000:.2f}"
        self._send(200, data, "application/json; charset=utf-8", {"Server-Timing": timing})

    def _metadata(self, body: bytes) -> None:
        engine = self.server.engine
        try:
            session = engine.settings.access.session(self._headers())
        except AccessDenied as denied:
            raise _Refused(401, "access-denied", str(denied)) from None
        if session.role != ADMIN:
            refused = MetadataError("access-denied", "restricted access : admin only")
            self._json(400, refused.body())
            return
        try:
            self._json(200, engine.metadata.run(_parsed(body)))
        except MetadataError as error:
            self._json(error.status, error.body())

    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _body(self) -> bytes:
        limit = self.server.engine.settings.limits.request_bytes
        length = self.headers.get("Content-Length")
        problem = None
        if "Transfer-Encoding" in self.headers or length is None or not length.isdigit():
            problem = _Refused(411, "bad-request", "a request needs a Content-Length")
        elif int(length) > limit:
            problem = _Refused(413, "bad-request", f"a request may have at most {limit} bytes")
        if problem is not None:
            # What was sent stays unread, so nothing more can follow on this connection.
            self.close_connection = True
            raise problem
        return self.rfile.read(int(length or 0))

    def _origin(self) -> str | None:
        origin = self.headers.get("Origin")
        allowed = self.server.engine.settings.cors_origins
        return origin if origin and (origin in allowed or "*" in allowed) else None

    def _json(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(payload, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._send(status, data, "application/json; charset=utf-8", headers)

    def _send(self, status: int, data: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        origin = self._origin()
        if origin is not None:
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Vary", "Origin")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _Refused(400, "invalid-json", "the request is not JSON") from None
