"""A real HTTP proxy in front of a server, which answers wrongly, late or not at all where it is told to."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What happens to the first `times` requests of this method (a pattern) and path (a pattern, with the query)."""

    method: str = ".*"
    path: str = ""
    status: int = 0
    """Answer with this status instead of the server's; the server does not see the request."""
    reason: str = "injected"
    reset: str = ""
    """`before`: the connection breaks before the server sees the request; `after`: before its answer is sent."""
    seconds: float = 0.0
    """Wait before the request is passed on."""
    change: Callable[[Any], Any] | None = None
    """Change the JSON that the server answered."""
    times: int = 1


@dataclass
class Proxy:
    """The proxy: its address, the faults to come, the requests seen as (method, path), and their JSON bodies."""

    address: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.seen.append((method, path))
            for each in self.faults:
                if each.times > 0 and re.fullmatch(each.method, method) and re.search(each.path, path):
                    each.times -= 1
                    return each
        return None

    @property
    def modifying(self) -> list[tuple[str, str]]:
        """Requests that may have changed something."""
        return [(method, path) for method, path in self.seen if method != "GET"]


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Run the proxy in front of `target` (http://HOST:PORT) on a port of its own."""
    behind = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if body and self.headers.get_content_type() == "application/json":
                state.sent.append(json.loads(body))
            fault = state.fault(self.command, self.path) or Fault()
            time.sleep(fault.seconds)
            if fault.reset == "before":
                return self.hang_up()
            if fault.status:
                error = {"reason": fault.reason, "message": f"{fault.reason} happened"}
                answer = {"error": {"code": fault.status, "message": error["message"], "errors": [error]}}
                return self.answer(fault.status, {"Content-Type": "application/json"}, json.dumps(answer).encode())
            connection = http.client.HTTPConnection(behind, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                got = connection.getresponse()
                content = got.read()
            except OSError:
                return self.hang_up()
            finally:
                connection.close()
            if fault.reset == "after":
                return self.hang_up()
            if fault.change is not None:
                content = json.dumps(fault.change(json.loads(content))).encode()
            return self.answer(got.status, {k: v.replace(behind, own) for k, v in got.getheaders()}, content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            with contextlib.suppress(OSError):  # a client that waited too long has gone
                self.send_response(status)
                for key, value in headers.items():
                    if key.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.wfile.flush()

        def hang_up(self) -> None:
            # With no time to linger, closing sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            pass  # a connection that was reset on purpose

    with Server(("127.0.0.1", 0), Handler) as server:
        own = f"127.0.0.1:{server.server_port}"
        state = Proxy(f"http://{own}")
        thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
