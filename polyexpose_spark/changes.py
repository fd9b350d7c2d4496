"""What changed between two snapshots of a table, row-exact, at the cost of the files touched.

A data file from which both snapshots delete the same cannot hold a change. So the files of both are planned, only
those that differ are read (through Iceberg's own reader, which applies all kinds of deletes), and the difference of
the two small reads is what changed. It holds for copy-on-write and merge-on-read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.errors import Refused
from polyexpose_spark.row_difference import difference, one_sided, signed
from polyexpose_spark.scan_tasks import ScanTasks
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_REWRITE = "replace"
"""Operation of commits that move the same rows into other files. Source: Iceberg spec, "Snapshots"."""


@dataclass(frozen=True)
class Window:
    """Two live snapshots of a table, and in whose columns the difference between them is told."""

    table: Table
    since: int
    """The older state; it need not be an ancestor of the newer one."""
    until: int
    schema_of: int
    """Both sides are read in the columns of this live snapshot, found by field id."""


def refuse_expired(table: Table, snapshot_id: int) -> None:
    """Refuse a snapshot that is not live.

    Raises:
        Refused: it expired; says what to do.
    """
    if table.snapshot(snapshot_id) is None:
        raise _expired(table, snapshot_id)


def _expired(table: Table, snapshot_id: int) -> Refused:
    return Refused(
        f"snapshot {snapshot_id} of table {'.'.join(table.identifier)} expired: what changed since cannot be told; "
        "run with --from-scratch to send the whole snapshot again"
    )


def commits(table: Table, since: int, until: int) -> tuple[Snapshot, ...] | None:
    """Return the commits after a snapshot up to another, oldest first, without those that only rewrite files.

    Returns:
        None where `until` does not descend from `since`, or a snapshot between them expired.

    Raises:
        Refused: `since` expired.
    """
    refuse_expired(table, since)
    found = line(table, since, until)
    return None if found is None else tuple(each for each in found if each.operation != _REWRITE)


def line(table: Table, since: int, until: int) -> tuple[Snapshot, ...] | None:
    """Return the snapshots after `since` up to `until`, oldest first; None where it does not descend from it."""
    ancestors = table.ancestors(until)
    ids = [each.id for each in ancestors]
    return ancestors[: ids.index(since)][::-1] if since in ids else None


def _without_rewrites(descent: Sequence[Snapshot], since: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of snapshots between which a line of descent changes rows."""
    pairs, begin, end = [], since, since
    for each in descent:
        if each.operation == _REWRITE:
            pairs.append((begin, end))
            begin = each.id
        end = each.id
    return tuple(pair for pair in [*pairs, (begin, end)] if pair[0] != pair[1])


@contextmanager
def net(
    session: SparkSession, name: str, window: Window, permitted: Callable[[DataFrame], DataFrame], key: list[str]
) -> Iterator[DataFrame]:
    """Yield what changed from the one snapshot to the other, one row per key: exact between any two live snapshots.

    Without a key it is the difference of two multisets: insertions and deletions only. Rows of equal keys are told as
    updates in pairs, as far as both sides have them. Commits that only rewrite files are neither read nor told.

    Args:
        session: a session with a JVM.
        name: full name of the table, quoted.
        window: the two snapshots.
        permitted: the policy, applied to both sides before they are compared.
        key: columns of the primary key, of those that `permitted` leaves; empty: none.

    Yields:
        op: string, `insert`, `update` or `delete`.
        key: struct of the key columns; NULL without a key.
        before, after: structs of all columns; NULL where the row was not, or is no more.
        snapshot_id, committed_at: bigint and timestamp, of `window.until`.
        ordinal: int, 0.
        Equal keys are in one partition. It cannot be read after the `with`.

    Raises:
        Refused: a snapshot expired; the session has no JVM. TargetFailed: metadata cannot be read.
    """
    refuse_expired(window.table, window.since)
    told_as = _live(window, window.until)
    refuse_expired(window.table, window.since)
    descent = line(window.table, window.since, window.until)
    pairs = ((window.since, window.until),) if descent is None else _without_rewrites(descent, window.since)
    with _told(session, name, window, [_Step(pairs, told_as)], permitted, key) as changed:
        yield changed


