"""AdminService: topics, subscriptions, reservations; and the operations that a seek makes."""

from __future__ import annotations

import re
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import grpc
from google.cloud import pubsublite_v1 as lite
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2

from polyexpose_spark.local.pubsublite.messages import (
    Failure,
    Message,
    Reservation,
    Subscription,
    Topic,
    invalid,
    not_found,
)
from polyexpose_spark.local.pubsublite.store import DELETED_TOPIC, Kind, Store
from polyexpose_spark.local.pubsublite.subscribing import Subscribers

_PARENT = re.compile(r"projects/[^/]+/locations/[a-z]+-[a-z0-9]+(-[a-z])?")
# Source: Pub/Sub Lite, "Resource names".
_ID = re.compile(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
# Field paths that an update may name.
_CHANGEABLE: dict[Kind, str] = {
    "topics": r"(partition_config|retention_config|reservation_config)(\..+)?",
    "subscriptions": r"delivery_config(\..+)?",
    "reservations": r"throughput_capacity",
}
_OPERATIONS = 1000  # finished ones that can still be asked for

SeekRequest = lite.SeekSubscriptionRequest.pb()
Handler = Callable[[Message], Message]


class Admin:
    """Answers the calls; every one at once."""

    def __init__(self, store: Store, subscribers: Subscribers) -> None:
        self._store = store
        self._subscribers = subscribers
        self._operations: OrderedDict[str, Message] = OrderedDict()

    def calls(self) -> dict[str, tuple[Handler, Message]]:
        """Return handler and request class of every method of AdminService."""
        calls: dict[str, tuple[Handler, Message]] = {
            "CreateTopic": (self._create_topic, lite.CreateTopicRequest.pb()),
            "CreateSubscription": (self._create_subscription, lite.CreateSubscriptionRequest.pb()),
            "CreateReservation": (self._create_reservation, lite.CreateReservationRequest.pb()),
            "UpdateTopic": (self._update_topic, lite.UpdateTopicRequest.pb()),
            "UpdateSubscription": (self._update_subscription, lite.UpdateSubscriptionRequest.pb()),
            "UpdateReservation": (self._update_reservation, lite.UpdateReservationRequest.pb()),
            "DeleteTopic": (self._delete_topic, lite.DeleteTopicRequest.pb()),
            "DeleteSubscription": (self._delete_subscription, lite.DeleteSubscriptionRequest.pb()),
            "DeleteReservation": (self._delete_reservation, lite.DeleteReservationRequest.pb()),
            "GetTopicPartitions": (self._topic_partitions, lite.GetTopicPartitionsRequest.pb()),
            "ListTopicSubscriptions": (self._topic_subscriptions, lite.ListTopicSubscriptionsRequest.pb()),
            "ListReservationTopics": (self._reservation_topics, lite.ListReservationTopicsRequest.pb()),
            "SeekSubscription": (self._seek, SeekRequest),
        }
        kinds: tuple[tuple[Kind, str], ...] = (
            ("topics", "Topic"),
            ("subscriptions", "Subscription"),
            ("reservations", "Reservation"),
        )
        for kind, name in kinds:
            calls[f"Get{name}"] = (partial(self._get, kind), getattr(lite, f"Get{name}Request").pb())
            response = getattr(lite, f"List{name}sResponse").pb()
            calls[f"List{name}s"] = (partial(self._list, kind, response), getattr(lite, f"List{name}sRequest").pb())
        return calls

    def operation(self, request: Message) -> Message:
        """Answer google.longrunning.Operations.GetOperation."""
        try:
            return self._operations[request.name]
        except KeyError:
            raise not_found(request.name) from None

    def _get(self, kind: Kind, request: Message) -> Message:
        return self._store.get(kind, request.name)

    def _list(self, kind: Kind, response: Message, request: Message) -> Message:
        there = [each for each in self._store.all(kind) if each.name.startswith(f"{request.parent}/")]
        page, token = _page([each.name for each in there], request)
        return response(**{kind: [each for each in there if each.name in page]}, next_page_token=token)

    def _create_topic(self, request: Message) -> Message:
        topic = Topic()
        topic.CopyFrom(request.topic)
        topic.name = _name(request.parent, "topics", request.topic_id)
        self._check_topic(topic)
        self._store.create("topics", topic)
        return topic

    def _create_subscription(self, request: Message) -> Message:
        if request.subscription.HasField("export_config"):
            raise Failure(grpc.StatusCode.UNIMPLEMENTED, "Export subscriptions are not supported by this server")
        subscription = Subscription()
        subscription.CopyFrom(request.subscription)
        subscription.name = _name(request.parent, "subscriptions", request.subscription_id)
        partitions = self._store.partitions(subscription.topic)
        self._store.create("subscriptions", subscription)
        if request.skip_backlog:
            for number in range(partitions):
                head = self._store.log(subscription.topic, number).head
                self._store.commit(subscription.name, number, head)
        return subscription

    def _create_reservation(self, request: Message) -> Message:
        reservation = Reservation()
        reservation.CopyFrom(request.reservation)
        reservation.name = _name(request.parent, "reservations", request.reservation_id)
        _check_reservation(reservation)
        self._store.create("reservations", reservation)
        return reservation

    def _update_topic(self, request: Message) -> Message:
        before = self._store.get("topics", request.topic.name)
        topic = _updated("topics", before, request.topic, request.update_mask)
        self._check_topic(topic)
        if topic.partition_config.count < before.partition_config.count:
            raise invalid("The number of partitions cannot be decreased")
        self._store.replace("topics", topic)
        self._subscribers.share_anew(topic.name)
        return topic

    def _update_subscription(self, request: Message) -> Message:
        before = self._store.get("subscriptions", request.subscription.name)
        subscription = _updated("subscriptions", before, request.subscription, request.update_mask)
        self._store.replace("subscriptions", subscription)
        return subscription

    def _update_reservation(self, request: Message) -> Message:
        before = self._store.get("reservations", request.reservation.name)
        reservation = _updated("reservations", before, request.reservation, request.update_mask)
        _check_reservation(reservation)
        self._store.replace("reservations", reservation)
        return reservation

    def _delete_topic(self, request: Message) -> Message:
        self._store.get("topics", request.name)
        for name in self._subscriptions_of(request.name):
            self._subscribers.break_off(name, not_found(request.name))
            left = Subscription()
            left.CopyFrom(self._store.get("subscriptions", name))
            left.topic = DELETED_TOPIC
            self._store.replace("subscriptions", left)
        self._store.delete("topics", request.name)
        return empty_pb2.Empty()

    def _delete_subscription(self, request: Message) -> Message:
        self._store.delete("subscriptions", request.name)
        self._subscribers.break_off(request.name, not_found(request.name))
        return empty_pb2.Empty()

    def _delete_reservation(self, request: Message) -> Message:
        if self._topics_of(request.name):
            raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f"{request.name} is used by topics")
        self._store.delete("reservations", request.name)
        return empty_pb2.Empty()

    def _topic_partitions(self, request: Message) -> Message:
        return lite.TopicPartitions.pb()(partition_count=self._store.partitions(request.name))

    def _topic_subscriptions(self, request: Message) -> Message:
        self._store.get("topics", request.name)
        page, token = _page(self._subscriptions_of(request.name), request)
        return lite.ListTopicSubscriptionsResponse.pb()(subscriptions=page, next_page_token=token)

    def _reservation_topics(self, request: Message) -> Message:
        self._store.get("reservations", request.name)
        page, token = _page(self._topics_of(request.name), request)
        return lite.ListReservationTopicsResponse.pb()(topics=page, next_page_token=token)

    def _seek(self, request: Message) -> Message:
        topic = self._store.get("subscriptions", request.name).topic
        logs = [self._store.log(topic, number) for number in range(self._store.partitions(topic))]
        target = request.WhichOneof("target")
        if target == "time_target":
            kind, nanos = time_target(request.time_target)
            if kind == "publish_time":
                positions = [log.published_at(-(-nanos // 1000)) for log in logs]
            else:
                found = [log.happened_at(nanos) for log in logs]
                positions = [log.head if at is None else at for log, at in zip(logs, found, strict=True)]
        elif request.named_target == SeekRequest.TAIL:
            positions = [0 for _ in logs]
        elif request.named_target == SeekRequest.HEAD:
            positions = [log.head for log in logs]
        else:
            raise invalid("target must be set")
        began = time.time_ns()
        for number, position in enumerate(positions):
            self._subscribers.seek(request.name, number, position)
        return self._done(request.name, began)

    def _done(self, subscription: str, began: int) -> Message:
        metadata = lite.OperationMetadata.pb()(target=subscription, verb="seek")
        metadata.create_time.FromNanoseconds(began)
        metadata.end_time.GetCurrentTime()
        location = subscription.partition("/subscriptions/")[0]
        done = operations_pb2.Operation(name=f"{location}/operations/{uuid.uuid4()}", done=True)
        done.metadata.Pack(metadata)
        done.response.Pack(lite.SeekSubscriptionResponse.pb()())
        self._operations[done.name] = done
        if len(self._operations) > _OPERATIONS:
            self._operations.popitem(last=False)
        return done

    def _subscriptions_of(self, topic: str) -> list[str]:
        return [each.name for each in self._store.all("subscriptions") if each.topic == topic]

    def _topics_of(self, reservation: str) -> list[str]:
        every = self._store.all("topics")
        return [each.name for each in every if each.reservation_config.throughput_reservation == reservation]

    def _check_topic(self, topic: Message) -> None:
        """Refuse what the fields' own descriptions refuse."""
        if topic.partition_config.count < 1:
            raise invalid("partition_config.count must be at least 1")
        if topic.partition_config.WhichOneof("dimension") == "scale":
            if not 1 <= topic.partition_config.scale <= 4:
                raise invalid("partition_config.scale must be 1 to 4")
        elif topic.partition_config.HasField("capacity"):
            capacity = topic.partition_config.capacity
            if not 4 <= capacity.publish_mib_per_sec <= 16:
                raise invalid("partition_config.capacity.publish_mib_per_sec must be 4 to 16")
            if not 4 <= capacity.subscribe_mib_per_sec <= 32:
                raise invalid("partition_config.capacity.subscribe_mib_per_sec must be 4 to 32")
        if topic.retention_config.per_partition_bytes < 1:
            raise invalid("retention_config.per_partition_bytes must be set")
        reservation = topic.reservation_config.throughput_reservation
        if reservation:
            self._store.get("reservations", reservation)


def time_target(target: Message) -> tuple[str, int]:
    """Return which time a TimeTarget is about, and the time in nanoseconds since 1970."""
    kind = target.WhichOneof("time")
    if kind is None:
        raise invalid("time_target needs publish_time or event_time")
    return kind, int(getattr(target, kind).ToNanoseconds())


def _check_reservation(reservation: Message) -> None:
    if reservation.throughput_capacity < 1:
        raise invalid("throughput_capacity must be at least 1")


def _name(parent: str, kind: Kind, given: str) -> str:
    if not _PARENT.fullmatch(parent):
        raise invalid(f"parent must be projects/<project>/locations/<zone or region>, not {parent!r}")
    if not _ID.fullmatch(given):
        raise invalid(f"the id must be 3 to 255 letters, digits and ._~+%-, a letter first, not {given!r}")
    return f"{parent}/{kind}/{given}"


def _updated(kind: Kind, before: Message, given: Message, mask: Message) -> Message:
    if not mask.paths:
        raise invalid("update_mask must name a field")
    for path in mask.paths:
        if not re.fullmatch(_CHANGEABLE[kind], path):
            raise invalid(f"update_mask: {path} cannot be changed")
    after = type(before)()
    after.CopyFrom(before)
    try:
        mask.MergeMessage(given, after, replace_message_field=True)
    except ValueError as error:
        raise invalid(f"update_mask: {error}") from error
    return after


def _page(names: Sequence[str], request: Message) -> tuple[list[str], str]:
    """Return the names after the one that the token is, and the token of the next page."""
    rest = [name for name in sorted(names) if name > request.page_token]
    page = rest[: request.page_size] if request.page_size > 0 else rest
    return page, page[-1] if len(page) < len(rest) else ""
