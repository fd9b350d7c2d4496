"""Parquet on its way to BigQuery: legal names, STRUCT native, LIST and MAP as JSON text, microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.clients import Files, StoredFile
from polyexpose_spark.clients.bigquery_tables import OPERATION
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.product import Column, primary_key
from polyexpose_spark.snapshot import quoted_name
from polyexpose_spark.value_text import text_of

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame

# Small enough that a small table keeps several cores busy to the end.
_SMALLEST_SPLIT = 8 << 20
# A load job takes 10,000 files. Source: BigQuery, "Quotas". Half of it, since pieces are not filled to the brim.
_MOST_SPLITS = 5_000


def split_bytes(snapshot: Snapshot) -> int:
    """Return the size of the pieces of data files that one task stages; every piece becomes a file."""
    return max(_SMALLEST_SPLIT, (snapshot.bytes or 0) // _MOST_SPLITS)


@dataclass(frozen=True)
class Staging:
    """The staging folder of one port of a product; a folder in it per plan digest."""

    files: Files
    folder: str

    def write(self, rows: DataFrame, digest: str, compression: str = "snappy", **counted: Expression) -> dict[str, int]:
        """Write the rows; return how many there were, as `rows`, and what else was to be counted.

        Args:
            rows: as they are loaded.
            digest: names the folder.
            compression: of Parquet; one that BigQuery reads.
            counted: aggregates over the rows that are whole numbers.
        """
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        seen = Observation()
        counts = {"rows": F.count(F.lit(1)), **counted}
        observed = rows.observe(seen, *(each.alias(name) for name, each in counts.items()))
        observed.write.mode("overwrite").option("compression", compression).parquet(f"{self.folder}/{digest}")
        return {name: int(seen.get[name]) for name in counts}

    def files_of(self, digest: str) -> tuple[StoredFile, ...]:
        """Return the data files of a digest, in order."""
        found = self.files.list(f"{self.folder}/{digest}/")
        return tuple(each for each in found if each.path.rsplit("/", 1)[1].startswith("part-"))

    def clear(self) -> None:
        """Remove all that was staged, by this run or by one that died."""
        self.files.delete(each.path for each in self.files.list(f"{self.folder}/"))


def staged(rows: DataFrame, columns: tuple[Column, ...]) -> DataFrame:
    """Return the rows as they are loaded: names and types of graphql_schema.table_fields."""
    from pyspark.sql import functions as F

    return rows.select(*_cells(columns, {each.name: F.col(quoted_name(each.name)) for each in columns}))


def staged_changes(changed: DataFrame, columns: tuple[Column, ...]) -> DataFrame:
    """Return changes as they are loaded: the new row, or of a deleted one its key; and OPERATION.

    Args:
        changed: rows of Served.changes().
        columns: of the exposure; a key is among them.
    """
    from pyspark.sql import functions as F

    before, after = F.col("before"), F.col("after")
    cells = {each.name: after.getField(each.name) for each in columns}
    for each in primary_key(columns):
        cells[each.name] = F.when(F.col("op") == "delete", before.getField(each.name)).otherwise(cells[each.name])
    rows = changed.select(F.col("op").alias(OPERATION), *_cells(columns, cells))
    # In as few files as their size asks for, and in order: a few thousand rows in many files take twice the bytes.
    names = graphql_schema.legal_names([each.name for each in columns], "")
    return rows.hint("rebalance").sortWithinPartitions(
        *(quoted_name(names[each.name]) for each in primary_key(columns))
    )


def _cells(columns: tuple[Column, ...], values: Mapping[str, Expression]) -> list[Expression]:
    names = graphql_schema.legal_names([column.name for column in columns], "")
    return [_staged(values[each.name], each.type, f"{each.name}.").alias(names[each.name]) for each in columns]


def _staged(value: Expression, type_: ColumnType, below: str) -> Expression:
    from pyspark.sql import functions as F

    if type_.kind in (LogicalType.LIST, LogicalType.MAP):
        return text_of(_in_order(value, type_), type_)
    if type_.kind is not LogicalType.STRUCT:
        return value
    names = graphql_schema.legal_names([part.name for part in type_.fields], below)
    parts = [
        _staged(value.getField(part.name), part.type, f"{below}{part.name}.").alias(names[part.name])
        for part in type_.fields
    ]
    return F.when(value.isNotNull(), F.struct(*parts))


def _in_order(value: Expression, type_: ColumnType) -> Expression:
    """Return the value with the entries of all maps in the order of their keys.

    A map has no order of its own. The text of an equal map is to be the same in every copy, however it was made.
    """
    from pyspark.sql import functions as F

    if not any(inner.kind is LogicalType.MAP for _, inner in type_.walk("")):
        return value
    match type_.kind:
        case LogicalType.STRUCT:
            parts = [_in_order(value.getField(part.name), part.type).alias(part.name) for part in type_.fields]
            return F.when(value.isNotNull(), F.struct(*parts))
        case LogicalType.LIST:
            return F.transform(value, lambda element: _in_order(element, type_.fields[0].type))
    inner = F.transform_values(value, lambda _, each: _in_order(each, type_.fields[1].type))
    return F.map_from_entries(F.array_sort(F.map_entries(inner), _by_key))


def _by_key(left: Expression, right: Expression) -> Expression:
    from pyspark.sql import functions as F

    one, other = left.getField("key"), right.getField("key")
    return F.when(one < other, -1).when(one > other, 1).otherwise(0)
