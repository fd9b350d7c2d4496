"""Message services with a consumer that is not ours: the official client of each, from the beginning of a topic."""

from __future__ import annotations

import contextlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from polyexpose_spark.local.kafka import Broker
from tests import servers
from tests.event_replica import Message

_QUIET_SECONDS = 1.0
"""A topic without end marks was read to its end when nothing came for so long."""


class Bus(ABC):
    """One message service on a loopback port."""

    def __init__(self, address: str, settings: Mapping[str, str]) -> None:
        self.address = address
        given = {**settings, "documents": ".polyexpose/exposed"}
        self.arguments = [part for key, value in given.items() for part in ("--set", f"ports.events.{key}={value}")]
        """For the command line."""

    @abstractmethod
    def messages(self, topic: str) -> list[Message]:
        """Return everything in the topic; messages of one partition or ordering key in their order."""

    def prepare(self, topic: str) -> None:  # noqa: B027 - most services keep messages for those who come later
        """Do what a consumer has to do before the first message is sent."""


class KafkaBus(Bus):
    """A real broker."""

    def __init__(self, address: str) -> None:
        super().__init__(address, {"sink": "kafka", "kafka.bootstrap_servers": address})

    def messages(self, topic: str) -> list[Message]:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        conf = {"bootstrap.servers": self.address, "group.id": uuid.uuid4().hex, "enable.auto.commit": False}
        consumer = Consumer({**conf, "enable.partition.eof": True})
        found: list[Message] = []
        try:
            partitions = list(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
            consumer.assign([TopicPartition(topic, each, OFFSET_BEGINNING) for each in partitions])
            ended: set[int] = set()
            while len(ended) < len(partitions):
                message = consumer.poll(20)
                assert message is not None, "the broker did not answer"
                if message.error():
                    ended.add(message.partition())
                    continue
                headers = {name: value.decode() for name, value in message.headers() or ()}
                found.append(_message(message.key(), message.value(), headers, "ce_"))
        finally:
            consumer.close()
        return found


class PubsubliteBus(Bus):
    """Our server, read by Google's subscriber."""

    def __init__(self, address: str) -> None:
        from tests import pubsublite_clients as lite

        super().__init__(
            address,
            {
                "sink": "pubsublite",
                "pubsublite.endpoint": address,
                "pubsublite.project": lite.PROJECT,
                "pubsublite.location": str(lite.ZONE),
            },
        )

    def messages(self, topic: str) -> list[Message]:
        from google.cloud.pubsublite.types import BacklogLocation, MessageMetadata

        from tests import pubsublite_clients as lite

        name = f"s{uuid.uuid4().hex}"
        with lite.plaintext():
            lite.admin(self.address).create_subscription(lite.subscription(name, topic), BacklogLocation.BEGINNING)
            with lite.Subscriber(self.address, name) as reading:
                _until_quiet(reading.messages)
                found = sorted(reading.messages, key=lambda each: _lite_place(MessageMetadata.decode(each.message_id)))
        return [_message(each.ordering_key.encode(), each.data, dict(each.attributes), "ce-") for each in found]


def _lite_place(metadata: Any) -> tuple[int, int]:
    return metadata.partition.value, metadata.cursor.offset


class PubsubBus(Bus):
    """Google's own fake, read by Google's client. Messages without a subscription are gone: prepare() makes it."""

    def __init__(self, address: str) -> None:
        super().__init__(address, {"sink": "pubsub", "pubsub.endpoint": address, "pubsub.project": "test-project"})
        self._kept: dict[str, list[Message]] = {}

    def prepare(self, topic: str) -> None:
        from google.api_core.exceptions import AlreadyExists

        publisher, subscriber = self._clients()
        path, name = publisher.topic_path("test-project", topic), f"projects/test-project/subscriptions/{topic}"
        with contextlib.suppress(AlreadyExists):
            publisher.create_topic(request={"name": path})
        request = {"name": name, "topic": path, "enable_message_ordering": True, "ack_deadline_seconds": 60}
        with contextlib.suppress(AlreadyExists):
            subscriber.create_subscription(request=request)

    def messages(self, topic: str) -> list[Message]:
        _, subscriber = self._clients()
        name, found = f"projects/test-project/subscriptions/{topic}", self._kept.setdefault(topic, [])
        empty = 0
        while empty < 3:
            answer = subscriber.pull(request={"subscription": name, "max_messages": 1000}, timeout=30)
            if not answer.received_messages:
                empty += 1
                time.sleep(0.1)
                continue
            empty = 0
            for each in answer.received_messages:
                attributes = dict(each.message.attributes)
                key = attributes.get("ce-partitionkey")
                found.append(_message(key.encode() if key else None, each.message.data, attributes, "ce-"))
            ids = [each.ack_id for each in answer.received_messages]
            subscriber.acknowledge(request={"subscription": name, "ack_ids": ids})
        return list(found)

    def _clients(self) -> tuple[Any, Any]:
        import grpc
        from google.pubsub_v1 import PublisherClient, SubscriberClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        channel = grpc.insecure_channel(self.address.removeprefix("http://"))
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        publisher.topic_path = lambda project, topic: f"projects/{project}/topics/{topic}"  # type: ignore[method-assign]
        return publisher, SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


def _message(key: bytes | None, value: bytes | None, attributes: Mapping[str, str], prefix: str) -> Message:
    named = {name.removeprefix(prefix): text for name, text in attributes.items()}
    return Message(key.decode() if key else None, value.decode() if value else None, named)


def _until_quiet(messages: list[Any], seconds: float = 120) -> None:
    end, count, since = time.monotonic() + seconds, -1, time.monotonic()
    while time.monotonic() < end and (not messages or time.monotonic() - since < _QUIET_SECONDS):
        if len(messages) != count:
            count, since = len(messages), time.monotonic()
        time.sleep(0.05)


NAMES = ("kafka", "pubsublite", "pubsub")


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Bus]:
    """Run a service: one of NAMES."""
    if name == "kafka":
        broker = Broker(servers.free_port(), folder)
        broker.start()
        try:
            yield KafkaBus(broker.address)
        finally:
            broker.stop()
    elif name == "pubsublite":
        with servers.pubsublite(folder) as address:
            yield PubsubliteBus(address)
    else:
        with servers.pubsub(folder) as address:
            yield PubsubBus(address)
