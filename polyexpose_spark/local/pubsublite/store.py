"""What the server keeps: resources and cursors in SQLite, messages in files beside it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import grpc

from polyexpose_spark.local.pubsublite.log import PartitionLog
from polyexpose_spark.local.pubsublite.messages import Failure, Message, Reservation, Subscription, Topic, not_found

Kind = Literal["reservations", "topics", "subscriptions"]

DELETED_TOPIC = "_deleted-topic_"
"""What a subscription names when its topic is gone."""

_CLASSES: dict[Kind, Message] = {"reservations": Reservation, "topics": Topic, "subscriptions": Subscription}
_TABLES = """
CREATE TABLE IF NOT EXISTS resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE (kind, name)
);
CREATE TABLE IF NOT EXISTS cursors (
    subscription TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (subscription, partition)
);
"""


class Store:
    """The state folder; used from one thread."""

    def __init__(self, folder: Path) -> None:
        """Open it, and read what is not messages.

        Raises:
            OSError, sqlite3.Error: it cannot be used, or another process has it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._db = sqlite3.connect(folder / "pubsublite.db", isolation_level=None, timeout=1.0)
        # One process at a time; a write that was answered survives its end, though not that of the machine.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            self._db.close()
            raise OSError(f"another process has {folder} ({error})") from error
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_TABLES)
        self._ids: dict[tuple[Kind, str], int] = {}
        self._resources: dict[Kind, dict[str, Message]] = {kind: {} for kind in _CLASSES}
        for number, kind, name, body in self._db.execute("SELECT id, kind, name, body FROM resources"):
            self._ids[kind, name] = number
            self._resources[kind][name] = _CLASSES[kind].FromString(body)
        found = self._db.execute("SELECT subscription, partition, position FROM cursors")
        self._cursors: dict[tuple[str, int], int] = {(name, partition): at for name, partition, at in found}
        self._logs: dict[tuple[str, int], PartitionLog] = {}

    def close(self) -> None:
        """Let go of the files."""
        for log in self._logs.values():
            log.close()
        self._db.close()

    def get(self, kind: Kind, name: str) -> Message:
        """Return a resource.

        Raises:
            Failure: it is not there.
        """
        try:
            return self._resources[kind][name]
        except KeyError:
            raise not_found(name) from None

    def all(self, kind: Kind) -> list[Message]:
        """Return the resources of a kind by name."""
        return [resource for _, resource in sorted(self._resources[kind].items())]

    def create(self, kind: Kind, resource: Message) -> None:
        """Keep a new resource.

        Raises:
            Failure: there is one of this name.
        """
        if resource.name in self._resources[kind]:
            raise Failure(grpc.StatusCode.ALREADY_EXISTS, f"Resource already exists: {resource.name}")
        (number,) = self._db.execute(
            "INSERT INTO resources (kind, name, body) VALUES (?, ?, ?) RETURNING id",
            (kind, resource.name, resource.SerializeToString()),
        ).fetchone()
        self._ids[kind, resource.name] = number
        self._resources[kind][resource.name] = resource

    def replace(self, kind: Kind, resource: Message) -> None:
        """Keep a resource that is there in another form."""
        self._db.execute(
            "UPDATE resources SET body = ? WHERE id = ?",
            (resource.SerializeToString(), self._ids[kind, resource.name]),
        )
        self._resources[kind][resource.name] = resource

    def delete(self, kind: Kind, name: str) -> None:
        """Forget a resource: with a topic its messages, with a subscription its cursors.

        Raises:
            Failure: it is not there.
        """
        self.get(kind, name)
        number = self._ids.pop((kind, name))
        with self._transaction():
            self._db.execute("DELETE FROM resources WHERE id = ?", (number,))
            self._db.execute("DELETE FROM cursors WHERE subscription = ?", (name,))
        del self._resources[kind][name]
        if kind == "topics":
            for key in [key for key in self._logs if key[0] == name]:
                self._logs.pop(key).close()
            # Named by number: a topic made anew under this name never meets what a crash left of the old one.
            shutil.rmtree(self._folder / "log" / str(number), ignore_errors=True)
        if kind == "subscriptions":
            self._cursors = {key: at for key, at in self._cursors.items() if key[0] != name}

    def partitions(self, topic: str) -> int:
        """Return how many a topic has.

        Raises:
            Failure: there is no such topic.
        """
        return int(self.get("topics", topic).partition_config.count)

    def log(self, topic: str, partition: int) -> PartitionLog:
        """Return the messages of a partition.

        Raises:
            Failure: there is no such topic or partition.
        """
        if not 0 <= partition < self.partitions(topic):
            raise not_found(f"{topic}, partition {partition}")
        key = (topic, partition)
        if key not in self._logs:
            number = self._ids["topics", topic]
            self._logs[key] = PartitionLog(self._folder / "log" / str(number) / f"{partition}.log")
        return self._logs[key]

    def cursors(self, subscription: str) -> dict[int, int]:
        """Return the cursor of every partition that has one."""
        return {partition: at for (name, partition), at in sorted(self._cursors.items()) if name == subscription}

    def cursor(self, subscription: str, partition: int) -> int:
        """Return the offset of the first message that is not committed."""
        return self._cursors.get((subscription, partition), 0)

    def commit(self, subscription: str, partition: int, position: int) -> None:
        """Keep the offset of the first message that is not committed."""
        self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (subscription, partition, position))
        self._cursors[subscription, partition] = position

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
