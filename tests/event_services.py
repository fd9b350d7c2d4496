"""The message services of events: each a server that runs, our sink for it, and what its official consumer reads."""

from __future__ import annotations

import contextlib
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark.clients import EventSink, Topic, TopicSettings
from polyexpose_spark.clients.event_addresses import KafkaAddress, PubsubAddress, PubsubliteAddress
from polyexpose_spark.local.kafka import Broker
from tests import servers
from tests.tcp_faults import TcpProxy, tcp_proxy

PROJECT = "test-project"
ZONE = "europe-west1-b"
PARTITIONS = 4


@dataclass(frozen=True)
class Received:
    """One event, as a consumer sees it."""

    place: str
    """Partition or ordering key: order is kept within one."""
    key: str | None
    value: str | None
    attributes: dict[str, str]
    """Without the prefix of the service's binding."""


class Service(ABC):
    """A running message service on one port; it can go away and come back, with all that it holds."""

    prefix: str
    has_partitions = True
    repeats = True
    """Whether an event may come twice after an acknowledgement was lost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = servers.free_port()
        self._server = contextlib.ExitStack()

    def start(self) -> None:
        self._server.enter_context(self.run(self.port))

    def stop(self) -> None:
        self._server.close()

    def go_away(self) -> None:
        """Be out of reach."""
        self.stop()

    def come_back(self) -> None:
        """Be there again, with all that was stored."""
        self.start()

    @abstractmethod
    def run(self, port: int) -> contextlib.AbstractContextManager[str]:
        """Run the server."""

    @abstractmethod
    def sink(self, topic: str, port: int | None = None, send: float = 60.0, call: float = 20.0) -> EventSink:
        """Return our sink; `port`: of a proxy, or of nobody."""

    def made(self, topic: str) -> Topic:
        """Make the topic, and whatever a consumer needs before events are sent."""
        return self.sink(topic).create(TopicSettings(partitions=PARTITIONS if self.has_partitions else None))

    def behind_proxy(self) -> contextlib.AbstractContextManager[TcpProxy]:
        """Run a proxy in front of the server, that clients are sent to."""
        return tcp_proxy(self.port)

    @abstractmethod
    def received(self, topic: str, count: int) -> list[Received]:
        """Return everything that is in the topic, in order per place, by the service's own client.

        Args:
            topic: its name.
            count: what is waited for where the service cannot tell its end; more than that is returned as well.
        """


class Kafka(Service):
    prefix = "ce_"
    repeats = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        # Clients go to where the broker says it is: another listener says that it is behind the proxy.
        behind, self._proxy_port = servers.free_port(), servers.free_port()
        self._behind = behind
        here, proxied = f"PLAINTEXT://127.0.0.1:{self.port}", f"PROXIED://127.0.0.1:{self._proxy_port}"
        controller = f"127.0.0.1:{servers.free_port()}"
        self._settings = {
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"{here},PROXIED://127.0.0.1:{behind},CONTROLLER://{controller}",
            "advertised.listeners": f"{here},{proxied}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }

    @contextlib.contextmanager
    def run(self, port: int) -> Iterator[str]:
        broker = Broker(port, self.folder, self._settings)
        broker.start()
        try:
            yield broker.address
        finally:
            broker.stop()

    def behind_proxy(self) -> contextlib.AbstractContextManager[TcpProxy]:
        return tcp_proxy(self._behind, self._proxy_port)

    def sink(self, topic: str, port: int | None = None, send: float = 60.0, call: float = 20.0) -> EventSink:
        from polyexpose_spark.clients.kafka import Deadlines, KafkaSink

        address = KafkaAddress(bootstrap_servers=f"127.0.0.1:{port or self.port}", security_protocol="PLAINTEXT")
        return KafkaSink(address, topic, Deadlines(call, send))

    def received(self, topic: str, count: int) -> list[Received]:
        return kafka_events(f"127.0.0.1:{self.port}", topic)


def kafka_events(address: str, topic: str, conf: dict[str, Any] | None = None) -> list[Received]:
    """Read all partitions to their ends."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            **(conf or {}),
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended, found = set(), []
        while len(ended) < len(partitions):
            message = consumer.poll(30)
            assert message is not None, "the broker does not answer"
            if message.error():
                assert message.error().name() == "_PARTITION_EOF", message.error()
                ended.add(message.partition())
                continue
            headers = {name: value.decode() for name, value in message.headers() or []}
            assert len(headers) == len(message.headers() or [])
            key, value = message.key(), message.value()
            attributes = {name.removeprefix("ce_"): text for name, text in headers.items()}
            decoded = (None if each is None else each.decode() for each in (key, value))
            found.append(Received(str(message.partition()), *decoded, attributes))
        return found
    finally:
        consumer.close()


