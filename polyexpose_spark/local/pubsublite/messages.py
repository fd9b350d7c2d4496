"""The service's messages as plain protobuf classes, several times as fast as the wrapped ones of the client library."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.cloud import pubsublite_v1 as lite

PACKAGE = "google.cloud.pubsublite.v1"

# Google's messages have no types: they are Any.
Message = Any

Cursor = lite.Cursor.pb()
CursorRange = lite.MessagePublishResponse.CursorRange.pb()
MessageResponse = lite.MessageResponse.pb()
Reservation = lite.Reservation.pb()
Subscription = lite.Subscription.pb()
Topic = lite.Topic.pb()


class Failure(Exception):
    """A call that is refused, with the status that the client sees."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def invalid(text: str) -> Failure:
    """Return the failure of a request that can never succeed."""
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(name: str) -> Failure:
    """Return the failure of a call about a resource that is not there."""
    return Failure(grpc.StatusCode.NOT_FOUND, f"Resource not found: {name}")


def varint(number: int) -> bytes:
    """Return a number of 0 or more as protobuf writes it. Source: protobuf, "Encoding"."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


# Field number and wire type, of fields that are written by hand below.
_LENGTH_1, _VARINT_1, _LENGTH_2, _LENGTH_3, _VARINT_4 = b"\x0a", b"\x08", b"\x12", b"\x1a", b"\x20"


def sequenced(messages: Iterable[bytes], first: int, micros: int) -> bytes:
    """Return a serialized MessageResponse.

    Args:
        messages: serialized PubSubMessages.
        first: offset of the first of them.
        micros: when they were published, in microseconds since 1970.
    """
    # By hand: the message classes take twice as long, and this is most of what publishing costs.
    seconds, rest = divmod(micros, 1_000_000)
    time = _VARINT_1 + varint(seconds) + b"\x10" + varint(rest * 1000)
    published = _LENGTH_2 + varint(len(time)) + time + _LENGTH_3
    parts = []
    for offset, message in enumerate(messages, first):
        cursor, size = _VARINT_1 + varint(offset), varint(len(message))
        body = b"".join((_LENGTH_1, varint(len(cursor)), cursor, published, size, message, _VARINT_4, size))
        parts += [_LENGTH_1, varint(len(body)), body]
    return b"".join(parts)


def messages_response(response: bytes) -> bytes:
    """Return the serialized SubscribeResponse that carries a serialized MessageResponse."""
    return _LENGTH_3 + varint(len(response)) + response
