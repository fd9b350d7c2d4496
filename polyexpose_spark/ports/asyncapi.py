"""AsyncAPI document of a topic: server, channel, headers, key, and a JSON Schema of every event.

Source: AsyncAPI 3.0.0; Kafka bindings 0.5.0, Google Cloud Pub/Sub bindings 0.2.0. There is no binding for Pub/Sub Lite,
and that of a Pub/Sub channel requires a schema registered with the service, which these topics have not. The document
is the same for the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polyexpose_spark.logical import ColumnType, Field, LogicalType
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.event_names import (
    CONTENT_TYPE,
    KAFKA_PREFIX,
    PUBSUB_PREFIX,
    TYPES,
    source_of,
)
from polyexpose_spark.ports.events_settings import EventsSettings
from polyexpose_spark.product import Column, primary_key
from polyexpose_spark.value_text import has_text_keys

Schema = dict[str, Any]
"""JSON Schema, draft 07 (the one that AsyncAPI takes)."""

_JSON = "application/json"

_DIGITS = "^-?[0-9]+$"
_DATE = r"[0-9]{4,}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}"

_SCALARS: dict[LogicalType, Schema] = {
    LogicalType.BOOLEAN: {"type": "boolean"},
    LogicalType.INT: {"type": "integer", "format": "int32"},
    # Text: JavaScript and others read numbers as doubles, which are exact up to 2^53 only.
    LogicalType.LONG: {"type": "string", "pattern": _DIGITS},
    # JSON has no numbers for NaN and the infinities. A pattern speaks of text only.
    LogicalType.FLOAT: {"type": ["number", "string"], "pattern": "^(NaN|-?Infinity)$"},
    LogicalType.DOUBLE: {"type": ["number", "string"], "pattern": "^(NaN|-?Infinity)$"},
    LogicalType.DATE: {"type": "string", "format": "date"},
    # No format: `date-time` has a time zone.
    LogicalType.TIMESTAMP: {"type": "string", "pattern": f"^[+-]?{_DATE}T{_TIME}$"},
    LogicalType.TIMESTAMPTZ: {"type": "string", "format": "date-time"},
    LogicalType.STRING: {"type": "string"},
    LogicalType.UUID: {"type": "string", "format": "uuid"},
    LogicalType.FIXED: {"type": "string", "contentEncoding": "base64"},
    LogicalType.BINARY: {"type": "string", "contentEncoding": "base64"},
}


@dataclass(frozen=True)
class Server:
    """Where a topic is."""

    protocol: Literal["kafka", "googlepubsub", "pubsublite"]
    host: str
    """host or host:port; several of Kafka with commas, as its `bootstrap_servers`."""
    address: str
    """The topic as a user sees it: `kafka://host:9092/topic`."""


def document(exposure: Exposure, server: Server, topic: str, settings: EventsSettings, digest: str) -> dict[str, Any]:
    """Return the document, ready for json.dumps.

    Args:
        exposure: what is exposed; its columns are of types that Spark reads.
        server: where the topic is.
        topic: its name as clients of the service take it.
        settings: of the contract.
        digest: of the plan.
    """
    product = exposure.product
    key = primary_key(exposure.columns)
    compacted = settings.compacted and server.protocol == "kafka"
    names = ["change", *(["tombstone"] if compacted else ())]
    hosts = server.host.split(",")
    servers = ["broker"] if len(hosts) == 1 else [f"broker{number}" for number in range(1, len(hosts) + 1)]
    messages = {"change": _change(exposure, server, key)}
    if compacted:
        messages["tombstone"] = _tombstone(key)
    channel: dict[str, Any] = {
        "address": topic,
        "title": product.title,
        "description": f"{server.address}. Events of one key are in order; repeats have the same id.",
        "servers": [{"$ref": f"#/servers/{name}"} for name in servers],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    if server.protocol == "kafka":
        channel["bindings"] = {"kafka": _kafka_channel(topic, settings)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": product.title,
            "version": product.version,
            **_described(product.description),
            "x-polyexpose": {
                "product": product.id,
                "contractVersion": product.version,
                "snapshotId": str(exposure.snapshot.id),
                "digest": digest,
            },
        },
        "defaultContentType": _JSON,
        "servers": {
            name: {"host": host, "protocol": server.protocol} for name, host in zip(servers, hosts, strict=True)
        },
        "channels": {"changes": channel},
        "operations": {
            "sendChanges": {
                "action": "send",
                "summary": f"Every change of {product.title}, row by row.",
                "channel": {"$ref": "#/channels/changes"},
                "messages": [{"$ref": f"#/channels/changes/messages/{name}"} for name in names],
            }
        },
        "components": {
            "messages": messages,
            "schemas": {"row": row_schema(exposure.columns)} | ({"key": _key_schema(key)} if key else {}),
        },
    }


def row_schema(columns: Sequence[Column]) -> Schema:
    """Return the schema of one row in an event."""
    properties = {each.name: value_schema(each.type, each.required) | _described(each.description) for each in columns}
    return {"type": "object", "properties": properties, "required": [each.name for each in columns]}


def value_schema(type_: ColumnType, required: bool) -> Schema:
    """Return the schema of one value, as the JSON of an event writes it.

    Args:
        type_: any that Spark reads.
        required: whether it is never null.
    """
    schema = _schema(type_)
    if required:
        return schema
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def _schema(type_: ColumnType) -> Schema:
    match type_.kind:
        case LogicalType.DECIMAL:
            fraction = rf"\.[0-9]{{{type_.scale}}}" if type_.scale else ""
            return {"type": "string", "pattern": f"^-?[0-9]+{fraction}$"}
        case LogicalType.STRUCT:
            return _object(type_.fields)
        case LogicalType.LIST:
            return {"type": "array", "items": value_schema(type_.fields[0].type, type_.fields[0].required)}
        case LogicalType.MAP if has_text_keys(type_):
            value = type_.fields[1]
            return {"type": "object", "additionalProperties": value_schema(value.type, value.required)}
        case LogicalType.MAP:
            return {"type": "array", "items": _object(type_.fields)}
    return dict(_SCALARS[type_.kind])


def _object(fields: Sequence[Field]) -> Schema:
    properties = {each.name: value_schema(each.type, each.required) for each in fields}
    return {"type": "object", "properties": properties, "required": [each.name for each in fields]}


def _key_schema(key: Sequence[Column]) -> Schema:
    return row_schema(key) | {"additionalProperties": False, "description": "The primary key."}


def _change(exposure: Exposure, server: Server, key: Sequence[Column]) -> dict[str, Any]:
    kafka = server.protocol == "kafka"
    message: dict[str, Any] = {
        "name": "change",
        "title": "A row was created, updated or deleted, or was there at first",
        "summary": "CloudEvents 1.0, binary mode: what the event is stands in the headers, the rows in the payload.",
        "contentType": _JSON,
        "headers": _headers(exposure, KAFKA_PREFIX if kafka else PUBSUB_PREFIX, bool(key)),
        "payload": _payload(exposure),
    }
    if kafka:
        message["bindings"] = {"kafka": _kafka_message(key)}
    elif server.protocol == "googlepubsub":
        message["bindings"] = {"googlepubsub": {"attributes": _constants(exposure), "bindingVersion": "0.2.0"}}
    return message


def _tombstone(key: Sequence[Column]) -> dict[str, Any]:
    return {
        "name": "tombstone",
        "title": "Follows the delete of a key",
        "summary": "No payload and no headers: the broker may drop what it holds of this key.",
        "payload": {"type": "null"},
        "bindings": {"kafka": _kafka_message(key)},
    }


def _kafka_channel(topic: str, settings: EventsSettings) -> dict[str, Any]:
    configuration: dict[str, Any] = {}
    if settings.compacted:
        configuration["cleanup.policy"] = ["compact"]
    if settings.retention_hours is not None:
        configuration["retention.ms"] = settings.retention_hours * 3_600_000
    return {
        "topic": topic,
        **({"partitions": settings.partitions} if settings.partitions else {}),
        **({"topicConfiguration": configuration} if configuration else {}),
        "bindingVersion": "0.5.0",
    }


def _kafka_message(key: Sequence[Column]) -> dict[str, Any]:
    return {**({"key": {"$ref": "#/components/schemas/key"}} if key else {}), "bindingVersion": "0.5.0"}


def _constants(exposure: Exposure) -> dict[str, str]:
    """Return the attributes that are the same in all events."""
    return {
        f"{PUBSUB_PREFIX}specversion": "1.0",
        f"{PUBSUB_PREFIX}source": source_of(exposure.product.id),
        CONTENT_TYPE: _JSON,
    }


def _headers(exposure: Exposure, prefix: str, keyed: bool) -> Schema:
    """Return the schema of the CloudEvents attributes, all of them text."""
    said: dict[str, Schema] = {
        "specversion": {"const": "1.0"},
        "id": {
            "description": "table uuid:epoch:snapshot id:op:key; a repeat of an event has its id, no other event has.",
            "pattern": "^[^:]+:[0-9]+:[0-9]+:[cudr]:",
        },
        "source": {"const": source_of(exposure.product.id), "format": "uri-reference"},
        "type": {"enum": list(TYPES.values())},
        "time": {"format": "date-time", "description": "When the snapshot was committed."},
        "sequence": {"description": "Counts the snapshots sent; a later one sorts behind an earlier one, as text."},
    }
    if keyed:
        said["partitionkey"] = {"contentMediaType": _JSON, "description": "The key, as JSON."}
    properties = {f"{prefix}{name}": {"type": "string", **each} for name, each in said.items()}
    properties[CONTENT_TYPE] = {"type": "string", "const": _JSON}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _payload(exposure: Exposure) -> Schema:
    product = exposure.product
    row = {"$ref": "#/components/schemas/row"}
    null = {"type": "null"}
    source: dict[str, Schema] = {
        "product": {"type": "string", "const": product.id},
        "contractVersion": {"type": "string"},
        "table": {"type": "string", "description": "The Iceberg table."},
        "tableUuid": {"type": "string", "format": "uuid", "description": "Another one after the table was made anew."},
        "snapshotId": {"type": "string", "pattern": _DIGITS, "description": "The Iceberg snapshot."},
        "committedAt": {"type": "string", "format": "date-time"},
        "epoch": {"type": "integer", "minimum": 0, "description": "Rises when the table went back, or all came anew."},
        "sequence": {"type": "integer", "minimum": 0, "description": "Counts the snapshots sent, over all epochs."},
    }
    properties: dict[str, Schema] = {
        "op": {
            "type": "string",
            "enum": list(TYPES),
            "description": "c: created, u: updated, d: deleted, r: read when the topic was filled first.",
        },
        "before": {"description": "The row before; null for c and r.", "oneOf": [row, null]},
        "after": {"description": "The row after; null for d.", "oneOf": [row, null]},
        "source": {"type": "object", "properties": source, "required": list(source)},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}


def _described(text: str) -> dict[str, str]:
    return {"description": text} if text else {}
