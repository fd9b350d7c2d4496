"""The Pub/Sub Lite server, as the protocol describes it: what the official clients do not show, or work around."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.cloud.pubsublite", reason="google-cloud-pubsublite is not installed")

import grpc
from google.cloud import pubsublite_v1 as lite
from google.cloud.pubsublite_v1.services.admin_service.transports import AdminServiceGrpcTransport
from google.longrunning import operations_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests import servers
from tests.small_disk import small_disk

PARENT = "projects/p/locations/europe-west1-b"
CLIENT = bytes(range(16))
SERVICE = "/google.cloud.pubsublite.v1."


class Stream:
    """A call with streams both ways."""

    def __init__(self, channel: grpc.Channel, method: str, request: Any, response: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._request = request.pb()
        call = channel.stream_stream(
            SERVICE + method,
            request_serializer=self._request.SerializeToString,
            response_deserializer=response.pb().FromString,
        )
        self._call = call(iter(self._requests.get, None), timeout=30)

    def say(self, **request: Any) -> None:
        self._requests.put(self._request(**request))

    def hear(self) -> Any:
        return next(self._call)

    def ask(self, **request: Any) -> Any:
        self.say(**request)
        return self.hear()

    def is_quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while; asked at most once."""
        heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def listen() -> None:
            with contextlib.suppress(grpc.RpcError, StopIteration):
                heard.put(next(self._call))

        threading.Thread(target=listen, daemon=True).start()
        time.sleep(seconds)
        return heard.empty()

    def close(self) -> None:
        self._requests.put(None)
        self._call.cancel()


