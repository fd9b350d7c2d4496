"""Port events: what happened to the table's rows, as CloudEvents in a topic of Kafka, Pub/Sub Lite or Pub/Sub.

First a whole snapshot (op `r`), then every commit after it, in order per key, none lost; a repeat has the same ids.
How far it has come is the position in the ledger. An AsyncAPI document says what a consumer can rely on.
"""

from __future__ import annotations

import json
import time
from typing import Any, Literal, TypeVar, get_args

from polyexpose_spark.clients import EventSink, Files, Topic, TopicSettings
from polyexpose_spark.clients.pubsublite import DEPRECATION
from polyexpose_spark.errors import ConfigError, PolyexposeError, Problem, Refused, TargetFailed
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import asyncapi
from polyexpose_spark.ports.base import (
    NOT_READ_BY_SPARK,
    Action,
    Exposure,
    Held,
    Native,
    Plan,
    Port,
    Positions,
    Published,
    Served,
    StepListener,
    TypeMap,
)
from polyexpose_spark.ports.event_names import source_of
from polyexpose_spark.ports.event_sending import Outbox, Sending, Totals
from polyexpose_spark.ports.event_text import EventText
from polyexpose_spark.ports.events_settings import EventsAddresses, EventsSettings, SinkName
from polyexpose_spark.position import Position
from polyexpose_spark.product import DataProduct, primary_key
from polyexpose_spark.value_text import has_text_keys

B = TypeVar("B")

_SINK_OF_TYPE: dict[str, SinkName] = {"kafka": "kafka", "pubsub": "pubsub"}
"""`type` of the server in the contract -> sink. ODCS has no type for Pub/Sub Lite: it is `custom`."""

PROTOCOLS: dict[SinkName, Literal["kafka", "googlepubsub", "pubsublite"]] = {
    "kafka": "kafka",
    "pubsublite": "pubsublite",
    "pubsub": "googlepubsub",
}
"""Sink -> protocol of the server in AsyncAPI."""

_UNKEPT = "no tag keeps the snapshot up to which was sent, so expiry may take it away before the next run"


