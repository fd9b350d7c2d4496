"""A topic of Pub/Sub Lite, as the driver sees it: is it there, make it, and what sends to it from the executors."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from polyexpose_spark.clients import Topic, TopicSettings, delivery, pubsublite_producer
from polyexpose_spark.clients.delivery import Envelope
from polyexpose_spark.clients.event_addresses import Deadlines, PubsubliteAddress
from polyexpose_spark.clients.pubsublite_producer import Destination
from polyexpose_spark.errors import ConfigError, Refused, TargetFailed, TargetUnavailable

if TYPE_CHECKING:
    from pyarrow import RecordBatch

T = TypeVar("T")

log = logging.getLogger(__name__)

DEPRECATION = (
    "Pub/Sub Lite is turned down on 2027-01-31; Google names Managed Service for Apache Kafka and Pub/Sub as its "
    "successors (sinks kafka and pubsub)"
)
"""Source: the note on every page of docs.cloud.google.com/pubsub/lite."""

MAX_BYTES = 3 << 20
"""The service takes 3.5 MiB at a time; the rest is for what the protocol writes around an event."""

_LOCATION = re.compile(r"([a-z]+-[a-z0-9]+)(-[a-z])?")
_GIB = 1 << 30
# The smallest that the service makes. Source: Pub/Sub Lite, "Topics" (capacity, storage).
_PUBLISH_MIB, _SUBSCRIBE_MIB, _PARTITION_GIB = 4, 8, 30
_CALL_SECONDS = 10.0  # of one request
_ASK_SECONDS = 30.0  # making a topic takes the service its time


class PubsubliteSink:
    """See clients.EventSink."""

    def __init__(self, address: PubsubliteAddress, topic: str, deadlines: Deadlines | None = None) -> None:
        """Take the address; nothing is contacted yet.

        Raises:
            ConfigError: project or location is missing or no such thing.
        """
        if not address.project or not address.location:
            raise ConfigError(f"Pub/Sub Lite topic {topic}: project and location are needed")
        location = _LOCATION.fullmatch(address.location)
        if location is None:
            raise ConfigError(
                f"Pub/Sub Lite topic {topic}: location: {address.location!r} is no zone (europe-west1-b) or region"
            )
        self._parent = f"projects/{address.project}/locations/{address.location}"
        self._topic = topic
        self._deadlines = deadlines or Deadlines(call=_ASK_SECONDS)
        self._address = f"pubsublite://{address.location}/{address.project}/{topic}"
        scheme, _, host = (address.endpoint or "").rstrip("/").rpartition("://")
        self._destination = Destination(
            topic=f"{self._parent}/topics/{topic}",
            host=host or f"{location.group(1)}-pubsublite.googleapis.com",
            plaintext=scheme == "http",
            anonymous=address.credentials == "anonymous",
            max_bytes=MAX_BYTES,
            seconds=self._deadlines.send,
        )
        self._warned = False

    @property
    def address(self) -> str:
        """Return `pubsublite://<location>/<project>/<topic>`."""
        return self._address

    @property
    def host(self) -> str:
        """Return the host of the region's API."""
        return self._destination.host

    @property
    def by_route(self) -> bool:
        """A stream of a partition's messages is what a repeat is recognised by."""
        return True

    def routes(self, topic: Topic) -> int:
        """Return the partitions; the keys are spread as the official clients' DefaultRoutingPolicy spreads them."""
        return topic.partitions

    def topic(self) -> Topic | None:
        """Return the topic; None: it is not there."""
        from google.api_core.exceptions import NotFound

        try:
            found = self._ask("looking for the topic", self._admin.get_topic, name=self._destination.topic)
        except NotFound:
            return None
        return _topic(found)

    def create(self, wanted: TopicSettings) -> Topic:
        """Create the topic with the smallest capacity; one that is there by now is no error."""
        from google.api_core.exceptions import AlreadyExists
        from google.cloud import pubsublite_v1 as lite
        from google.protobuf.duration_pb2 import Duration

        if wanted.compacted:
            raise Refused(f"{self.address}: Pub/Sub Lite has no compacted topics; set compacted: false, or use kafka")
        capacity = lite.Topic.PartitionConfig.Capacity(
            publish_mib_per_sec=_PUBLISH_MIB, subscribe_mib_per_sec=_SUBSCRIBE_MIB
        )
        retention = lite.Topic.RetentionConfig(per_partition_bytes=_PARTITION_GIB * _GIB)
        if wanted.retention_hours is not None:
            retention.period = Duration(seconds=wanted.retention_hours * 3600)
        topic = lite.Topic(
            partition_config=lite.Topic.PartitionConfig(count=wanted.partitions or 1, capacity=capacity),
            retention_config=retention,
        )
        create = self._admin.create_topic
        try:
            made = self._ask("making the topic", create, parent=self._parent, topic=topic, topic_id=self._topic)
        except AlreadyExists:
            made = self._ask("looking for the topic", self._admin.get_topic, name=self._destination.topic)
        return _topic(made)

    def delete(self) -> None:
        """Delete the topic; one that is gone is no error."""
        from google.api_core.exceptions import NotFound

        try:
            self._ask("deleting the topic", self._admin.delete_topic, name=self._destination.topic)
        except NotFound:
            return

    def sender(
        self, topic: Topic, envelope: Envelope, batch: str
    ) -> Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]:
        """Return what sends the events of a task."""
        from pyspark import cloudpickle

        for module in (delivery, pubsublite_producer):
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
        if not self._warned:
            log.warning("%s: %s", self.address, DEPRECATION)
            self._warned = True
        return pubsublite_producer.sender(self._destination, topic.partitions, envelope, batch)

    @cached_property
    def _admin(self) -> Any:
        from google.auth.exceptions import GoogleAuthError
        from google.cloud.pubsublite_v1 import AdminServiceClient
        from google.cloud.pubsublite_v1.services.admin_service.transports import AdminServiceGrpcTransport

        to = self._destination
        try:
            channel = pubsublite_producer.channel(to.host, to.plaintext, to.anonymous)
        except GoogleAuthError as error:
            raise TargetFailed(f"{self.address}: {_line(error)}") from None
        return AdminServiceClient(transport=AdminServiceGrpcTransport(channel=channel))

    def _ask(self, what: str, call: Callable[..., T], **request: Any) -> T:
        """Make a call that is safe to repeat, until it is answered.

        Raises:
            NotFound, AlreadyExists: as the service says.
            TargetFailed, TargetUnavailable: another answer, or none within the deadline.
        """
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type

        passing = (
            exceptions.Aborted,
            exceptions.DeadlineExceeded,
            exceptions.InternalServerError,
            exceptions.ResourceExhausted,
            exceptions.ServiceUnavailable,
            exceptions.Unknown,
        )
        retry = Retry(if_exception_type(*passing), initial=0.2, maximum=5.0, timeout=self._deadlines.call)
        try:
            return call(request=request, retry=retry, timeout=min(_CALL_SECONDS, self._deadlines.call))
        except (exceptions.NotFound, exceptions.AlreadyExists):
            raise
        except exceptions.RetryError as error:
            reason = _line(error.cause or error)
            raise TargetUnavailable(
                f"{self.address}: {what}: {reason}, for {self._deadlines.call:.0f} s; run again later"
            ) from None
        except exceptions.GoogleAPICallError as error:
            raise TargetFailed(f"{self.address}: {what}: {_line(error)}") from None


def _topic(found: Any) -> Topic:
    config, retention = found.partition_config, found.retention_config
    said = [f"{retention.per_partition_bytes / _GIB:.0f} GiB kept per partition"]
    if "period" in retention:
        said.append(f"for at most {retention.period.total_seconds() / 3600:.0f} h")
    if config.capacity.publish_mib_per_sec:
        publish, subscribe = config.capacity.publish_mib_per_sec, config.capacity.subscribe_mib_per_sec
        said.append(f"{publish} MiB/s in and {subscribe} MiB/s out per partition")
    return Topic(partitions=int(config.count), max_bytes=MAX_BYTES, described=", ".join(said))


def _line(error: object) -> str:
    return " ".join(str(error).split())
