"""PubsubliteSink over the real protocol: what is in the topic, and what is said, in good times and in bad."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("google.cloud.pubsublite", reason="google-cloud-pubsublite is not installed")

import grpc
from google.cloud.pubsublite.internal.wire.default_routing_policy import DefaultRoutingPolicy
from google.cloud.pubsublite_v1 import PubSubMessage

from polyexpose_spark.clients import Topic, TopicSettings
from polyexpose_spark.clients.delivery import EVENT_COLUMNS, UNDELIVERED, Envelope, Kind, Undelivered
from polyexpose_spark.clients.event_addresses import PubsubliteAddress
from polyexpose_spark.clients.pubsublite import DEPRECATION, Deadlines, PubsubliteSink
from polyexpose_spark.errors import ConfigError, Refused, TargetFailed, TargetUnavailable
from tests import pubsublite_clients as clients
from tests import servers, stream_faults
from tests.stream_faults import Fault, Proxy

# Whatever the official client leaves behind on its event loop is told to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ENVELOPE = Envelope("/products/flights", (Kind("flights.changed", "2026-11-25T01:02:03.000004Z", f"{7:020}"),))
DEADLINES = Deadlines(call=6.0, send=8.0)
PARTITIONS = 3
KEYS = [json.dumps([n, "é,\"'"], ensure_ascii=False) for n in range(40)]


@pytest.fixture(scope="module", autouse=True)
def _plaintext() -> Iterator[None]:
    with clients.plaintext():
        yield


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.pubsublite(tmp_path_factory.mktemp("pubsublite")) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture
def faulty(service: str) -> Iterator[Proxy]:
    with stream_faults.proxy(service, "Publish") as running:
        yield running


def sink(address: str, name: str, deadlines: Deadlines = DEADLINES) -> PubsubliteSink:
    given = PubsubliteAddress(
        project=clients.PROJECT, location=str(clients.ZONE), endpoint=address, credentials="anonymous"
    )
    return PubsubliteSink(given, name, deadlines)


def route(key: str, routes: int = PARTITIONS) -> int:
    """The rule that clients.EventSink.routes names."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest(), "big") % routes


def events(count: int, text: str = "", first: int = 0) -> list[tuple[Any, ...]]:
    """Rows of EVENT_COLUMNS, by route and then in their order, as the port hands them over."""
    made = [
        (
            route(KEYS[n % len(KEYS)]),
            KEYS[n % len(KEYS)],
            json.dumps({"n": n, "text": text}),
            f"id-{n}",
            0,
        )
        for n in range(first, first + count)
    ]
    return sorted(made, key=lambda row: row[0])


def batch(rows: Iterable[tuple[Any, ...]]) -> pa.RecordBatch:
    columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
    text = pa.string()
    types = [pa.int32(), text, text, text, pa.int32()]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(EVENT_COLUMNS))


def send(
    to: PubsubliteSink, topic: Topic, rows: list[tuple[Any, ...]], named: str = "batch", envelope: Envelope = ENVELOPE
) -> dict[str, list[int]]:
    pieces = [batch(rows[first : first + 1000]) for first in range(0, len(rows), 1000)]
    (told,) = to.sender(topic, envelope, named)(iter(pieces))
    return dict(told.to_pydict())


def made(address: str, name: str) -> Topic:
    return sink(address, name).create(TopicSettings(partitions=PARTITIONS))


def numbers(messages: list[Any]) -> list[int]:
    return [json.loads(each.data)["n"] for each in messages]


def arrived(service: str, name: str, count: int) -> list[Any]:
    """Everything in the topic, which must be so much, and in order for each key."""
    messages = clients.receive(service, f"s{uuid.uuid4().hex[:10]}", name, count)
    assert len(messages) == count
    order: dict[str, list[int]] = defaultdict(list)
    for each in messages:
        order[each.ordering_key].append(json.loads(each.data)["n"])
    assert all(found == sorted(found) for found in order.values())
    return messages


def undelivered(caught: pytest.ExceptionInfo[Undelivered]) -> dict[str, Any]:
    text = str(caught.value)
    assert text.startswith(UNDELIVERED)
    assert "\n" not in text
    return dict(json.loads(text.removeprefix(UNDELIVERED)))


