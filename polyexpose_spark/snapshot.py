"""pin() a snapshot of a table, read() it in an order that is the same everywhere, tag() it so that it stays.

The only module (with changes.py) that reaches into the JVM, and only where has_jvm() says that there is one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.errors import ConfigError, Problem, Refused, TargetFailed
from polyexpose_spark.spark_errors import explained

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_NAMED = 10
"""So many snapshots or refs are named in a message."""

_PINNED = "polyexpose_pinned"
"""The catalog of tables as they were planned; Iceberg's own, made for its table maintenance."""

# Everything that decides which pieces of which files one task reads, and in which order, is given: left out,
# Iceberg takes it from the table, the session or the number of cores. The values are Iceberg's own defaults.
_LOOKBACK = 10
_FILE_OPEN_COST = 4 * 1024 * 1024


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
    listed = ", ".join(f"{each.id} ({_iso(each.committed_at)})" for each in newest)
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


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _current_at(table: Table, milliseconds: int, as_of: str) -> Snapshot:
    # The log knows rollbacks; without one, the line of ancestors is what was current in turn.
    line = () if table.current_snapshot_id is None else table.ancestors(table.current_snapshot_id)
    history = table.history or tuple((each.committed_at, each.id) for each in reversed(line))
    before = [id_ for since, id_ in history if since <= milliseconds]
    if not before:
        begins = f"its history begins at {_iso(history[0][0])}" if history else "it has no history"
        raise TargetFailed(f"table {'.'.join(table.identifier)} had no snapshot as of {as_of}: {begins}")
    return _live(table, before[-1], f"snapshot {before[-1]}, the current one as of {as_of},")


def quoted(catalog_name: str, identifier: tuple[str, ...]) -> str:
    """Return the full name of a table or view for Spark SQL, every part in backquotes."""
    return ".".join(quoted_name(part) for part in (catalog_name, *identifier))


def quoted_name(name: str) -> str:
    """Return a name in backquotes."""
    return "`" + name.replace("`", "``") + "`"


def has_jvm(session: SparkSession) -> bool:
    """Say whether this session has its JVM in reach; a Spark Connect session has not."""
    return hasattr(session, "_jsparkSession") and hasattr(session, "_jvm")


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
    if not has_jvm(session):
        raise Refused(
            "a Spark Connect session cannot read a snapshot in stable order: run the job by spark-submit, "
            "or by `polyexpose` on the machine of the driver"
        )
    try:
        iceberg = _Iceberg(session)
        table = iceberg.pinned(name, snapshot_id)
        tasks = iceberg.planned(table, snapshot_id)
        return iceberg.rows(table, f"{table.uuid()}-{snapshot_id}", tasks, split_bytes)
    except Exception as error:
        raise explained(error, name) from error


class _Iceberg:
    """Iceberg's own planning and reading in the JVM: as many calls for one file as for a hundred thousand."""

    def __init__(self, session: SparkSession) -> None:
        self.session = session
        jvm: Any = session._jvm
        self.jvm = jvm
        self.org: Any = jvm.org.apache.iceberg
        self.loader: Any = jvm.java.lang.Thread.currentThread().getContextClassLoader()
        self.handles: Any = jvm.java.lang.invoke.MethodHandles
        self.lookup: Any = self.handles.publicLookup()

    def pinned(self, name: str, snapshot_id: int) -> Any:
        """Return the table as it is now, fixed, with the columns of the snapshot.

        A staged read (rows) takes its columns from the table's current schema: a column dropped since could
        not be read, and one added since would be. So the copy has the snapshot's schema as its current one.
        """
        table = self.org.spark.Spark3Util.loadIcebergTable(self.session._jsparkSession, name)
        snapshot = table.snapshot(snapshot_id)
        if snapshot is None:
            raise TargetFailed(
                f"snapshot {snapshot_id} of table {name.replace('`', '')} is not there any more: expired"
            )
        builder = self.org.TableMetadata.buildFrom(table.operations().current())
        if snapshot.schemaId() is not None:
            builder = builder.setCurrentSchema(snapshot.schemaId())
        metadata = builder.discardChanges().build()
        return self.org.BaseTable(self.org.StaticTableOperations(metadata, table.io()), table.name())

    def planned(self, table: Any, snapshot_id: int) -> Any:
        """Return the scan tasks of a snapshot as a Java list, one per data file, sorted by path."""
        planned = table.newScan().useSnapshot(snapshot_id).planFiles()
        try:
            tasks = self.org.relocated.com.google.common.collect.Lists.newArrayList(planned)
        finally:
            planned.close()
        self.jvm.java.util.Collections.sort(tasks, self._order())
        return tasks

    def _order(self) -> Any:
        # A path can be in a table twice (by add_files); the rest tells those apart.
        comparator = self.jvm.java.util.Comparator
        order = comparator.comparing(self._of_file("location", "java.lang.String"))
        for number in ("fileSequenceNumber", "pos"):
            nulls_first = comparator.nullsFirst(comparator.naturalOrder())
            order = order.thenComparing(self._of_file(number, "java.lang.Long"), nulls_first)
        return order

    def _of_file(self, method: str, returns: str) -> Any:
        """Return `task -> task.file().<method>()` as a Java function: no call crosses over per task."""
        file = self._virtual("org.apache.iceberg.ContentScanTask", "file", "org.apache.iceberg.ContentFile")
        handle = self.handles.filterReturnValue(file, self._virtual("org.apache.iceberg.ContentFile", method, returns))
        function = self._class("java.util.function.Function")
        return self.jvm.java.lang.invoke.MethodHandleProxies.asInterfaceInstance(function, handle)

    def _virtual(self, owner: str, method: str, returns: str) -> Any:
        signature = self.jvm.java.lang.invoke.MethodType.methodType(self._class(returns))
        return self.lookup.findVirtual(self._class(owner), method, signature)

    def _class(self, name: str) -> Any:
        return self.loader.loadClass(name)

    def rows(self, table: Any, key: str, tasks: Any, split_bytes: int) -> DataFrame:
        """Return the rows of these tasks, in their order.

        Table and tasks stay in the JVM, since Spark comes back for them whenever the rows are used again; the
        key says what they are, so that reading the same again takes no more room.
        """
        cache_class = self._class("org.apache.iceberg.spark.SparkTableCache")
        signature = self.jvm.java.lang.invoke.MethodType.methodType(cache_class)
        # Not SparkTableCache.get(): py4j cannot tell it from the method get(String).
        cache = self.lookup.findStatic(cache_class, "get", signature).invokeWithArguments(
            self.jvm.java.util.ArrayList()
        )
        cache.add(key, table)
        self.session.conf.set(f"spark.sql.catalog.{_PINNED}", "org.apache.iceberg.spark.SparkCachedTableCatalog")
        name = quoted(_PINNED, (key,))
        if tasks.isEmpty():
            return self.session.read.table(name).limit(0)
        self.org.spark.ScanTaskSetManager.get().stageTasks(table, key, tasks)
        options = {
            "scan-task-set-id": key,
            "split-size": split_bytes,
            "lookback": _LOOKBACK,
            "file-open-cost": _FILE_OPEN_COST,
        }
        return self.session.read.options(**{option: str(value) for option, value in options.items()}).table(name)


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
