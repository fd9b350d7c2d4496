"""Google's own Pub/Sub Lite clients on our server, which speaks without TLS on a loopback port."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import grpc
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsublite import AdminClient
from google.cloud.pubsublite.cloudpubsub import PublisherClient, SubscriberClient
from google.cloud.pubsublite.types import (
    BacklogLocation,
    CloudRegion,
    CloudZone,
    FlowControlSettings,
    MessageMetadata,
    SubscriptionPath,
    TopicPath,
)
from google.cloud.pubsublite_v1 import Subscription, Topic
from google.cloud.pubsublite_v1.services.admin_service.transports import AdminServiceGrpcTransport
from google.cloud.pubsublite_v1.services.cursor_service.transports import CursorServiceGrpcAsyncIOTransport
from google.cloud.pubsublite_v1.services.partition_assignment_service.transports import (
    PartitionAssignmentServiceGrpcAsyncIOTransport,
)
from google.cloud.pubsublite_v1.services.publisher_service.transports import PublisherServiceGrpcAsyncIOTransport
from google.cloud.pubsublite_v1.services.subscriber_service.transports import SubscriberServiceGrpcAsyncIOTransport

PROJECT = "test-project"
REGION = CloudRegion("europe-west1")
ZONE = CloudZone(REGION, "b")
_ASYNCHRONOUS = (
    PublisherServiceGrpcAsyncIOTransport,
    SubscriberServiceGrpcAsyncIOTransport,
    PartitionAssignmentServiceGrpcAsyncIOTransport,
    CursorServiceGrpcAsyncIOTransport,
)


@contextlib.contextmanager
def plaintext() -> Iterator[None]:
    """Let the official clients do without TLS; they have no setting for it."""

    def channel(host: str, options: Any = None, **_: Any) -> grpc.Channel:
        return grpc.insecure_channel(host, options=options)

    def asynchronous(host: str, options: Any = None, **_: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(host, options=options)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(AdminServiceGrpcTransport, "create_channel", staticmethod(channel)))
        for each in _ASYNCHRONOUS:
            stack.enter_context(mock.patch.object(each, "create_channel", staticmethod(asynchronous)))
        yield


def _options(address: str) -> dict[str, Any]:
    endpoint = address.removeprefix("http://")
    return {"credentials": AnonymousCredentials(), "client_options": ClientOptions(api_endpoint=endpoint)}


def admin(address: str) -> AdminClient:
    """Return an admin client; inside plaintext()."""
    return AdminClient(REGION, **_options(address))


def publisher(address: str) -> PublisherClient:
    """Return a publisher, to be used with `with`; inside plaintext()."""
    return PublisherClient(**_options(address))


def topic_path(name: str) -> TopicPath:
    """Return the path of a topic."""
    return TopicPath(PROJECT, ZONE, name)


def subscription_path(name: str) -> SubscriptionPath:
    """Return the path of a subscription."""
    return SubscriptionPath(PROJECT, ZONE, name)


def topic(name: str, partitions: int) -> Topic:
    """Return a topic as users make it."""
    capacity = Topic.PartitionConfig.Capacity(publish_mib_per_sec=4, subscribe_mib_per_sec=8)
    return Topic(
        name=str(topic_path(name)),
        partition_config=Topic.PartitionConfig(count=partitions, capacity=capacity),
        retention_config=Topic.RetentionConfig(per_partition_bytes=30 << 30),
    )


def subscription(name: str, topic_name: str) -> Subscription:
    """Return a subscription as users make it."""
    delivery = Subscription.DeliveryConfig(
        delivery_requirement=Subscription.DeliveryConfig.DeliveryRequirement.DELIVER_IMMEDIATELY
    )
    path = str(subscription_path(name))
    return Subscription(name=path, topic=str(topic_path(topic_name)), delivery_config=delivery)


class Subscriber:
    """The official subscriber, which acknowledges everything and keeps it."""

    def __init__(self, address: str, name: str) -> None:
        self._address, self._path = address, subscription_path(name)
        self._lock = threading.Lock()
        self.messages: list[Any] = []
        """What came, in the order in which it came."""

    def __enter__(self) -> Subscriber:
        # With more threads than one, messages of a partition come in any order.
        self._client = SubscriberClient(executor=ThreadPoolExecutor(1), **_options(self._address))
        self._client.__enter__()
        flow = FlowControlSettings(messages_outstanding=1000, bytes_outstanding=10 << 20)
        self._running = self._client.subscribe(self._path, self._take, per_partition_flow_control_settings=flow)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.cancel()
        with contextlib.suppress(Exception):
            self._running.result(timeout=10)
        self._client.__exit__(None, None, None)

    def _take(self, message: Any) -> None:
        with self._lock:
            self.messages.append(message)
        message.ack()

    def wait_for(self, count: int, seconds: float = 20) -> list[Any]:
        """Return what came when it is so much; fail when it does not come."""
        end = time.monotonic() + seconds
        while len(self.messages) < count and time.monotonic() < end:
            time.sleep(0.02)
        assert len(self.messages) >= count, f"{len(self.messages)} of {count} messages came"
        return list(self.messages)

    def by_partition(self) -> dict[int, list[bytes]]:
        """Return the data of each partition, in the order in which it came."""
        found: dict[int, list[bytes]] = defaultdict(list)
        for each in list(self.messages):
            found[MessageMetadata.decode(each.message_id).partition.value].append(each.data)
        return dict(found)


def receive(address: str, name: str, topic_name: str, count: int) -> list[Any]:
    """Return what a new subscription finds from the beginning of a topic, when it is so much and nothing more comes."""
    admin(address).create_subscription(subscription(name, topic_name), BacklogLocation.BEGINNING)
    with Subscriber(address, name) as reading:
        came = len(reading.wait_for(count))
        while True:
            time.sleep(0.5)
            if len(reading.messages) == came:
                return reading.messages
            came = len(reading.messages)
