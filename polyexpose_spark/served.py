"""The data as it may be served: one snapshot, the contract's columns, the policy applied. Made by app."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyexpose_spark import changes, snapshot
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

    def pieces(self, snapshot_id: int, split_bytes: int) -> PermittedPieces:
        """Return all rows of a live snapshot in pieces that never change."""
        changes.refuse_expired(self.source, snapshot_id)
        found = snapshot.pieces(self.session(), self.table, snapshot_id, self.exposure.snapshot.id, split_bytes)
        return PermittedPieces(found, self._permitted)

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

    def _permitted(self, rows: DataFrame) -> DataFrame:
        """Return the rows as the policy lets them be seen: the contract's columns (masks and filters are refused)."""
        return rows.select(*(snapshot.quoted_name(each.name) for each in self.exposure.columns))


@dataclass(frozen=True)
class PermittedPieces:
    """The pieces of a snapshot, the policy applied. Implements ports.base.Pieces."""

    pieces: snapshot.Pieces
    permitted: Callable[[DataFrame], DataFrame]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.pieces)

    @contextmanager
    def rows(self, first: int, end: int) -> Iterator[DataFrame]:
        """Yield the rows of pieces first to end - 1."""
        with self.pieces.rows(first, end) as rows:
            yield self.permitted(rows)
