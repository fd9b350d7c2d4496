"""Parquet on its way to BigQuery: legal names, STRUCT native, LIST and MAP as JSON text, microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyexpose_spark.clients import Files, StoredFile
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.product import Column
from polyexpose_spark.value_text import text_of

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Staging:
    """The staging folder of one port of a product; a folder in it per plan digest."""

    files: Files
    folder: str

    def write(self, rows: DataFrame, digest: str) -> int:
        """Write the rows and return how many there were."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        seen = Observation()
        observed = rows.observe(seen, F.count(F.lit(1)).alias("rows"))
        observed.write.mode("overwrite").option("compression", "snappy").parquet(f"{self.folder}/{digest}")
        return int(seen.get["rows"])

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

    names = graphql_schema.legal_names([column.name for column in columns], "")
    quoted = ["`" + column.name.replace("`", "``") + "`" for column in columns]
    return rows.select(
        *(
            _staged(F.col(reference), column.type, f"{column.name}.").alias(names[column.name])
            for reference, column in zip(quoted, columns, strict=True)
        )
    )


def _staged(value: Expression, type_: ColumnType, below: str) -> Expression:
    from pyspark.sql import functions as F

    if type_.kind in (LogicalType.LIST, LogicalType.MAP):
        return text_of(value, type_)
    if type_.kind is not LogicalType.STRUCT:
        return value
    names = graphql_schema.legal_names([part.name for part in type_.fields], below)
    parts = [
        _staged(value.getField(part.name), part.type, f"{below}{part.name}.").alias(names[part.name])
        for part in type_.fields
    ]
    return F.when(value.isNotNull(), F.struct(*parts))
