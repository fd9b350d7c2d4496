"""A gRPC proxy for calls with streams both ways, that can go wrong in the ways in which networks and services do."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc


@dataclass(frozen=True)
class Fault:
    """What happens at one request of a stream, the first one left out."""

    code: grpc.StatusCode
    at: int = 1
    """The how manieth request, over all streams."""
    lost: str = "request"
    """request: it never reaches the service; answer: it does, and what the service says is lost."""


class Proxy(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Forwards every call as bytes. Streams go on request by request, so that what is lost is known exactly."""

    def __init__(self, address: str, streams: tuple[str, ...], tls: grpc.ServerCredentials | None) -> None:
        self._upstream = grpc.insecure_channel(
            address.removeprefix("http://"), options=[("grpc.max_receive_message_length", -1)]
        )
        self._streams = streams
        self.faults: deque[Fault] = deque()
        self.refuses: dict[str, tuple[grpc.StatusCode, str]] = {}
        """Method name -> what every call of it is answered with."""
        self.seconds = 0.0
        """How long every answer of a stream is held back."""
        self.silent = threading.Event()
        """Set: no request of a stream is answered any more."""
        self.requests = 0
        """Of all streams, the first of each left out."""
        self.opened = 0
        """Streams."""
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=32), handlers=(self,), options=[("grpc.max_receive_message_length", -1)]
        )
        self.authorizations: list[str | None] = []
        """What every call brought along."""
        if tls is None:
            self.address = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        else:
            self.address = f"https://127.0.0.1:{self._server.add_secure_port('127.0.0.1:0', tls)}"
        self._server.start()

    def stop(self) -> None:
        self.silent.clear()
        self._server.stop(0).wait()
        self._upstream.close()

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        self.authorizations.append(dict(details.invocation_metadata).get("authorization"))
        metadata = [pair for pair in details.invocation_metadata if pair[0].startswith("x-goog")]

        def call(request: bytes, context: Any) -> Any:
            self._refuse(name, context)
            try:
                return self._upstream.unary_unary(details.method)(request, metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        def stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            self._refuse(name, context)
            self.opened += 1
            outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            upstream = self._upstream.stream_stream(details.method)(iter(outgoing.get, None), metadata=metadata)
            try:
                for number, request in enumerate(requests):
                    yield from self._forward(number, request, outgoing, upstream, context)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
            finally:
                outgoing.put(None)
                upstream.cancel()

        if name in self._streams:
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(call)

    def _refuse(self, name: str, context: Any) -> None:
        if name in self.refuses:
            context.abort(*self.refuses[name])

    def _forward(self, number: int, request: bytes, outgoing: Any, upstream: Any, context: Any) -> Iterator[bytes]:
        fault = None
        if number:
            self.requests += 1
            if self.faults and self.faults[0].at <= self.requests:
                fault = self.faults.popleft()
            while self.silent.is_set() and context.is_active():
                time.sleep(0.02)
        if fault and fault.lost == "request":
            context.abort(fault.code, "injected")
        outgoing.put(request)
        answer = next(upstream)
        if fault:
            context.abort(fault.code, "injected")
        time.sleep(self.seconds)
        yield answer


@contextlib.contextmanager
def proxy(address: str, *streams: str, tls: grpc.ServerCredentials | None = None) -> Iterator[Proxy]:
    """Run a proxy in front of a service; `streams` are the methods that are streams both ways."""
    running = Proxy(address, streams, tls)
    try:
        yield running
    finally:
        running.stop()
