"""A proxy in front of a service whose calls are streams both ways, that can go wrong as networks and services do."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc


@dataclass
class GrpcProxy:
    """What the proxy does with unary requests, to be changed while it runs."""

    port: int = 0
    before: Callable[[int], grpc.StatusCode | None] = lambda _: None
    """Number of the request, from 0 -> answer with this status, and the server does not see the request."""
    after: Callable[[int], grpc.StatusCode | None] = lambda _: None
    """Likewise, after the server has done it."""
    seen: list[bytes] = field(default_factory=list)
    """The requests."""


@contextlib.contextmanager
def grpc_proxy(target: int) -> Iterator[GrpcProxy]:
    """Run the proxy on a free port of 127.0.0.1."""
    state, lock = GrpcProxy(), threading.Lock()

    class Everything(grpc.GenericRpcHandler):
        def service(self, details: Any) -> grpc.RpcMethodHandler:
            def passes_on(request: bytes, context: grpc.ServicerContext) -> bytes:
                with lock:
                    number = len(state.seen)
                    state.seen.append(request)
                if (status := state.before(number)) is not None:
                    context.abort(status, "injected")
                answer = channel.unary_unary(details.method)(request, timeout=30)
                if (status := state.after(number)) is not None:
                    context.abort(status, "injected")
                return bytes(answer)

            return grpc.unary_unary_rpc_method_handler(passes_on)

    server = grpc.server(ThreadPoolExecutor(16), (Everything(),))
    state.port = server.add_insecure_port("127.0.0.1:0")
    with grpc.insecure_channel(f"127.0.0.1:{target}") as channel:
        server.start()
        try:
            yield state
        finally:
            server.stop(0).wait()
