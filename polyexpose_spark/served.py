"""The data as it may be served: one snapshot, the contract's columns, the policy applied. Made by app."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyexpose_spark import snapshot
from polyexpose_spark.ports.base import Exposure

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class PinnedRows:
    """The rows of an exposure. Starts a session only when rows are asked for. Implements ports.base.Served."""

    exposure: Exposure
    table: str
    """Full name of the source table, quoted for Spark SQL."""
    session: Callable[[], SparkSession]

    def rows(self, split_bytes: int) -> DataFrame:
        """Return the rows in stable order, in the contract's columns."""
        read = snapshot.read(self.session(), self.table, self.exposure.snapshot.id, split_bytes)
        return read.select(*(_quoted_column(each.name) for each in self.exposure.columns))


def _quoted_column(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
