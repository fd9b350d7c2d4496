"""Iceberg's own planning and reading in the JVM, through py4j: scan tasks of a snapshot, compared, cut, staged, read.

What is done for each task is done in the JVM, by method handles: as many calls for one file as for a hundred thousand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from polyexpose_spark.errors import Refused, TargetFailed
from polyexpose_spark.reading_schema import reading_schema

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructType

_PINNED = "polyexpose_pinned"
"""The catalog of tables as they were planned; Iceberg's own, made for its table maintenance."""

# Everything that decides which pieces of which files one task reads, and in which order, is given: left out,
# Iceberg takes it from the table, the session or the number of cores. The values are Iceberg's own defaults.
SPLIT_BYTES = 128 * 1024 * 1024
LOOKBACK = 10
_FILE_OPEN_COST = 4 * 1024 * 1024

_OBJECT, _STRING, _LONG = "java.lang.Object", "java.lang.String", "java.lang.Long"
_STREAM = "java.util.stream.Stream"
_FILE, _DELETE_FILE = "org.apache.iceberg.ContentFile", "org.apache.iceberg.DeleteFile"
_CONTENT_TASK, _TASK = "org.apache.iceberg.ContentScanTask", "org.apache.iceberg.FileScanTask"


def has_jvm(session: SparkSession) -> bool:
    """Say whether this session has its JVM in reach; a Spark Connect session has not."""
    return hasattr(session, "_jsparkSession") and hasattr(session, "_jvm")


def _nullable(type_: DataType) -> DataType:
    """Return a type all of whose parts may be NULL: Spark casts to no other from one of those."""
    from pyspark.sql import types as T

    match type_:
        case T.StructType():
            return T.StructType([T.StructField(each.name, _nullable(each.dataType)) for each in type_.fields])
        case T.ArrayType():
            return T.ArrayType(_nullable(type_.elementType))
        case T.MapType():
            return T.MapType(_nullable(type_.keyType), _nullable(type_.valueType))
    return type_


@dataclass(frozen=True)
class Touched:
    """The scan tasks of two snapshots that the other one has not: Java lists. All other rows are the same in both."""

    before: Any
    after: Any


