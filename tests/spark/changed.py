"""A table whose changes are told, and what they are held against: its states as Spark's ordinary reader has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from polyexpose_spark import changes, snapshot
from polyexpose_spark.catalog import Catalog, Table
from polyexpose_spark.config import Config

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row, SparkSession

MERGE_ON_READ = ", ".join(f"'write.{verb}.mode'='merge-on-read'" for verb in ("delete", "update", "merge"))
COPY_ON_WRITE = ", ".join(f"'write.{verb}.mode'='copy-on-write'" for verb in ("delete", "update", "merge"))
V2_COW = f"'format-version'='2', {COPY_ON_WRITE}"
V2_MOR = f"'format-version'='2', {MERGE_ON_READ}"
V3_MOR = f"'format-version'='3', {MERGE_ON_READ}"


def canonical(value: Any) -> str:
    """Return a text that two values share when they are the same to the bit, but for NaN and the order of a map."""
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{canonical(k)}: {canonical(v)}" for k, v in value.items())) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(canonical, value)) + "]"
    return repr(bytes(value) if isinstance(value, bytearray) else value)


def multiset(rows: Iterable[Row]) -> Counter[str]:
    return Counter(map(canonical, rows))


def replayed(state: Counter[str], told: Iterable[Row]) -> Counter[str]:
    """Apply changes to a state; what they take away must be there."""
    state = Counter(state)
    told = list(told)
    state.subtract(canonical(each.before) for each in told if each.op != "insert")
    missing = +Counter({row: -count for row, count in state.items() if count < 0})
    state.update(canonical(each.after) for each in told if each.op != "delete")
    assert not -state, f"taken away, and not there: {missing}"
    return +state


class Changing:
    """A namespace of the catalog `lake` with the table `t`."""

    def __init__(self, spark: SparkSession, config: Config, namespace: str) -> None:
        self.spark, self.catalog, self.namespace = spark, Catalog(config.catalog), namespace
        self.identifier = (namespace, "t")
        self.name = snapshot.quoted("lake", self.identifier)
        self._states: dict[tuple[int, int], Counter[str]] = {}

    def sql(self, *statements: str) -> int:
        """Run SQL with $t for the table and $n for its name to procedures; return the current snapshot's id."""
        for each in statements:
            self.spark.sql(each.replace("$t", self.name).replace("$n", f"{self.namespace}.t"))
        return self.current

    @property
    def table(self) -> Table:
        return self.catalog.table(self.identifier)

    @property
    def current(self) -> int:
        return self.table.current_snapshot_id or 0

    @property
    def iceberg(self) -> Any:
        """Iceberg's own table in the JVM."""
        jvm: Any = self.spark._jvm
        return jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(self.spark._jsparkSession, self.name)

    def window(self, since: int, until: int | None = None, schema_of: int | None = None) -> changes.Window:
        until = until or self.current
        return changes.Window(self.table, since, until, schema_of or until)

    def net(self, window: changes.Window, *key: str) -> AbstractContextManager[DataFrame]:
        return changes.net(self.spark, self.name, window, lambda rows: rows, list(key))

    def told(self, since: int, *key: str, until: int | None = None, schema_of: int | None = None) -> list[Row]:
        """Return the net changes, after seeing that they make the one state into the other."""
        window = self.window(since, until, schema_of)
        with self.net(window, *key) as changed:
            told = changed.collect()
        states = [self.state(each, window.schema_of) for each in (window.since, window.until)]
        assert replayed(states[0], told) == states[1]
        assert all((each.snapshot_id, each.ordinal) == (window.until, 0) for each in told)
        return told

    def per_snapshot(self, since: int, *key: str) -> list[list[Row]]:
        """Return the changes of each commit, after seeing that each makes its parent's state into its own."""
        window = self.window(since)
        commits = changes.commits(window.table, window.since, window.until)
        assert commits is not None
        with changes.per_snapshot(self.spark, self.name, window, lambda rows: rows, list(key)) as changed:
            told = changed.collect()
        state = self.state(since, window.schema_of)
        steps = [[each for each in told if each.ordinal == ordinal] for ordinal in range(len(commits))]
        assert sum(map(len, steps)) == len(told)
        for commit, step in zip(commits, steps, strict=True):
            assert {each.snapshot_id for each in step} <= {commit.id}
            state = replayed(state, step)
            assert state == self.state(commit.id, window.schema_of)
        return steps

    def state(self, snapshot_id: int, schema_of: int) -> Counter[str]:
        """Return the rows of a snapshot, as Spark reads them, in the columns of another one, found by field id."""
        wanted = (snapshot_id, schema_of)
        if wanted not in self._states:
            self._states[wanted] = self._state(*wanted)
        return self._states[wanted]

    def _state(self, snapshot_id: int, schema_of: int) -> Counter[str]:
        from pyspark.sql import functions as F

        table = self.table
        own, wanted = (
            table.schemas[found.schema_id] for found in map(table.snapshot, (snapshot_id, schema_of)) if found
        )
        names: Mapping[int, str] = {column.field_id: column.name for column in own}
        types = {field.name: field.dataType for field in self._rows(schema_of).schema.fields}
        return multiset(
            self._rows(snapshot_id)
            .select(
                *(
                    (F.col(snapshot.quoted_name(names[each.field_id])) if each.field_id in names else F.lit(None))
                    .cast(types[each.name])
                    .alias(each.name)
                    for each in wanted
                )
            )
            .collect()
        )

    def _rows(self, snapshot_id: int) -> DataFrame:
        return self.spark.sql(f"SELECT * FROM {self.name} VERSION AS OF {snapshot_id}")


def ops(told: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Return (op, before, after) of each change, in a fixed order."""
    return sorted(
        ((each.op, each.before and tuple(each.before), each.after and tuple(each.after)) for each in told), key=repr
    )
