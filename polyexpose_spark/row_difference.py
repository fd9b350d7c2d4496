"""The difference of two multisets of rows, exact for every type that Spark reads from Iceberg, in one shuffle.

Spark groups neither by maps nor apart 0.0 from -0.0. So rows are compared in a form that it can group by, and put back
into their own afterwards. Columns have numbers while they are compared: a product's columns may have any name.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from polyexpose_spark.snapshot import quoted_name

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import DataType, StructType


def one_sided(sides: list[tuple[DataFrame, int]], key: list[str], sign: int) -> DataFrame:
    """Return all rows as insertions or deletions, in the form of difference(); nothing is compared.

    Args:
        sides: rows, all of one schema, and their ordinals.
        key: columns of the key; empty: none.
        sign: 1 for insertions, -1 for deletions.
    """
    from pyspark.sql import functions as F

    schema = sides[0][0].schema
    values = {field.name: F.col(quoted_name(field.name)) for field in schema.fields}
    row, none = F.struct(*(value.alias(name) for name, value in values.items())), F.lit(None).cast(schema)
    told = (
        F.lit("insert" if sign > 0 else "delete").alias("op"),
        _key_of({each: values[each] for each in key}).alias("key"),
        (none if sign > 0 else row).alias("before"),
        (row if sign > 0 else none).alias("after"),
    )
    if key:
        spread = F.xxhash64(*(_comparable(values[each], schema[each].dataType) for each in key)).alias("hash")
        rows = _union([each.select(spread, *told, F.lit(ordinal).alias("ordinal")) for each, ordinal in sides])
        return rows.repartition("hash").drop("hash")
    return _union([each.select(*told, F.lit(ordinal).alias("ordinal")) for each, ordinal in sides])


def signed(rows: DataFrame, key: list[str], ordinal: int, sign: int) -> DataFrame:
    """Return rows in the form that difference() takes.

    Args:
        rows: the rows.
        key: columns of the key; empty: none.
        ordinal: rows of one ordinal are compared with each other only.
        sign: -1 for the older state, 1 for the newer one.
    """
    from pyspark.sql import functions as F

    columns = [_comparable(F.col(quoted_name(field.name)), field.dataType) for field in rows.schema.fields]
    positions = [rows.schema.names.index(each) for each in key]
    return rows.select(
        F.xxhash64(*([columns[each] for each in positions] or columns)).alias("hash"),
        F.lit(ordinal).alias("ordinal"),
        *(column.alias(f"c{index}") for index, column in enumerate(columns)),
        F.lit(sign).cast("long").alias("n"),
    )


def difference(sides: list[DataFrame], schema: StructType, key: list[str]) -> DataFrame:
    """Return the difference of signed rows.

    Args:
        sides: what signed() made; all of one schema and one key.
        schema: the schema that the rows had before.
        key: columns of the key; empty: none.

    Returns:
        op, key, before, after, ordinal, as changes.net() says. Equal keys are in one partition.
    """
    from pyspark.sql import functions as F

    columns = [f"c{index}" for index in range(len(schema.fields))]
    # The hash of the key is all that rows are distributed by, so that one shuffle serves every step that follows.
    differing = (
        _union(sides)
        .repartition("hash")
        .groupBy("hash", "ordinal", *columns)
        .agg(F.sum("n").alias("n"))
        .where("n <> 0")
    )
    copies = differing.select(
        "hash", "ordinal", *columns, (F.col("n") > 0).alias("come"), F.explode(F.sequence(F.lit(1), F.abs("n")))
    ).drop("col")
    if not key:
        return _alone(copies, schema)
    return _paired(copies, schema, key)


def _union(frames: list[DataFrame]) -> DataFrame:
    return reduce(lambda left, right: left.union(right), frames)


def _alone(copies: DataFrame, schema: StructType) -> DataFrame:
    from pyspark.sql import functions as F

    row = _row(schema)
    return copies.select(
        F.when(F.col("come"), "insert").otherwise("delete").alias("op"),
        _key_of({}).alias("key"),
        F.when(~F.col("come"), row).alias("before"),
        F.when(F.col("come"), row).alias("after"),
        "ordinal",
    )


def _paired(copies: DataFrame, schema: StructType, key: list[str]) -> DataFrame:
    """Tell a deletion and an insertion of an equal key as one update; several are paired in a fixed order."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    columns = [f"c{index}" for index in range(len(schema.fields))]
    keys = [f"c{schema.names.index(each)}" for each in key]
    place = Window.partitionBy("hash", "ordinal", *keys, "come").orderBy(F.xxhash64(*columns))
    row = F.struct(*columns)
    pairs = (
        copies.withColumn("place", F.row_number().over(place))
        .groupBy("hash", "ordinal", *keys, "place")
        .agg(
            F.first(F.when(~F.col("come"), row), ignorenulls=True).alias("b"),
            F.first(F.when(F.col("come"), row), ignorenulls=True).alias("a"),
        )
    )
    key_values = {each: _restored(F.col(name), schema[each].dataType) for each, name in zip(key, keys, strict=True)}
    return pairs.select(
        F.when(F.col("b").isNull(), "insert").when(F.col("a").isNull(), "delete").otherwise("update").alias("op"),
        _key_of(key_values).alias("key"),
        F.when(F.col("b").isNotNull(), _row(schema, F.col("b"))).alias("before"),
        F.when(F.col("a").isNotNull(), _row(schema, F.col("a"))).alias("after"),
        "ordinal",
    )