def test_a_topic_is_made_once_and_deleted(service: str, name: str) -> None:
    to = sink(service, name)
    assert to.address == f"pubsublite://europe-west1-b/{clients.PROJECT}/{name}"
    assert to.topic() is None
    topic = to.create(TopicSettings(partitions=5, retention_hours=48))
    assert (topic.partitions, topic.max_bytes, to.routes(topic), to.by_route) == (5, 3 << 20, 5, True)
    assert topic.described == "30 GiB kept per partition, for at most 48 h, 4 MiB/s in and 8 MiB/s out per partition"
    assert to.topic() == topic
    there = clients.admin(service).get_topic(clients.topic_path(name))
    assert there.partition_config.capacity.publish_mib_per_sec == 4
    assert there.retention_config.per_partition_bytes == 30 << 30
    # Somebody was quicker, with other settings: theirs stand.
    assert to.create(TopicSettings(partitions=2)) == topic
    to.delete()
    assert to.topic() is None
    to.delete()
    assert to.create(TopicSettings()).partitions == 1


def test_compacted_topics_are_refused(service: str, name: str) -> None:
    with pytest.raises(Refused, match=f"{name}: Pub/Sub Lite has no compacted topics; set compacted: false"):
        sink(service, name).create(TopicSettings(compacted=True))
    assert sink(service, name).topic() is None


