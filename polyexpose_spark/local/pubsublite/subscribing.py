"""SubscriberService and CursorService: streams of messages, seeks, cursors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from google.cloud import pubsublite_v1 as lite
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from polyexpose_spark.local.pubsublite.assigning import Assignments
from polyexpose_spark.local.pubsublite.log import PartitionLog
from polyexpose_spark.local.pubsublite.messages import (
    Cursor,
    Failure,
    Message,
    invalid,
    messages_response,
)
from polyexpose_spark.local.pubsublite.store import Store

SeekRequest = lite.SeekRequest.pb()
SubscribeRequest = lite.SubscribeRequest.pb()
SubscribeResponse = lite.SubscribeResponse.pb()
CommitRequest = lite.StreamingCommitCursorRequest.pb()
CommitResponse = lite.StreamingCommitCursorResponse.pb()


class Reset(Failure):
    """The signal that the cursor was moved by a seek; google.cloud.pubsublite.internal.wire.reset_signal reads it."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.ABORTED, "The subscription was sought")

    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return the trailing metadata that make it more than any aborted stream."""
        detail = AnyMessage()
        detail.Pack(error_details_pb2.ErrorInfo(reason="RESET", domain="pubsublite.googleapis.com"))
        status = status_pb2.Status(code=self.code.value[0], message=str(self), details=[detail])
        return (("grpc-status-details-bin", status.SerializeToString()),)


@dataclass(eq=False)
class _Stream:
    """A subscriber that is connected to a partition."""

    log: PartitionLog
    next: int
    """The offset of the message to be sent next."""
    messages: int = 0
    bytes: int = 0
    """What it may be sent."""
    answers: list[Message] = field(default_factory=list)
    """To be sent before messages."""
    failure: Failure | None = None
    ended: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.wake.set()


class Subscribers:
    """All that is connected to subscriptions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._streams: dict[tuple[str, int], set[_Stream]] = {}
        self._assignments = Assignments(self._partitions)
        # Partitions whose subscribers have not taken up a seek yet.
        self._sought: set[tuple[str, int]] = set()

    async def subscribe(self, read: Callable[[], Awaitable[Message]], context: grpc.aio.ServicerContext) -> None:
        """Answer SubscriberService.Subscribe."""
        request = await _first(read, "initial")
        name, partition = request.initial.subscription, int(request.initial.partition)
        log = self._store.log(self._topic(name), partition)
        where = request.initial.initial_location
        if (name, partition) in self._sought:
            if where.WhichOneof("target") == "cursor":
                # It goes on from where it was, so it has not heard of the seek.
                raise Reset
            self._sought.discard((name, partition))
        stream = _Stream(log, self._position(name, partition, log, where))
        await context.write(_serialized(SubscribeResponse, "initial", stream.next))
        streams = self._streams.setdefault((name, partition), set())
        streams.add(stream)
        log.listeners.add(stream.wake)
        reader = asyncio.create_task(self._listen(stream, name, partition, read))
        try:
            await _send(stream, context)
        finally:
            reader.cancel()
            log.listeners.discard(stream.wake)
            streams.discard(stream)
        if stream.failure:
            raise stream.failure

    async def assign(self, read: Callable[[], Awaitable[Message]], context: grpc.aio.ServicerContext) -> None:
        """Answer PartitionAssignmentService.AssignPartitions."""
        request = await _first(read, "initial")
        if len(request.initial.client_id) != 16:
            raise invalid("client_id must have 16 bytes")
        name = request.initial.subscription
        self._topic(name)
        await self._assignments.serve(name, request.initial.client_id, read, context)

    async def stream_commits(self, read: Callable[[], Awaitable[Message]], context: grpc.aio.ServicerContext) -> None:
        """Answer CursorService.StreamingCommitCursor."""
        request = await _first(read, "initial")
        name, partition = request.initial.subscription, int(request.initial.partition)
        self._store.log(self._topic(name), partition)
        await context.write(CommitResponse(initial=lite.InitialCommitCursorResponse.pb()()).SerializeToString())
        while (request := await read()) is not None:
            if request.WhichOneof("request") != "commit":
                raise invalid("commit must be set in every request after the first")
            self._commit(name, partition, request.commit.cursor.offset)
            answer = lite.SequencedCommitCursorResponse.pb()(acknowledged_commits=1)
            await context.write(CommitResponse(commit=answer).SerializeToString())

    def commit(self, request: Message) -> Message:
        """Answer CursorService.CommitCursor."""
        self._store.log(self._topic(request.subscription), int(request.partition))
        self._commit(request.subscription, int(request.partition), request.cursor.offset)
        return lite.CommitCursorResponse.pb()()

    def cursors(self, request: Message) -> Message:
        """Answer CursorService.ListPartitionCursors."""
        topic = self._topic(request.parent)
        after = int(request.page_token) if request.page_token.isdecimal() else -1
        rest = [number for number in range(self._store.partitions(topic)) if number > after]
        page = rest[: request.page_size] if request.page_size > 0 else rest
        there = self._store.cursors(request.parent)
        listed = [
            lite.PartitionCursor.pb()(partition=number, cursor=Cursor(offset=there.get(number, 0))) for number in page
        ]
        token = str(page[-1]) if len(page) < len(rest) else ""
        return lite.ListPartitionCursorsResponse.pb()(partition_cursors=listed, next_page_token=token)

    def seek(self, subscription: str, partition: int, position: int) -> None:
        """Move a cursor, and tell those who are connected, who begin there when they have dealt with what they have."""
        self._store.commit(subscription, partition, position)
        for stream in self._streams.get((subscription, partition), set()):
            self._sought.add((subscription, partition))
            stream.fail(Reset())

    def break_off(self, subscription: str, failure: Failure) -> None:
        """End everything that is connected to a subscription."""
        for (name, _), streams in self._streams.items():
            if name == subscription:
                for stream in streams:
                    stream.fail(failure)
        self._sought = {key for key in self._sought if key[0] != subscription}
        self._assignments.break_off(subscription, failure)

    def share_anew(self, topic: str) -> None:
        """Share the partitions of a topic anew, because it has others than before."""
        for each in self._store.all("subscriptions"):
            if each.topic == topic:
                self._assignments.share_anew(each.name)

    def _topic(self, subscription: str) -> str:
        return str(self._store.get("subscriptions", subscription).topic)

    def _partitions(self, subscription: str) -> int:
        return self._store.partitions(self._topic(subscription))

    def _commit(self, subscription: str, partition: int, position: int) -> None:
        if not 0 <= position <= self._store.log(self._topic(subscription), partition).head:
            raise invalid(f"cursor: {position} is beyond the last message")
        # What a subscriber commits between a seek and its answer to it is of before the seek.
        if (subscription, partition) not in self._sought:
            self._store.commit(subscription, partition, position)

    def _position(self, name: str, partition: int, log: PartitionLog, where: Message) -> int:
        if where.WhichOneof("target") == "cursor":
            position = int(where.cursor.offset)
        elif where.named_target == SeekRequest.HEAD:
            position = log.head
        else:
            position = self._store.cursor(name, partition)
        if not 0 <= position <= log.head:
            raise Failure(grpc.StatusCode.OUT_OF_RANGE, f"cursor: {position} is beyond the last message")
        return position

    async def _listen(self, stream: _Stream, name: str, partition: int, read: Callable[[], Awaitable[Message]]) -> None:
        """Take what the subscriber says."""
        while (request := await read()) is not None:
            try:
                kind = request.WhichOneof("request")
                if kind == "flow_control":
                    if request.flow_control.allowed_messages < 0 or request.flow_control.allowed_bytes < 0:
                        raise invalid("tokens must not be negative")
                    stream.messages += request.flow_control.allowed_messages
                    stream.bytes += request.flow_control.allowed_bytes
                elif kind == "seek":
                    stream.next = self._position(name, partition, stream.log, request.seek)
                    stream.messages = stream.bytes = 0
                    stream.answers.append(_serialized(SubscribeResponse, "seek", stream.next))
                else:
                    raise invalid("flow_control or seek must be set in every request after the first")
            except Failure as failure:
                stream.fail(failure)
                return
            stream.wake.set()
        stream.ended = True
        stream.wake.set()


async def _send(stream: _Stream, context: grpc.aio.ServicerContext) -> None:
    """Send what the subscriber may have, until it or a failure ends the stream."""
    while not stream.failure and not stream.ended:
        stream.wake.clear()
        if stream.answers:
            await context.write(stream.answers.pop(0))
            continue
        found = stream.log.read(stream.next, stream.messages, stream.bytes) if stream.messages > 0 else None
        if found is None:
            await stream.wake.wait()
            continue
        stream.next = found.next
        stream.messages -= found.number
        stream.bytes -= found.size
        await context.write(messages_response(found.response))


async def _first(read: Callable[[], Awaitable[Message]], field_: str) -> Message:
    request = await read()
    if request is None or not request.HasField(field_):
        raise invalid(f"{field_} must be set in the first request")
    return request


def _serialized(response: Message, field_: str, position: int) -> bytes:
    message = response()
    getattr(message, field_).cursor.offset = position
    getattr(message, field_).SetInParent()
    written: bytes = message.SerializeToString()
    return written
