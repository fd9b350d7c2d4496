"""What a contract (EventsSettings) and a profile (EventsAddresses) may say about the events port."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from polyexpose_spark.clients.event_addresses import KafkaAddress, PubsubAddress, PubsubliteAddress
from polyexpose_spark.config import Location
from polyexpose_spark.ports.base import PortAddresses, PortSettings

SinkName = Literal["kafka", "pubsublite", "pubsub"]


class EventsSettings(PortSettings):
    """What a contract may say about the events port."""

    topic: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9._-]{2,248}$")
    """Default: the product's id. The pattern is what all three services allow."""
    sink: SinkName | None = None
    """Default: of the server's `type` (kafka, pubsub); the profile wins."""
    partitions: int | None = Field(default=None, ge=1)
    """Of a topic that is created; Pub/Sub has none."""
    retention_hours: int | None = Field(default=None, ge=1)
    """Of a topic that is created."""
    compacted: bool = False
    """Kafka: the topic keeps the last event of each key, and a delete is followed by a tombstone."""


class EventsAddresses(PortAddresses):
    """Block `ports.events` of a profile."""

    sink: SinkName | None = None
    create_topic: bool = True
    """Whether a topic that is missing is created; otherwise it is an error."""
    documents: Location | None = None
    """Folder of the AsyncAPI documents, one per product."""
    kafka: KafkaAddress | None = None
    pubsublite: PubsubliteAddress | None = None
    pubsub: PubsubAddress | None = None
