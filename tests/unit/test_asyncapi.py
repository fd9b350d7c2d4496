"""The AsyncAPI document of a topic: what it says of every type, and that an event of ours is what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from polyexpose_spark import logical
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import asyncapi
from polyexpose_spark.ports.base import NOT_READ_BY_SPARK
from polyexpose_spark.ports.events_settings import EventsSettings
from tests.exposed_topic import COLUMNS, LITE, PUBSUB, described, exposure

DOUBLES = "^(NaN|-?Infinity)$"
OPTIONAL_INT = {"type": ["integer", "null"], "format": "int32"}
EVENT = {
    "op": "u",
    "before": {"order_id": "17", "region": "eu", "total": "1.50", "lines": None, "note": None},
    "after": {
        "order_id": "17",
        "region": "eu",
        "total": "-2.00",
        "lines": [{"sku": "a", "count": 1}, {"sku": None, "count": None}],
        "note": 'é, "quoted"',
    },
    "source": {
        "product": "sales_orders",
        "contractVersion": "1.2.0",
        "table": "sales.orders",
        "tableUuid": "1b5017bc-0000-4000-8000-000000000000",
        "snapshotId": "7425263523458645",
        "committedAt": "2023-11-14T22:13:20.123Z",
        "epoch": 0,
        "sequence": 12,
    },
}


def validator(document: dict[str, Any]) -> Draft7Validator:
    """Return what checks payloads; references of a payload lead into the document."""
    payload = document["components"]["messages"]["change"]["payload"]
    return Draft7Validator({**payload, "components": document["components"]}, format_checker=FormatChecker())


@pytest.mark.parametrize(
    ("type_", "schema"),
    [
        ("boolean", {"type": "boolean"}),
        ("int", {"type": "integer", "format": "int32"}),
        ("long", {"type": "string", "pattern": "^-?[0-9]+$"}),
        ("float", {"type": ["number", "string"], "pattern": DOUBLES}),
        ("double", {"type": ["number", "string"], "pattern": DOUBLES}),
        ("decimal(10,2)", {"type": "string", "pattern": r"^-?[0-9]+\.[0-9]{2}$"}),
        ("decimal(38,0)", {"type": "string", "pattern": "^-?[0-9]+$"}),
        ("date", {"type": "string", "format": "date"}),
        (
            "timestamp",
            {
                "type": "string",
                "pattern": r"^[+-]?[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}$",
            },
        ),
        ("timestamptz", {"type": "string", "format": "date-time"}),
        ("string", {"type": "string"}),
        ("uuid", {"type": "string", "format": "uuid"}),
        ("fixed[16]", {"type": "string", "contentEncoding": "base64"}),
        ("binary", {"type": "string", "contentEncoding": "base64"}),
        (
            "struct<a: long, b: date>",
            {
                "type": "object",
                "properties": {
                    "a": {"type": ["string", "null"], "pattern": "^-?[0-9]+$"},
                    "b": {"type": ["string", "null"], "format": "date"},
                },
                "required": ["a", "b"],
            },
        ),
        (
            "list<double>",
            {"type": "array", "items": {"type": ["number", "string", "null"], "pattern": DOUBLES}},
        ),
        (
            "map<string, int>",
            {"type": "object", "additionalProperties": OPTIONAL_INT},
        ),
        ("map<uuid, boolean>", {"type": "object", "additionalProperties": {"type": ["boolean", "null"]}}),
        (
            "map<long, string>",
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "key": {"type": "string", "pattern": "^-?[0-9]+$"},
                        "value": {"type": ["string", "null"]},
                    },
                    "required": ["key", "value"],
                },
            },
        ),
    ],
)
def test_schema_of_a_type(type_: str, schema: dict[str, Any]) -> None:
    parsed = logical.parse(type_)
    assert asyncapi.value_schema(parsed, required=True) == schema
    optional = asyncapi.value_schema(parsed, required=False)
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert optional == schema | {"type": [*kinds, "null"]}
    Draft7Validator.check_schema(optional)


def test_every_type_that_spark_reads_has_a_schema() -> None:
    inside = (
        logical.Field("key", ColumnType(LogicalType.INT), True),
        logical.Field("value", ColumnType(LogicalType.INT), True),
    )
    for kind in set(LogicalType) - set(NOT_READ_BY_SPARK):
        assert asyncapi.value_schema(ColumnType(kind, fields=inside), required=True)["type"]


@pytest.mark.parametrize(
    ("value", "valid"), [(1.5, True), ("NaN", True), ("-Infinity", True), ("1.5", False), (None, False)]
)
def test_a_double_is_a_number_or_one_of_three_words(value: object, valid: bool) -> None:
    schema = asyncapi.value_schema(ColumnType(LogicalType.DOUBLE), required=True)
    assert Draft7Validator(schema).is_valid(value) is valid


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"op": "d", "after": None},
        {"op": "r", "before": None},
    ],
)
def test_an_event_is_what_the_document_says(change: dict[str, Any]) -> None:
    validator(described()).validate(json.loads(json.dumps(EVENT | change)))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"op": "x"}, "op"),
        ({"source": {**EVENT["source"], "snapshotId": 7425263523458645}}, "source"),  # type: ignore[dict-item]
        ({"after": {**EVENT["after"], "order_id": 17}}, "after"),  # type: ignore[dict-item]
        ({"after": {**EVENT["after"], "order_id": None}}, "after"),  # type: ignore[dict-item]
        ({"after": {**EVENT["after"], "total": "1.5"}}, "after"),  # type: ignore[dict-item]
        ({"before": {"order_id": "17"}}, "before"),
    ],
)
def test_another_event_is_not(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refused:
        validator(described()).validate(EVENT | change)
    assert next(iter(refused.value.absolute_path)) == place


def test_info() -> None:
    info = described()["info"]
    assert (info["title"], info["version"], info["description"]) == ("Orders é", "1.2.0", "All orders.")
    assert info["x-polyexpose"] == {
        "product": "sales_orders",
        "contractVersion": "1.2.0",
        "snapshotId": "7425263523458645",
        "digest": "d1",
    }


def test_kafka() -> None:
    document = described(partitions=6, retentionHours=48, compacted=True)
    assert document["servers"] == {
        "broker1": {"host": "a:9092", "protocol": "kafka"},
        "broker2": {"host": "b:9092", "protocol": "kafka"},
    }
    channel = document["channels"]["changes"]
    assert channel["address"] == "orders"
    assert channel["bindings"]["kafka"] == {
        "topic": "orders",
        "partitions": 6,
        "topicConfiguration": {"cleanup.policy": ["compact"], "retention.ms": 172_800_000},
        "bindingVersion": "0.5.0",
    }
    messages = document["components"]["messages"]
    assert list(channel["messages"]) == list(messages) == ["change", "tombstone"]
    assert messages["tombstone"]["payload"] == {"type": "null"}
    for each in messages.values():
        assert each["bindings"]["kafka"]["key"] == {"$ref": "#/components/schemas/key"}
    assert list(messages["change"]["headers"]["properties"]) == [
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_sequence",
        "ce_partitionkey",
        "content-type",
    ]
    assert messages["change"]["headers"]["properties"]["ce_type"]["enum"] == [
        "io.polyexpose.row.created",
        "io.polyexpose.row.updated",
        "io.polyexpose.row.deleted",
        "io.polyexpose.row.read",
    ]


@pytest.mark.parametrize("server", [PUBSUB, LITE])
def test_pubsub(server: asyncapi.Server) -> None:
    document = described(server=server)
    assert [each["protocol"] for each in document["servers"].values()] == [server.protocol]
    headers = document["components"]["messages"]["change"]["headers"]
    assert "ce-id" in headers["properties"]
    assert headers["properties"]["content-type"]["const"] == "application/json"
    assert "kafka" not in json.dumps(document)
    assert list(document["channels"]["changes"]["messages"]) == ["change"]


def test_the_key_is_that_of_the_contract_in_its_order() -> None:
    key = described()["components"]["schemas"]["key"]
    assert list(key["properties"]) == ["order_id", "region"]
    Draft7Validator(key).validate({"order_id": "17", "region": "eu"})
    assert not Draft7Validator(key).is_valid({"order_id": 17, "region": "eu"})
    assert key["properties"]["order_id"]["description"] == "Who it is."


def test_a_product_without_a_key_has_none() -> None:
    document = described(columns=COLUMNS[2:])
    assert "key" not in document["components"]["schemas"]
    assert document["components"]["messages"]["change"]["bindings"]["kafka"] == {"bindingVersion": "0.5.0"}
    assert "ce_partitionkey" not in document["components"]["messages"]["change"]["headers"]["properties"]


def test_the_document_is_the_same_each_time() -> None:
    texts = {
        json.dumps(asyncapi.document(exposure(), PUBSUB, "orders", EventsSettings(), "d1"), ensure_ascii=False)
        for _ in range(3)
    }
    assert len(texts) == 1
