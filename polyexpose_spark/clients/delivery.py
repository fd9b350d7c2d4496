"""What all sinks of events share on an executor: the event, and the loop that hands a partition's events to a producer.

Runs in Python workers that need not have this package: standard library and pyarrow only, sent along by value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow

EVENT_COLUMNS = ("route", "key", "value", "id", "kind")
"""Columns of a DataFrame of events: route (where a sink has routes, else NULL) and kind are int, the others string."""

SENT_COLUMNS = "events long, bytes long"
"""Schema of what sending answers, one row per task: events and the bytes of their keys and values."""

UNDELIVERED = "polyexpose-undelivered "
"""What the text of Undelivered begins with: the driver finds it in whatever Spark makes of the exception."""


class Event(NamedTuple):
    """One event. No value: a tombstone, which carries no attributes either."""

    route: int | None
    key: str | None
    value: str | None
    id: str
    kind: int
    """Which of Envelope.kinds."""


class Kind(NamedTuple):
    """What the events of one commit and one operation share: CloudEvents attributes."""

    type: str
    time: str
    sequence: str


EventValues = tuple[Any, ...]
"""The fields of an Event, in its order: a million times over, naming them costs a tenth of what sending costs."""


@dataclass(frozen=True)
class Envelope:
    """The CloudEvents attributes that all events of a product share. Source: CloudEvents 1.0.2."""

    source: str
    """URI reference of the product: `/products/<id>`."""
    kinds: tuple[Kind, ...] = ()
    """An event says by number which of these it is: a number is cheap to hand to an executor, three texts are not."""
    content_type: str = "application/json"

    def attributes(self, event: Event) -> list[tuple[str, str]]:
        """Return name (without the binding's prefix) and value of every attribute; content-type is not among them."""
        if event.value is None:
            return []
        kind = self.kinds[event.kind]
        said = [("specversion", "1.0"), ("id", event.id), ("source", self.source), ("type", kind.type)]
        said += [("time", kind.time), ("sequence", kind.sequence)]
        return said if event.key is None else [*said, ("partitionkey", event.key)]


class Undelivered(Exception):
    """An event that could not be sent; nothing after it was sent by this task.

    Args:
        topic: as the user knows it.
        partition: of the topic; None: not known, or there are none.
        key: of the event; None: it has none, or the failure is not one event's.
        reason: what the service or its client says, in one line.
        retry: True where the service is unavailable, so that it is safe to run again.
    """

    def __init__(self, topic: str, partition: int | None, key: str | None, reason: str, retry: bool) -> None:
        """Put all of it into the text: nothing else of an exception comes back from an executor."""
        said = {"topic": topic, "partition": partition, "key": key, "reason": " ".join(reason.split()), "retry": retry}
        super().__init__(UNDELIVERED + json.dumps(said))


class Producer(Protocol):
    """Sends the events of one task. Memory is bounded: put_all() waits while too much is on its way."""

    def put_all(self, events: Iterable[EventValues]) -> None:
        """Send, or take up for sending; order per key is the order of the events.

        Raises:
            Undelivered: one of these events or one before them could not be sent; nothing after that one was.
        """
        ...

    def finish(self) -> None:
        """Wait until everything is acknowledged.

        Raises:
            Undelivered: something could not be sent.
        """
        ...

    def close(self) -> None:
        """Free what it holds; called after finish(), or after a failure."""
        ...


def deliver(batches: Iterable[pyarrow.RecordBatch], producer: Callable[[], Producer]) -> Iterator[pyarrow.RecordBatch]:
    """Send the events of a task; yield one row of SENT_COLUMNS. For DataFrame.mapInArrow."""
    import pyarrow
    from pyarrow import compute

    events, size, sending = 0, 0, None
    try:
        for batch in batches:
            if sending is None:
                sending = producer()  # a task without events needs no connection
            columns = [batch.column(name).to_pylist() for name in EVENT_COLUMNS]
            sending.put_all(zip(*columns, strict=True))
            events += batch.num_rows
            size += sum(compute.sum(compute.binary_length(batch.column(n))).as_py() or 0 for n in ("key", "value"))
        if sending is not None:
            sending.finish()
    finally:
        if sending is not None:
            sending.close()
    yield pyarrow.RecordBatch.from_pydict({"events": [events], "bytes": [size]})
