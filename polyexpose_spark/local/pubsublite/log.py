"""The messages of one topic partition: a file that only grows, and what is known of it in memory.

The file is a row of blocks, one or a few for each publish request: a header, then a serialized MessageResponse, which
is sent to subscribers as it is. A block counts from the moment its request is answered, however this process ends.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import grpc

from polyexpose_spark.local.pubsublite.messages import Failure, Message, MessageResponse, invalid, sequenced

MAX_MESSAGE_BYTES = 3_670_016
"""3.5 MiB, the service's limit: google.cloud.pubsublite.internal.wire.make_publisher keeps batches below it."""
_BLOCK_BYTES = 3 << 20
_ANSWER_BYTES = 1 << 20  # blocks are put together up to this

# Publishers whose sequence is remembered, and stretches of offsets for each.
_PUBLISHERS = 1000
_RUNS = 1000


class _Header(NamedTuple):
    crc: int  # of what follows the header
    length: int  # of what follows the header
    number: int  # of messages
    size: int  # bytes of the messages, as subscribers' flow control counts them
    offset: int  # of the first message
    micros: int  # published, since 1970
    sequence: int  # of the first message in the publisher's session
    client: bytes  # 16 zeros: none


_HEADER = struct.Struct("<IIIIQQQ16s")
_NO_CLIENT = bytes(16)


class Stretch(NamedTuple):
    """Messages start to end - 1 of a publish request, stored at `offset` and after."""

    start: int
    end: int
    offset: int


class Taken(NamedTuple):
    """Messages for a subscriber."""

    response: bytes
    """A serialized MessageResponse."""
    number: int
    size: int
    next: int
    """The offset after the last of them."""


@dataclass
class _Publisher:
    """How far a publisher client has come."""

    next: int = 0
    runs: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_RUNS))
    """(first sequence number, count, offset)."""

    def stored(self, count: int, offset: int) -> None:
        if self.runs:
            first, before, at = self.runs[-1]
            if at + before == offset:
                self.runs[-1] = (first, before + count, at)
                self.next += count
                return
        self.runs.append((self.next, count, offset))
        self.next += count

    def found(self, first: int, end: int) -> list[Stretch]:
        """Return where the messages first to end - 1 are; those that are not remembered are left out."""
        stretches = []
        for start, count, offset in self.runs:
            low, high = max(first, start), min(end, start + count)
            if low < high:
                stretches.append(Stretch(low - first, high - first, offset + low - start))
        return stretches


