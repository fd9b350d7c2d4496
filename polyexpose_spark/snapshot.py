"""pin() a snapshot of a table, read() it in an order that is the same everywhere, tag() it so that it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from polyexpose_spark.catalog import Snapshot, Table, in_utc
from polyexpose_spark.errors import ConfigError, Problem, TargetFailed
from polyexpose_spark.scan_tasks import ScanTasks
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NAMED = 10
"""So many snapshots or refs are named in a message."""


def pin(table: Table, snapshot_id: int | None = None, as_of: str | None = None) -> Snapshot:
    """Choose the snapshot of a run: by id, as of a time or a ref, or the current one.

    Args:
        table: the table as the catalog describes it.
        snapshot_id: a live snapshot.
        as_of: name of a tag or branch; or else a time in ISO 8601 (without zone: UTC; a date: its midnight):
            the snapshot that was the current one at that time.

    Raises:
        ConfigError: `as_of` is neither a ref nor a time; both are given.
        TargetFailed: no such live snapshot, none at that time, or none at all; says what is live.
    """
    name = ".".join(table.identifier)
    if snapshot_id is not None and as_of is not None:
        raise ConfigError([Problem("--as-of", 0, "", "give either --snapshot or --as-of, not both")])
    if not table.snapshots:
        raise TargetFailed(f"table {name} has no snapshot yet: nothing to expose")
    if snapshot_id is not None:
        return _live(table, snapshot_id, f"snapshot {snapshot_id}")
    if as_of is None:
        if table.current_snapshot_id is None:
            raise TargetFailed(f"table {name} has no current snapshot: nothing to expose; {_what_is_live(table)}")
        return _live(table, table.current_snapshot_id, "the current snapshot")
    if as_of in table.refs:
        return _live(table, table.refs[as_of].snapshot_id, f"{table.refs[as_of].kind} {as_of}")
    return _current_at(table, _milliseconds(table, as_of), as_of)


def _live(table: Table, snapshot_id: int, what: str) -> Snapshot:
    found = table.snapshot(snapshot_id)
    if found is None:
        name = ".".join(table.identifier)
        raise TargetFailed(f"table {name}: {what} is not there (never was, or expired); {_what_is_live(table)}")
    return found


def _what_is_live(table: Table) -> str:
    newest = table.snapshots[: -_NAMED - 1 : -1]
    listed = ", ".join(f"{each.id} ({in_utc(each.committed_at)})" for each in newest)
    older = len(table.snapshots) - len(newest)
    return f"live snapshots, newest first: {listed}{f' and {older} older' if older else ''}"


def _milliseconds(table: Table, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        names = sorted(table.refs, key=lambda name: (table.refs[name].kind, name))
        refs = ", ".join(f"{table.refs[name].kind} {name}" for name in names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        message = (
            f"{text!r} is neither a time in ISO 8601 (2026-11-24T10:00:00Z) nor a tag or branch of table "
            f"{'.'.join(table.identifier)} ({refs or 'it has none'}{more}); for a snapshot id: --snapshot"
        )
        raise ConfigError([Problem("--as-of", 0, "", message)]) from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _current_at(table: Table, milliseconds: int, as_of: str) -> Snapshot:
    # The log knows rollbacks; without one, the line of ancestors is what was current in turn.
    line = () if table.current_snapshot_id is None else table.ancestors(table.current_snapshot_id)
    history = table.history or tuple((each.committed_at, each.id) for each in reversed(line))
    before = [id_ for since, id_ in history if since <= milliseconds]
    if not before:
        begins = f"its history begins at {in_utc(history[0][0])}" if history else "it has no history"
        raise TargetFailed(f"table {'.'.join(table.identifier)} had no snapshot as of {as_of}: {begins}")
    return _live(table, before[-1], f"snapshot {before[-1]}, the current one as of {as_of},")


def quoted(catalog_name: str, identifier: tuple[str, ...]) -> str:
    """Return the full name of a table or view for Spark SQL, every part in backquotes."""
    return ".".join(quoted_name(part) for part in (catalog_name, *identifier))


def quoted_name(name: str) -> str:
    """Return a name in backquotes."""
    return "`" + name.replace("`", "``") + "`"


def read(session: SparkSession, name: str, snapshot_id: int, split_bytes: int) -> DataFrame:
    """Return all rows of a snapshot, in that snapshot's own columns and in the same order on any machine.

    Equal snapshots come in equal partitions of equal rows: the files are planned once, sorted by path, and
    grouped by given sizes only. (Iceberg's own order changes from read to read.) Later commits, and even a
    drop of the table that leaves its files, change nothing.

    Args:
        session: a session with a JVM.
        name: full name of the table, quoted.
        snapshot_id: a live snapshot.
        split_bytes: size of the pieces of files that one task reads.

    Raises:
        Refused: the session has no JVM. TargetFailed: no such table or snapshot, or metadata cannot be read.
    """
    try:
        scan = ScanTasks(session, name, snapshot_id)
        return scan.rows(f"{scan.uuid}-{snapshot_id}", scan.planned(snapshot_id), split_bytes)
    except Exception as error:
        raise explained(error, name) from error


@dataclass(frozen=True)
class Pieces:
    """The rows of a snapshot, cut into pieces: the same pieces of the same rows, whenever and wherever it is read."""

    _scan: ScanTasks
    _packed: Any
    _split_bytes: int

    def __len__(self) -> int:
        """Return how many there are."""
        return int(self._packed.size())

    @contextmanager
    def rows(self, first: int, end: int) -> Iterator[DataFrame]:
        """Yield the rows of pieces first to end - 1, in order; they cannot be read after the `with`."""
        tasks = self._scan.joined(self._packed.subList(first, end))
        with self._scan.staged([tasks], self._split_bytes, lookback=1) as (rows,):
            yield rows


def pieces(session: SparkSession, name: str, snapshot_id: int, schema_of: int, split_bytes: int) -> Pieces:
    """Cut all rows of a snapshot into pieces, in the columns of another snapshot (found by field id).

    A piece is some files of about so many bytes in all, or one larger file: Iceberg's reader takes whole files only.

    Args:
        session: a session with a JVM.
        name: full name of the table, quoted.
        snapshot_id: a live snapshot.
        schema_of: the live snapshot whose columns are read.
        split_bytes: size of a piece, and of the parts of files that one task of Spark reads.

    Raises:
        Refused: the session has no JVM. TargetFailed: no such table or snapshot, or metadata cannot be read.
    """
    try:
        scan = ScanTasks(session, name, schema_of, of_any=True)
        return Pieces(scan, scan.packed(scan.planned(snapshot_id), split_bytes), split_bytes)
    except Exception as error:
        raise explained(error, name) from error


_KEPT_DAYS = 36500
"""A tag without a time of its own goes when the table's `history.expire.max-ref-age-ms` says so."""


def tag(session: SparkSession, name: str, tag: str, snapshot_id: int) -> None:
    """Tag a snapshot, so that expiry leaves it; a tag of this name on another snapshot is moved.

    Args:
        session: a session.
        name: full name of the table, quoted.
        tag: name of the tag.
        snapshot_id: a live snapshot.

    Raises:
        TargetFailed: not permitted, or the snapshot is gone. TargetUnavailable: out of reach, or busy.
    """
    version = f"AS OF VERSION {int(snapshot_id)} RETAIN {_KEPT_DAYS} DAYS"
    _alter(session, name, f"CREATE OR REPLACE TAG {quoted_name(tag)} {version}")


def untag(session: SparkSession, name: str, tag: str) -> None:
    """Drop a tag; one that is not there is no error. Raises as tag() does."""
    _alter(session, name, f"DROP TAG IF EXISTS {quoted_name(tag)}")


def _alter(session: SparkSession, name: str, clause: str) -> None:
    try:
        # Where the catalog cannot be reached, Iceberg's own clauses only say "No plan for ..."; this says why.
        session.table(name)
        session.sql(f"ALTER TABLE {name} {clause}")
    except Exception as error:
        raise explained(error, name) from error
