"""What every sink of events promises, seen through the official consumer of its service."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pytest
from pyspark import cloudpickle

from polyexpose_spark.clients import EventSink, Topic, TopicSettings
from polyexpose_spark.clients.delivery import EVENT_COLUMNS, UNDELIVERED, Envelope, Event, Kind, Undelivered
from polyexpose_spark.errors import Refused, TargetUnavailable
from tests import servers
from tests.event_services import PARTITIONS, SERVICES, Received, Service
from tests.grpc_faults import grpc_proxy

# What Google's clients leave on their event loops is told to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

AT = "2026-11-25T03:00:00.123456Z"
ENVELOPE = Envelope(
    "/products/flights",
    tuple(
        Kind(f"flights.{name}", AT, f"{number:020d}") for number, name in enumerate(("updated", "created", "deleted"))
    ),
)
NUMBERS = ("route", "kind")
SCHEMA = pa.schema([(name, pa.int32() if name in NUMBERS else pa.string()) for name in EVENT_COLUMNS])


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = SERVICES[request.param](tmp_path_factory.mktemp(request.param))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def name() -> str:
    return f"t{uuid.uuid4().hex[:10]}"


def event(number: int, key: str | None, value: str | None = None, kind: int = 0) -> Event:
    said = (
        json.dumps({"op": "u", "after": {"n": number, "text": 'comma, "quote", \n, żółć'}}) if value is None else value
    )
    id_ = f"7c8d-table:0:8723648723648723:u:{key}:{number}"
    return Event(None, key, said, id_, kind)


def batches(sink: EventSink, topic: Topic, events: Iterable[Event], size: int = 1000) -> list[pa.RecordBatch]:
    """Route and order the events as the port does, in batches as Spark hands them over."""
    routes = sink.routes(topic)

    def routed(each: Event) -> Event:
        number = int.from_bytes(hashlib.sha256((each.key or "").encode()).digest(), "big") % routes
        return each._replace(route=number)

    rows = [routed(each) for each in events] if routes else list(events)
    if sink.by_route:
        rows.sort(key=lambda each: each.route or 0)
    return list(as_batches(rows, size))


def as_batches(rows: Sequence[Event], size: int = 1000) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), size):
        columns = list(zip(*rows[start : start + size], strict=True))
        yield pa.RecordBatch.from_arrays(
            [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
        )


def send(sink: EventSink, topic: Topic, events: Iterable[Event], batch: str = "batch-1") -> dict[str, Any]:
    sent = sink.sender(topic, ENVELOPE, batch)(iter(batches(sink, topic, events)))
    (row,) = [row for each in sent for row in each.to_pylist()]
    return row


def said(error: pytest.ExceptionInfo[Undelivered]) -> dict[str, Any]:
    text = str(error.value)
    assert text.startswith(UNDELIVERED)
    return json.loads(text.removeprefix(UNDELIVERED))


def attributes(each: Event) -> dict[str, str]:
    return {**dict(ENVELOPE.attributes(each)), "content-type": "application/json"}


def by_key(received: Iterable[Received]) -> dict[str, list[str]]:
    """Return the ids that came of each key; a repeat of an id that came before is left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in received:
        if each.attributes["id"] not in found[each.attributes["partitionkey"]]:
            found[each.attributes["partitionkey"]].append(each.attributes["id"])
    return found


