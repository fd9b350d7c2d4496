"""A topic of Pub/Sub: the driver's side. Sending is pubsub_producer.py, on the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from polyexpose_spark.clients import Topic, TopicSettings, delivery, pubsub_producer
from polyexpose_spark.clients.delivery import Envelope
from polyexpose_spark.clients.event_addresses import Deadlines, PubsubAddress
from polyexpose_spark.clients.pubsub_producer import ATTEMPT_S, PubsubSender, is_transient, publisher
from polyexpose_spark.errors import Refused, TargetFailed, TargetUnavailable

if TYPE_CHECKING:
    from pyarrow import RecordBatch

BUCKETS = 256
"""Ordering keys. Never another number: order per key would be lost between the events before and after."""
MAX_BYTES = 10_000_000 - (64 << 10)
"""Of an event, its attributes included; the service's limit for a request, with room for what is around the event."""
_LONGEST_HOURS = 31 * 24  # message_retention_duration. Source: Pub/Sub, Topic


class PubsubSink:
    """Implements clients.EventSink."""

    by_route = False

    def __init__(self, address: PubsubAddress, topic: str, deadlines: Deadlines | None = None) -> None:
        """Keep what is given; no connection."""
        self._given, self._topic, self._deadlines = address, topic, deadlines or Deadlines()
        self._name = f"projects/{address.project}/topics/{topic}"

    @property
    def address(self) -> str:
        """Return `pubsub://project/topic`."""
        return f"pubsub://{self._given.project}/{self._topic}"

    @property
    def host(self) -> str:
        """Return the host of the API."""
        return (self._given.endpoint or "https://pubsub.googleapis.com").partition("://")[2]

    def routes(self, topic: Topic) -> int:
        """Return how many ordering keys there are; all keys of one are sent one request after the other."""
        return BUCKETS

    def topic(self) -> Topic | None:
        """Return the topic; None: it is not there."""
        from google.api_core.exceptions import NotFound

        with self._explained():
            try:
                found = self._client.get_topic(topic=self._name, **self._bounds())
            except NotFound:
                return None
        return _described(found)

    def create(self, wanted: TopicSettings) -> Topic:
        """Create the topic; one that is there by now is no error.

        Raises:
            Refused: partitions, compaction, or a retention that Pub/Sub has not.
        """
        from google.api_core.exceptions import AlreadyExists
        from google.protobuf.duration_pb2 import Duration
        from google.pubsub_v1.types import Topic as Wanted

        if wanted.partitions is not None:
            raise Refused(f"{self.address}: partitions: Pub/Sub has none; leave it out")
        if wanted.compacted:
            raise Refused(f"{self.address}: compacted: Pub/Sub does not compact; leave it out, or take sink kafka")
        new = Wanted(name=self._name)
        if wanted.retention_hours is not None:
            if wanted.retention_hours > _LONGEST_HOURS:
                raise Refused(f"{self.address}: retentionHours: Pub/Sub keeps events for {_LONGEST_HOURS} at most")
            new.message_retention_duration = Duration(seconds=wanted.retention_hours * 3600)
        with self._explained():
            try:
                return _described(self._client.create_topic(request=new, **self._bounds()))
            except AlreadyExists:
                return _described(self._client.get_topic(topic=self._name, **self._bounds()))

    def delete(self) -> None:
        """Delete the topic; one that is gone is no error."""
        from google.api_core.exceptions import NotFound

        with self._explained():
            try:
                self._client.delete_topic(topic=self._name, **self._bounds())
            except NotFound:
                return

    def sender(
        self, topic: Topic, envelope: Envelope, batch: str
    ) -> Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]:
        """Return what sends the events of a task."""
        from pyspark import cloudpickle

        for module in (delivery, pubsub_producer):
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
        return PubsubSender(
            endpoint=self._given.endpoint,
            anonymous=self._is_anonymous,
            topic=self._name,
            address=self.address,
            envelope=envelope,
            max_bytes=topic.max_bytes,
            delivery_s=self._deadlines.send,
        )

    @property
    def _is_anonymous(self) -> bool:
        return self._given.credentials == "anonymous"

    @cached_property
    def _client(self) -> Any:
        return publisher(self._given.endpoint, self._is_anonymous)

    def _bounds(self) -> dict[str, Any]:
        from google.api_core.retry import Retry
        from google.api_core.timeout import ConstantTimeout

        retry = Retry(predicate=is_transient, initial=0.1, maximum=2.0, multiplier=2.0, timeout=self._deadlines.call)
        return {"retry": retry, "timeout": ConstantTimeout(min(ATTEMPT_S, self._deadlines.call))}  # type: ignore[no-untyped-call]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError

        try:
            yield
        except (GoogleAPICallError, GoogleAuthError, RetryError) as error:
            cause = error.cause if isinstance(error, RetryError) and error.cause is not None else error
            kind = TargetUnavailable if is_transient(cause) else TargetFailed
            raise kind(f"{self.address}: {' '.join(str(cause).split())}") from None


def _described(found: Any) -> Topic:
    kept = found.message_retention_duration
    hours = f"retention {kept.total_seconds() / 3600:g} h" if kept else "retention as each subscription has it"
    return Topic(partitions=0, max_bytes=MAX_BYTES, described=hours)
