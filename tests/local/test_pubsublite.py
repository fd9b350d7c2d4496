"""The Pub/Sub Lite server, as Google's own clients see it."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.pubsublite", reason="google-cloud-pubsublite is not installed")

import grpc
from google.api_core import exceptions
from google.cloud.pubsublite.types import BacklogLocation, MessageMetadata, PublishTime
from google.cloud.pubsublite_v1 import ListPartitionCursorsRequest
from google.cloud.pubsublite_v1.services.cursor_service import CursorServiceClient
from google.cloud.pubsublite_v1.services.cursor_service.transports import CursorServiceGrpcTransport
from google.protobuf.field_mask_pb2 import FieldMask

from tests import pubsublite_clients as clients
from tests import servers

# Whatever the official client leaves behind on its event loop is told to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
KEYS = [f"key-{n}" for n in range(20)]


@pytest.fixture(scope="module", autouse=True)
def _plaintext() -> Iterator[None]:
    with clients.plaintext():
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.pubsublite(tmp_path_factory.mktemp("pubsublite")) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def publish(address: str, name: str, count: int, first: int = 0) -> list[str]:
    with clients.publisher(address) as publisher:
        done = [
            publisher.publish(
                clients.topic_path(name), str(n).encode(), ordering_key=KEYS[n % len(KEYS)], number=str(n)
            )
            for n in range(first, first + count)
        ]
        return [each.result(timeout=30) for each in done]


def cursors(address: str, name: str) -> dict[int, int]:
    with grpc.insecure_channel(address.removeprefix("http://")) as channel:
        client = CursorServiceClient(transport=CursorServiceGrpcTransport(channel=channel))
        parent = str(clients.subscription_path(name))
        listed = client.list_partition_cursors(ListPartitionCursorsRequest(parent=parent))
        return {each.partition: each.cursor.offset for each in listed}


def test_everything_comes_once_and_in_order_per_key(address: str, name: str) -> None:
    clients.admin(address).create_topic(clients.topic(name, 3))
    ids = publish(address, name, 2000)
    assert len(set(ids)) == 2000
    messages = clients.receive(address, name, name, 2000)
    assert sorted(int(each.data) for each in messages) == list(range(2000))
    order: dict[str, list[int]] = defaultdict(list)
    for each in messages:
        order[each.ordering_key].append(int(each.data))
        assert each.attributes["number"] == each.data.decode()
    assert set(order) == set(KEYS)
    assert all(numbers == sorted(numbers) for numbers in order.values())
    # The id that the publisher was told is where the subscriber finds it.
    assert {each.message_id: int(each.data) for each in messages} == {each: n for n, each in enumerate(ids)}


def test_cursors_are_committed(address: str, name: str) -> None:
    clients.admin(address).create_topic(clients.topic(name, 2))
    clients.admin(address).create_subscription(clients.subscription(name, name))
    publish(address, name, 500)
    with clients.Subscriber(address, name) as first:
        first.wait_for(500)
        time.sleep(0.5)
    heads = {partition: len(data) for partition, data in first.by_partition().items()}
    assert cursors(address, name) == heads
    publish(address, name, 10, first=500)
    with clients.Subscriber(address, name) as second:
        second.wait_for(10)
        time.sleep(0.3)
    assert sorted(int(each.data) for each in second.messages) == list(range(500, 510))


def test_a_restart_finds_everything(tmp_path: Path, name: str) -> None:
    port = servers.free_port()
    with servers.pubsublite(tmp_path / "server", port) as address:
        clients.admin(address).create_topic(clients.topic(name, 3))
        clients.admin(address).create_subscription(clients.subscription("other", name))
        publish(address, name, 1000)
        with clients.Subscriber(address, "other") as reading:
            reading.wait_for(1000)
            time.sleep(0.5)
        before = cursors(address, "other")
    with servers.pubsublite(tmp_path / "server", port) as address:
        assert clients.admin(address).get_topic(clients.topic_path(name)) == clients.topic(name, 3)
        assert cursors(address, "other") == before
        ids = publish(address, name, 100, first=1000)
        assert all(MessageMetadata.decode(each).cursor.offset > 0 for each in ids)
        messages = clients.receive(address, "all-of-it", name, 1100)
    assert sorted(int(each.data) for each in messages) == list(range(1100))


def test_subscribers_go_on_after_a_restart(tmp_path: Path, name: str) -> None:
    port = servers.free_port()
    with servers.pubsublite(tmp_path / "server", port) as address:
        clients.admin(address).create_topic(clients.topic(name, 2))
        clients.admin(address).create_subscription(clients.subscription(name, name))
        publish(address, name, 100)
        reading = clients.Subscriber(address, name)
        reading.__enter__()
        reading.wait_for(100)
    with servers.pubsublite(tmp_path / "server", port) as address:
        publish(address, name, 100, first=100)
        reading.wait_for(200)
        reading.__exit__()
    assert sorted(int(each.data) for each in reading.messages) == list(range(200))


def test_two_subscribers_share_the_partitions(address: str, name: str) -> None:
    clients.admin(address).create_topic(clients.topic(name, 4))
    clients.admin(address).create_subscription(clients.subscription(name, name))
    with clients.Subscriber(address, name) as first:
        publish(address, name, 400)
        first.wait_for(400)
        with clients.Subscriber(address, name) as second:
            time.sleep(1)
            publish(address, name, 400, first=400)
            end = time.monotonic() + 20
            while len(first.messages) + len(second.messages) < 800 and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(0.3)
            both = [int(each.data) for each in first.messages[400:] + second.messages]
            assert sorted(both) == list(range(400, 800))
            assert len(second.by_partition()) == 2
        # Whoever stays has them all again.
        time.sleep(1)
        before = len(first.messages)
        publish(address, name, 400, first=800)
        first.wait_for(before + 400)


def test_partitions_that_are_added_are_read(address: str, name: str) -> None:
    clients.admin(address).create_topic(clients.topic(name, 1))
    clients.admin(address).create_subscription(clients.subscription(name, name))
    with clients.Subscriber(address, name) as reading:
        publish(address, name, 10)
        reading.wait_for(10)
        changed = clients.topic(name, 3)
        clients.admin(address).update_topic(changed, FieldMask(paths=["partition_config"]))
        assert clients.admin(address).get_topic_partition_count(clients.topic_path(name)) == 3
        publish(address, name, 200, first=10)
        reading.wait_for(210)
    assert set(reading.by_partition()) == {0, 1, 2}


def test_seek(address: str, name: str) -> None:
    admin = clients.admin(address)
    admin.create_topic(clients.topic(name, 2))
    admin.create_subscription(clients.subscription(name, name), BacklogLocation.END)
    path = clients.subscription_path(name)
    publish(address, name, 100)
    time.sleep(0.1)
    between = time.time()
    time.sleep(0.1)
    publish(address, name, 50, first=100)
    assert admin.seek_subscription(path, BacklogLocation.END).result(timeout=10) is not None
    heads = cursors(address, name)
    assert sum(heads.values()) == 150
    target = PublishTime(dt.datetime.fromtimestamp(between, dt.UTC))
    admin.seek_subscription(path, target).result(timeout=10)
    with clients.Subscriber(address, name) as reading:
        reading.wait_for(50)
        time.sleep(0.5)
        assert sorted(int(each.data) for each in reading.messages) == list(range(100, 150))
        # One who is connected begins anew.
        reading.messages.clear()
        admin.seek_subscription(path, BacklogLocation.BEGINNING).result(timeout=10)
        reading.wait_for(150)
        time.sleep(0.5)
        assert sorted(int(each.data) for each in reading.messages) == list(range(150))
    assert cursors(address, name) == heads


def test_resources(address: str, name: str) -> None:
    admin = clients.admin(address)
    with pytest.raises(exceptions.NotFound):
        admin.get_topic(clients.topic_path(name))
    admin.create_topic(clients.topic(name, 2))
    with pytest.raises(exceptions.AlreadyExists):
        admin.create_topic(clients.topic(name, 2))
    with pytest.raises(exceptions.InvalidArgument, match=r"partition_config\.count must be at least 1"):
        admin.create_topic(clients.topic(f"{name}x", 0))
    with pytest.raises(exceptions.NotFound):
        admin.create_subscription(clients.subscription(name, f"{name}x"))
    admin.create_subscription(clients.subscription(name, name))
    assert list(admin.list_topic_subscriptions(clients.topic_path(name))) == [clients.subscription_path(name)]
    with pytest.raises(exceptions.InvalidArgument, match="cannot be decreased"):
        admin.update_topic(clients.topic(name, 1), FieldMask(paths=["partition_config.count"]))
    publish(address, name, 10)
    admin.delete_topic(clients.topic_path(name))
    assert admin.get_subscription(clients.subscription_path(name)).topic == "_deleted-topic_"
    # Made anew, it is empty.
    admin.create_topic(clients.topic(name, 1))
    assert publish(address, name, 1) == ["0,0"]
    admin.delete_subscription(clients.subscription_path(name))
    with pytest.raises(exceptions.NotFound):
        admin.get_subscription(clients.subscription_path(name))
