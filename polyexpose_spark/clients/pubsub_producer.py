"""Sends events to Pub/Sub from an executor, by the generated client of google-cloud-pubsub.

All messages of one request share an ordering key, and the next request of that key waits for the answer to the one
before. So order holds through retries; several ordering keys are on their way at once.

Sent along by value to Python workers that need not have this package: standard library, pyarrow, google-cloud-pubsub.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from polyexpose_spark.clients import delivery
from polyexpose_spark.clients.delivery import Envelope, Event, EventValues, Undelivered

if TYPE_CHECKING:
    import pyarrow

AT_ONCE = 8
"""Requests on their way."""
REQUEST_EVENTS = 1000  # the service's limit
REQUEST_BYTES = 3 << 20  # the service takes 10 MB; gRPC servers take 4 MiB unless they are told otherwise
QUEUE_BYTES = 64 << 20
"""What a task may have on its way."""
ATTEMPT_S = 15.0
ATTRIBUTE_BYTES = 1024
"""Of an attribute's value. Source: Pub/Sub, quotas and limits, resource limits."""
_CLOSE_S = 5.0


@dataclass(frozen=True)
class PubsubSender:
    """What sends the events of one task. For DataFrame.mapInArrow."""

    endpoint: str | None
    anonymous: bool
    topic: str
    """projects/P/topics/T"""
    address: str
    """What a user sees."""
    envelope: Envelope
    max_bytes: int
    delivery_s: float
    """Deadline of a request, its repeats included."""

    def __call__(self, batches: Iterable[pyarrow.RecordBatch]) -> Iterable[pyarrow.RecordBatch]:
        """Send the events; yield one row of SENT_COLUMNS."""
        return delivery.deliver(batches, lambda: PubsubProducer(self))


@dataclass
class _Lane:
    """The events of one ordering key that are still to be sent, in order."""

    messages: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    bytes: int = 0
    is_ordered: bool = True
    requests: int = 0
    """On their way: at most one where order counts."""

    @property
    def is_free(self) -> bool:
        return bool(self.messages) and not (self.requests and self.is_ordered)

    @property
    def is_full(self) -> bool:
        return len(self.messages) >= REQUEST_EVENTS or self.bytes >= REQUEST_BYTES

    def take(self) -> tuple[list[Any], int]:
        """Take what one request carries, and its bytes; at least one event."""
        count, size = 0, 0
        while count < min(len(self.messages), REQUEST_EVENTS):
            if count and size + self.sizes[count] > REQUEST_BYTES:
                break
            size += self.sizes[count]
            count += 1
        taken = self.messages[:count]
        del self.messages[:count], self.sizes[:count]
        self.bytes -= size
        self.requests += 1
        return taken, size


