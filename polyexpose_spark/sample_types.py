"""Table `samples.all_types`: every type that Iceberg carries into Spark, with values that break things."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyspark.sql import DataFrame, SparkSession

_INF, _NAN = float("inf"), float("nan")
_FLOAT_MAX, _FLOAT_TINY = 3.4028234663852886e38, 1.401298464324817e-45
_DOUBLE_MAX, _DOUBLE_TINY = 1.7976931348623157e308, 5e-324
_NINES = "9" * 38

# What a case does not name is NULL. A column that every case leaves out has no place here.
CASES: tuple[dict[str, Any], ...] = (
    {
        "case_name": "ordinary values",
        "boolean_value": True,
        "int_value": 42,
        "long_value": 4_200_000_000,
        "float_value": 1.5,
        "double_value": 0.1,
        "decimal_9_2": Decimal("12.50"),
        "decimal_38_0": Decimal(7),
        "decimal_38_18": Decimal("1.000000000000000001"),
        "date_value": date(2026, 2, 28),
        "timestamp_value": datetime(2026, 2, 28, 23, 59, 59, 123456),
        "timestamptz_value": datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC),
        "string_value": "text",
        "uuid_value": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "fixed_value": b"12345",
        "binary_value": b"bytes",
        "struct_value": ("label", Decimal("2.5"), datetime(2026, 1, 1, tzinfo=UTC)),
        "list_value": ["a", "b"],
        "map_value": {"a": 1, "b": 2},
        "map_by_int": {1: "one", 2: "two"},
        "list_of_lists": [[1, 2], [3]],
        "list_of_structs": [("sku-1", 1), ("sku-2", 2)],
        "map_of_lists": {"a": [1.0, 2.0]},
        "map_of_structs": {"a": (date(2026, 1, 1), Decimal("9.99"))},
        "deep_value": (
            datetime(2026, 1, 1, 12, 0),
            [{"a": b"\x01"}, {"b": b"\x02"}],
            (True, "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ),
    },
    {"case_name": "every value NULL"},
    {},
    {
        "case_name": "smallest",
        "boolean_value": False,
        "int_value": -(2**31),
        "long_value": -(2**63),
        "float_value": -_FLOAT_MAX,
        "double_value": -_DOUBLE_MAX,
        "decimal_9_2": Decimal("-9999999.99"),
        "decimal_38_0": Decimal(f"-{_NINES}"),
        "decimal_38_18": Decimal(f"-{_NINES[:20]}.{_NINES[:18]}"),
        "date_value": date(1, 1, 1),
        "timestamp_value": datetime(1, 1, 1),
        "timestamptz_value": datetime(1, 1, 1, tzinfo=UTC),
        "uuid_value": "00000000-0000-0000-0000-000000000000",
        "fixed_value": b"\x00" * 5,
        "binary_value": b"\x00",
        "struct_value": ("", Decimal(f"-{_NINES[:20]}.{_NINES[:18]}"), datetime(1, 1, 1, tzinfo=UTC)),
        "map_by_int": {-(2**31): "smallest"},
        "list_of_lists": [[-(2**63)]],
        "map_of_lists": {"": [-_INF, -0.0, -_DOUBLE_MAX]},
        "map_of_structs": {"": (date(1, 1, 1), Decimal("-9999999.99"))},
        "deep_value": (datetime(1, 1, 1), [{"": b"\x00"}], (False, "00000000-0000-0000-0000-000000000000")),
    },
    {
        "case_name": "largest",
        "boolean_value": True,
        "int_value": 2**31 - 1,
        "long_value": 2**63 - 1,
        "float_value": _FLOAT_MAX,
        "double_value": _DOUBLE_MAX,
        "decimal_9_2": Decimal("9999999.99"),
        "decimal_38_0": Decimal(_NINES),
        "decimal_38_18": Decimal(f"{_NINES[:20]}.{_NINES[:18]}"),
        "date_value": date(9999, 12, 31),
        "timestamp_value": datetime(9999, 12, 31, 23, 59, 59, 999999),
        "timestamptz_value": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "uuid_value": "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "fixed_value": b"\xff" * 5,
        "binary_value": bytes(range(256)),
        "struct_value": (
            "z",
            Decimal(f"{_NINES[:20]}.{_NINES[:18]}"),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ),
        "map_value": {"largest": 2**31 - 1},
        "map_by_int": {2**31 - 1: "largest"},
        "list_of_lists": [[2**63 - 1]],
        "map_of_lists": {"largest": [_INF, _DOUBLE_MAX]},
        "map_of_structs": {"largest": (date(9999, 12, 31), Decimal("9999999.99"))},
        "deep_value": (
            datetime(9999, 12, 31, 23, 59, 59, 999999),
            [{"all": bytes(range(256))}],
            (True, "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ),
    },
    {
        "case_name": "empty",
        "string_value": "",
        "binary_value": b"",
        "list_value": [],
        "map_value": {},
        "map_by_int": {},
        "list_of_lists": [],
        "list_of_structs": [],
        "map_of_lists": {},
        "map_of_structs": {},
        "struct_value": (None, None, None),
        "deep_value": (None, [], (None, None)),
    },
    {
        "case_name": "zero",
        "boolean_value": False,
        "int_value": 0,
        "long_value": 0,
        "float_value": 0.0,
        "double_value": 0.0,
        "decimal_9_2": Decimal("0.00"),
        "decimal_38_0": Decimal(0),
        "decimal_38_18": Decimal("0E-18"),
        "date_value": date(1970, 1, 1),
        "timestamp_value": datetime(1970, 1, 1),
        "timestamptz_value": datetime(1970, 1, 1, tzinfo=UTC),
        "string_value": "0",
        "map_by_int": {0: ""},
    },
    {
        "case_name": "minus zero",
        "float_value": -0.0,
        "double_value": -0.0,
        "map_of_lists": {"minus zero": [-0.0, 0.0]},
    },
    {
        "case_name": "not a number",
        "float_value": _NAN,
        "double_value": _NAN,
        "map_of_lists": {"NaN": [_NAN, None]},
    },
    {"case_name": "infinity", "float_value": _INF, "double_value": _INF},
    {"case_name": "minus infinity", "float_value": -_INF, "double_value": -_INF},
    {
        "case_name": "closest to zero",
        "float_value": _FLOAT_TINY,
        "double_value": _DOUBLE_TINY,
        "decimal_9_2": Decimal("0.01"),
        "decimal_38_18": Decimal("-0.000000000000000001"),
    },
    {
        "case_name": "just before 1970",
        "date_value": date(1969, 12, 31),
        "timestamp_value": datetime(1969, 12, 31, 23, 59, 59, 999999),
        "timestamptz_value": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    },
    {
        # 1582-10-15 is the first Gregorian day: a reader that mixes up calendars is ten days off.
        "case_name": "before 1900",
        "date_value": date(1582, 10, 4),
        "timestamp_value": datetime(1883, 11, 18, 12, 3, 57, 1),
        "timestamptz_value": datetime(1582, 10, 15, 0, 0, 0, 1, tzinfo=UTC),
    },
    {
        "case_name": "NULL within",
        "struct_value": ("NULL amount", None, None),
        "list_value": [None, "", "NULL", None],
        "map_value": {"nothing": None, "": 0},
        "map_by_int": {0: None, -1: ""},
        "list_of_lists": [None, [], [None], [None, 1]],
        "list_of_structs": [None, (None, None), ("sku", None)],
        "map_of_lists": {"NULL": None, "empty": [], "NULL in it": [None]},
        "map_of_structs": {"NULL": None, "empty": (None, None)},
        "deep_value": (None, [None, {}, {"NULL": None}], None),
    },
    {
        "case_name": "other scripts",
        "string_value": "Grüße, 東京, Ελλάδα",
        "list_value": ["한국", "ไทย"],
        "map_value": {"ключ": 1},
    },
    {"case_name": "emoji", "string_value": "👩‍👩‍👧‍👦 🇪🇺 👍🏽", "list_value": ["😀"], "map_value": {"🔑": 1}},
    {"case_name": "right to left", "string_value": "\u202bשלום\u202c مرحبا", "list_value": ["\u200f"]},
    {"case_name": "composed and decomposed", "string_value": "é e\u0301", "list_value": ["é", "e\u0301"]},
    {"case_name": "quotes", "string_value": 'say "hi", \'ok\' `or` not; "', "list_value": ['"', '""', "'"]},
    {"case_name": "line ends", "string_value": "a\nb\r\nc\rd\n", "list_value": ["\n", "\r\n"]},
    {
        "case_name": "blanks",
        "string_value": "  lead and trail\t ",
        "list_value": [" ", "\t", "\u00a0", "\ufeff"],
    },
    {"case_name": "backslashes", "string_value": "C:\\new\\table \\N \\", "map_value": {"\\N": 1, '\\"': 2}},
    {
        "case_name": "looks like something else",
        "string_value": "NULL",
        "list_value": ["007", "1e5", "true", "=1+1", "[]"],
    },
)


def schema() -> Schema:
    """Return the table's Iceberg schema; its fields are numbered anew when the table is created."""
    from itertools import count

    from pyiceberg import types as iceberg
    from pyiceberg.schema import Schema

    number = count(1)

    def field(name: str, type_: iceberg.IcebergType, required: bool = False) -> iceberg.NestedField:
        return iceberg.NestedField(next(number), name, type_, required=required)

    def struct(**fields: iceberg.IcebergType) -> iceberg.StructType:
        return iceberg.StructType(*(field(name, type_) for name, type_ in fields.items()))

    def list_of(element: iceberg.IcebergType) -> iceberg.ListType:
        return iceberg.ListType(next(number), element, element_required=False)

    def map_of(key: iceberg.IcebergType, value: iceberg.IcebergType) -> iceberg.MapType:
        return iceberg.MapType(next(number), key, next(number), value, value_required=False)

    string, int_ = iceberg.StringType(), iceberg.IntegerType()
    decimal_9_2, decimal_38_18 = iceberg.DecimalType(9, 2), iceberg.DecimalType(38, 18)
    return Schema(
        field("id", int_, required=True),
        field("case_name", string),
        field("boolean_value", iceberg.BooleanType()),
        field("int_value", int_),
        field("long_value", iceberg.LongType()),
        field("float_value", iceberg.FloatType()),
        field("double_value", iceberg.DoubleType()),
        field("decimal_9_2", decimal_9_2),
        field("decimal_38_0", iceberg.DecimalType(38, 0)),
        field("decimal_38_18", decimal_38_18),
        field("date_value", iceberg.DateType()),
        field("timestamp_value", iceberg.TimestampType()),
        field("timestamptz_value", iceberg.TimestamptzType()),
        field("string_value", string),
        field("uuid_value", iceberg.UUIDType()),
        field("fixed_value", iceberg.FixedType(5)),
        field("binary_value", iceberg.BinaryType()),
        field("struct_value", struct(label=string, amount=decimal_38_18, at=iceberg.TimestamptzType())),
        field("list_value", list_of(string)),
        field("map_value", map_of(string, int_)),
        field("map_by_int", map_of(int_, string)),
        field("list_of_lists", list_of(list_of(iceberg.LongType()))),
        field("list_of_structs", list_of(struct(sku=string, quantity=int_))),
        field("map_of_lists", map_of(string, list_of(iceberg.DoubleType()))),
        field("map_of_structs", map_of(string, struct(day=iceberg.DateType(), price=decimal_9_2))),
        field(
            "deep_value",
            struct(
                when=iceberg.TimestampType(),
                parts=list_of(map_of(string, iceberg.BinaryType())),
                inner=struct(flag=iceberg.BooleanType(), uuid=iceberg.UUIDType()),
            ),
        ),
    )


