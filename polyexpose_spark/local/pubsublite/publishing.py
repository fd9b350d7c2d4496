"""PublisherService and TopicStatsService: messages in, and what is known of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
from google.cloud import pubsublite_v1 as lite

from polyexpose_spark.local.pubsublite.admin import time_target
from polyexpose_spark.local.pubsublite.messages import Cursor, CursorRange, Message, invalid
from polyexpose_spark.local.pubsublite.store import Store

PublishRequest = lite.PublishRequest.pb()
PublishResponse = lite.PublishResponse.pb()


class Publishing:
    """Answers the calls."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def publish(self, read: Callable[[], Awaitable[Message]], context: grpc.aio.ServicerContext) -> None:
        """Answer PublisherService.Publish."""
        request = await read()
        if request is None or request.WhichOneof("request_type") != "initial_request":
            raise invalid("initial_request must be set in the first request")
        topic, partition = request.initial_request.topic, int(request.initial_request.partition)
        client = request.initial_request.client_id
        if len(client) not in (0, 16):
            raise invalid("client_id must have 16 bytes")
        self._store.log(topic, partition)
        await context.write(PublishResponse(initial_response={}).SerializeToString())
        while (request := await read()) is not None:
            given = request.message_publish_request
            if request.WhichOneof("request_type") != "message_publish_request" or not given.messages:
                raise invalid("message_publish_request with messages must be set in every request after the first")
            # Looked up each time: the topic may be deleted meanwhile.
            stretches = self._store.log(topic, partition).append(given.messages, client, given.first_sequence_number)
            response = PublishResponse()
            for start, end, offset in stretches:
                response.message_response.cursor_ranges.append(
                    CursorRange(start_cursor=Cursor(offset=offset), start_index=start, end_index=end)
                )
            if stretches and stretches[0].start == 0:
                response.message_response.start_cursor.offset = stretches[0].offset
            response.message_response.SetInParent()
            await context.write(response.SerializeToString())

    def head_cursor(self, request: Message) -> Message:
        """Answer TopicStatsService.ComputeHeadCursor."""
        head = self._store.log(request.topic, int(request.partition)).head
        return lite.ComputeHeadCursorResponse.pb()(head_cursor=Cursor(offset=head))

    def time_cursor(self, request: Message) -> Message:
        """Answer TopicStatsService.ComputeTimeCursor."""
        log = self._store.log(request.topic, int(request.partition))
        kind, nanos = time_target(request.target)
        response = lite.ComputeTimeCursorResponse.pb()()
        at = log.published_at(-(-nanos // 1000)) if kind == "publish_time" else log.happened_at(nanos)
        if at is not None and at < log.head:
            response.cursor.offset = at
            response.cursor.SetInParent()
        return response

    def message_stats(self, request: Message) -> Message:
        """Answer TopicStatsService.ComputeMessageStats."""
        log = self._store.log(request.topic, int(request.partition))
        found = log.messages(int(request.start_cursor.offset), int(request.end_cursor.offset))
        response = lite.ComputeMessageStatsResponse.pb()(
            message_count=len(found), message_bytes=sum(each.size_bytes for each in found)
        )
        if found:
            response.minimum_publish_time.CopyFrom(found[0].publish_time)
        happened = [each.message.event_time for each in found if each.message.HasField("event_time")]
        if happened:
            response.minimum_event_time.CopyFrom(min(happened, key=lambda time: int(time.ToNanoseconds())))
        return response