class Service:
    """The server in a process of its own."""

    def __init__(self, state: Path) -> None:
        command = [sys.executable, "-m", "polyexpose_spark.local.pubsublite", "--port", "0", "--state", str(state)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=servers.ROOT)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.address = self.ready.rsplit(" ", 1)[-1].strip()
        self.channel = grpc.insecure_channel(self.address, options=[("grpc.max_receive_message_length", 4 << 20)])
        self.admin = lite.AdminServiceClient(transport=AdminServiceGrpcTransport(channel=self.channel))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; return the exit code. Doing it again changes nothing."""
        if self.process.returncode is not None:
            return self.process.returncode
        self.channel.close()
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(20)

    def topic(self, partitions: int = 1) -> str:
        topic = lite.Topic(
            partition_config=lite.Topic.PartitionConfig(count=partitions),
            retention_config=lite.Topic.RetentionConfig(per_partition_bytes=30 << 30),
        )
        name = f"t{uuid.uuid4().hex[:8]}"
        return str(self.admin.create_topic(request={"parent": PARENT, "topic": topic, "topic_id": name}).name)

    def subscription(self, topic: str, **subscription: Any) -> str:
        name = f"s{uuid.uuid4().hex[:8]}"
        given = {"topic": topic, **subscription}
        request = {"parent": PARENT, "subscription": given, "subscription_id": name}
        return str(self.admin.create_subscription(request=request).name)

    def publisher(self, topic: str, client: bytes = b"", partition: int = 0) -> Stream:
        stream = Stream(self.channel, "PublisherService/Publish", lite.PublishRequest, lite.PublishResponse)
        stream.ask(initial_request={"topic": topic, "partition": partition, "client_id": client})
        return stream

    def publish(self, topic: str, *data: bytes, client: bytes = b"", sequence: int = 0) -> list[tuple[int, int, int]]:
        """Publish in one request; return (start index, end index, offset) of every range."""
        stream = self.publisher(topic, client)
        try:
            answer = stream.ask(**publish_request(*data, sequence=sequence))
        finally:
            stream.close()
        ranges = answer.message_response.cursor_ranges
        return [(each.start_index, each.end_index, each.start_cursor.offset) for each in ranges]

    def subscriber(self, subscription: str, **where: Any) -> Stream:
        stream = Stream(self.channel, "SubscriberService/Subscribe", lite.SubscribeRequest, lite.SubscribeResponse)
        stream.say(initial={"subscription": subscription, **({"initial_location": where} if where else {})})
        return stream

    def all_data(self, topic: str) -> list[bytes]:
        stream = self.subscriber(self.subscription(topic))
        stream.hear()
        head = self.call("TopicStatsService/ComputeHeadCursor", lite.ComputeHeadCursorRequest(topic=topic)).head_cursor
        found: list[bytes] = []
        if head.offset:
            stream.say(flow_control={"allowed_messages": 1 << 30, "allowed_bytes": 1 << 40})
        while len(found) < head.offset:
            found += [each.message.data for each in stream.hear().messages.messages]
        stream.close()
        return found

    def call(self, method: str, request: Any) -> Any:
        response = getattr(lite, type(request).__name__.replace("Request", "Response"))
        call = self.channel.unary_unary(SERVICE + method, type(request).serialize, response.deserialize)
        return call(request, timeout=20)


def publish_request(*data: bytes, sequence: int = 0) -> dict[str, Any]:
    messages = [{"data": each} for each in data]
    return {"message_publish_request": {"messages": messages, "first_sequence_number": sequence}}


@contextlib.contextmanager
def refused(code: str, text: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert (caught.value.code().name, caught.value.details()) == (code, text)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("pubsublite"))
    yield running
    running.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Service]]:
    """Start a server with the state that those before it in the same test left."""
    started: list[Service] = []

    def begin() -> Service:
        started.append(Service(tmp_path / "state"))
        return started[-1]

    yield begin
    for each in started:
        each.end()


def test_a_client_that_sends_again_is_recognised(service: Service) -> None:
    topic = service.topic()
    assert service.publish(topic, b"a", b"b", client=CLIENT) == [(0, 2, 0)]
    assert service.publish(topic, b"x") == [(0, 1, 2)]
    assert service.publish(topic, b"c", client=CLIENT, sequence=2) == [(0, 1, 3)]
    # All of it, and something new: where everything is, in as many ranges as it is in.
    assert service.publish(topic, b"a", b"b", b"c", b"d", client=CLIENT) == [(0, 2, 0), (2, 4, 3)]
    assert service.publish(topic, b"b", client=CLIENT, sequence=1) == [(0, 1, 1)]
    # Somebody else, or nobody in particular.
    assert service.publish(topic, b"a", client=bytes(15) + b"1") == [(0, 1, 5)]
    assert service.publish(topic, b"a") == [(0, 1, 6)]
    assert service.all_data(topic) == [b"a", b"b", b"x", b"c", b"d", b"a", b"a"]


def test_a_sequence_with_a_gap_is_refused(service: Service) -> None:
    topic = service.topic()
    service.publish(topic, b"a", client=CLIENT)
    with refused("FAILED_PRECONDITION", "Sequence number 2 does not follow: 1 is next for this client"):
        service.publish(topic, b"c", client=CLIENT, sequence=2)
    with refused("FAILED_PRECONDITION", "Sequence number 5 does not follow: 0 is next for this client"):
        service.publish(topic, b"c", client=bytes(15) + b"1", sequence=5)
    assert service.all_data(topic) == [b"a"]


def test_a_thousand_clients_are_remembered(service: Service) -> None:
    topic = service.topic()
    for number in range(1001):
        stream = service.publisher(topic, number.to_bytes(16, "big"))
        stream.ask(**publish_request(b"a"))
        stream.close()
    # A client id of 16 zeros is none, so that there were a thousand.
    assert service.publish(topic, b"a", client=(1).to_bytes(16, "big")) == [(0, 1, 1)]
    service.publish(topic, b"a", client=CLIENT)
    assert service.publish(topic, b"a", client=(1).to_bytes(16, "big")) == [(0, 1, 1002)]


def test_a_message_that_is_too_large(service: Service) -> None:
    topic = service.topic()
    limit = 3_670_016
    with refused("INVALID_ARGUMENT", f"Message 1 has {limit + 1} bytes; at most {limit} are allowed"):
        service.publish(topic, b"small", bytes(limit + 1 - 5))
    assert service.publish(topic, bytes(limit - 5)) == [(0, 1, 0)]
    assert service.publish(topic, b"after") == [(0, 1, 1)]
    assert [len(each) for each in service.all_data(topic)] == [limit - 5, 5]


def test_a_request_of_many_large_messages_is_cut_for_subscribers(service: Service) -> None:
    topic = service.topic()
    assert service.publish(topic, *[bytes([n]) * 1_000_000 for n in range(10)]) == [(0, 10, 0)]
    # This client receives 4 MiB at a time.
    assert [each[0] for each in service.all_data(topic)] == list(range(10))


@pytest.mark.parametrize(
    ("initial", "code", "text"),
    [
        ({"partition": 7}, "NOT_FOUND", "Resource not found: {topic}, partition 7"),
        ({"topic": "projects/p/locations/x/topics/none"}, "NOT_FOUND", None),
        ({"client_id": b"123"}, "INVALID_ARGUMENT", "client_id must have 16 bytes"),
    ],
)
def test_publishing_to_what_is_not_there(service: Service, initial: dict[str, Any], code: str, text: str) -> None:
    topic = service.topic()
    given = {"topic": topic, "partition": 0, **initial}
    text = (text or f"Resource not found: {given['topic']}").replace("{topic}", topic)
    stream = Stream(service.channel, "PublisherService/Publish", lite.PublishRequest, lite.PublishResponse)
    with refused(code, text):
        stream.ask(initial_request=given)


def test_a_stream_that_begins_otherwise(service: Service) -> None:
    stream = Stream(service.channel, "PublisherService/Publish", lite.PublishRequest, lite.PublishResponse)
    with refused("INVALID_ARGUMENT", "initial_request must be set in the first request"):
        stream.ask(**publish_request(b"a"))


def test_a_subscriber_gets_what_it_allows(service: Service) -> None:
    topic = service.topic()
    service.publish(topic, *[b"0123456789"] * 10)
    size = 12  # with tag and length
    stream = service.subscriber(service.subscription(topic))
    assert stream.hear().initial.cursor.offset == 0
    stream.say(flow_control={"allowed_messages": 3, "allowed_bytes": 4 * size})
    first = stream.hear().messages.messages
    assert [each.cursor.offset for each in first] == [0, 1, 2]
    assert {each.size_bytes for each in first} == {size}
    stream.say(flow_control={"allowed_messages": 100, "allowed_bytes": 2 * size - 1})
    assert [each.cursor.offset for each in stream.hear().messages.messages] == [3, 4]
    assert stream.is_quiet()


def test_a_seek_in_a_stream(service: Service) -> None:
    topic = service.topic()
    service.publish(topic, b"a", b"b", b"c")
    stream = service.subscriber(service.subscription(topic), cursor={"offset": 2})
    assert stream.hear().initial.cursor.offset == 2
    stream.say(flow_control={"allowed_messages": 100, "allowed_bytes": 1000})
    assert [each.message.data for each in stream.hear().messages.messages] == [b"c"]
    assert stream.ask(seek={"cursor": {"offset": 1}}).seek.cursor.offset == 1
    # What was allowed before does not count any more.
    stream.say(flow_control={"allowed_messages": 1, "allowed_bytes": 1000})
    assert [each.message.data for each in stream.hear().messages.messages] == [b"b"]
    with refused("OUT_OF_RANGE", "cursor: 4 is beyond the last message"):
        stream.ask(seek={"cursor": {"offset": 4}})


def test_a_subscriber_is_woken_by_a_message(service: Service) -> None:
    topic = service.topic()
    stream = service.subscriber(service.subscription(topic))
    stream.hear()
    stream.say(flow_control={"allowed_messages": 100, "allowed_bytes": 1000})
    time.sleep(0.3)
    began = time.monotonic()
    service.publish(topic, b"now")
    assert [each.message.data for each in stream.hear().messages.messages] == [b"now"]
    assert time.monotonic() - began < 1


def test_a_partition_is_handed_over_when_it_was_let_go(service: Service) -> None:
    subscription = service.subscription(service.topic(4))

    def member(number: int) -> Stream:
        method = "PartitionAssignmentService/AssignPartitions"
        stream = Stream(service.channel, method, lite.PartitionAssignmentRequest, lite.PartitionAssignment)
        stream.say(initial={"subscription": subscription, "client_id": number.to_bytes(16, "big")})
        return stream

    first = member(1)
    assert list(first.hear().partitions) == [0, 1, 2, 3]
    first.say(ack={})
    second = member(2)
    assert list(second.hear().partitions) == []
    second.say(ack={})
    assert list(first.hear().partitions) == [0, 2]
    time.sleep(0.3)
    # The first has not said that it does not read 1 and 3 any more.
    began = time.monotonic()
    first.say(ack={})
    assert list(second.hear().partitions) == [1, 3]
    assert time.monotonic() - began < 5
    second.say(ack={})
    first.close()
    assert list(second.hear().partitions) == [0, 1, 2, 3]


def test_statistics(service: Service) -> None:
    topic = service.topic()
    before = time.time()
    service.publish(topic, b"a", b"bb")
    time.sleep(0.05)
    between = Timestamp()
    between.GetCurrentTime()
    time.sleep(0.05)
    service.publish(topic, b"ccc")
    stats = service.call(
        "TopicStatsService/ComputeMessageStats",
        lite.ComputeMessageStatsRequest(topic=topic, start_cursor={"offset": 1}, end_cursor={"offset": 3}),
    )
    assert (stats.message_count, stats.message_bytes) == (2, 9)
    assert before - 1 < stats.minimum_publish_time.timestamp() < between.ToMicroseconds() / 1e6
    request = lite.ComputeTimeCursorRequest(topic=topic, target={"publish_time": between})
    assert service.call("TopicStatsService/ComputeTimeCursor", request).cursor.offset == 2
    later = Timestamp(seconds=between.seconds + 3600)
    request = lite.ComputeTimeCursorRequest(topic=topic, target={"publish_time": later})
    assert "cursor" not in service.call("TopicStatsService/ComputeTimeCursor", request)
    request = lite.ComputeTimeCursorRequest(topic=topic, target={"event_time": between})
    assert service.call("TopicStatsService/ComputeTimeCursor", request).cursor.offset == 2


def test_cursors(service: Service) -> None:
    topic = service.topic(2)
    service.publish(topic, b"a", b"b")
    subscription = service.subscription(topic)
    method = "CursorService/CommitCursor"
    service.call(method, lite.CommitCursorRequest(subscription=subscription, cursor={"offset": 2}))
    listed = service.call(
        "CursorService/ListPartitionCursors", lite.ListPartitionCursorsRequest(parent=subscription)
    ).partition_cursors
    assert [(each.partition, each.cursor.offset) for each in listed] == [(0, 2), (1, 0)]
    with refused("INVALID_ARGUMENT", "cursor: 3 is beyond the last message"):
        service.call(method, lite.CommitCursorRequest(subscription=subscription, cursor={"offset": 3}))
    with refused("NOT_FOUND", f"Resource not found: {subscription}x"):
        service.call(method, lite.CommitCursorRequest(subscription=f"{subscription}x", cursor={"offset": 3}))


def test_what_it_cannot_do_is_refused(service: Service) -> None:
    topic = service.topic()
    from google.api_core import exceptions

    with pytest.raises(exceptions.MethodNotImplemented, match="Export subscriptions are not supported"):
        service.subscription(topic, export_config={"pubsub_config": {"topic": "projects/p/topics/t"}})
    call = service.channel.unary_unary(
        "/google.longrunning.Operations/ListOperations",
        operations_pb2.ListOperationsRequest.SerializeToString,
        operations_pb2.ListOperationsResponse.FromString,
    )
    with refused("UNIMPLEMENTED", "Method not found!"):
        call(operations_pb2.ListOperationsRequest(), timeout=10)


def test_lists_come_in_pages(service: Service) -> None:
    topic = service.topic()
    made = sorted(service.subscription(topic) for _ in range(5))
    pages = service.admin.list_topic_subscriptions(request={"name": topic, "page_size": 2}).pages
    assert [list(page.subscriptions) for page in pages] == [made[:2], made[2:4], made[4:]]


def test_a_kill_loses_nothing_that_was_answered(start: Callable[[], Service]) -> None:
    running = start()
    topic = running.topic()
    running.publish(topic, b"a", b"b", client=CLIENT)
    running.publish(topic, b"c", client=CLIENT, sequence=2)
    subscription = running.subscription(topic)
    running.call(
        "CursorService/CommitCursor", lite.CommitCursorRequest(subscription=subscription, cursor={"offset": 2})
    )
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    running = start()
    assert running.all_data(topic) == [b"a", b"b", b"c"]
    # It also still knows who sent what.
    assert running.publish(topic, b"c", b"d", client=CLIENT, sequence=2) == [(0, 2, 2)]
    assert running.subscriber(subscription).hear().initial.cursor.offset == 2
    assert running.end() == 0


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_what_was_written_in_part_is_cut_off(start: Callable[[], Service], tmp_path: Path, damage: str) -> None:
    running = start()
    topic = running.topic()
    running.publish(topic, b"a", client=CLIENT)
    running.publish(topic, b"b" * 1000, client=CLIENT, sequence=1)
    running.end(signal.SIGKILL)
    (log,) = tmp_path.rglob("0.log")
    size = log.stat().st_size
    with log.open("r+b") as file:
        if damage == "cut":
            file.truncate(size - 10)
        else:
            file.seek(size - 10)
            file.write(b"!!!!")
    running = start()
    assert running.all_data(topic) == [b"a"]
    assert running.publish(topic, b"a", b"B", client=CLIENT) == [(0, 2, 0)]
    running.end()
    running = start()
    assert running.all_data(topic) == [b"a", b"B"]
    running.end()


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        running = Service(disk / "state")
        try:
            topic = running.topic()
            while shutil.disk_usage(disk).free > 1_100_000:
                running.publish(topic, b"l" * 1_000_000)
            with refused("RESOURCE_EXHAUSTED", "Cannot store it: [Errno 28] No space left on device"):
                running.publish(topic, b"x" * 2_000_000)
            # What is left takes smaller ones, and nothing of the large one is there.
            running.publish(topic, b"small")
            found = [each[:1] for each in running.all_data(topic)]
            assert found == [b"l"] * (len(found) - 1) + [b"s"]
            assert len(found) > 4
        finally:
            running.end()


def test_a_state_or_a_port_that_is_taken(service: Service, start: Callable[[], Service], tmp_path: Path) -> None:
    port = service.address.rpartition(":")[2]
    state = tmp_path / "state"
    command = [sys.executable, "-m", "polyexpose_spark.local.pubsublite", "--state", str(state), "--port"]
    done = subprocess.run([*command, port], capture_output=True, text=True, cwd=servers.ROOT, timeout=30)
    said = f"The Pub/Sub Lite server cannot start on port {port}: port {port} is taken"
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (5, "", said)
    start()
    done = subprocess.run([*command, "0"], capture_output=True, text=True, cwd=servers.ROOT, timeout=30)
    said = f"The Pub/Sub Lite server cannot start on port 0: another process has {state} (database is locked)"
    assert (done.returncode, done.stdout, done.stderr.splitlines()[-1]) == (5, "", said)


def test_idle_streams_cost_nothing(service: Service) -> None:
    topic = service.topic()
    streams = [service.subscriber(service.subscription(topic)) for _ in range(20)]
    for stream in streams:
        stream.hear()
        stream.say(flow_control={"allowed_messages": 100, "allowed_bytes": 1000})
    time.sleep(0.5)

    def cpu_seconds() -> float:
        fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = cpu_seconds()
    time.sleep(2)
    assert cpu_seconds() - before <= 0.06
    for stream in streams:
        stream.close()