def create(session: SparkSession, catalog: str, identifier: tuple[str, ...], properties: Mapping[str, str]) -> None:
    """Create the table, empty. By Iceberg's own API: Spark SQL has no uuid and no fixed."""
    jvm: Any = session.sparkContext._jvm
    iceberg = jvm.org.apache.iceberg
    opened = iceberg.spark.Spark3Util.loadIcebergCatalog(session._jsparkSession, catalog)
    levels = iceberg.catalog.Namespace.of(_strings(session, identifier[:-1]))
    name = iceberg.catalog.TableIdentifier.of(levels, identifier[-1])
    columns = iceberg.SchemaParser.fromJson(schema().model_dump_json())
    opened.createTable(name, columns, iceberg.PartitionSpec.unpartitioned(), dict(properties))


def _strings(session: SparkSession, values: tuple[str, ...]) -> Any:
    gateway: Any = session.sparkContext._gateway
    array = gateway.new_array(gateway.jvm.java.lang.String, len(values))
    for index, value in enumerate(values):
        array[index] = value
    return array


def rows(session: SparkSession, table: str) -> DataFrame:
    """Return the cases, numbered from 1, in the types of this table (full quoted name) as Spark sees it."""
    types = session.table(table).schema
    values = [
        tuple(number if name == "id" else case.get(name) for name in types.names)
        for number, case in enumerate(CASES, start=1)
    ]
    return session.createDataFrame(values, types)
