"""A topic of a Kafka cluster: the driver's side. Sending is kafka_producer.py, on the executors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polyexpose_spark.clients import Topic, TopicSettings, delivery, kafka_producer, secrets
from polyexpose_spark.clients.delivery import Envelope
from polyexpose_spark.clients.event_addresses import Deadlines, KafkaAddress
from polyexpose_spark.clients.kafka_producer import LASTING, KafkaSender, google_token, is_refusal, no_google_token
from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetFailed, TargetUnavailable

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient
    from pyarrow import RecordBatch

T = TypeVar("T")

_log = logging.getLogger(__name__)

QUEUE_EVENTS, QUEUE_KIB = 100_000, 64 << 10
"""What a task may have on its way: whichever is reached first."""
_OVERHEAD = 128
"""Bytes around key, value and headers in a batch of one event: 61 of the batch, at most 21 of the record (Kafka
protocol, record batch v2), rounded up."""
_PAUSE_S = 0.1
_MISSING = "UNKNOWN_TOPIC_OR_PART"


class KafkaSink:
    """Implements clients.EventSink."""

    by_route = False

    def __init__(self, address: KafkaAddress, topic: str, deadlines: Deadlines | None = None) -> None:
        """Keep what is given; no connection."""
        self._given, self._topic, self._deadlines = address, topic, deadlines or Deadlines()
        self._admin: AdminClient | None = None
        self._troubles: list[KafkaError] = []

    @property
    def address(self) -> str:
        """Return `kafka://host:9092/topic`."""
        return f"kafka://{self._given.bootstrap_servers}/{self._topic}"

    @property
    def host(self) -> str:
        """Return the bootstrap servers."""
        return self._given.bootstrap_servers or ""

    def routes(self, topic: Topic) -> int:
        """Return 0: murmur2 of the key, as Java's producers have it."""
        return 0

    def topic(self) -> Topic | None:
        """Return the topic; None: it is not there."""
        from confluent_kafka import TopicCollection
        from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

        admin = self._client()
        # Does not create it, whatever the broker's auto.create.topics.enable; list_topics() may.
        asked = admin.describe_topics(TopicCollection([self._topic]), request_timeout=self._deadlines.call)
        described = self._answer(asked[self._topic], but_for=_MISSING)
        if described is None:
            return None
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        settings = self._answer(
            admin.describe_configs([resource], request_timeout=self._deadlines.call)[resource], but_for=_MISSING
        )
        if settings is None:  # deleted in between
            return None
        said = {name: settings[name].value for name in ("max.message.bytes", "cleanup.policy", "retention.ms")}
        replicas = len(described.partitions[0].replicas) if described.partitions else 0
        retention = int(said["retention.ms"])
        kept = "no end of retention" if retention < 0 else f"retention {retention / 3_600_000:g} h"
        return Topic(
            partitions=len(described.partitions),
            max_bytes=int(said["max.message.bytes"]) - _OVERHEAD,
            described=f"cleanup.policy {said['cleanup.policy']}, {kept}, {replicas} replica(s)",
        )

    def create(self, wanted: TopicSettings) -> Topic:
        """Create the topic; one that is there by now is no error."""
        from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

        config: dict[str, str] = {}
        if wanted.retention_hours is not None:
            config["retention.ms"] = str(wanted.retention_hours * 3_600_000)
        if wanted.compacted:
            # With a time as well: the last of each key, and not for longer than that.
            config["cleanup.policy"] = "compact" if wanted.retention_hours is None else "compact,delete"
        new = NewTopic(
            self._topic,
            num_partitions=-1 if wanted.partitions is None else wanted.partitions,  # -1: the cluster's default
            replication_factor=-1 if self._given.replication_factor is None else self._given.replication_factor,
            config=config,
        )
        asked = self._client().create_topics([new], **self._bounds)
        self._answer(asked[self._topic], but_for="TOPIC_ALREADY_EXISTS")
        deadline = time.monotonic() + self._deadlines.call
        while (found := self.topic()) is None:  # the broker that is asked may not have heard of it yet
            if time.monotonic() > deadline:
                raise TargetUnavailable(
                    f"{self.address}: created, and not to be seen within {self._deadlines.call:.0f} s"
                )
            time.sleep(_PAUSE_S)
        return found

    def delete(self) -> None:
        """Delete the topic; one that is gone is no error."""
        asked = self._client().delete_topics([self._topic], **self._bounds)
        self._answer(asked[self._topic], but_for=_MISSING)

    def sender(
        self, topic: Topic, envelope: Envelope, batch: str
    ) -> Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]:
        """Return what sends the events of a task."""
        from pyspark import cloudpickle

        for module in (delivery, kafka_producer):
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
        conf = {
            **self._connection(),
            "enable.idempotence": True,
            "acks": "all",
            # Otherwise events behind one that was refused would still be sent.
            "enable.gapless.guarantee": True,
            "partitioner": "murmur2_random",
            "message.max.bytes": min(max(topic.max_bytes, 1000), 1_000_000_000),
            "queue.buffering.max.messages": QUEUE_EVENTS,
            "queue.buffering.max.kbytes": QUEUE_KIB,
            "linger.ms": 20,
            "compression.type": "lz4",  # costs no measurable time, and the headers repeat
        }
        return KafkaSender(conf, self._by_google(), self._topic, self.address, envelope, self._deadlines.send)

    @property
    def _bounds(self) -> dict[str, float]:
        return {"operation_timeout": self._deadlines.call, "request_timeout": self._deadlines.call}

    def _by_google(self) -> bool:
        return self._given.sasl_mechanism == "OAUTHBEARER"

    def _connection(self) -> dict[str, Any]:
        """Return librdkafka's settings; the only place that holds the password."""
        given = self._given
        conf: dict[str, Any] = {
            "bootstrap.servers": given.bootstrap_servers,
            "security.protocol": given.security_protocol,
            "client.id": "polyexpose-spark",
            "socket.timeout.ms": round(min(self._deadlines.call, self._deadlines.send) * 1000),
            "socket.connection.setup.timeout.ms": 10_000,
            "topic.metadata.propagation.max.ms": 10_000,  # the topic was asked for before
            "reconnect.backoff.max.ms": 2_000,
        }
        if given.sasl_mechanism is not None:
            conf["sasl.mechanism"] = given.sasl_mechanism
        if given.sasl_username is not None and given.sasl_password is not None:
            conf["sasl.username"] = given.sasl_username
            conf["sasl.password"] = secrets.resolve(given.sasl_password)
        if given.ssl_ca_location is not None:
            if not Path(given.ssl_ca_location).is_file():
                raise ConfigError(
                    f"{self.address}: ssl_ca_location: {given.ssl_ca_location} is no file on this machine"
                )
            conf["ssl.ca.location"] = given.ssl_ca_location
        return conf

    def _client(self) -> AdminClient:
        if self._admin is None:
            from confluent_kafka import KafkaException
            from confluent_kafka.admin import AdminClient

            conf = {**self._connection(), "error_cb": self._on_error, "log_level": 2}
            if self._by_google():
                conf["oauth_cb"] = google_token
                if (reason := no_google_token()) is not None:
                    kind = TargetUnavailable if reason[1] else TargetFailed
                    raise kind(f"{self.address}: {reason[0]}")
            try:
                self._admin = AdminClient(conf, logger=_log)
            except KafkaException as error:
                raise self._error(error.args[0]) from None
        return self._admin

    def _on_error(self, error: KafkaError) -> None:
        _log.debug("%s: %s", self.address, error.str())
        self._troubles.append(error)

    def _answer(self, asked: Future[T], but_for: str) -> T | None:
        """Return an answer; None: this error."""
        from confluent_kafka import KafkaException

        self._troubles.clear()
        deadline = time.monotonic() + self._deadlines.call + 1
        while not asked.done():
            self._client().poll(0.05)
            # What stands in the way of a connection does not come as an answer.
            if (refused := next(filter(is_refusal, self._troubles), None)) is not None:
                raise self._error(refused)
            if time.monotonic() > deadline:
                raise TargetUnavailable(f"{self.address}: no answer within {self._deadlines.call:.0f} s")
        try:
            return asked.result()
        except KafkaException as error:
            if error.args[0].name() == but_for:
                return None
            raise self._error(error.args[0]) from None

    def _error(self, error: KafkaError) -> PolyexposeError:
        kind = TargetFailed if error.name() in LASTING else TargetUnavailable
        others = [text for each in self._troubles[-1:] if (text := each.str()) != error.str()]
        return kind(" ".join([f"{self.address}: {error.str()}", *(f"({text})" for text in others)]))
