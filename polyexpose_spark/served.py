"""The data as it may be served: one snapshot, the contract's columns, the policy applied. Made by app."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from polyexpose_spark import appends, changes, snapshot
from polyexpose_spark.appends import StreamedAppends
from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.clients import Files
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.product import primary_key

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class PinnedRows:
    """The rows of an exposure, and what changed on the way to it. Implements ports.base.Served.

    A session is started only when rows are asked for.
    """

    exposure: Exposure
    table: str
    """Full name of the source table, quoted for Spark SQL."""
    session: Callable[[], SparkSession]
    source: Table
    """The table's metadata, as the run found it."""
    files: Files
    checkpoints: str
    """Folder of the checkpoints of streams."""

    def rows(self, split_bytes: int) -> DataFrame:
        """Return the rows in stable order, in the contract's columns."""
        return self._permitted(snapshot.read(self.session(), self.table, self.exposure.snapshot.id, split_bytes))

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """Return a live snapshot of the table."""
        changes.refuse_expired(self.source, snapshot_id)
        return next(each for each in self.source.snapshots if each.id == snapshot_id)

    def pieces(self, snapshot_id: int, split_bytes: int) -> PermittedPieces:
        """Return all rows of a live snapshot in pieces that never change."""
        whole = self.snapshot(snapshot_id)
        found = snapshot.pieces(self.session(), self.table, snapshot_id, self.exposure.snapshot.id, split_bytes)
        at_once = 2 * self.session().sparkContext.defaultParallelism
        return PermittedPieces(found, lambda rows: self._told(appends.of_commit(rows, whole), "read"), at_once)

    def commits(self, since: int) -> Sequence[Snapshot] | None:
        """Return the commits after a snapshot up to the exposed one; None where it is not an ancestor."""
        return changes.commits(self.source, since, self.exposure.snapshot.id)

    @contextmanager
    def changes(self, since: int, until: int | None = None) -> Iterator[DataFrame]:
        """Yield what changed between two live snapshots, of the contract's columns only."""
        end = until or self.exposure.snapshot.id
        key = [each.name for each in primary_key(self.exposure.columns)]
        window = changes.Window(self.source, since, end, schema_of=self.exposure.snapshot.id)
        with changes.net(self.session(), self.table, window, self._permitted, key) as changed:
            yield changed

    def appends(self, since: int) -> StreamedAppends | str:
        """Return what was appended after a snapshot up to the exposed one, as a stream; or why there is none."""
        until = self.exposure.snapshot.id
        checkpoint = appends.start(self.source, since, until, self.files, self.checkpoints)
        if isinstance(checkpoint, str):
            return checkpoint
        told = partial(self._told, op="insert")
        return StreamedAppends(self.session(), self.table, self.source, checkpoint, since, until, told)

    def _told(self, rows: DataFrame, op: str) -> DataFrame:
        """Return rows with the columns of appends.COMMIT in the form of changes."""
        from pyspark.sql import functions as F

        permitted, columns = self._permitted(rows, *appends.COMMIT), self.exposure.columns
        row = F.struct(*(snapshot.quoted_name(each.name) for each in columns))
        key = [snapshot.quoted_name(each.name) for each in primary_key(columns)]
        return permitted.select(
            F.lit(op).alias("op"),
            (F.struct(*key) if key else F.lit(None)).alias("key"),
            F.when(F.lit(False), row).alias("before"),
            row.alias("after"),
            *(F.col(name).alias(alias) for name, alias in appends.COMMIT.items()),
        )

    def _permitted(self, rows: DataFrame, *more: str) -> DataFrame:
        """Return the rows as the policy lets them be seen: the contract's columns (masks and filters are refused)."""
        return rows.select(*(snapshot.quoted_name(each.name) for each in self.exposure.columns), *more)


@dataclass(frozen=True)
class PermittedPieces:
    """The pieces of a snapshot, the policy applied. Implements ports.base.Pieces."""

    pieces: snapshot.Pieces
    told: Callable[[DataFrame], DataFrame]
    """Rows of the table -> the form of changes, the policy applied."""
    at_once: int
    """How many of them keep all cores busy."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.pieces)

    @contextmanager
    def rows(self, first: int, end: int) -> Iterator[DataFrame]:
        """Yield the rows of pieces first to end - 1, in the form of changes."""
        with self.pieces.rows(first, end) as rows:
            yield self.told(rows)
