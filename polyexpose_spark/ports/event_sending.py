"""From the stored position to the exposed snapshot: what is sent, in which order, and when the position is stored."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.clients import EventSink, Topic, delivery
from polyexpose_spark.clients.delivery import UNDELIVERED, Envelope
from polyexpose_spark.errors import PolyexposeError, TargetFailed, TargetUnavailable
from polyexpose_spark.ports.base import Exposure, Positions, Served, StepListener, StreamEnded
from polyexpose_spark.ports.event_text import EventText, Sent
from polyexpose_spark.position import Position
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# A first load is resumed at a piece of data files of this size.
_SPLIT_BYTES = 32 << 20

# All attributes but the key in id and partitionkey, generously.
_ATTRIBUTES = 1024


@dataclass
class Totals:
    """What one publication sent."""

    events: int = 0
    bytes: int = 0
    snapshots: int = 0
    seconds: float = 0.0
    """Of sending, from the reading of the rows to the last acknowledgement."""
    ways: list[str] = field(default_factory=list)
    """How it came by what it sent, in order: `first load`, `stream`, `changes`, `compensation`."""


@dataclass
class Outbox:
    """Sends events to one topic, and waits until all are acknowledged."""

    sink: EventSink
    topic: Topic
    text: EventText
    source: str
    """CloudEvents source of the product."""
    totals: Totals
    step: StepListener

    def send(self, changed: DataFrame, sent: Sequence[Sent], batch: str, *, in_order: bool = False) -> None:
        """Send the events of changes.

        Args:
            changed: in the form of Served.changes().
            sent: the snapshots they are of.
            batch: names them; the same for the same events, whenever they are sent.
            in_order: several rows of a key may be in it, told apart by their ordinal.

        Raises:
            TargetFailed, TargetUnavailable: names topic, partition, key and reason.
        """
        events = self.text.of(changed, sent, batch)
        if in_order:
            self._refuse_large(events)
        if self.sink.by_route:
            routes = self.sink.routes(self.topic)
            events = events.repartition(routes, "route").sortWithinPartitions("route", "ordinal", "id")
        elif in_order and self.text.keyed:
            events = events.repartition("key").sortWithinPartitions("ordinal")
        envelope = Envelope(self.source, self.text.kinds(sent))
        sender = self.sink.sender(self.topic, envelope, batch)
        began = time.monotonic()
        try:
            done = events.drop("ordinal").mapInArrow(sender, delivery.SENT_COLUMNS).collect()
        except Exception as error:  # noqa: BLE001 - whatever Spark raises
            raise undelivered(error, self.sink.address) or explained(error) from None
        count = sum(row.events for row in done)
        self.totals.events += count
        self.totals.bytes += sum(row.bytes for row in done)
        seconds = max(time.monotonic() - began, 0.001)
        self.totals.seconds += seconds
        said = ", ".join(str(each.snapshot.id) for each in sent[:3]) + (" ..." if len(sent) > 3 else "")
        self.step("events.sent", f"{count:,} events of snapshot {said} ({count / seconds:,.0f}/s)")

    def _refuse_large(self, events: DataFrame) -> None:
        """End a stream before several commits at once, if one of their events may be larger than the topic takes.

        Commit by commit, those before it are sent, and nothing after it.
        """
        from pyspark.sql import functions as F

        size = F.octet_length("value") + 3 * F.octet_length(F.coalesce("key", F.lit(""))) + F.lit(_ATTRIBUTES)
        if not events.where(size > self.topic.max_bytes).isEmpty():
            raise StreamEnded(f"an event may be larger than the {self.topic.max_bytes:,} bytes that the topic takes")


def undelivered(error: Exception, address: str) -> PolyexposeError | None:
    """Return the error to be shown, if an executor could not deliver an event; else None."""
    found = re.search(re.escape(UNDELIVERED) + r"(\{.*\})", str(error))
    if found is None:
        return None
    said = json.loads(found.group(1))
    place = "" if said["partition"] is None else f", partition {said['partition']}"
    key = "" if said["key"] is None else f", key {said['key']}"
    kind = TargetUnavailable if said["retry"] else TargetFailed
    return kind(
        f"{address}{place}{key}: {said['reason']}; everything before it was sent, and nothing of later snapshots"
    )


@dataclass
class Sending:
    """One publication."""

    exposure: Exposure
    served: Served
    positions: Positions
    outbox: Outbox
    step: StepListener

    def run(self) -> None:
        """Send everything up to the exposed snapshot.

        Raises:
            Refused: a snapshot that is needed expired. TargetFailed, TargetUnavailable: of the service.
        """
        target = self.exposure.snapshot.id
        position = self.positions.read() or Position()
        if position.snapshot_id is None:
            if position.toward is None:
                position = self._stored(position.loading(target))
            position = self._load(position, position.toward or target)
        elif position.toward is not None:
            # A run died in a move off the line of descent: it is finished first, under its epoch.
            position = self._move(position, position.snapshot_id, position.toward)
        since = position.snapshot_id or target
        if since == target:
            return
        if self.served.commits(since) is None:
            self._move(self._stored(position.leaving(target)), since, target)
            return
        position = self._stream(position, since)
        self._commits(position, position.snapshot_id or since)

    def _stored(self, position: Position) -> Position:
        self.step("events.storing", "")
        self.positions.store(position)
        self.step("events.stored", f"snapshot {position.snapshot_id or position.toward}, epoch {position.epoch}")
        return position

    def _load(self, position: Position, target: int) -> Position:
        """Send a whole snapshot, piece by piece."""
        snapshot = self.served.snapshot(target)
        sent = Sent(snapshot, position.epoch, position.sequence + 1)
        pieces = self.served.pieces(snapshot.id, _SPLIT_BYTES)
        self.outbox.totals.ways.append("first load")
        while position.pieces < len(pieces):
            first, end = position.pieces, min(position.pieces + pieces.at_once, len(pieces))
            self.step("events.sending", f"pieces {first + 1} to {end} of {len(pieces)} of snapshot {snapshot.id}")
            with pieces.rows(first, end) as rows:
                self.outbox.send(rows, [sent], self._batch(position, f"{first}-{end}"))
            position = self._stored(position.model_copy(update={"pieces": end}))
        self.outbox.totals.snapshots += 1
        return self._stored(position.at(snapshot.id))

    def _move(self, position: Position, since: int, target: int) -> Position:
        """Send what differs between the position and a snapshot off its line of descent."""
        snapshot = self.served.snapshot(target)
        self.outbox.totals.ways.append("compensation")
        self.step("events.sending", f"what differs between snapshots {since} and {target}")
        with self.served.changes(since, target) as changed:
            sent = Sent(snapshot, position.epoch, position.sequence + 1)
            self.outbox.send(changed, [sent], self._batch(position, str(target)))
        self.outbox.totals.snapshots += 1
        return self._stored(position.at(target))

    def _stream(self, position: Position, since: int) -> Position:
        """Send what a stream gives, and return the position after it."""
        appends = self.served.appends(since)
        if isinstance(appends, str):
            self.step("events.way", f"changes between snapshots, no stream: {appends}")
            return position
        self.outbox.totals.ways.append("stream")
        here = position

        def send(rows: DataFrame, commits: Sequence[Snapshot]) -> None:
            nonlocal here
            sent = [Sent(each, here.epoch, here.sequence + 1 + n) for n, each in enumerate(commits)]
            self.step("events.sending", f"{len(commits)} commit(s) up to snapshot {commits[-1].id}")
            self.outbox.send(rows, sent, self._batch(here, str(commits[-1].id)), in_order=len(commits) > 1)
            after = here.model_copy(update={"sequence": here.sequence + len(commits) - 1}).at(commits[-1].id)
            here = self._stored(after)
            self.outbox.totals.snapshots += len(commits)

        try:
            appends.run(send)
        except StreamEnded as ended:
            self.step("events.way", f"changes between snapshots from here, the stream ended: {ended}")
        return here

    def _commits(self, position: Position, since: int) -> None:
        """Send commit after commit up to the exposed snapshot."""
        commits = self.served.commits(since) or ()
        if commits:
            self.outbox.totals.ways.append("changes")
        for commit in commits:
            self.step("events.sending", f"snapshot {commit.id} ({commit.operation})")
            with self.served.changes(since, commit.id) as changed:
                sent = Sent(commit, position.epoch, position.sequence + 1)
                self.outbox.send(changed, [sent], self._batch(position, str(commit.id)))
            since = commit.id
            position = self._stored(position.at(since))
            self.outbox.totals.snapshots += 1
        if since != self.exposure.snapshot.id:
            # Only commits that rewrite files were left.
            self._stored(position.model_copy(update={"snapshot_id": self.exposure.snapshot.id}))

    def _batch(self, position: Position, what: str) -> str:
        return f"{self.exposure.table_uuid}:{position.epoch}:{position.snapshot_id}:{what}"
