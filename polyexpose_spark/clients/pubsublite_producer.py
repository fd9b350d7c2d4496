"""Publishes the events of a task to Pub/Sub Lite: one stream for each partition, several batches on their way.

Runs in Python workers that need not have this package: standard library, pyarrow and google-cloud-pubsublite, sent
along by value. The package's own publisher is not used: 1.13.0 can lose messages when it reconnects with idempotence,
never gives up, and can block for ever (it resends without sequence numbers; its errors wait on their own event loop).
"""

from __future__ import annotations

import queue
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from polyexpose_spark.clients.delivery import Envelope, Event, EventValues, Undelivered, deliver

if TYPE_CHECKING:
    from pyarrow import RecordBatch

_METHOD = "/google.cloud.pubsublite.v1.PublisherService/Publish"
# gRPC's own pauses between connections grow to two minutes: longer than anybody waits here.
_RECONNECT = (("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 2000))
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

_BATCH_MESSAGES = 1000
_BATCH_BYTES = 1 << 20
# On their way at a time; what a task needs of memory is a few times this.
_IN_FLIGHT = 8
_IN_FLIGHT_BYTES = 8 << 20

# Passes by itself. Source: google.cloud.pubsublite.internal.status_codes; and quotas, which are of a minute.
_PASSING = frozenset(
    {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "UNKNOWN"}
)
_ENDED = "the service ended the stream"


@dataclass(frozen=True)
class Destination:
    """A topic, and how it is reached."""

    topic: str
    """projects/<project>/locations/<location>/topics/<topic>."""
    host: str
    """host:port."""
    plaintext: bool
    anonymous: bool
    max_bytes: int
    """Of an event: key, value and attributes together."""
    seconds: float
    """How long nothing may be acknowledged before it is given up."""


def channel(host: str, plaintext: bool, anonymous: bool) -> Any:
    """Return a gRPC channel: without TLS, or with TLS and credentials."""
    import grpc

    if plaintext:
        # A stand-in on this machine or in this cluster: no proxy leads there.
        return grpc.insecure_channel(host, options=(*_RECONNECT, ("grpc.enable_http_proxy", 0)))
    from google.api_core import grpc_helpers
    from google.auth.credentials import AnonymousCredentials

    credentials = AnonymousCredentials() if anonymous else None  # type: ignore[no-untyped-call]
    return grpc_helpers.create_channel(
        host,
        credentials=credentials,
        default_scopes=_SCOPES,
        default_host="pubsublite.googleapis.com",
        options=_RECONNECT,
    )


def client_id(batch: str, partition: int, partitions: int) -> bytes:
    """Return the 16 bytes under which a batch's messages for a partition are recognised when they are sent again."""
    # With the number of partitions: when it has changed, other events of the batch are in this one.
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{batch}:{partition}:{partitions}").bytes


def sender(
    destination: Destination, partitions: int, envelope: Envelope, batch: str
) -> Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]:
    """Return what sends the events of a task; see clients.EventSink.sender."""

    def send(batches: Iterable[RecordBatch]) -> Iterable[RecordBatch]:
        return deliver(batches, lambda: PubsubliteProducer(destination, partitions, envelope, batch))

    return send


@dataclass
class _Batch:
    """Messages that were sent, or are to be, and are not acknowledged."""

    request: bytes
    first_key: str | None
    size: int


@dataclass
class _Stream:
    """One Publish call; ends by itself or by close()."""

    call: Any
    outgoing: queue.SimpleQueue[bytes | None]
    answers: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    """PublishResponses; an exception at the end."""

    def listen(self) -> None:
        try:
            for answer in self.call:
                self.answers.put(answer)
            self.answers.put(EOFError(_ENDED))
        except Exception as error:  # noqa: BLE001 (whatever ends the stream is looked at where it is used)
            self.answers.put(error)

    def close(self) -> None:
        self.call.cancel()
        self.outgoing.put(None)


class PubsubliteProducer:
    """Sends events that come partition by partition."""

    def __init__(self, destination: Destination, partitions: int, envelope: Envelope, batch: str) -> None:
        """Make the channel; nothing is contacted yet.

        Raises:
            Undelivered: there are no credentials.
        """
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import pubsublite_v1

        self._to = destination
        self._partitions = partitions
        self._envelope = envelope
        self._batch = batch
        self._request = pubsublite_v1.PublishRequest.pb()
        self._response = pubsublite_v1.PublishResponse.pb()
        self._content_type = envelope.content_type.encode()
        try:
            self._channel = channel(destination.host, destination.plaintext, destination.anonymous)
        except GoogleAuthError as error:
            raise Undelivered(destination.topic, None, None, str(error), retry=False) from error
        self._call = self._channel.stream_stream(_METHOD, response_deserializer=self._response.FromString)
        self._partition: int | None = None
        self._first_key: str | None = None
        self._stream: _Stream | None = None
        self._sequences: dict[int | None, int] = {}
        self._begin()

    def put_all(self, events: Iterable[EventValues]) -> None:
        """Take up events; see delivery.Producer."""
        for values in events:
            self._put(Event(*values))

    def _put(self, event: Event) -> None:
        if event.route != self._partition:
            # Nothing of another partition is sent before all of this one is there: after a failure that is known.
            self.finish()
            self._sequences[self._partition] = self._sequence
            self._partition = event.route
            self._begin()
        key = (event.key or "").encode()
        data = (event.value or "").encode()
        attributes = [(f"ce-{name}", value.encode()) for name, value in self._envelope.attributes(event)]
        if event.value is not None:
            attributes.append(("content-type", self._content_type))
        size = len(key) + len(data)
        for name, value in attributes:
            size += len(name) + len(value)
        if size > self._to.max_bytes:
            self.finish()
            reason = f"the event has {size:,} bytes; at most {self._to.max_bytes:,} are sent"
            raise Undelivered(self._to.topic, self._partition, event.key, reason, retry=False)
        if self._count == _BATCH_MESSAGES or (self._count and self._size + size > _BATCH_BYTES):
            self._send()
        message = self._next.message_publish_request.messages.add(key=key, data=data)
        for name, value in attributes:
            message.attributes[name].values.append(value)
        if not self._count:
            self._first_key = event.key
        self._count += 1
        self._size += size

    def finish(self) -> None:
        """Wait until everything is acknowledged; see delivery.Producer."""
        if self._count:
            self._send()
        while self._unacknowledged:
            self._await_answer()
        self._hang_up()

    def close(self) -> None:
        """Let go of the connection."""
        self._hang_up()
        self._channel.close()

    def _begin(self) -> None:
        """Begin a partition."""
        self._unacknowledged: deque[_Batch] = deque()
        self._in_flight_bytes = 0
        self._sequence = self._sequences.get(self._partition, 0)
        self._waited = 0.0
        self._attempts = 0
        self._new_request()

    def _new_request(self) -> None:
        self._next = self._request()
        self._count, self._size = 0, 0
        self._first_key = None

    def _send(self) -> None:
        """Send the messages that were taken up, when there is room for them on the way."""
        while len(self._unacknowledged) >= _IN_FLIGHT or (
            self._unacknowledged and self._in_flight_bytes + self._size > _IN_FLIGHT_BYTES
        ):
            self._await_answer()
        self._next.message_publish_request.first_sequence_number = self._sequence
        batch = _Batch(self._next.SerializeToString(), self._first_key, self._size)
        self._unacknowledged.append(batch)
        self._in_flight_bytes += batch.size
        self._sequence += self._count
        self._new_request()
        if self._stream is None:
            self._connect()
        else:
            self._stream.outgoing.put(batch.request)
            # Those that are here already, without waiting.
            while self._stream and not self._stream.answers.empty():
                self._await_answer()

    def _await_answer(self) -> None:
        """Take one acknowledgement, or connect anew and send again what is not acknowledged."""
        if self._stream is None:
            self._connect()
            return
        began = time.monotonic()
        try:
            answer = self._stream.answers.get(timeout=max(self._left, 0.001))
        except queue.Empty:
            raise self._given_up("no acknowledgement") from None
        self._waited += time.monotonic() - began
        if isinstance(answer, Exception):
            self._broken(answer)
        elif answer.WhichOneof("response_type") == "message_response":
            self._in_flight_bytes -= self._unacknowledged.popleft().size
            self._waited, self._attempts = 0.0, 0

    def _connect(self) -> None:
        """Open a stream, and send what is not acknowledged."""
        partition = self._partition or 0
        initial = self._request()
        initial.initial_request.topic = self._to.topic
        initial.initial_request.partition = partition
        initial.initial_request.client_id = client_id(self._batch, partition, self._partitions)
        outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        outgoing.put(initial.SerializeToString())
        # The header by which the service finds the partition's server.
        routing = urlencode({"partition": str(partition), "topic": self._to.topic})
        call = self._call(iter(outgoing.get, None), metadata=[("x-goog-request-params", routing)])
        self._stream = _Stream(call, outgoing)
        threading.Thread(target=self._stream.listen, name="acknowledgements", daemon=True).start()
        for batch in self._unacknowledged:
            outgoing.put(batch.request)

    def _broken(self, error: Exception) -> None:
        """Wait before the next connection, or give up."""
        self._hang_up()
        reason, code = _told(error)
        if code not in _PASSING:
            raise self._undelivered(reason, retry=False)
        self._attempts += 1
        if self._left <= 0:
            raise self._given_up(reason)
        pause = random.uniform(0.5, 1.0) * min(0.1 * 2 ** (self._attempts - 1), 5.0)  # noqa: S311 (jitter)
        pause = min(pause, self._left)
        time.sleep(pause)
        self._waited += pause

    @property
    def _left(self) -> float:
        """Seconds that may still be waited for an acknowledgement; what the events take to come does not count."""
        return self._to.seconds - self._waited

    def _given_up(self, reason: str) -> Undelivered:
        return self._undelivered(f"{reason}, for {self._to.seconds:.0f} s", retry=True)

    def _undelivered(self, reason: str, retry: bool) -> Undelivered:
        key = self._unacknowledged[0].first_key if self._unacknowledged else None
        return Undelivered(self._to.topic, self._partition, key, reason, retry)

    def _hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _told(error: Exception) -> tuple[str, str]:
    """Return what is said of a stream that ended, and its status."""
    import grpc

    if isinstance(error, grpc.RpcError):
        code = error.code().name
        return f"{code}: {error.details()}", code
    if isinstance(error, EOFError):
        return str(error), "ABORTED"
    return f"{type(error).__name__}: {error}", "INTERNAL"