@contextmanager
def per_snapshot(
    session: SparkSession, name: str, window: Window, permitted: Callable[[DataFrame], DataFrame], key: list[str]
) -> Iterator[DataFrame]:
    """Yield what each commit of a window changed, as net() does, under its own id and time.

    The ordinal is the commit's place in commits(), from 0. All of them are read at once: a window of hundreds of
    commits is better asked for in parts.

    Raises:
        Refused: `until` does not descend from `since`; and as net() does.
    """
    refuse_expired(window.table, window.since)
    _live(window, window.until)
    told = commits(window.table, window.since, window.until)
    if told is None:
        raise Refused(
            f"snapshot {window.until} of table {'.'.join(window.table.identifier)} does not descend from "
            f"{window.since} through live snapshots: its commits cannot be told one by one"
        )
    steps = [_Step(((each.parent_id, each.id),), each) for each in told if each.parent_id is not None]
    with _told(session, name, window, steps, permitted, key) as changed:
        yield changed


@dataclass(frozen=True)
class _Step:
    """What is told under one ordinal: the differences between pairs of snapshots, summed up."""

    pairs: tuple[tuple[int, int], ...]
    told_as: Snapshot


@contextmanager
def _told(
    session: SparkSession,
    name: str,
    window: Window,
    steps: Sequence[_Step],
    permitted: Callable[[DataFrame], DataFrame],
    key: list[str],
) -> Iterator[DataFrame]:
    try:
        scan = ScanTasks(session, name, window.schema_of, of_any=True)
        for snapshot_id in dict.fromkeys(each for step in steps for pair in step.pairs for each in pair):
            if not scan.is_live(snapshot_id):  # any more: the metadata of the run may be older
                raise _expired(window.table, snapshot_id)
        sides = [side for ordinal, step in enumerate(steps) for side in _sides(scan, step, ordinal)]
    except Exception as error:
        raise explained(error, name) from error
    # Where nothing was touched, the columns are still those of the table.
    with scan.staged([side.tasks for side in sides] or [scan.joined([])]) as frames:
        try:
            changed = _difference(sides, [permitted(rows) for rows in frames], key)
            told = _named(changed, [step.told_as for step in steps])
        except Exception as error:
            raise explained(error, name) from error
        yield told


@dataclass(frozen=True)
class _Side:
    """The rows of one state that may differ from the other: ordinal, sign (-1: the older state), Java list of tasks."""

    ordinal: int
    sign: int
    tasks: Any


def _sides(scan: ScanTasks, step: _Step, ordinal: int) -> list[_Side]:
    touched = [scan.touched(since, until) for since, until in step.pairs]
    before = _Side(ordinal, -1, scan.joined(each.before for each in touched))
    after = _Side(ordinal, 1, scan.joined(each.after for each in touched))
    return [side for side in (before, after) if not side.tasks.isEmpty()]


def _difference(sides: list[_Side], frames: list[DataFrame], key: list[str]) -> DataFrame:
    signs = {side.sign for side in sides}
    # Rows of files that were only added, or only removed, are changes all: there is nothing to compare them with.
    if len(signs) < 2:
        ordinals = [side.ordinal for side in sides] or [0]
        return one_sided(list(zip(frames, ordinals, strict=True)), key, signs.pop() if signs else 1)
    rows = [signed(each, key, side.ordinal, side.sign) for each, side in zip(frames, sides, strict=True)]
    return difference(rows, frames[0].schema, key)


def _named(changed: DataFrame, told_as: list[Snapshot]) -> DataFrame:
    from pyspark.sql import functions as F

    ids = F.array(*(F.lit(each.id) for each in told_as)).cast("array<bigint>")
    times = F.array(*(F.lit(each.committed_at) for each in told_as)).cast("array<bigint>")
    return changed.select(
        "op",
        "key",
        "before",
        "after",
        F.get(ids, "ordinal").alias("snapshot_id"),
        F.timestamp_millis(F.get(times, "ordinal")).alias("committed_at"),
        "ordinal",
    )


def _live(window: Window, snapshot_id: int) -> Snapshot:
    refuse_expired(window.table, snapshot_id)
    return next(each for each in window.table.snapshots if each.id == snapshot_id)