class PubsubProducer:
    """Some threads that each send one request at a time."""

    def __init__(self, sender: PubsubSender) -> None:
        """Start the threads; nothing is sent yet."""
        from google.auth.exceptions import GoogleAuthError
        from google.pubsub_v1.types import PublishRequest, PubsubMessage

        self._sender = sender
        try:
            self._client = publisher(sender.endpoint, sender.anonymous)
        except GoogleAuthError as error:
            raise Undelivered(sender.address, None, None, str(error), is_transient(error)) from None
        self._request_type, self._message_type = PublishRequest, PubsubMessage.pb()
        self._change = threading.Condition()
        self._lanes: dict[str, _Lane] = {}
        self._bytes = 0
        """Queued and on their way."""
        self._is_finishing = self._is_closed = False
        self._failure: Exception | None = None
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def put_all(self, events: Iterable[EventValues]) -> None:
        """Take up events; see delivery.Producer."""
        for values in events:
            self._put(Event(*values))

    def _put(self, event: Event) -> None:
        """Queue an event; wait while the queue is full."""
        message = self._message(event)
        size = message.ByteSize() + 8  # its own length and the field's number
        if size > self._sender.max_bytes:
            self._refuse(event, f"{size:,} bytes with its attributes, Pub/Sub takes {self._sender.max_bytes:,}")
        with self._change:
            while self._bytes and self._bytes + size > QUEUE_BYTES:
                self._raise()
                self._change.wait()
            self._raise()
            lane = self._lanes.get(message.ordering_key)
            if lane is None:
                lane = self._lanes[message.ordering_key] = _Lane(is_ordered=event.key is not None)
            lane.messages.append(message)
            lane.sizes.append(size)
            lane.bytes += size
            self._bytes += size
            if lane.is_full or self._is_pressed:
                self._change.notify_all()

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        with self._change:
            self._is_finishing = True
            self._change.notify_all()
            while self._bytes and self._failure is None:
                self._change.wait()
            self._is_finishing = False
            self._raise()

    def close(self) -> None:
        """End the threads; what is on its way is called off."""
        with self._change:
            self._is_closed = True
            self._change.notify_all()
        self._client.transport.close()
        for thread in self._threads:
            thread.join(_CLOSE_S)

    def _message(self, event: Event) -> Any:
        if event.value is None:
            self._refuse(event, "Pub/Sub has no tombstones")
        attributes = {f"ce-{name}": value for name, value in self._sender.envelope.attributes(event)}
        attributes["content-type"] = self._sender.envelope.content_type
        for name, value in attributes.items():
            if len(value) * 4 > ATTRIBUTE_BYTES and len(value.encode()) > ATTRIBUTE_BYTES:
                self._refuse(event, f"attribute {name} has {len(value.encode()):,} bytes, Pub/Sub takes 1,024")
        # One key is always in one bucket, so order per key holds; the key itself is ce-partitionkey.
        ordering = "" if event.key is None else f"{event.route:03d}"
        return self._message_type(data=event.value.encode(), attributes=attributes, ordering_key=ordering)

    def _refuse(self, event: Event, reason: str) -> NoReturn:
        self.finish()  # the events before it are in order
        raise Undelivered(self._sender.address, None, event.key, reason, retry=False)

    @property
    def _is_pressed(self) -> bool:
        # Requests are worth more when they are full: half the queue is for that.
        return self._is_finishing or self._bytes > QUEUE_BYTES // 2

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (work := self._next()) is not None:
            lane, messages, size = work
            failure = self._send(messages)
            with self._change:
                lane.requests -= 1
                self._bytes -= size
                self._failure = self._failure or failure
                self._change.notify_all()

    def _next(self) -> tuple[_Lane, list[Any], int] | None:
        with self._change:
            while not self._is_closed and self._failure is None:
                free = [lane for lane in self._lanes.values() if lane.is_free and (lane.is_full or self._is_pressed)]
                if free:
                    lane = max(free, key=lambda each: len(each.messages))
                    return lane, *lane.take()
                self._change.wait()
        return None

    def _send(self, messages: list[Any]) -> Exception | None:
        from google.api_core.retry import Retry
        from google.api_core.timeout import ConstantTimeout

        request = self._request_type.wrap(self._request_type.pb()(topic=self._sender.topic, messages=messages))
        deadline = self._sender.delivery_s
        retry = Retry(predicate=is_transient, initial=0.1, maximum=5.0, multiplier=2.0, timeout=deadline)
        timeout = ConstantTimeout(min(ATTEMPT_S, deadline))  # type: ignore[no-untyped-call]
        try:
            self._client.publish(request=request, retry=retry, timeout=timeout)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the task's own thread raises it
            return self._undelivered(error, messages)
        return None

    def _undelivered(self, error: Exception, messages: list[Any]) -> Exception:
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        cause = error.cause if isinstance(error, RetryError) and error.cause is not None else error
        if not isinstance(cause, GoogleAPICallError | GoogleAuthError):
            return error
        one = messages[0].attributes.get("ce-partitionkey") if len(messages) == 1 else None
        return Undelivered(self._sender.address, None, one, str(cause), retry=is_transient(cause))


def publisher(endpoint: str | None, anonymous: bool) -> Any:
    """Return the generated client of the service.

    Args:
        endpoint: http://host:port without TLS, https:// with; None: Google's own.
        anonymous: without credentials; otherwise application default credentials.
    """
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.pubsub_v1 import PublisherClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

    if endpoint is not None and endpoint.startswith("http://"):
        import grpc

        # A proxy of the environment is for the way out of this network, and speaks TLS.
        channel = grpc.insecure_channel(endpoint.removeprefix("http://"), [("grpc.enable_http_proxy", 0)])
        return PublisherClient(transport=PublisherGrpcTransport(channel=channel))
    options = None if endpoint is None else ClientOptions(api_endpoint=endpoint.removeprefix("https://"))
    credentials = AnonymousCredentials() if anonymous else None  # type: ignore[no-untyped-call]
    return PublisherClient(credentials=credentials, client_options=options)


def is_transient(error: BaseException) -> bool:
    """Say whether the same request may go well later. Source: google-cloud-pubsub's own list for Publish."""
    from google.api_core import exceptions
    from google.auth.exceptions import RefreshError, TransportError

    if isinstance(error, exceptions.ResourceExhausted):
        return "larger than max" not in error.message  # gRPC's word for a message over the receiver's limit
    if isinstance(error, RefreshError):
        return bool(error.retryable)
    return isinstance(
        error,
        exceptions.Aborted
        | exceptions.Cancelled
        | exceptions.DeadlineExceeded
        | exceptions.InternalServerError
        | exceptions.ServiceUnavailable
        | exceptions.Unknown
        | TransportError,
    )
