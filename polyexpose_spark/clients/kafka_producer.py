"""Sends events to Kafka from an executor: confluent-kafka, idempotent, acknowledged by all in-sync replicas.

Sent along by value to Python workers that need not have this package: standard library, pyarrow, confluent-kafka, and
google-auth where a token of Google is asked for.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from polyexpose_spark.clients import delivery
from polyexpose_spark.clients.delivery import Envelope, EventValues, Kind, Undelivered

if TYPE_CHECKING:
    import pyarrow
    from confluent_kafka import KafkaError, Message

_log = logging.getLogger(__name__)

_POLL_EVERY = 1024
"""Events between two looks at what librdkafka has to say (errors, tokens to be renewed)."""
_CLOSE_S = 5.0

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # the one of Google's own login handler

_Headers = list[tuple[str, str | bytes | None]]

LASTING = frozenset(
    {
        "MSG_SIZE_TOO_LARGE",
        "RECORD_LIST_TOO_LARGE",
        "INVALID_RECORD",
        "INVALID_TIMESTAMP",
        "INVALID_REQUIRED_ACKS",
        "TOPIC_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "SASL_AUTHENTICATION_FAILED",
        "UNSUPPORTED_SASL_MECHANISM",
        "UNSUPPORTED_COMPRESSION_TYPE",
        "UNSUPPORTED_VERSION",
        "UNKNOWN_TOPIC_OR_PART",
        "TOPIC_EXCEPTION",
        "POLICY_VIOLATION",
        "INVALID_CONFIG",
        "INVALID_PARTITIONS",
        "INVALID_REPLICATION_FACTOR",
        "TOPIC_DELETION_DISABLED",
        "_AUTHENTICATION",
        "_SSL",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
        "_INVALID_ARG",
    }
)
"""Errors that the same request meets again; after any other one it is safe to run again."""


@dataclass(frozen=True)
class KafkaSender:
    """What sends the events of one task. For DataFrame.mapInArrow."""

    conf: Mapping[str, Any] = field(repr=False)
    """Of librdkafka; holds the password, if there is one."""
    google_tokens: bool
    """Whether the broker wants tokens of Google's application default credentials."""
    topic: str
    address: str
    """What a user sees."""
    envelope: Envelope
    delivery_s: float
    """How long nothing may be acknowledged of a partition for which events wait."""

    def __call__(self, batches: Iterable[pyarrow.RecordBatch]) -> Iterable[pyarrow.RecordBatch]:
        """Send the events; yield one row of SENT_COLUMNS."""
        return delivery.deliver(batches, lambda: KafkaProducer(self))


class KafkaProducer:
    """One librdkafka producer. Memory: `queue.buffering.max.*` of its settings."""

    def __init__(self, sender: KafkaSender) -> None:
        """Start it; nothing is sent yet."""
        from confluent_kafka import KafkaException, Producer

        self._refused = KafkaException
        self._topic, self._address = sender.topic, sender.address
        self._first: Undelivered | None = None
        self._last_trouble = ""
        self._headers_of_kind = [_headers(sender.envelope, kind) for kind in sender.envelope.kinds]
        self._stalls = Stalls(sender.delivery_s)
        conf = {
            **sender.conf,
            # Without end: an event that timed out alone would be passed by those behind it. Stalls sets the end.
            "message.timeout.ms": 0,
            "log_level": 2,  # error_cb has what matters, once and not at every attempt
            "statistics.interval.ms": max(round(sender.delivery_s * 100), 100),
            "delivery.report.only.error": True,
            "error_cb": self._on_error,
            "on_delivery": self._on_delivery,
            "stats_cb": self._on_statistics,
        }
        if sender.google_tokens:
            conf["oauth_cb"] = google_token
            if (reason := no_google_token()) is not None:
                raise Undelivered(self._address, None, None, *reason)
        if not _log.handlers:
            _log.addHandler(logging.NullHandler())  # a worker in which nobody configured logging has nobody to tell
        try:
            self._producer = Producer(conf, logger=_log)
        except KafkaException as error:
            raise self._undelivered(error.args[0], None, None) from None
        self._produce = self._producer.produce

    def put_all(self, events: Iterable[EventValues]) -> None:
        """Queue events; wait while the queue is full."""
        # This runs for each event, and headers are most of what an event costs: those of a kind are made once.
        produce, topic, of_kind = self._produce, self._topic, self._headers_of_kind
        for number, (_, key, value, id_, kind) in enumerate(events, 1):
            if value is None:
                headers = None
            elif key is None:
                headers = [*of_kind[kind], ("ce_id", id_)]
            else:
                headers = [*of_kind[kind], ("ce_id", id_), ("ce_partitionkey", key)]
            try:
                produce(topic, value, key, headers=headers)
            except BufferError:
                self._wait_and_produce(value, key, headers)
            except self._refused as error:
                raise self._stopped(error, key) from None
            if not number % _POLL_EVERY or self._first is not None:
                self._producer.poll(0)
                self._raise()

    def _wait_and_produce(self, value: str | None, key: str | None, headers: _Headers | None) -> None:
        while True:
            self._producer.poll(0.1)
            self._raise()
            try:
                self._produce(self._topic, value, key, headers=headers)
            except BufferError:
                continue
            except self._refused as error:
                raise self._stopped(error, key) from None
            return

    def _stopped(self, error: Exception, key: str | None) -> Undelivered:
        """Return what stops the task, when the events before it are in order."""
        self.finish()
        return self._undelivered(error.args[0], None, key)

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        while self._producer.flush(0.5):
            self._raise()
        self._raise()

    def close(self) -> None:
        """Throw away what is still queued (after a failure) and close the connections."""
        self._producer.purge()
        self._producer.flush(_CLOSE_S)
        del self._producer, self._produce

    def _raise(self) -> None:
        if self._first is not None:
            raise self._first

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._first is None:
            key = message.key()
            text = key.decode() if isinstance(key, bytes) else key
            self._first = self._undelivered(error, message.partition(), text)

    def _on_error(self, error: KafkaError) -> None:
        _log.debug("%s: %s", self._address, error.str())
        self._last_trouble = error.str()
        # librdkafka would go on trying until message.timeout.ms.
        if self._first is None and is_refusal(error):
            self._first = self._undelivered(error, None, None)

    def _on_statistics(self, text: str) -> None:
        partitions = json.loads(text)["topics"].get(self._topic, {}).get("partitions", {})
        stalled = self._stalls.of(partitions, time.monotonic())
        if stalled is not None and self._first is None:
            self._first = self._not_acknowledged(stalled)

    def _not_acknowledged(self, partition: int) -> Undelivered:
        reason = f"nothing was acknowledged for {self._stalls.seconds:g} s"
        if self._last_trouble:
            reason = f"{reason} ({self._last_trouble})"
        return Undelivered(self._address, None if partition < 0 else partition, None, reason, retry=True)

    def _undelivered(self, error: KafkaError, partition: int | None, key: str | None) -> Undelivered:
        reason = error.str()
        if self._last_trouble and self._last_trouble != reason:
            reason = f"{reason} ({self._last_trouble})"
        known = partition if partition is not None and partition >= 0 else None
        return Undelivered(self._address, known, key, reason, error.name() not in LASTING)