class Pubsub(Service):
    prefix = "ce-"
    has_partitions = False

    # Google's fake holds everything in memory, and Pub/Sub does not forget: it runs on behind a port that closes.
    @contextlib.contextmanager
    def run(self, port: int) -> Iterator[str]:
        behind = servers.free_port()
        with servers.pubsub(self.folder, behind), tcp_proxy(behind, port) as self._door:
            yield f"http://127.0.0.1:{port}"

    def go_away(self) -> None:
        self._door.is_closed = True
        self._door.reset()

    def come_back(self) -> None:
        self._door.is_closed = False

    def sink(self, topic: str, port: int | None = None, send: float = 60.0, call: float = 20.0) -> EventSink:
        from polyexpose_spark.clients.pubsub import Deadlines, PubsubSink

        address = PubsubAddress(project=PROJECT, endpoint=f"http://127.0.0.1:{port or self.port}")
        return PubsubSink(address, topic, Deadlines(call, send))

    def made(self, topic: str) -> Topic:
        made = super().made(topic)
        name = f"projects/{PROJECT}/topics/{topic}"
        with self._subscriber() as subscriber:
            wanted = {"name": self._subscription(topic), "topic": name, "enable_message_ordering": True}
            subscriber.create_subscription(request={**wanted, "ack_deadline_seconds": 60})
        return made

    def received(self, topic: str, count: int) -> list[Received]:
        from google.api_core.exceptions import DeadlineExceeded

        found: list[Received] = []
        subscription = {"subscription": self._subscription(topic)}
        with self._subscriber() as subscriber:
            end = time.monotonic() + 60
            # Only where nothing comes any more is there nothing more than what was waited for.
            while time.monotonic() < end:
                wait = 1 if len(found) >= count else 10
                pulled = []
                with contextlib.suppress(DeadlineExceeded):
                    request = {**subscription, "max_messages": 1000}
                    pulled = subscriber.pull(request=request, timeout=wait, retry=None).received_messages
                if not pulled and len(found) >= count:
                    return found
                for each in pulled:
                    attributes = {k.removeprefix("ce-"): v for k, v in each.message.attributes.items()}
                    key, value = attributes.get("partitionkey"), each.message.data.decode()
                    found.append(Received(each.message.ordering_key, key, value, attributes))
                if pulled:
                    ids = [each.ack_id for each in pulled]
                    subscriber.acknowledge(request={**subscription, "ack_ids": ids})
        pytest.fail(f"{len(found)} of {count} events came within 60 s")

    @staticmethod
    def _subscription(topic: str) -> str:
        return f"projects/{PROJECT}/subscriptions/{topic}-all"

    @contextlib.contextmanager
    def _subscriber(self) -> Iterator[Any]:
        import grpc
        from google.pubsub_v1 import SubscriberClient
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))


class Pubsublite(Service):
    prefix = "ce-"
    repeats = False

    def run(self, port: int) -> contextlib.AbstractContextManager[str]:
        return servers.pubsublite(self.folder, port)

    def sink(self, topic: str, port: int | None = None, send: float = 60.0, call: float = 20.0) -> EventSink:
        from polyexpose_spark.clients.pubsublite import Deadlines, PubsubliteSink

        endpoint = f"http://127.0.0.1:{port or self.port}"
        address = PubsubliteAddress(project=PROJECT, location=ZONE, endpoint=endpoint)
        return PubsubliteSink(address, topic, Deadlines(call, send))

    def received(self, topic: str, count: int) -> list[Received]:
        from tests import pubsublite_clients as clients

        with clients.plaintext():
            messages = clients.receive(f"http://127.0.0.1:{self.port}", f"s{uuid.uuid4().hex}", topic, count)
        from google.cloud.pubsublite.types import MessageMetadata

        found = []
        for each in messages:
            attributes = {k.removeprefix("ce-"): v for k, v in each.attributes.items()}
            place = str(MessageMetadata.decode(each.message_id).partition.value)
            found.append(Received(place, each.ordering_key or None, each.data.decode(), attributes))
        return found


SERVICES: dict[str, Callable[[Path], Service]] = {"kafka": Kafka, "pubsub": Pubsub, "pubsublite": Pubsublite}
