"""What was appended after a snapshot, by Spark's Structured Streaming from the Iceberg source, with a checkpoint.

The position in the ledger is what counts; the checkpoint is only where Spark reads on. Each batch is cut to the commits
after the position and up to the exposed snapshot, and is committed to the checkpoint only when the position has passed
all of it. So neither can get ahead of the other, and what is sent by other means in between is not sent again.

A stream starts at a time, not at a snapshot, follows the current state of the table, has the columns of the moment it
starts, and dies of anything but appends: start() says where one of these would make it inexact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.changes import line
from polyexpose_spark.clients import Files
from polyexpose_spark.ports.base import StreamEnded
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Send = Callable[["DataFrame", Sequence[Snapshot]], None]

COMMIT = {"_commit_snapshot_id": "snapshot_id", "_commit_timestamp": "committed_at", "_commit_ordinal": "ordinal"}
"""Columns of an appended row that tell its commit -> their names in Served.changes()."""

_KEEP_ORDER = ("append", "replace")
"""Operations that a stream takes: it reads the one and skips the other."""


def of_commit(rows: DataFrame, snapshot: Snapshot) -> DataFrame:
    """Return rows that are all of one snapshot, with the columns of COMMIT."""
    from pyspark.sql import functions as F

    said = (F.lit(snapshot.id), F.timestamp_millis(F.lit(snapshot.committed_at)), F.lit(0))
    return rows.withColumns(dict(zip(COMMIT, said, strict=True)))


@dataclass(frozen=True)
class Checkpoint:
    """The folder where Spark keeps how far it has read, as `<since>/`; written by Spark 3.5 to 4.1.

    Source: Spark, "Structured Streaming Programming Guide", checkpoints; Iceberg's StreamingOffset.
    """

    files: Files
    folder: str
    since: int
    """The stream started after this snapshot."""

    def read_to(self) -> int:
        """Return the snapshot up to which batches are committed."""
        committed = self._numbers("commits")
        return self.end_of(committed[-1]) if committed else self.since

    def end_of(self, batch: int) -> int:
        """Return the last snapshot of a batch that was planned; of batch -1, where the stream started."""
        found = self.files.read(f"{self.folder}/offsets/{batch}") if batch >= 0 else None
        if found is None:
            return self.since
        snapshot_id = json.loads(found[0].decode().strip().splitlines()[-1])["snapshot_id"]
        return self.since if snapshot_id < 0 else int(snapshot_id)

    def _numbers(self, part: str) -> list[int]:
        names = (each.path.rpartition("/")[2] for each in self.files.list(f"{self.folder}/{part}/"))
        return sorted(int(name) for name in names if name.isdecimal())


def start(table: Table, since: int, until: int, files: Files, folder: str) -> Checkpoint | str:
    """Return the checkpoint of an exact stream from one snapshot up to another; or why there is none.

    Checkpoints that can no longer be used are removed.

    Args:
        table: the table, as the run found it.
        since: everything up to this snapshot was sent.
        until: the exposed snapshot.
        files: client of the folder.
        folder: where the checkpoints of this product and port are.
    """
    current = table.current_snapshot_id
    if current is None or line(table, until, current) is None:
        return f"snapshot {until} is not on the line of the table's current one"
    reason = _not_appended(table, since, current)
    if reason is None and table.snapshot(until).schema_id != table.current_schema_id:  # type: ignore[union-attr]
        reason = "the table's columns were changed"
    if reason is not None:
        _remove(files, folder, _checkpoints(files, folder))
        return reason
    there = _checkpoints(files, folder)
    usable = [each for each in there if _is_usable(table, Checkpoint(files, f"{folder}/{each}", each), since, current)]
    _remove(files, folder, [each for each in there if each not in usable[-1:]])
    if usable:
        return Checkpoint(files, f"{folder}/{usable[-1]}", usable[-1])
    return _unsafe_start(table, since, current) or Checkpoint(files, f"{folder}/{since}", since)


def _not_appended(table: Table, since: int, current: int) -> str | None:
    found = line(table, since, current)
    if found is None:
        return f"the table's current snapshot does not descend from snapshot {since}"
    other = next((each for each in found if each.operation not in _KEEP_ORDER), None)
    return f"snapshot {other.id} is {other.operation}" if other else None


def _is_usable(table: Table, checkpoint: Checkpoint, since: int, current: int) -> bool:
    """Say whether a stream can go on from here: its place is alive, not beyond the position, before appends only."""
    read_to = checkpoint.read_to()
    return (
        table.snapshot(read_to) is not None
        and line(table, read_to, since) is not None
        and _not_appended(table, read_to, current) is None
    )


def _unsafe_start(table: Table, since: int, current: int) -> str | None:
    """Say why a stream cannot be started after this snapshot by time: a stream has no other start."""
    begin, *before = table.ancestors(since)
    early = next((each for each in line(table, since, current) or () if each.committed_at <= begin.committed_at), None)
    if early is not None:
        return f"snapshot {early.id} is not later than its ancestor {since}, by their times"
    late = next((each for each in before if each.committed_at > begin.committed_at), None)
    return f"snapshot {late.id} is later than its descendant {since}, by their times" if late else None


def _checkpoints(files: Files, folder: str) -> list[int]:
    names = {each.path.removeprefix(f"{folder}/").partition("/")[0] for each in files.list(f"{folder}/")}
    return sorted(int(name) for name in names if name.isdecimal())


def _remove(files: Files, folder: str, names: Sequence[int]) -> None:
    files.delete(f"{folder}/{name}/" for name in names)


@dataclass
class StreamedAppends:
    """One stream. Implements ports.base.Appends."""

    session: SparkSession
    name: str
    """Full name of the table, quoted."""
    table: Table
    checkpoint: Checkpoint
    since: int
    until: int
    changes_of: Callable[[DataFrame], DataFrame]
    """Appended rows, with the columns of COMMIT -> the form of Served.changes()."""
    _failure: Exception | None = field(default=None, init=False)
    _here: int = field(default=0, init=False)

    def run(self, send: Send) -> None:
        """Hand over everything up to the exposed snapshot; see ports.base.Appends."""
        self._here = self.since
        # The first query may only repeat the batch that a run before it left unfinished.
        for _ in range(2):
            if not self._line(self._here, self.until):
                return
            self._query(send)
        if self._line(self._here, self.until):
            raise StreamEnded(f"it did not get beyond snapshot {self._here}")

    def _query(self, send: Send) -> None:
        from pyspark.errors import StreamingQueryException
        from pyspark.sql import functions as F

        begin = self.table.snapshot(self.checkpoint.since)
        reader = self.session.readStream.format("iceberg")
        if begin is not None:  # else the checkpoint has gone beyond it, and says where to go on
            reader = reader.option("stream-from-timestamp", begin.committed_at + 1)
        try:
            stream = reader.load(self.name.replace("`", "")).withColumn("_file_name", F.input_file_name())
            # Once: one batch with everything there is. (AvailableNow fails for ever when the snapshot that a stream
            # began with expires: apache/iceberg#18000.)
            query = (
                stream.writeStream.foreachBatch(lambda rows, batch: self._batch(rows, batch, send))
                .option("checkpointLocation", self.checkpoint.folder)
                .trigger(once=True)
                .start()
            )
            query.awaitTermination()
        except StreamingQueryException as error:
            if self._failure is not None:
                raise self._failure from None
            if self._line(self._here, self.until):
                raise StreamEnded(str(explained(error))) from None

    def _batch(self, rows: DataFrame, batch: int, send: Send) -> None:
        first, last = self.checkpoint.end_of(batch - 1), self.checkpoint.end_of(batch)
        # A snapshot that is not known was committed after the table was looked at, and so after the exposed one.
        beyond = self.table.snapshot(last) is None or bool(self._line(self.until, last))
        in_batch = self._line(first, self.until if beyond else last)
        wanted = {each.id for each in self._line(self._here, self.until)}
        commits = tuple(each for each in in_batch if each.id in wanted)
        try:
            if commits:
                whole = len(in_batch) == 1 and not beyond
                send(self.changes_of(self._of(rows, commits, whole=whole)), commits)
                self._here = commits[-1].id
        except Exception as error:
            self._failure = error
            raise
        if beyond:
            # The rest of the batch is for a later run: left uncommitted, it is planned again as it is.
            raise _Enough

    def _of(self, rows: DataFrame, commits: Sequence[Snapshot], *, whole: bool) -> DataFrame:
        """Return the rows of some commits of a batch, each with its commit."""
        from pyspark.sql import functions as F

        if whole:
            return of_commit(rows, commits[0])
        entries = self.session.read.format("iceberg").load(f"{self.name.replace('`', '')}.all_entries")
        of = [(each.id, each.committed_at, number) for number, each in enumerate(commits)]
        listed = self.session.createDataFrame(of, "snapshot_id long, millis long, _commit_ordinal int")
        added = (
            entries.where("status = 1")
            .select("snapshot_id", F.col("data_file.file_path").alias("_file_name"))
            .distinct()
            .join(F.broadcast(listed), "snapshot_id")
            .select(
                "_file_name",
                F.col("snapshot_id").alias("_commit_snapshot_id"),
                F.timestamp_millis("millis").alias("_commit_timestamp"),
                "_commit_ordinal",
            )
        )
        return rows.join(F.broadcast(added), "_file_name")

    def _line(self, since: int, until: int) -> tuple[Snapshot, ...]:
        """Return the appends between two snapshots."""
        return tuple(each for each in line(self.table, since, until) or () if each.operation == "append")


class _Enough(Exception):
    """Ends a stream whose batch goes beyond the exposed snapshot."""
