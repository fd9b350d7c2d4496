"""The HTTP server: BigQuery's REST API on 127.0.0.1."""

from __future__ import annotations

import gzip
import json
import logging
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast

from polyexpose_spark.local.bigquery.errors import ApiError, invalid
from polyexpose_spark.local.bigquery.jobs import Jobs, as_api_error
from polyexpose_spark.local.bigquery.routes import Call, answer
from polyexpose_spark.local.bigquery.store import Resource, Store
from polyexpose_spark.local.bigquery.uploads import Answer, Uploads

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
MAX_JSON_BYTES = 64 << 20
UPLOAD = re.compile(r"(?:/resumable)?/upload/bigquery/v2/projects/([^/]+)/jobs")


class Server:
    """A BigQuery server that listens. `url` is what clients take as ``api_endpoint``."""

    def __init__(self, port: int, state: Path) -> None:
        """Open the state and the port (0 takes a free one), and start to answer.

        Raises OSError if the port is taken, duckdb.IOException if another process has the state.
        """
        store = Store(state)
        jobs = Jobs(store)
        uploads = Uploads(store.uploads, jobs.insert)
        try:
            self._http = _Http((HOST, port), type("Handler", (_Handler,), {"parts": (store, jobs, uploads)}))
        except OSError:
            store.close()
            raise
        self._store = store
        self.port = int(self._http.server_address[1])
        self.url = f"http://{HOST}:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, name="bigquery", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let what runs end, write the state, let go of port and file."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._store.close()


def serve(port: int, state: Path | str) -> Server:
    """Start a server with its state under the folder `state`; return it while it answers."""
    return Server(port, Path(state))


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement
    wbufsize = 1 << 16  # one write per answer
    timeout = 600
    parts: tuple[Store, Jobs, Uploads]

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _handle(self) -> None:
        self._unread = int(self.headers.get("Content-Length") or 0)
        try:
            done = self._answer()
        except Exception as error:  # noqa: BLE001 (every error is an answer)
            problem = as_api_error(error)
            done = Answer(problem.code, problem.body(), {})
        self._send(done)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def _answer(self) -> Answer:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        path = urllib.parse.unquote(url.path)
        upload = UPLOAD.fullmatch(path)
        if upload:
            return self._upload(upload.group(1), path, query)
        store, jobs, _ = self.parts
        body = self._json()
        call = Call(store, jobs, query, self.headers.get("If-Match"), body)
        try:
            found = answer(call, self.command, path)
        except KeyError as error:
            raise invalid(f"Required parameter is missing: {error.args[0]}") from error
        return Answer(204 if found is None else 200, found, {})

    @property
    def _stream(self) -> IO[bytes]:
        return cast("IO[bytes]", self.rfile)

    def _json(self) -> Resource:
        if self._unread > MAX_JSON_BYTES:
            raise ApiError(413, "invalid", "Request payload size exceeds the limit")
        raw = self.rfile.read(self._unread)
        self._unread = 0
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        if not raw:
            return {}
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise invalid("The request body is not JSON") from error
        if not isinstance(body, dict):
            raise invalid("The request body is not a JSON object")
        return body

    def _upload(self, project: str, path: str, query: dict[str, str]) -> Answer:
        uploads = self.parts[2]
        kind = query.get("uploadType")
        if self.command == "POST" and kind == "resumable":
            return uploads.start(project, self._json(), f"http://{self.headers['Host']}{path}")
        length, self._unread = self._unread, 0
        if self.command == "POST" and kind == "multipart":
            return uploads.multipart(project, self.headers.get("Content-Type", ""), self._stream, length)
        if self.command == "PUT":
            content_range = self.headers.get("Content-Range", "")
            return uploads.receive(query.get("upload_id", ""), content_range, self._stream, length)
        raise ApiError(501, "notImplemented", f"uploadType {kind} is not supported by this local BigQuery server")

    def _send(self, done: Answer) -> None:
        payload = b"" if done.body is None else json.dumps(done.body, ensure_ascii=False).encode()
        if self._unread:  # what was refused unread must not be taken for the next request
            self.close_connection = True
        self.send_response(done.status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in done.headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()