class EventsPort(Port[EventsSettings, EventsAddresses]):
    """Serves a data product as events."""

    mode = "events"
    revision = 1
    settings_model = EventsSettings
    address_model = EventsAddresses
    types = TypeMap(
        carries={
            LogicalType.BOOLEAN: Native("boolean"),
            LogicalType.INT: Native("number"),
            LogicalType.LONG: Native("string of digits"),
            LogicalType.FLOAT: Native("number, or NaN, Infinity, -Infinity as strings"),
            LogicalType.DOUBLE: Native("number, or NaN, Infinity, -Infinity as strings"),
            LogicalType.DECIMAL: Native("string, all digits"),
            LogicalType.DATE: Native("string, ISO 8601"),
            LogicalType.TIMESTAMP: Native("string, ISO 8601, microseconds"),
            LogicalType.TIMESTAMPTZ: Native("string, ISO 8601, microseconds, Z"),
            LogicalType.STRING: Native("string"),
            LogicalType.UUID: Native("string, canonical UUID"),
            LogicalType.FIXED: Native("string, base64"),
            LogicalType.BINARY: Native("string, base64"),
            LogicalType.STRUCT: Native("object"),
            LogicalType.LIST: Native("array"),
            LogicalType.MAP: Native("object"),
        },
        refuses=NOT_READ_BY_SPARK,
    )

    def native(self, type_: ColumnType) -> Native:
        """Return the JSON type; a map whose keys are not text cannot be an object."""
        if type_.kind is LogicalType.MAP and not has_text_keys(type_):
            return Native("array of {key, value}")
        return super().native(type_)

    def address(self, product: DataProduct) -> str:
        """Return `kafka://host:9092/topic`, `pubsublite://location/project/topic` or `pubsub://project/topic`."""
        return self._sink(product).address

    def _sink(self, product: DataProduct) -> EventSink:
        name, topic = self._sink_name(product), self._topic_name(product)
        if name == "kafka":
            kafka = self._block(product, "kafka", self.addresses.kafka)
            servers = kafka.bootstrap_servers or self.said(product, "host", "kafka.bootstrap_servers")
            return self.clients.kafka(kafka.model_copy(update={"bootstrap_servers": servers}), topic)
        if name == "pubsublite":
            lite = self._block(product, "pubsublite", self.addresses.pubsublite)
            place = {
                "project": lite.project or self.said(product, "project", "pubsublite.project"),
                "location": lite.location or self.said(product, "location", "pubsublite.location"),
            }
            return self.clients.pubsublite(lite.model_copy(update=place), topic)
        pubsub = self._block(product, "pubsub", self.addresses.pubsub)
        project = pubsub.project or self.said(product, "project", "pubsub.project")
        return self.clients.pubsub(pubsub.model_copy(update={"project": project}), topic)

    def _topic_name(self, product: DataProduct) -> str:
        return self.settings.topic or product.id

    def _sink_name(self, product: DataProduct) -> SinkName:
        named = self.addresses.sink or self.settings.sink or _SINK_OF_TYPE.get(str(self.spec.address.get("type")))
        if named is None:
            allowed = ", ".join(get_args(SinkName))
            message = f"say which service: `sink` of the port, or ports.events.sink in the profile; allowed: {allowed}"
            raise ConfigError([Problem(product.path, 0, self.spec.key, message)])
        return named

    def _block(self, product: DataProduct, name: SinkName, block: B | None) -> B:
        if block is None:
            message = f"say how {name} is reached: ports.events.{name} in the profile"
            raise ConfigError([Problem(product.path, 0, self.spec.key, message)])
        return block

    def plan(self, exposure: Exposure) -> Plan:
        """Say where which events would be sent.

        Raises:
            ConfigError: no address. Refused: a type, or a setting that the service has not.
        """
        product, settings = exposure.product, self.settings
        address, name = self.address(product), self._sink_name(product)
        columns, digest = self.natives(exposure.columns), self.digest(exposure, address)
        key = ", ".join(each.name for each in primary_key(exposure.columns))
        self._check_settings(exposure)
        said = str(self.spec.address.get("format") or "json")
        if said != "json":
            raise Refused(f"port {self.spec.server} (events): format {said} is not served; allowed: json")
        warnings = [DEPRECATION] if name == "pubsublite" else []
        if not key:
            warnings.append("no primary key: an update arrives as a delete and a create, and there is no order")
        return Plan(
            exposure=exposure,
            server=self.spec.server,
            mode=self.mode,
            address=address,
            columns=columns,
            actions=(
                Action("send", address, f"key {key or 'none'}{', compacted' if settings.compacted else ''}"),
                Action("replace", self._document_path(product), "AsyncAPI document"),
            ),
            digest=digest,
            warnings=tuple(warnings),
        )

    def _check_settings(self, exposure: Exposure) -> None:
        name, settings = self._sink_name(exposure.product), self.settings
        place = f"port {self.spec.server} (events)"
        if settings.compacted and name != "kafka":
            raise Refused(f"{place}: compacted: {name} has no compacted topics; only kafka has")
        if settings.compacted and not primary_key(exposure.columns):
            raise Refused(f"{place}: compacted: the contract has no primaryKey, and without one nothing is compacted")
        if settings.partitions and name == "pubsub":
            raise Refused(f"{place}: partitions: Pub/Sub topics have none")

    def _document_path(self, product: DataProduct) -> str:
        folder = self.addresses.documents
        if not folder:
            message = "say where the AsyncAPI document goes: ports.events.documents in the profile"
            raise ConfigError([Problem(product.path, 0, self.spec.key, message)])
        return f"{folder.rstrip('/')}/{self.spec.server}/{product.id}/asyncapi.json"

    def _documents(self, product: DataProduct) -> Files:
        return self.clients.files(self._document_path(product))

    def document(self, plan: Plan) -> dict[str, Any]:
        """Return the AsyncAPI document."""
        product = plan.exposure.product
        server = asyncapi.Server(PROTOCOLS[self._sink_name(product)], self._sink(product).host, plan.address)
        return asyncapi.document(plan.exposure, server, self._topic_name(product), self.settings, plan.digest)

    def held(self, product: DataProduct) -> Held | None:
        """Read the AsyncAPI document, and see that the topic is there."""
        found = self._documents(product).read(self._document_path(product))
        if found is None:
            return None
        try:
            said = json.loads(found[0])["info"]["x-polyexpose"]
            held = Held(said["digest"], int(said["snapshotId"]), said["contractVersion"])
            of = said["product"]
        except (ValueError, KeyError, TypeError):
            raise TargetFailed(f"{self._document_path(product)}: not a document of polyexpose") from None
        return held if of == product.id and self._sink(product).topic() is not None else None

    def outlook(self, plan: Plan, position: Position | None) -> tuple[str, ...]:
        """Return what would be sent from the position on, what the topic is like, and what stands in the way."""
        product = plan.exposure.product
        said = [f"events: {line}" for line in self._course(plan.exposure, position)]
        try:
            topic = self._sink(product).topic()
        except PolyexposeError as error:
            return (*said, f"in the way: {error}")
        if topic is not None:
            said.append(f"topic: {topic.partitions or 'no'} partitions, events up to {topic.max_bytes:,} bytes")
            said += [f"topic: {topic.described}"] if topic.described else []
        elif self.addresses.create_topic:
            said.append("topic: is not there and would be created")
        else:
            said.append("in the way: the topic is not there (ports.events.create_topic is false)")
        return (*said, *json.dumps(self.document(plan), indent=2, ensure_ascii=False).splitlines())

    def _course(self, exposure: Exposure, position: Position | None) -> list[str]:
        """Say what would be sent, from the table's history, and what stands in the way."""
        target = exposure.snapshot.id
        needed = (position.snapshot_id or position.toward) if position else None
        if needed is not None and needed not in exposure.live:
            return [f"in the way: snapshot {needed}, up to which was sent, expired: run with --from-scratch"]
        if position is None or position.snapshot_id is None:
            begun = f", from piece {position.pieces + 1}" if position and position.toward else ""
            return [f"the whole snapshot {position.toward if position and position.toward else target}, op r{begun}"]
        ids = [each.id for each in exposure.lineage]
        if position.snapshot_id not in ids:
            return [
                f"snapshot {target} does not descend from {position.snapshot_id}, up to which was sent: what differs "
                "between the two, as compensating events"
            ]
        lost = [] if position.snapshot_id in exposure.referenced else [f"{_UNKEPT}: {position.snapshot_id}"]
        commits = exposure.lineage[: ids.index(position.snapshot_id)]
        kinds = {each.operation for each in commits} - {"replace"}
        if not kinds:
            return [*lost, "nothing new"]
        way = "Structured Streaming" if kinds == {"append"} else "changes between snapshots"
        said = f"{len(commits)} commits after snapshot {position.snapshot_id}: {', '.join(sorted(kinds))}; by {way}"
        return [*lost, said]

    def publish(self, plan: Plan, served: Served, positions: Positions, step: StepListener) -> Published:
        """Send everything up to the exposed snapshot, then replace the AsyncAPI document."""
        exposure, product = plan.exposure, plan.exposure.product
        sink, totals = self._sink(product), Totals()
        topic = self._topic(product, sink, positions.read(), step)
        text = EventText(exposure, sink.routes(topic), self.settings.compacted)
        outbox = Outbox(sink, topic, text, source_of(product.id), totals, step)
        Sending(exposure, served, positions, outbox, step).run()
        step("events.describing", self._document_path(product))
        data = json.dumps(self.document(plan), indent=2, ensure_ascii=False).encode()
        self._documents(product).put(self._document_path(product), data)
        step("events.described", "")
        lag = max(time.time() - exposure.snapshot.committed_at / 1000, 0.0)
        position = positions.read() or Position()
        at = f"snapshot {position.snapshot_id}, epoch {position.epoch}, sequence {position.sequence}"
        step("events.exposed", f"up to {at}; {lag:,.1f} s after its commit")
        return Published(
            uris=(plan.address, self._document_path(product)),
            rows=totals.events,
            bytes_written=totals.bytes,
            details={
                "snapshots": totals.snapshots,
                "by": totals.ways,
                "epoch": position.epoch,
                "sequence": position.sequence,
                "eventsPerSecond": round(totals.events / totals.seconds) if totals.seconds else 0,
                "lagSeconds": round(lag, 1),
                "topic": topic.described,
            },
        )

    def _topic(self, product: DataProduct, sink: EventSink, position: Position | None, step: StepListener) -> Topic:
        topic = sink.topic()
        if topic is not None:
            return topic
        if position and (position.snapshot_id or position.pieces):
            raise TargetFailed(
                f"{sink.address}: the topic is gone, or the events went to another one before; "
                "--from-scratch begins again with all rows"
            )
        if not self.addresses.create_topic:
            raise TargetFailed(f"{sink.address}: there is no such topic, and ports.events.create_topic is false")
        step("events.creating", sink.address)
        settings = self.settings
        wanted = TopicSettings(settings.partitions, settings.retention_hours, settings.compacted)
        return sink.create(wanted)

    def collect(self, product: DataProduct, kept: tuple[int, ...], step: StepListener) -> None:
        """Do nothing: how long events are kept is the topic's own setting."""

    def withdraw(self, product: DataProduct, step: StepListener) -> bool:
        """Delete the AsyncAPI document and the topic with all its events; what consumers have read stays with them."""
        path, sink = self._document_path(product), self._sink(product)
        documents = self._documents(product)
        if documents.read(path) is None:
            return False
        step("events.withdrawing", sink.address)
        sink.delete()
        documents.delete([path])
        return True