class Stalls:
    """Finds the partition that has waited too long, in librdkafka's statistics (its STATISTICS.md).

    Args:
        seconds: that nothing may be acknowledged of a partition for which events wait.
    """

    def __init__(self, seconds: float) -> None:
        """Nothing was seen yet."""
        self.seconds = seconds
        self._moved: dict[int, tuple[int, float]] = {}

    def of(self, partitions: Mapping[str, Mapping[str, int]], now: float) -> int | None:
        """Return a partition that stands still (-1: the partitions are not known yet), if there is one."""
        for name, said in partitions.items():
            partition, acknowledged = int(name), said["acked_msgid"]
            waiting = said["msgq_cnt"] + said["xmit_msgq_cnt"] + said["msgs_inflight"]
            before = self._moved.get(partition)
            if not waiting or before is None or before[0] != acknowledged:
                self._moved[partition] = (acknowledged, now)
            elif now - before[1] >= self.seconds:
                return partition
        return None


def _headers(envelope: Envelope, kind: Kind) -> _Headers:
    """Return the headers that all events of a kind have: all of Envelope.attributes but id and partitionkey."""
    said = [("specversion", "1.0"), ("source", envelope.source)]
    said += [("type", kind.type), ("time", kind.time), ("sequence", kind.sequence)]
    named: _Headers = [(f"ce_{name}", text.encode()) for name, text in said]
    return [*named, ("content-type", envelope.content_type.encode())]


def is_refusal(error: KafkaError) -> bool:
    """Say whether a connection fails for good: a login that was refused, a certificate that is not trusted.

    librdkafka goes on trying. A broker that stops in the middle of a login looks alike, and so does a token that could
    not be renewed while the old one holds.
    """
    text = error.str()
    if error.name() == "_SSL":
        return "certificate verify failed" in text
    if error.name() not in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"):
        return False
    return "isconnected" not in text and "Failed to acquire" not in text


def google_token(_: str) -> tuple[str, float]:
    """Return a token of Google's application default credentials, and when it expires (seconds since the epoch)."""
    import google.auth

    credentials, _project = google.auth.default(scopes=[_SCOPE])
    return token_of(credentials)


def no_google_token() -> tuple[str, bool] | None:
    """Return why there is no token, and whether there may be one later; None: there is one.

    Asked before a client is made: librdkafka only says that none came.
    """
    from google.auth.exceptions import GoogleAuthError

    try:
        google_token("")
    except (GoogleAuthError, ValueError) as error:
        return f"no token of Google: {error}", bool(getattr(error, "retryable", False))
    return None


def token_of(credentials: Any) -> tuple[str, float]:
    """Return a fresh token in the form that Managed Service for Apache Kafka takes, and when it expires.

    Three parts like a JWT, the last the access token. Source: googleapis/managedkafka, GcpLoginCallbackHandler.

    Raises:
        ValueError: the credentials are of no account with an e-mail address (a user's own, for one).
    """
    from google.auth.transport.requests import Request

    credentials.refresh(Request())
    account = getattr(credentials, "service_account_email", None)
    if not account:
        raise ValueError("Managed Kafka takes credentials of a service account; these are of none")
    expires = credentials.expiry.replace(tzinfo=UTC).timestamp()  # google-auth: UTC without a time zone
    header = {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    claims = {"exp": int(expires), "iat": int(time.time()), "scope": "kafka", "sub": account}
    parts = [json.dumps(header), json.dumps(claims), credentials.token]
    return ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts), expires