@pytest.mark.parametrize(
    ("project", "location", "said"),
    [
        (None, "europe-west1-b", "project and location are needed"),
        ("p", None, "project and location are needed"),
        ("p", "mars", "location: 'mars' is no zone (europe-west1-b) or region"),
    ],
)
def test_an_address_that_is_none(project: str | None, location: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PubsubliteSink(PubsubliteAddress(project=project, location=location), "flights")
    assert str(caught.value) == f"Pub/Sub Lite topic flights: {said}"


def test_a_region_and_a_project_number_are_addresses(service: str, name: str) -> None:
    given = PubsubliteAddress(project="123", location="europe-west1", endpoint=service, credentials="anonymous")
    to = PubsubliteSink(given, name, DEADLINES)
    assert to.create(TopicSettings(partitions=2)) == to.topic()
    assert send(to, Topic(2, 3 << 20), [row for row in events(40) if row[0] < 2])["events"] != [0]


def test_events_as_a_consumer_sees_them(service: str, name: str) -> None:
    to, topic = sink(service, name), made(service, name)
    rows = events(3000, text="é")
    told = send(to, topic, rows)
    assert told == {"events": [3000], "bytes": [sum(len(row[1].encode()) + len(row[2].encode()) for row in rows)]}
    messages = arrived(service, name, 3000)
    assert sorted(numbers(messages)) == list(range(3000))
    by_number = {json.loads(each.data)["n"]: each for each in messages}
    seen = by_number[7]
    assert json.loads(seen.data) == {"n": 7, "text": "é"}
    assert seen.ordering_key == KEYS[7]
    assert dict(seen.attributes) == {
        "ce-specversion": "1.0",
        "ce-id": "id-7",
        "ce-source": "/products/flights",
        "ce-type": "flights.changed",
        "ce-time": "2026-11-25T01:02:03.000004Z",
        "ce-sequence": f"{7:020}",
        "ce-partitionkey": KEYS[7],
        "content-type": "application/json",
    }


def test_keys_are_where_the_official_publisher_puts_them(service: str, name: str) -> None:
    topic = made(service, name)
    policy = DefaultRoutingPolicy(PARTITIONS)
    for key in KEYS:
        assert route(key) == policy.route(PubSubMessage(key=key.encode())).value
    send(sink(service, name), topic, events(40))
    with clients.publisher(service) as publisher:
        done = [publisher.publish(clients.topic_path(name), b"{}", ordering_key=key) for key in KEYS]
        theirs = {key: int(each.result(timeout=20).split(",")[0]) for key, each in zip(KEYS, done, strict=True)}
    ours = {
        each.ordering_key: int(each.message_id.split(",")[0])
        for each in clients.receive(service, f"{name}-sub", name, 80)
        if each.data != b"{}"
    }
    assert ours == theirs


def test_tombstones_and_events_without_a_key(service: str, name: str) -> None:
    topic = made(service, name)
    rows: list[tuple[Any, ...]] = [
        (0, "k", None, "id-0", 0),
        (1, None, "{}", "id-1", 0),
    ]
    send(sink(service, name), topic, rows)
    messages = clients.receive(service, f"{name}-sub", name, 2)
    found = sorted((each.ordering_key, each.data, dict(each.attributes)) for each in messages)
    assert found[1] == ("k", b"", {})
    assert found[0][:2] == ("", b"{}")
    assert "ce-partitionkey" not in found[0][2]


def test_a_batch_that_is_repeated_is_there_once(service: str, name: str) -> None:
    topic = made(service, name)
    rows = events(5000)
    send(sink(service, name), topic, rows)
    send(sink(service, name), topic, rows)
    arrived(service, name, 5000)
    # Another batch is not a repeat, whatever is in it.
    send(sink(service, name), topic, events(10, first=5000), named="another")
    arrived(service, name, 5010)


def test_a_task_that_died_is_repeated(service: str, name: str) -> None:
    topic = made(service, name)
    rows = events(5000, text="x" * 500)

    def dying() -> Iterator[pa.RecordBatch]:
        for first in range(0, 4000, 1000):
            yield batch(rows[first : first + 1000])
        raise OSError("the worker was killed")

    with pytest.raises(OSError, match="killed"):
        list(sink(service, name).sender(topic, ENVELOPE, "batch")(dying()))
    send(sink(service, name), topic, rows)
    assert sorted(numbers(arrived(service, name, 5000))) == list(range(5000))


@pytest.mark.parametrize("code", ["UNAVAILABLE", "ABORTED", "INTERNAL", "RESOURCE_EXHAUSTED"])
@pytest.mark.parametrize("lost", ["answer", "request"])
def test_what_passes_by_itself_is_tried_again(faulty: Proxy, service: str, name: str, code: str, lost: str) -> None:
    topic = made(service, name)
    faulty.faults.extend(Fault(grpc.StatusCode[code], at, lost) for at in (1, 3, 4, 8))
    send(sink(faulty.address, name), topic, events(6000))
    assert not faulty.faults
    assert sorted(numbers(arrived(service, name, 6000))) == list(range(6000))


def test_a_server_that_is_stopped_and_started(tmp_path: Path, name: str) -> None:
    port = servers.free_port()
    rows = events(20_000, text="x" * 200)
    again = threading.Event()

    def slowly() -> Iterator[pa.RecordBatch]:
        for first in range(0, len(rows), 1000):
            if first == 8000:
                again.set()
            if first > 8000:
                time.sleep(0.1)
            yield batch(rows[first : first + 1000])

    told: list[Any] = []
    with servers.pubsublite(tmp_path / "server", port) as address:
        topic = made(address, name)
        to = sink(address, name, Deadlines(send=30))
        sending = threading.Thread(target=lambda: told.extend(to.sender(topic, ENVELOPE, "batch")(slowly())))
        sending.start()
        assert again.wait(20)
    time.sleep(1)
    with servers.pubsublite(tmp_path / "server", port) as address:
        sending.join(40)
        assert [each.to_pydict()["events"] for each in told] == [[20_000]]
        assert sorted(numbers(arrived(address, name, 20_000))) == list(range(20_000))


def test_a_connection_that_broke_while_events_were_waited_for(faulty: Proxy, service: str, name: str) -> None:
    """Longer than the deadline: what Spark takes is not the service's fault."""
    topic = made(service, name)
    faulty.faults.append(Fault(grpc.StatusCode.UNAVAILABLE, at=1, lost="answer"))
    rows = [row for row in events(9000) if row[0] == 0]

    def slowly() -> Iterator[pa.RecordBatch]:
        yield batch(rows[:1500])
        time.sleep(3)
        yield batch(rows[1500:])

    list(sink(faulty.address, name, Deadlines(send=2)).sender(topic, ENVELOPE, "batch")(slowly()))
    assert not faulty.faults
    arrived(service, name, len(rows))


@pytest.mark.parametrize("code", ["PERMISSION_DENIED", "UNAUTHENTICATED", "NOT_FOUND"])
def test_what_does_not_pass_by_itself_is_told_at_once(faulty: Proxy, service: str, name: str, code: str) -> None:
    topic = made(service, name)
    faulty.refuses["Publish"] = (grpc.StatusCode[code], "User not authorized\nto do it")
    began = time.monotonic()
    rows = events(10)
    with pytest.raises(Undelivered) as caught:
        send(sink(faulty.address, name), topic, rows)
    assert time.monotonic() - began < 3
    assert undelivered(caught) == {
        "topic": f"projects/{clients.PROJECT}/locations/europe-west1-b/topics/{name}",
        "partition": rows[0][0],
        "key": rows[0][1],
        "reason": f"{code}: User not authorized to do it",
        "retry": False,
    }


def test_the_key_of_the_first_event_that_is_not_there(faulty: Proxy, service: str, name: str) -> None:
    topic = made(service, name)
    rows = [row for row in events(12_000) if row[0] == 1]
    assert len(rows) > 3000
    faulty.faults.append(Fault(grpc.StatusCode.PERMISSION_DENIED, at=3))
    with pytest.raises(Undelivered) as caught:
        send(sink(faulty.address, name), topic, rows)
    told = undelivered(caught)
    assert (told["partition"], told["key"], told["retry"]) == (1, rows[2000][1], False)
    assert numbers(arrived(service, name, 2000)) == [json.loads(row[2])["n"] for row in rows[:2000]]


def test_an_event_that_is_too_large(service: str, name: str) -> None:
    topic = made(service, name)
    rows = [row for row in events(100) if row[0] == 0]
    large = (*rows[5][:2], json.dumps({"n": 5, "text": "x" * (3 << 20)}), *rows[5][3:])
    with pytest.raises(Undelivered) as caught:
        send(sink(service, name), topic, [*rows[:5], large, *rows[6:]])
    told = undelivered(caught)
    assert (told["partition"], told["key"], told["retry"]) == (0, rows[5][1], False)
    assert told["reason"].endswith("bytes; at most 3,145,728 are sent")
    assert numbers(arrived(service, name, 5)) == [json.loads(row[2])["n"] for row in rows[:5]]


def test_a_partition_that_comes_again_in_a_task(service: str, name: str) -> None:
    topic = made(service, name)
    rows = events(300)
    mixed = sorted(rows, key=lambda row: (int(row[3].removeprefix("id-")) >= 150, row[0]))
    send(sink(service, name), topic, mixed)
    send(sink(service, name), topic, mixed)
    assert sorted(numbers(arrived(service, name, 300))) == list(range(300))


def test_an_event_that_is_just_not_too_large(service: str, name: str) -> None:
    topic = made(service, name)
    (row,) = events(1)
    head = len(row[1].encode()) * 2 + len(row[3]) + sum(map(len, ENVELOPE.kinds[0])) + 200
    fits = (*row[:2], json.dumps({"n": 0, "text": "x" * ((3 << 20) - head)}), *row[3:])
    assert send(sink(service, name), topic, sorted([fits, *events(2000, first=1)], key=lambda row: row[0]))[
        "events"
    ] == [2001]
    arrived(service, name, 2001)


def test_nobody_there(name: str) -> None:
    address = f"http://127.0.0.1:{servers.free_port()}"
    to = sink(address, name, Deadlines(call=2, send=2))
    began = time.monotonic()
    for ask in (to.topic, lambda: to.create(TopicSettings()), to.delete):
        with pytest.raises(TargetUnavailable, match=r"503 .*, for 2 s; run again later") as told:
            ask()
        assert str(told.value).startswith(f"{to.address}: ")
        assert "\n" not in str(told.value)
    with pytest.raises(Undelivered) as caught:
        send(to, Topic(PARTITIONS, 3 << 20), events(10))
    assert time.monotonic() - began < 12
    said = undelivered(caught)
    assert said["retry"] is True
    assert said["reason"].startswith("UNAVAILABLE: ")


def test_a_service_that_says_nothing(faulty: Proxy, service: str, name: str) -> None:
    """It accepts and never acknowledges: memory is bounded, and so is the time."""
    topic = made(service, name)
    faulty.silent.set()
    taken = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for first in range(0, 100_000, 100):
            taken += 100
            yield batch([row for row in events(300, text="x" * 10_000, first=first) if row[0] == 0][:100])

    began = time.monotonic()
    with pytest.raises(Undelivered) as caught:
        list(sink(faulty.address, name, Deadlines(send=3)).sender(topic, ENVELOPE, "batch")(endless()))
    assert 3 <= time.monotonic() - began < 10
    assert undelivered(caught)["reason"] == "no acknowledgement, for 3 s"
    assert undelivered(caught)["retry"] is True
    assert taken * 10_000 < 12 << 20


def test_a_slow_service_is_waited_for(faulty: Proxy, service: str, name: str) -> None:
    """Longer than the deadline in all, and always moving."""
    topic = made(service, name)
    faulty.seconds = 0.4
    rows = events(12_000)
    began = time.monotonic()
    assert send(sink(faulty.address, name, Deadlines(send=2)), topic, rows)["events"] == [12_000]
    assert time.monotonic() - began > 4
    arrived(service, name, 12_000)


def test_other_answers_about_the_topic(faulty: Proxy, name: str) -> None:
    to = sink(faulty.address, name)
    faulty.refuses["GetTopic"] = (grpc.StatusCode.PERMISSION_DENIED, "No.")
    with pytest.raises(TargetFailed, match=f"{name}: looking for the topic: 403 No.$"):
        to.topic()
    faulty.refuses["CreateTopic"] = (grpc.StatusCode.INVALID_ARGUMENT, "Quota.")
    with pytest.raises(TargetFailed, match=f"{name}: making the topic: 400 Quota.$"):
        to.create(TopicSettings())


def test_the_end_of_the_service_is_told_once(service: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    topic, to = made(service, name), sink(service, name)
    with caplog.at_level(logging.WARNING, "polyexpose_spark"):
        send(to, topic, events(1))
        send(to, topic, events(1, first=1), named="next")
    assert [record.getMessage() for record in caplog.records] == [f"{to.address}: {DEPRECATION}"]
    assert "2027-01-31" in DEPRECATION


def test_tls_with_application_default_credentials(service: str, name: str, tmp_path: Path) -> None:
    from tests.loopback_tls import certificate, service_account

    key, chain = certificate()
    (tmp_path / "ca.pem").write_bytes(chain)
    (tmp_path / "account.json").write_text(service_account())
    program = """
import pyarrow as pa, sys
from polyexpose_spark.clients import TopicSettings
from polyexpose_spark.clients.delivery import Envelope, Kind
from polyexpose_spark.clients.event_addresses import PubsubliteAddress
from polyexpose_spark.clients.pubsublite import PubsubliteSink
address = PubsubliteAddress(project="test-project", location="europe-west1-b", endpoint=sys.argv[1])
to = PubsubliteSink(address, sys.argv[2])
topic = to.create(TopicSettings(partitions=3))
envelope = Envelope("/products/x", (Kind("t", "2026-11-25T00:00:00Z", "1"),))
print(*to.sender(topic, envelope, "batch")(pa.ipc.open_stream("events.arrow")))
"""
    rows = batch(events(100))
    with pa.OSFile(str(tmp_path / "events.arrow"), "wb") as file, pa.ipc.new_stream(file, rows.schema) as writer:
        writer.write_batch(rows)
    environment = {
        **os.environ,
        "PYTHONPATH": str(servers.ROOT),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "ca.pem"),
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json"),
    }
    with stream_faults.proxy(service, "Publish", tls=grpc.ssl_server_credentials([(key, chain)])) as encrypted:
        command = [sys.executable, "-c", program, encrypted.address, name]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(encrypted.authorizations) == 1 + PARTITIONS
        assert all(each and each.startswith("Bearer ey") for each in encrypted.authorizations)
    arrived(service, name, 100)


def test_credentials_that_are_missing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    to = PubsubliteSink(PubsubliteAddress(project="p", location="europe-west1-b"), name, DEADLINES)
    with pytest.raises(TargetFailed, match=r"none.json was not found") as told:
        to.topic()
    assert "\n" not in str(told.value)
    with pytest.raises(Undelivered) as caught:
        send(to, Topic(PARTITIONS, 3 << 20), events(10))
    assert undelivered(caught)["retry"] is False


def test_no_events_need_no_connection(name: str) -> None:
    to = sink(f"http://127.0.0.1:{servers.free_port()}", name)
    (told,) = to.sender(Topic(PARTITIONS, 3 << 20), ENVELOPE, "batch")(iter([]))
    assert told.to_pydict() == {"events": [0], "bytes": [0]}


def test_a_worker_without_this_package(service: str, name: str, tmp_path: Path) -> None:
    """What is sent to the executors carries all that it needs but pyarrow and the official package."""
    from pyspark import cloudpickle

    topic = made(service, name)
    sender = sink(service, name).sender(topic, ENVELOPE, "batch")
    (tmp_path / "sender.pickle").write_bytes(cloudpickle.dumps(sender))  # type: ignore[no-untyped-call]
    with pa.OSFile(str(tmp_path / "events.arrow"), "wb") as file:
        rows = batch(events(500))
        with pa.ipc.new_stream(file, rows.schema) as writer:
            writer.write_batch(rows)
    program = """
import pickle, sys
for name in ("polyexpose_spark", "pydantic", "pyiceberg"):
    sys.modules[name] = None
import pyarrow as pa
send = pickle.load(open("sender.pickle", "rb"))
print([each.to_pydict() for each in send(iter(pa.ipc.open_stream("events.arrow")))])
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("[{'events': [500]"), done.stderr[-2000:]
    assert sorted(numbers(arrived(service, name, 500))) == list(range(500))
    assert pickle.loads((tmp_path / "sender.pickle").read_bytes())