class ScanTasks:
    """The scan tasks of one table as it is now, read in the columns of one of its snapshots.

    A staged read takes its columns from the table's current schema: a column dropped since could not be read, and one
    added since would be. So the table is a fixed copy that has that snapshot's schema as its current one; columns are
    found in files by field id, whatever they were called when the file was written.

    Args:
        session: a session with a JVM.
        name: full name of the table, quoted.
        schema_of: a live snapshot.
        of_any: the rows of any other snapshot are read, too (reading_schema.py), and cast to the types of this one.

    Raises:
        Refused: the session has no JVM. TargetFailed: that snapshot is not there.
    """

    def __init__(self, session: SparkSession, name: str, schema_of: int, of_any: bool = False) -> None:
        """Load the table."""
        if not has_jvm(session):
            raise Refused(
                "a Spark Connect session cannot read a snapshot in stable order: run the job by spark-submit, "
                "or by `polyexpose` on the machine of the driver"
            )
        self._session = session
        self._name = name.replace("`", "")
        jvm: Any = session._jvm
        self._java: Any = jvm.java
        self._iceberg: Any = jvm.org.apache.iceberg
        self._loader: Any = self._java.lang.Thread.currentThread().getContextClassLoader()
        self._handles: Any = self._java.lang.invoke.MethodHandles
        self._lookup: Any = self._handles.publicLookup()
        loaded = self._iceberg.spark.Spark3Util.loadIcebergTable(session._jsparkSession, name)
        schema_id = self._live(loaded, schema_of).schemaId()
        wanted = loaded.schema() if schema_id is None else loaded.schemas().get(schema_id)
        builder = self._iceberg.TableMetadata.buildFrom(loaded.operations().current())
        self._columns: StructType | None = None
        """The columns and types that rows are given back in, where they are read in others."""
        if of_any and loaded.schemas().size() > 1:
            self._columns = self._spark_schema(wanted)
            last = loaded.operations().current().lastColumnId()
            builder = builder.setCurrentSchema(self._reading(wanted, loaded.schemas().values()), last)
        else:
            builder = builder.setCurrentSchema(wanted.schemaId())
        fixed = self._iceberg.StaticTableOperations(builder.discardChanges().build(), loaded.io())
        self._table: Any = self._iceberg.BaseTable(fixed, loaded.name())

    def _reading(self, wanted: Any, known: Any) -> Any:
        parser = self._iceberg.SchemaParser
        read = reading_schema(json.loads(parser.toJson(wanted)), [json.loads(parser.toJson(each)) for each in known])
        return parser.fromJson(json.dumps(read))

    def _spark_schema(self, schema: Any) -> StructType:
        from pyspark.sql.types import StructType

        return StructType.fromJson(json.loads(self._iceberg.spark.SparkSchemaUtil.convert(schema).json()))

    @property
    def uuid(self) -> str:
        """Return Iceberg's id of the table."""
        return str(self._table.uuid())

    def is_live(self, snapshot_id: int) -> bool:
        """Say whether the table still has this snapshot."""
        return self._table.snapshot(snapshot_id) is not None

    def planned(self, snapshot_id: int) -> Any:
        """Return the scan tasks of a live snapshot as a Java list, one per data file, sorted by path.

        Raises:
            TargetFailed: the snapshot is not there.
        """
        tasks = self._planned(snapshot_id)
        self._java.util.Collections.sort(tasks, self._order())
        return tasks

    def packed(self, tasks: Any, size: int) -> Any:
        """Return the tasks in their order as a Java list of lists, each of about `size` bytes or of one larger file."""
        long, integer = self._java.lang.Long.TYPE, self._java.lang.Integer.TYPE
        cost = self._handles.insertArguments(
            self._static("java.lang.Math", "multiplyExact", long, long, integer),
            0,
            self._array(_OBJECT, [self._java.lang.Long(_FILE_OPEN_COST)]),
        )
        # What a task weighs when Iceberg packs it: TableScanUtil.planTaskGroups.
        weight = self._of_all(
            self._static("java.lang.Math", "max", long, long, long),
            self._virtual("org.apache.iceberg.ScanTask", "sizeBytes", long),
            self._then(self._virtual("org.apache.iceberg.ScanTask", "filesCount", integer), cost),
        )
        packer = getattr(self._iceberg.util, "BinPacking$ListPacker")(size, 1, False)
        return packer.pack(tasks, self._function(weight))

    def touched(self, since: int, until: int) -> Touched:
        """Return the scan tasks of two live snapshots that differ: in their data file or in what is deleted from it.

        Raises:
            TargetFailed: a snapshot is not there.
        """
        before, after = self._planned(since), self._planned(until)
        key = self._key()
        of_before, of_after = self._keys(before, key), self._keys(after, key)
        # A file that is twice in a snapshot under one number: which of the two the other one has cannot be told.
        if of_before.size() == before.size() and of_after.size() == after.size():
            before.removeIf(self._is_in(of_after, key))
            after.removeIf(self._is_in(of_before, key))
        return Touched(before, after)

    def joined(self, lists: Iterable[Any]) -> Any:
        """Return the tasks of several Java lists as one."""
        tasks = self._java.util.ArrayList()
        for each in lists:
            tasks.addAll(each)
        return tasks

    @contextmanager
    def staged(
        self, lists: Sequence[Any], split_bytes: int = SPLIT_BYTES, lookback: int = LOOKBACK
    ) -> Iterator[list[DataFrame]]:
        """Yield the rows of each of these Java lists of tasks; the JVM keeps them until the end of the `with` only."""
        keys = [str(uuid4()) for _ in lists]
        try:
            yield [self.rows(key, tasks, split_bytes, lookback) for key, tasks in zip(keys, lists, strict=True)]
        finally:
            for key in keys:
                self._staged.removeTasks(self._table, key)
                self._cache().remove(key)

    def rows(self, key: str, tasks: Any, split_bytes: int, lookback: int = LOOKBACK) -> DataFrame:
        """Return the rows of these tasks, in their order.

        Table and tasks stay in the JVM, since Spark comes back for them whenever the rows are used again; the
        key says what they are, so that reading the same again takes no more room.

        Args:
            key: name of the list.
            tasks: a Java list.
            split_bytes: size of the parts of files that one task of Spark reads.
            lookback: how far one may look ahead for parts that still fit into it; 1 keeps them in their order.
        """
        self._cache().add(key, self._table)
        self._session.conf.set(f"spark.sql.catalog.{_PINNED}", "org.apache.iceberg.spark.SparkCachedTableCatalog")
        name = f"`{_PINNED}`.`{key}`"
        if tasks.isEmpty():
            return self._given(self._session.read.table(name).limit(0))
        self._staged.stageTasks(self._table, key, tasks)
        options = {
            "scan-task-set-id": key,
            "split-size": split_bytes,
            "lookback": lookback,
            "file-open-cost": _FILE_OPEN_COST,
        }
        reader = self._session.read.options(**{option: str(value) for option, value in options.items()})
        return self._given(reader.table(name))

    def _given(self, read: DataFrame) -> DataFrame:
        if self._columns is None:
            return read
        columns = []
        for field in self._columns.fields:
            column = read["`" + field.name.replace("`", "``") + "`"]
            # A struct may be optional in one and required in the other: those are no different types.
            same = read.schema[field.name].dataType.simpleString() == field.dataType.simpleString()
            columns.append(column if same else column.cast(_nullable(field.dataType)).alias(field.name))
        return read.select(*columns)

    @property
    def _staged(self) -> Any:
        return self._iceberg.spark.ScanTaskSetManager.get()

    def _cache(self) -> Any:
        # Not SparkTableCache.get(): py4j cannot tell it from the method get(String).
        cache = "org.apache.iceberg.spark.SparkTableCache"
        return self._static(cache, "get", self._class(cache)).invokeWithArguments(self._java.util.ArrayList())

    def _live(self, table: Any, snapshot_id: int) -> Any:
        snapshot = table.snapshot(snapshot_id)
        if snapshot is None:
            raise TargetFailed(f"snapshot {snapshot_id} of table {self._name} is not there any more: expired")
        return snapshot

    def _planned(self, snapshot_id: int) -> Any:
        self._live(self._table, snapshot_id)
        return self._listed(self._table.newScan().useSnapshot(snapshot_id).planFiles())

    def _listed(self, tasks: Any) -> Any:
        try:
            return self._iceberg.relocated.com.google.common.collect.Lists.newArrayList(tasks)
        finally:
            tasks.close()

    def _order(self) -> Any:
        # A path can be in a table twice (by add_files); the rest tells those apart.
        comparator = self._java.util.Comparator
        order = comparator.comparing(self._function(self._of_file("location", _STRING)))
        for number in ("fileSequenceNumber", "pos"):
            nulls_first = comparator.nullsFirst(comparator.naturalOrder())
            order = order.thenComparing(self._function(self._of_file(number, _LONG)), nulls_first)
        return order

    def _keys(self, tasks: Any, key: Any) -> Any:
        return tasks.stream().map(self._function(key)).collect(self._java.util.stream.Collectors.toSet())

    def _is_in(self, keys: Any, key: Any) -> Any:
        """Return `task -> keys.contains(key(task))` as a Java predicate."""
        contains = self._virtual("java.util.Set", "contains", self._java.lang.Boolean.TYPE, _OBJECT).bindTo(keys)
        return self._proxy("java.util.function.Predicate", self._then(key, contains))

    def _key(self) -> Any:
        """Return `task -> [location, sequence number, {[location, offset] of each delete file}]` as a handle.

        Files never change, so equal keys are equal rows. The number tells a file from the same one added again later,
        the offset a deletion vector from others in the same Puffin file.
        """
        location = self._virtual(_FILE, "location", _STRING)
        delete = self._list_of(_DELETE_FILE, location, self._virtual(_DELETE_FILE, "contentOffset", _LONG))
        map_ = self._virtual(_STREAM, "map", _STREAM, "java.util.function.Function")
        collect = self._virtual(_STREAM, "collect", _OBJECT, "java.util.stream.Collector")
        deletes = self._virtual(_TASK, "deletes", "java.util.List")
        for step in (
            self._virtual("java.util.Collection", "stream", _STREAM),
            self._handles.insertArguments(map_, 1, self._array(_OBJECT, [self._function(delete)])),
            self._handles.insertArguments(
                collect, 1, self._array(_OBJECT, [self._java.util.stream.Collectors.toSet()])
            ),
        ):
            deletes = self._then(deletes, step)
        return self._list_of(
            _TASK, self._of_file("location", _STRING), self._of_file("fileSequenceNumber", _LONG), deletes
        )

    def _of_file(self, method: str, returns: str) -> Any:
        """Return `task -> task.file().<method>()` as a handle."""
        return self._then(self._virtual(_CONTENT_TASK, "file", _FILE), self._virtual(_FILE, method, returns))

    def _list_of(self, owner: str, *parts: Any) -> Any:
        """Return `owner -> [part(owner) for each part]` as a handle; a part may be null."""
        array = self._java.lang.Class.forName(f"[L{_OBJECT};")
        as_list = self._static("java.util.Arrays", "asList", self._class("java.util.List"), array)
        taken = self._method_type(self._class(_OBJECT), self._class(owner))
        return self._of_all(as_list.asCollector(array, len(parts)), *(part.asType(taken) for part in parts))

    def _of_all(self, function: Any, *parts: Any) -> Any:
        """Return `value -> function(part(value) for each part)` as a handle."""
        filtered = self._handles.filterArguments(function, 0, self._array("java.lang.invoke.MethodHandle", list(parts)))
        once = self._method_type(function.type().returnType(), parts[0].type().parameterType(0))
        return self._handles.permuteArguments(filtered, once, self._array("int", [0] * len(parts)))

    def _then(self, first: Any, second: Any) -> Any:
        """Return `value -> second(first(value))` as a handle."""
        between = second.type().parameterType(0)
        return self._handles.filterReturnValue(first.asType(first.type().changeReturnType(between)), second)

    def _static(self, owner: str, method: str, returns: Any, *takes: Any) -> Any:
        return self._lookup.findStatic(self._class(owner), method, self._method_type(returns, *takes))

    def _virtual(self, owner: str, method: str, returns: Any, *takes: str) -> Any:
        returned = self._class(returns) if isinstance(returns, str) else returns
        signature = self._method_type(returned, *(self._class(each) for each in takes))
        return self._lookup.findVirtual(self._class(owner), method, signature)

    def _method_type(self, returns: Any, *takes: Any) -> Any:
        return self._java.lang.invoke.MethodType.methodType(returns, self._array("java.lang.Class", list(takes)))

    def _function(self, handle: Any) -> Any:
        return self._proxy("java.util.function.Function", handle)

    def _proxy(self, interface: str, handle: Any) -> Any:
        return self._java.lang.invoke.MethodHandleProxies.asInterfaceInstance(self._class(interface), handle)

    def _class(self, name: str) -> Any:
        return self._loader.loadClass(name)

    def _array(self, of: str, values: list[Any]) -> Any:
        gateway: Any = self._session.sparkContext._gateway
        kind = gateway.jvm
        for part in of.split("."):
            kind = getattr(kind, part)
        array = gateway.new_array(kind, len(values))
        for index, value in enumerate(values):
            array[index] = value
        return array
