"""The gRPC server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from google.cloud import pubsublite_v1 as lite
from google.longrunning import operations_pb2

from polyexpose_spark.local.pubsublite.admin import Admin
from polyexpose_spark.local.pubsublite.messages import PACKAGE, Failure, Message
from polyexpose_spark.local.pubsublite.publishing import Publishing
from polyexpose_spark.local.pubsublite.store import Store
from polyexpose_spark.local.pubsublite.subscribing import Reset, Subscribers

HOST = "127.0.0.1"
# Above the largest message, so that one that is too large is refused with a reason.
_REQUEST_BYTES = 16 << 20
_STOP_SECONDS = 0.2
_NOT_STORED = (OSError, sqlite3.Error)

Read = Callable[[], Awaitable[Message]]


class Server:
    """A Pub/Sub Lite server that listens. `endpoint` is what clients take as ``api_endpoint``."""

    def __init__(self, store: Store, port: int) -> None:
        """Take the port (0: a free one).

        Raises:
            OSError: it is taken.
        """
        self._store = store
        options = [("grpc.max_receive_message_length", _REQUEST_BYTES), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.aio.server(options=options)
        self._grpc.add_generic_rpc_handlers(_handlers(store))
        try:
            self.port = self._grpc.add_insecure_port(f"{HOST}:{port}")
        except RuntimeError as error:
            raise OSError(f"port {port} is taken") from error
        self.endpoint = f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Begin to answer."""
        await self._grpc.start()

    async def stop(self) -> None:
        """End the streams, let go of port and files."""
        await self._grpc.stop(_STOP_SECONDS)
        # The calls that this cancelled have their last word.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=_STOP_SECONDS)
        self._store.close()


async def serve(port: int, state: Path) -> Server:
    """Start a server with its state under the folder `state`; return it while it answers.

    Raises:
        OSError, sqlite3.Error: the port is taken, or another process has the state.
    """
    store = Store(state)
    try:
        server = Server(store, port)
    except OSError:
        store.close()
        raise
    await server.start()
    return server


def _handlers(store: Store) -> tuple[Any, ...]:
    subscribers, publishing = Subscribers(store), Publishing(store)
    admin = Admin(store, subscribers)
    streams: dict[str, dict[str, tuple[Any, Message]]] = {
        "PublisherService": {"Publish": (publishing.publish, lite.PublishRequest.pb())},
        "SubscriberService": {"Subscribe": (subscribers.subscribe, lite.SubscribeRequest.pb())},
        "PartitionAssignmentService": {
            "AssignPartitions": (subscribers.assign, lite.PartitionAssignmentRequest.pb()),
        },
    }
    calls: dict[str, dict[str, tuple[Any, Message]]] = {
        "AdminService": admin.calls(),
        "TopicStatsService": {
            "ComputeHeadCursor": (publishing.head_cursor, lite.ComputeHeadCursorRequest.pb()),
            "ComputeTimeCursor": (publishing.time_cursor, lite.ComputeTimeCursorRequest.pb()),
            "ComputeMessageStats": (publishing.message_stats, lite.ComputeMessageStatsRequest.pb()),
        },
    }
    cursors = {
        "StreamingCommitCursor": _stream(subscribers.stream_commits, lite.StreamingCommitCursorRequest.pb()),
        "CommitCursor": _call(subscribers.commit, lite.CommitCursorRequest.pb()),
        "ListPartitionCursors": _call(subscribers.cursors, lite.ListPartitionCursorsRequest.pb()),
    }
    services: dict[str, dict[str, Any]] = {f"{PACKAGE}.CursorService": cursors}
    for name, methods in streams.items():
        services[f"{PACKAGE}.{name}"] = {method: _stream(*answer) for method, answer in methods.items()}
    for name, unary in calls.items():
        services[f"{PACKAGE}.{name}"] = {method: _call(*answer) for method, answer in unary.items()}
    operation = _call(admin.operation, operations_pb2.GetOperationRequest)
    services["google.longrunning.Operations"] = {"GetOperation": operation}
    return tuple(grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items())


def _call(answer: Callable[[Message], Message], request: Message) -> Any:
    async def handle(given: Message, context: grpc.aio.ServicerContext) -> bytes:
        try:
            written: bytes = answer(given).SerializeToString()
        except Failure as failure:
            await context.abort(failure.code, str(failure))
        except _NOT_STORED as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Cannot store it: {error}")
        return written

    return grpc.unary_unary_rpc_method_handler(handle, request_deserializer=request.FromString)


def _stream(answer: Callable[[Read, grpc.aio.ServicerContext], Awaitable[None]], request: Message) -> Any:
    async def handle(_: Any, context: grpc.aio.ServicerContext) -> None:
        async def read() -> Message | None:
            given = await context.read()
            return None if given is grpc.aio.EOF else given

        try:
            await answer(read, context)
        except Reset as reset:
            await context.abort(reset.code, str(reset), reset.metadata())
        except Failure as failure:
            await context.abort(failure.code, str(failure))
        except _NOT_STORED as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"Cannot store it: {error}")

    return grpc.stream_stream_rpc_method_handler(handle, request_deserializer=request.FromString)