def sent_by_key(events: Iterable[Event]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for each in events:
        found[str(each.key)].append(each.id)
    return found


def test_everything_arrives_once_and_in_order_per_key(service: Service, name: str) -> None:
    events = [event(n, f'["key {n % 199}","ü"]') for n in range(10_000)]
    topic, sink = service.made(name), service.sink(name)
    row = send(sink, topic, events)
    assert row["events"] == 10_000
    assert row["bytes"] >= sum(len(f"{each.key}{each.value}") for each in events)
    received = service.received(name, 10_000)
    assert len(received) == 10_000
    sent = {each.id: each for each in events}
    for each in received:
        original = sent[each.attributes["id"]]
        assert (each.key, each.value) == (original.key, original.value)
        assert each.attributes == attributes(original)
    assert by_key(received) == sent_by_key(events)
    places: dict[str, set[str]] = defaultdict(set)
    for each in received:
        places[str(each.key)].add(each.place)
    assert {len(each) for each in places.values()} == {1}, "a key is in one place"
    assert len({each.place for each in received}) >= PARTITIONS


def test_an_event_without_a_key(service: Service, name: str) -> None:
    topic, events = service.made(name), [event(n, None) for n in range(20)]
    assert send(service.sink(name), topic, events)["events"] == 20
    received = service.received(name, 20)
    assert {each.key for each in received} == {None}
    assert sorted((each.attributes for each in received), key=lambda a: a["id"]) == sorted(
        (attributes(each) for each in events), key=lambda a: a["id"]
    )


def test_a_task_without_events_needs_no_connection(service: Service, name: str) -> None:
    nobody = service.sink(name, port=servers.free_port(), send=5)
    empty = pa.RecordBatch.from_pylist([], schema=SCHEMA)
    began = time.monotonic()
    for given in ([], [empty]):
        (row,) = nobody.sender(Topic(PARTITIONS, 1 << 20), ENVELOPE, "b")(iter(given))
        assert row.to_pylist() == [{"events": 0, "bytes": 0}]
    assert time.monotonic() - began < 4


def test_what_is_too_large_stops_the_task_where_it_stands(service: Service, name: str) -> None:
    topic, sink = service.made(name), service.sink(name)
    small, after = [event(n, "k") for n in range(50)], [event(n, "k") for n in range(51, 100)]
    large = event(50, "k", value="x" * (topic.max_bytes + 1))
    with pytest.raises(Undelivered) as error:
        send(sink, topic, [*small, large, *after])
    told = said(error)
    assert name in told["topic"]
    assert (told["key"], told["retry"]) == ("k", False)
    received = service.received(name, 50)
    assert [each.value for each in received] == [each.value for each in small]


def test_what_is_just_not_too_large_arrives(service: Service, name: str) -> None:
    topic, sink = service.made(name), service.sink(name)
    size = min(topic.max_bytes, 3_500_000) - 2_000  # Google's fake takes what gRPC takes, 4 MiB, and not 10 MB
    send(sink, topic, [event(0, "k", value="x" * size)])
    (received,) = service.received(name, 1)
    assert received.value is not None
    assert len(received.value) == size


def test_a_service_that_does_not_answer(service: Service, name: str) -> None:
    nobody = service.sink(name, port=servers.free_port(), send=3, call=3)
    handed_out = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal handed_out
        for start in range(0, 100_000, 100):
            rows = [event(n, "k", value="x" * 10_000)._replace(route=0) for n in range(start, start + 100)]
            handed_out += sum(len(each.value or "") for each in rows)
            yield from as_batches(rows)

    began = time.monotonic()
    with pytest.raises(Undelivered) as error:
        list(nobody.sender(Topic(PARTITIONS, 1 << 20), ENVELOPE, "b")(endless()))
    # Google's own retries end when the next pause would be beyond the deadline.
    assert 0.5 < time.monotonic() - began < 15
    assert said(error)["retry"] is True
    assert name in said(error)["topic"]
    assert "refused" in said(error)["reason"].lower(), "the cause is named"
    assert handed_out < 90 << 20, "it does not take up what it cannot send"
    for ask in (nobody.topic, lambda: nobody.create(TopicSettings()), nobody.delete):
        began = time.monotonic()
        with pytest.raises(TargetUnavailable) as unavailable:
            ask()
        assert nobody.address in str(unavailable.value)
        assert time.monotonic() - began < 15


def test_a_topic_comes_and_goes(service: Service, name: str) -> None:
    sink, other = service.sink(name), service.sink(f"{name}-other")
    assert sink.topic() is None
    wanted = TopicSettings(partitions=PARTITIONS if service.has_partitions else None, retention_hours=48)
    made = sink.create(wanted)
    assert made.partitions == (PARTITIONS if service.has_partitions else 0)
    assert "48" in made.described or "2 d" in made.described or "2 day" in made.described
    assert sink.create(wanted) == made == sink.topic()
    assert other.topic() is None
    sink.delete()
    sink.delete()
    end = time.monotonic() + 10
    while sink.topic() is not None and time.monotonic() < end:
        time.sleep(0.1)
    assert sink.topic() is None


def test_a_topic_that_is_gone(service: Service, name: str) -> None:
    topic, sink = service.made(name), service.sink(name, send=20)
    sink.delete()
    with pytest.raises(Undelivered) as error:
        send(sink, topic, [event(n, "k") for n in range(10)])
    assert said(error)["retry"] is False
    assert sink.topic() is None, "sending does not make it again"


CHILD = """
import sys
for name in ("polyexpose_spark", "pydantic", "pyiceberg", "yaml", "rich"):
    sys.modules[name] = None
import pickle
import grpc
import pyarrow as pa
with open(sys.argv[1], "rb") as file:
    sender, batches = pickle.load(file)
print([row for batch in sender(iter(batches)) for row in batch.to_pylist()])
"""


def test_it_sends_from_a_python_that_has_not_this_package(service: Service, name: str, tmp_path: Path) -> None:
    topic, sink = service.made(name), service.sink(name)
    events = [event(n, f"k{n % 7}") for n in range(100)]
    work = (sink.sender(topic, ENVELOPE, "b"), batches(sink, topic, events))
    (tmp_path / "work").write_bytes(cloudpickle.dumps(work))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "work"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'events': 100" in done.stdout
    assert by_key(service.received(name, 100)) == sent_by_key(events)


def test_nothing_is_lost_when_the_service_goes_away_and_comes_back(service: Service, name: str) -> None:
    topic, sink = service.made(name), service.sink(name)
    events = [event(n, f"k{n % 53}") for n in range(6000)]
    given, halfway = batches(sink, topic, events, size=500), threading.Event()

    def slowly() -> Iterator[pa.RecordBatch]:
        for number, each in enumerate(given):
            if number == len(given) // 2:
                halfway.set()
            time.sleep(0.3)
            yield each

    def restart() -> None:
        halfway.wait()
        service.go_away()
        time.sleep(1)
        service.come_back()

    restarting = threading.Thread(target=restart)
    restarting.start()
    (row,) = sink.sender(topic, ENVELOPE, "b")(slowly())
    restarting.join()
    assert row.to_pylist()[0]["events"] == 6000
    assert by_key(service.received(name, 6000)) == sent_by_key(events)


def test_acknowledgements_are_lost(service: Service, name: str) -> None:
    topic = service.made(name)
    # So large that no sink keeps them back to the end.
    events = [event(n, f"k{n % 5}", value="x" * 100_000) for n in range(800)]
    with service.behind_proxy() as proxy:
        sink = service.sink(name, port=proxy.port)
        given, half = batches(sink, topic, events, size=40), threading.Event()

        def stopping_halfway() -> Iterator[pa.RecordBatch]:
            for number, each in enumerate(given):
                if number == len(given) // 2:
                    half.set()
                time.sleep(0.1)
                yield each

        def fault() -> None:
            half.wait()
            proxy.lose_answers = True
            end = time.monotonic() + 10
            while not proxy.answers_lost and time.monotonic() < end:
                time.sleep(0.01)
            time.sleep(1)  # as long as it takes until each sink has sent something
            proxy.lose_answers = False
            proxy.reset()

        failing = threading.Thread(target=fault)
        failing.start()
        (row,) = sink.sender(topic, ENVELOPE, "b")(stopping_halfway())
        failing.join()
        assert proxy.answers_lost
    assert row.to_pylist()[0]["events"] == 800
    received = service.received(name, 800)
    assert by_key(received) == sent_by_key(events)
    repeated = len(received) - 800
    print(f"{type(service).__name__}: {repeated} events came again after lost acknowledgements")
    assert service.repeats or repeated == 0


@pytest.mark.parametrize("service", ["pubsub", "pubsublite"], indirect=True)
def test_no_compaction_where_there_is_none(service: Service, name: str) -> None:
    with pytest.raises(Refused, match="compact"):
        service.sink(name).create(TopicSettings(compacted=True))
    assert service.sink(name).topic() is None


@pytest.mark.parametrize("service", ["pubsub"], indirect=True)
def test_no_partitions_where_there_are_none(service: Service, name: str) -> None:
    with pytest.raises(Refused, match="partitions"):
        service.sink(name).create(TopicSettings(partitions=3))
    with pytest.raises(Refused, match="744"):
        service.sink(name).create(TopicSettings(retention_hours=745))


@pytest.mark.parametrize("service", ["pubsub"], indirect=True)
def test_an_attribute_that_pubsub_does_not_take_is_named(service: Service, name: str) -> None:
    topic, sink = service.made(name), service.sink(name)
    with pytest.raises(Undelivered) as error:
        send(sink, topic, [event(0, "k"), event(1, "ü" * 600)])
    assert "ce-id has 1,2" in said(error)["reason"]
    assert said(error)["key"] == "ü" * 600
    assert len(service.received(name, 1)) == 1


@pytest.mark.parametrize("service", ["pubsub"], indirect=True)
def test_requests_that_fail_after_they_were_done_keep_the_order(service: Service, name: str) -> None:
    topic, events = service.made(name), [event(n, f"k{n % 7}") for n in range(700)]
    with grpc_proxy(service.port) as proxy:
        proxy.after = lambda number: grpc.StatusCode.UNAVAILABLE if number % 3 == 0 else None
        assert send(service.sink(name, port=proxy.port), topic, events)["events"] == 700
    received = service.received(name, 701)
    assert len(received) > 700, "what was done and not acknowledged comes again"
    assert by_key(received) == sent_by_key(events)


@pytest.mark.parametrize("service", ["pubsub"], indirect=True)
def test_nothing_follows_a_request_that_is_refused(service: Service, name: str) -> None:
    topic, sink_of = service.made(name), service.sink
    events = [event(n, "k", value="x" * 100_000) for n in range(300)]
    with grpc_proxy(service.port) as proxy:
        proxy.before = lambda number: grpc.StatusCode.PERMISSION_DENIED if number >= 2 else None
        began = time.monotonic()
        with pytest.raises(Undelivered) as error:
            send(sink_of(name, port=proxy.port), topic, events)
        assert time.monotonic() - began < 10
        assert len(proxy.seen) == 3
    told = said(error)
    assert told["topic"] == sink_of(name).address
    assert "403" in told["reason"]
    assert told["retry"] is False
    received = service.received(name, 1)
    assert [each.attributes["id"] for each in received] == [each.id for each in events[: len(received)]]


@pytest.mark.parametrize("service", ["kafka"], indirect=True)
def test_tombstones_of_a_compacted_topic(service: Service, name: str) -> None:
    sink = service.sink(name)
    topic = sink.create(TopicSettings(partitions=2, compacted=True))
    assert "cleanup.policy compact," in topic.described
    gone = Event(None, "k1", None, "id", 2)
    send(sink, topic, [event(0, "k1"), event(1, "k2"), gone])
    received = {each.key: each for each in service.received(name, 3)}
    assert received["k1"] == Received(received["k1"].place, "k1", None, {})
    assert received["k2"].attributes == attributes(event(1, "k2"))


@pytest.mark.parametrize("service", ["kafka"], indirect=True)
def test_keys_go_where_java_clients_put_them(service: Service, name: str) -> None:
    topic = service.made(name)
    keys = [f"key-{n}" for n in range(40)]
    send(service.sink(name), topic, [event(n, key) for n, key in enumerate(keys)])
    found = {str(each.key): int(each.place) for each in service.received(name, 40)}
    assert found == {key: murmur2(key.encode()) % PARTITIONS for key in keys}


def murmur2(data: bytes) -> int:
    """Return the hash of Kafka's DefaultPartitioner (org.apache.kafka.common.utils.Utils), made positive as there."""
    mask, prime = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    for at in range(0, len(data) - len(data) % 4, 4):
        part = int.from_bytes(data[at : at + 4], "little") * prime & mask
        part = (part ^ part >> 24) * prime & mask
        value = value * prime & mask ^ part
    rest = data[len(data) - len(data) % 4 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * prime & mask
    value = (value ^ value >> 13) * prime & mask
    return (value ^ value >> 15) & 0x7FFFFFFF
