"""A consumer that keeps a copy of the table: what an event-driven application does with a topic, and what it checks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.event_services import Received


@dataclass
class Replica:
    """Rows by key. A repeat is dropped by its id; an id that comes with other content fails, as does disorder."""

    rows: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    repeats: int = 0
    ops: dict[str, int] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)

    def apply(self, messages: Iterable[Received]) -> Replica:
        """Take up messages in the order in which they were handed out."""
        for message in messages:
            self._take(message)
        return self

    def _take(self, message: Received) -> None:
        if message.value is None:
            assert message.key not in self.rows, f"a tombstone of a row that is there: {message.key}"
            return
        id_, event = message.attributes["id"], json.loads(message.value)
        if id_ in self.seen:
            assert self.seen[id_] == message.value, f"{id_} came with two contents"
            self.repeats += 1
            return
        self.seen[id_] = message.value
        key, sequence = message.key or id_, int(message.attributes["sequence"])
        assert sequence >= self._newest.get(key, 0), f"{key}: {sequence} after {self._newest[key]}"
        self._newest[key] = sequence
        op, source = event["op"], event["source"]
        self.ops[op] = self.ops.get(op, 0) + 1
        assert message.attributes["partitionkey"] == key
        assert source["sequence"] == sequence
        assert id_ == f"{source['tableUuid']}:{source['epoch']}:{source['snapshotId']}:{op}:{key}"
        self._change(op, key, event)

    def _change(self, op: str, key: str, event: Mapping[str, Any]) -> None:
        if op in "cr":
            assert event["before"] is None
            assert op == "r" or key not in self.rows, f"created twice: {key}"
        else:
            assert event["before"] == self.rows.get(key), f"not what was there before: {key}"
        if op == "d":
            assert event["after"] is None
            del self.rows[key]
        else:
            self.rows[key] = event["after"]
