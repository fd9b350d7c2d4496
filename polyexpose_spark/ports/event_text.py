"""The event of a changed row, made by Spark's own expressions: id, key, value, and the route it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polyexpose_spark.catalog import Snapshot, in_utc
from polyexpose_spark.clients.delivery import Kind
from polyexpose_spark.logical import ColumnType, Field, LogicalType
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.event_names import OPERATIONS, TYPES
from polyexpose_spark.product import Column, primary_key
from polyexpose_spark.value_text import json_of

if TYPE_CHECKING:
    from pyspark.sql import Column as Expression
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Sent:
    """A snapshot, and the numbers that its events carry."""

    snapshot: Snapshot
    epoch: int
    sequence: int


@dataclass(frozen=True)
class EventText:
    """Turns changed rows into the columns of delivery.EVENT_COLUMNS (and `ordinal`).

    Args:
        exposure: what is exposed.
        routes: keys are spread over so many by sha256(key) mod routes; 0: no route is given.
        tombstones: a delete is followed by one.
    """

    exposure: Exposure
    routes: int
    tombstones: bool

    def of(self, changed: DataFrame, sent: Sequence[Sent], batch: str = "") -> DataFrame:
        """Return the events of changes.

        Args:
            changed: in the form of Served.changes().
            sent: the snapshots that the rows are of, by their ordinal.
            batch: tells equal rows of one snapshot apart that are not in one frame; for products without a key.
        """
        from pyspark.sql import functions as F

        columns = self.exposure.columns
        op = _looked_up("op", OPERATIONS)
        before, after = (F.coalesce(_row(F.col(side), columns), F.lit("null")) for side in ("before", "after"))
        source = _per_snapshot({each.snapshot.id: self._source(each) for each in sent})
        value = F.concat(F.format_string('{"op":"%s","before":', op), before, F.lit(',"after":'), after, source)
        made = changed.select(
            op.alias("op"),
            self._key().alias("key"),
            value.alias("value"),
            _per_snapshot({each.snapshot.id: self._id_prefix(each) for each in sent}).alias("prefix"),
            "ordinal",
        )
        events = self._routed(self._identified(made, batch)).select(
            "route", "key", "value", "id", self._kind().alias("kind"), "ordinal"
        )
        return _with_tombstones(events) if self.tombstones else events

    def kinds(self, sent: Sequence[Sent]) -> tuple[Kind, ...]:
        """Return what of() says by the number `kind`: every operation of every commit, by its ordinal."""
        return tuple(
            Kind(type_, in_utc(each.snapshot.committed_at), f"{each.sequence:020}")
            for each in sent
            for type_ in TYPES.values()
        )

    def _kind(self) -> Expression:
        from pyspark.sql import functions as F

        number = F.lit(-1)
        for index, op in enumerate(TYPES):
            number = F.when(F.col("op") == op, F.lit(index)).otherwise(number)
        return F.col("ordinal") * F.lit(len(TYPES)) + number

    def _source(self, sent: Sent) -> str:
        of = self.exposure.product
        said = {
            "product": of.id,
            "contractVersion": of.version,
            "table": of.source,
            "tableUuid": self.exposure.table_uuid,
            "snapshotId": str(sent.snapshot.id),
            "committedAt": in_utc(sent.snapshot.committed_at),
            "epoch": sent.epoch,
            "sequence": sent.sequence,
        }
        return f',"source":{json.dumps(said, separators=(",", ":"))}}}'

    def _id_prefix(self, sent: Sent) -> str:
        return f"{self.exposure.table_uuid}:{sent.epoch}:{sent.snapshot.id}:"

    def _key(self) -> Expression:
        from pyspark.sql import functions as F

        key = primary_key(self.exposure.columns)
        return _row(F.col("key"), key) if key else F.lit(None).cast("string")

    @property
    def keyed(self) -> bool:
        """Say whether events have a key, and with it an order."""
        return bool(primary_key(self.exposure.columns))

    def _identified(self, made: DataFrame, batch: str) -> DataFrame:
        """Add `id`: by the key, or without one by the row's hash and its number among equal rows."""
        from pyspark.sql import Window
        from pyspark.sql import functions as F

        if self.keyed:
            return made.withColumn("id", F.concat("prefix", "op", F.lit(":"), "key"))
        row = F.sha2("value", 256)
        equal = F.row_number().over(Window.partitionBy("prefix", "op", "value").orderBy("ordinal"))
        number = F.concat(F.lit(f":{batch}."), equal.cast("string"))
        return made.withColumn("id", F.concat("prefix", "op", F.lit(":"), row, number))

    def _routed(self, made: DataFrame) -> DataFrame:
        from pyspark.sql import functions as F

        if not self.routes:
            return made.withColumn("route", F.lit(None).cast("int"))
        return made.withColumn("route", _sha256_mod(F.coalesce("key", "id"), self.routes))


def _with_tombstones(events: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    none = F.lit(None).cast("string")
    both = F.array(F.col("value"), none)
    value = F.when(F.col("kind") % F.lit(len(TYPES)) == F.lit(list(TYPES).index("d")), both).otherwise(
        F.array(F.col("value"))
    )
    return events.select(*(F.explode(value).alias("value") if each == "value" else each for each in events.columns))


def _row(value: Expression, columns: Sequence[Column]) -> Expression:
    fields = tuple(Field(each.name, each.type, each.required) for each in columns)
    return json_of(value, ColumnType(LogicalType.STRUCT, fields=fields))


def _per_snapshot(values: Mapping[int, str]) -> Expression:
    """Return the text that belongs to the row's snapshot; a literal where there is only one."""
    from pyspark.sql import functions as F

    if len(values) == 1:
        return F.lit(next(iter(values.values())))
    pairs = [F.lit(each) for pair in values.items() for each in pair]
    return F.create_map(*pairs)[F.col("snapshot_id")]


def _looked_up(column: str, values: Mapping[str, str]) -> Expression:
    from pyspark.sql import functions as F

    found: Expression = F.lit(None)
    for key, value in values.items():
        found = F.when(F.col(column) == key, F.lit(value)).otherwise(found)
    return found


def _sha256_mod(text: Expression, modulus: int) -> Expression:
    """Return the big-endian number of the sha256 of a text, modulo: Pub/Sub Lite's own rule for keys.

    Source: google-cloud-pubsublite, default_routing_policy.py. Eight digits at a time, by Horner's rule.
    """
    from pyspark.sql import functions as F

    digest = F.sha2(text, 256)
    rest = F.lit(0).cast("long")
    for start in range(1, 65, 8):
        part = F.conv(F.substring(digest, start, 8), 16, 10).cast("long")
        rest = (rest * F.lit((1 << 32) % modulus) + part) % F.lit(modulus)
    return rest.cast("int")