def _row(schema: StructType, of: Column | None = None) -> Column:
    """Return the columns of a row in their own form and under their own names, as a struct."""
    from pyspark.sql import functions as F

    numbered = [(field, f"c{index}") for index, field in enumerate(schema.fields)]
    return F.struct(
        *(
            _restored(F.col(name) if of is None else of.getField(name), field.dataType).alias(field.name)
            for field, name in numbered
        )
    )


def _key_of(values: dict[str, Column]) -> Column:
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    if not values:
        return F.lit(None).cast(StructType([]))
    return F.struct(*(value.alias(name) for name, value in values.items()))


def _comparable(value: Column, type_: DataType) -> Column:
    """Return a value in a form by which Spark groups exactly those that are the same.

    NaN is NaN, 0.0 is not -0.0, and the order of a map's entries does not matter.
    """
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if not _takes_another_form(type_):
        return value
    match type_:
        case T.ArrayType():
            return F.transform(value, lambda each: _comparable(each, type_.elementType))
        case T.MapType():
            entries = F.transform(
                F.map_entries(value),
                lambda each: F.struct(
                    _comparable(each.getField("key"), type_.keyType).alias("key"),
                    _comparable(each.getField("value"), type_.valueType).alias("value"),
                ),
            )
            return F.array_sort(entries)
        case T.StructType():
            fields = (
                _comparable(value.getField(each.name), each.dataType).alias(f"f{index}")
                for index, each in enumerate(type_.fields)
            )
            return F.when(value.isNotNull(), F.struct(*fields))
    # Grouping makes 0.0 of -0.0; the text tells them apart.
    return F.struct(value.alias("value"), F.when(value == 0, value.cast("string")).alias("zero"))


def _restored(value: Column, type_: DataType) -> Column:
    """Return what _comparable() was given."""
    from pyspark.sql import functions as F
    from pyspark.sql import types as T

    if not _takes_another_form(type_):
        return value
    match type_:
        case T.ArrayType():
            return F.transform(value, lambda each: _restored(each, type_.elementType))
        case T.MapType():
            entries = F.transform(
                value,
                lambda each: F.struct(
                    _restored(each.getField("key"), type_.keyType).alias("key"),
                    _restored(each.getField("value"), type_.valueType).alias("value"),
                ),
            )
            return F.map_from_entries(entries)
        case T.StructType():
            fields = (
                _restored(value.getField(f"f{index}"), each.dataType).alias(each.name)
                for index, each in enumerate(type_.fields)
            )
            return F.when(value.isNotNull(), F.struct(*fields))
    number = value.getField("value")
    return F.when(value.getField("zero") == "-0.0", -number).otherwise(number)


def _takes_another_form(type_: DataType) -> bool:
    from pyspark.sql import types as T

    match type_:
        case T.ArrayType():
            return _takes_another_form(type_.elementType)
        case T.StructType():
            return any(_takes_another_form(each.dataType) for each in type_.fields)
    return isinstance(type_, (T.MapType, T.FloatType, T.DoubleType))