class PartitionLog:
    """One partition. Everything is done at once, on one thread: no method waits."""

    def __init__(self, path: Path) -> None:
        """Open or begin the file; what was written in part when the last process ended is cut off."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._end = 0
        self.head = 0
        """The offset of the next message."""
        self.listeners: set[asyncio.Event] = set()
        """Set whenever the log has grown."""
        self._offsets, self._positions, self._micros = array("q"), array("q"), array("q")
        self._publishers: OrderedDict[bytes, _Publisher] = OrderedDict()
        self._recover()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def append(self, messages: Message, client: bytes, sequence: int) -> list[Stretch]:
        """Store the messages of a publish request that are not there yet.

        Args:
            messages: PubSubMessages.
            client: id of the publisher client, 16 bytes; empty: nothing is recognised as a repeat.
            sequence: number of the first message in the client's session.

        Returns:
            Where they are now; what was there is left out where that is no longer known.

        Raises:
            Failure: a message is too large, or does not follow what the client sent before.
            OSError: they cannot be stored; none of them is.
        """
        written = [each.SerializeToString() for each in messages]
        for number, each in enumerate(written):
            if len(each) > MAX_MESSAGE_BYTES:
                raise invalid(f"Message {number} has {len(each)} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
        stretches: list[Stretch] = []
        there = 0
        if client:
            publisher = self._publishers.get(client) or _Publisher()
            if not 0 <= sequence <= publisher.next:
                raise Failure(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Sequence number {sequence} does not follow: {publisher.next} is next for this client",
                )
            there = min(publisher.next - sequence, len(written))
            stretches = publisher.found(sequence, sequence + there)
        new = written[there:]
        if new:
            start, offset = there, self.head
            self._write(new, client, sequence + there)
            if stretches and stretches[-1].offset + there - stretches[-1].start == offset:
                start, _, offset = stretches.pop()
            stretches.append(Stretch(start, len(written), offset))
        return stretches

    def read(self, offset: int, count: int, size: int) -> Taken | None:
        """Return messages from an offset on, in answers of a size that a client receives well; None: there are none.

        Args:
            offset: of the first message.
            count: how many at most.
            size: how many bytes at most.
        """
        parts, messages, taken, at = [], 0, 0, offset
        block = bisect_right(self._offsets, offset) - 1
        while 0 <= block < len(self._offsets) and at < self.head and taken < _ANSWER_BYTES:
            header = self._header(self._positions[block])
            if self._offsets[block] == at and header.number <= count - messages and header.size <= size - taken:
                part, number, weight = self._payload(block, header), header.number, header.size
            else:
                part, number, weight = self._cut(block, header, at, count - messages, size - taken)
            if not number:
                break
            parts.append(part)
            messages, taken, at = messages + number, taken + weight, at + number
            block = block + 1 if at == header.offset + header.number else block
        return Taken(b"".join(parts), messages, taken, at) if messages else None

    def published_at(self, micros: int) -> int:
        """Return the offset of the first message published at this time or later; the head where there is none."""
        block = bisect_left(self._micros, micros)
        return self._offsets[block] if block < len(self._offsets) else self.head

    def happened_at(self, nanos: int) -> int | None:
        """Return the offset of the first message with this event time (else publish time) or a later one."""
        for block in range(len(self._offsets)):
            for message in self._messages(block):
                told = message.message.event_time if message.message.HasField("event_time") else message.publish_time
                if told.ToNanoseconds() >= nanos:
                    return int(message.cursor.offset)
        return None

    def messages(self, start: int, end: int) -> list[Message]:
        """Return the SequencedMessages of offsets start to end - 1."""
        found: list[Message] = []
        for block in range(max(bisect_right(self._offsets, start) - 1, 0), len(self._offsets)):
            if self._offsets[block] >= end:
                break
            found += [each for each in self._messages(block) if start <= each.cursor.offset < end]
        return found

    def _write(self, new: list[bytes], client: bytes, sequence: int) -> None:
        # Never before the last one: a seek to a time finds everything after it.
        micros = max(time.time_ns() // 1000, self._micros[-1] if self._micros else 0)
        parts, headers, position, offset = [], [], self._end, self.head
        for block in _blocks(new):
            payload = sequenced(block, offset, micros)
            size = sum(map(len, block))
            header = _Header(
                zlib.crc32(payload), len(payload), len(block), size, offset, micros, sequence, client or _NO_CLIENT
            )
            headers.append((position, header))
            parts += [_HEADER.pack(*header), payload]
            position += _HEADER.size + len(payload)
            offset, sequence = offset + len(block), sequence + len(block)
        try:
            _write_all(self._file, b"".join(parts), self._end)
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end = position
        for at, header in headers:
            self._know(at, header)
        for listener in self.listeners:
            listener.set()

    def _know(self, position: int, header: _Header) -> None:
        self._offsets.append(header.offset)
        self._positions.append(position)
        self._micros.append(header.micros)
        self.head = header.offset + header.number
        if header.client != _NO_CLIENT:
            publisher = self._publishers.setdefault(header.client, _Publisher())
            publisher.stored(header.number, header.offset)
            self._publishers.move_to_end(header.client)
            if len(self._publishers) > _PUBLISHERS:
                self._publishers.popitem(last=False)

    def _recover(self) -> None:
        length = os.fstat(self._file).st_size
        last = None
        while self._end + _HEADER.size <= length:
            header = self._header(self._end)
            after = self._end + _HEADER.size + header.length
            if after > length or header.offset != self.head:
                break
            if after == length and zlib.crc32(os.pread(self._file, header.length, after - header.length)) != header.crc:
                break
            last = self._end
            self._know(last, header)
            self._end = after
        os.ftruncate(self._file, self._end)

    def _header(self, position: int) -> _Header:
        return _Header(*_HEADER.unpack(os.pread(self._file, _HEADER.size, position)))

    def _payload(self, block: int, header: _Header) -> bytes:
        return os.pread(self._file, header.length, self._positions[block] + _HEADER.size)

    def _messages(self, block: int) -> Message:
        return MessageResponse.FromString(self._payload(block, self._header(self._positions[block]))).messages

    def _cut(self, block: int, header: _Header, at: int, count: int, size: int) -> tuple[bytes, int, int]:
        """Return a part of a block, with how many messages and bytes it has."""
        found = MessageResponse.FromString(self._payload(block, header)).messages[at - header.offset :]
        taken, weight = [], 0
        for each in found[:count]:
            if weight + each.size_bytes > size:
                break
            taken.append(each)
            weight += each.size_bytes
        part: bytes = MessageResponse(messages=taken).SerializeToString()
        return part, len(taken), weight


def _blocks(messages: list[bytes]) -> list[list[bytes]]:
    """Cut a request into blocks that a client can receive (gRPC takes 4 MiB at a time)."""
    blocks: list[list[bytes]] = [[]]
    size = 0
    for each in messages:
        weight = len(each) + 40  # offset, time and size are written around it
        if blocks[-1] and size + weight > _BLOCK_BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(each)
        size += weight
    return blocks


def _write_all(file: int, data: bytes, position: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, position)
        view, position = view[written:], position + written
