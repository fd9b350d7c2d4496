"""Show events as an event-driven application meets them: Google's own Pub/Sub Lite subscriber on the local topic."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import uuid
from typing import Any

import grpc
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsublite import AdminClient
from google.cloud.pubsublite.cloudpubsub import SubscriberClient
from google.cloud.pubsublite.types import BacklogLocation, CloudZone, FlowControlSettings, SubscriptionPath, TopicPath
from google.cloud.pubsublite_v1 import Subscription
from google.cloud.pubsublite_v1.services.admin_service.transports import AdminServiceGrpcTransport
from google.cloud.pubsublite_v1.services.cursor_service.transports import CursorServiceGrpcAsyncIOTransport
from google.cloud.pubsublite_v1.services.partition_assignment_service.transports import (
    PartitionAssignmentServiceGrpcAsyncIOTransport,
)
from google.cloud.pubsublite_v1.services.subscriber_service.transports import SubscriberServiceGrpcAsyncIOTransport

from polyexpose_spark import config
from polyexpose_spark.workspace import address_models

SHOWN = 2


def main(topic: str) -> None:
    """Print the first messages of a topic."""
    address = config.load("local", port_models=address_models()).ports["events"]["pubsublite"]
    zone = CloudZone.parse(address["location"])
    options = {
        "credentials": AnonymousCredentials(),
        "client_options": ClientOptions(api_endpoint=address["endpoint"].removeprefix("http://")),
    }
    without_tls()
    path = SubscriptionPath(address["project"], zone, f"demo-{uuid.uuid4().hex[:8]}")
    delivery = Subscription.DeliveryConfig(
        delivery_requirement=Subscription.DeliveryConfig.DeliveryRequirement.DELIVER_IMMEDIATELY
    )
    wanted = Subscription(
        name=str(path), topic=str(TopicPath(address["project"], zone, topic)), delivery_config=delivery
    )
    admin = AdminClient(zone.region, **options)
    admin.create_subscription(wanted, BacklogLocation.BEGINNING)
    print(f"  Topic {topic}, read by google.cloud.pubsublite's SubscriberClient:")
    found: list[Any] = []
    enough = threading.Event()

    def take(message: Any) -> None:
        if len(found) < SHOWN:
            found.append(message)
        message.ack()
        if len(found) == SHOWN:
            enough.set()

    flow = FlowControlSettings(messages_outstanding=10, bytes_outstanding=10 << 20)
    with SubscriberClient(**options) as subscriber:
        reading = subscriber.subscribe(path, take, per_partition_flow_control_settings=flow)
        came = enough.wait(30)
        reading.cancel()
        with contextlib.suppress(Exception):
            reading.result(timeout=10)
    admin.delete_subscription(path)
    if not came:
        sys.exit("  no event came within 30 s")
    for message in found:
        print(f"    key    {message.ordering_key}")
        for name in ("ce-type", "ce-id", "ce-sequence"):
            print(f"    {name:12} {message.attributes[name]}")
        print("\n".join(f"    {line}" for line in json.dumps(json.loads(message.data), indent=1).splitlines()))


def without_tls() -> None:
    """Let the official clients speak to a server on the loopback without TLS; they have no setting for it."""

    def channel(host: str, options: Any = None, **_: Any) -> grpc.Channel:
        return grpc.insecure_channel(host, options=options)

    def asynchronous(host: str, options: Any = None, **_: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(host, options=options)

    AdminServiceGrpcTransport.create_channel = staticmethod(channel)
    for transport in (
        SubscriberServiceGrpcAsyncIOTransport,
        PartitionAssignmentServiceGrpcAsyncIOTransport,
        CursorServiceGrpcAsyncIOTransport,
    ):
        transport.create_channel = staticmethod(asynchronous)


if __name__ == "__main__":
    main(sys.argv[1])
