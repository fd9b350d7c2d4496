"""What executors do with the parts that Spark wrote: hash, count, split, compress, in one pass over each part.

Runs in Spark's Python workers: the standard library and pyarrow only, nothing of this package.
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

_BLOCK = 256 << 10
"""It stays in the processor's cache while it is hashed and counted."""
_LF, _QUOTE = b"\n", b'"'
_ALL_BUT_LF_AND_QUOTE = bytes(set(range(256)) - {_LF[0], _QUOTE[0]})
_RETRY_SECONDS = 120
_GZIP_LEVEL = 6
"""gzip's own default; pyarrow's is 9, three times slower for 1 % less."""


@dataclass(frozen=True)
class Part:
    """A part as Spark wrote it: whole records, each ending in LF. Size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Storage:
    """How gs:// addresses are reached; by default Google's own service, with the credentials of the executor."""

    endpoint: str | None = None
    """Address of another server: http(s)://HOST:PORT."""
    anonymous: bool = False


@dataclass(frozen=True)
class Sealing:
    """What is to become of the parts."""

    folder: str
    """Where new files go, ending in `/`."""
    compression: str
    """none, gzip or zstd."""
    target_bytes: int | None
    """A larger part (before compression) is split at ends of records; None: never."""
    header: str | None
    """The line that begins every part, and has to begin every file; None: there is none."""
    hashed: bool = True
    """False: a part that is left as it is is only counted, for its hash is of no use."""
    storage: Storage = Storage()


@dataclass(frozen=True)
class Piece:
    """A finished file; the part itself where nothing had to be rewritten."""

    path: str
    size: int
    sha256: str
    line_ends: int
    """LFs in its text, the header's and those within cells as well."""
    rows: int | None
    """Records without the header; None: not counted, since line_ends mostly says it."""


def sealer(parts: Sequence[Part], sealing: Sealing) -> Callable[[int], str]:
    """Return a function for executors: number of a part -> its pieces as JSON (see pieces)."""

    def seal(number: int) -> str:
        with _naming(parts[number].path):
            return json.dumps([vars(piece) for piece in _pieces(parts[number], sealing)])

    return seal


def pieces(text: str) -> list[Piece]:
    """Return what sealer()'s function returned."""
    return [Piece(**each) for each in json.loads(text)]


def counter(parts: Sequence[Part], storage: Storage) -> Callable[[int], str]:
    """Return a function for executors: number of a part -> how many records it has, the header included."""

    def count(number: int) -> str:
        records = _Records()
        path = parts[number].path
        with _naming(path), _reading(path, storage) as source:
            for block in iter(lambda: source.read(_BLOCK), b""):
                records.take(block)
        return str(records.count)

    return count


def compressed(text: bytes, compression: str) -> bytes:
    """Return the text as one member (gzip) or frame (zstd); as it is where there is no compression."""
    kept = _Kept()
    sink = _compressor(kept, compression)
    sink.write(text)
    sink.close()
    return bytes(kept.data)


def _pieces(part: Part, sealing: Sealing) -> list[Piece]:
    count = 1 if sealing.target_bytes is None else -(-part.size // sealing.target_bytes)
    with _reading(part.path, sealing.storage) as source:
        blocks = iter(lambda: source.read(_BLOCK), b"")
        if count > 1:
            return list(_split(blocks, -(-part.size // count), sealing))
        if sealing.compression != "none":
            file = _File(sealing)
            for block in blocks:
                file.write(block)
            return [file.close(rows=None)]
        digest, line_ends = hashlib.sha256(), 0
        for block in blocks:
            if sealing.hashed:
                digest.update(block)
            line_ends += block.count(_LF)
    return [Piece(part.path, part.size, digest.hexdigest(), line_ends, None)]


def _split(blocks: Iterator[bytes], goal: int, sealing: Sealing) -> Iterator[Piece]:
    """Yield files that end with the first record that makes them `goal` bytes long."""
    header = b"" if sealing.header is None else sealing.header.encode() + _LF
    records = _Records()
    file: _File | None = None
    done = 0
    for each in blocks:
        block = each
        while block:
            if file is None:
                file, taken = _File(sealing), 0
                if done:
                    file.write(header)
            cut = records.end_from(block, goal - taken - 1) if taken + len(block) >= goal else 0
            chunk = block[:cut] if cut else block
            file.write(chunk)
            records.take(chunk)
            taken += len(chunk)
            block = block[len(chunk) :]
            if cut:
                with_header = bool(header) and not done
                yield file.close(rows=records.count - done - with_header)
                done, file = records.count, None
    if file is not None:
        yield file.close(rows=records.count - done - (bool(header) and not done))


class _Records:
    """Counts records: an LF with an even number of quotes before it ends one."""

    def __init__(self) -> None:
        self.count = 0
        self._in_quotes = False

    def take(self, block: bytes) -> None:
        """Count the records that end in this block, which follows the one before."""
        # Few bytes are left, so that what follows, much slower, hardly counts.
        left = block.translate(None, _ALL_BUT_LF_AND_QUOTE)
        between = left.split(_QUOTE)
        self.count += sum(each.count(_LF) for each in between[self._in_quotes :: 2])
        if len(between) % 2 == 0:
            self._in_quotes = not self._in_quotes

    def end_from(self, block: bytes, start: int) -> int:
        """Return where the first record ends whose LF is at `start` or later (0: in none of this block)."""
        at = max(start, 0)
        in_quotes = self._in_quotes ^ bool(block.count(_QUOTE, 0, at) % 2)
        while True:
            quote = block.find(_QUOTE, at)
            if not in_quotes:
                line_end = block.find(_LF, at, quote if quote >= 0 else len(block))
                if line_end >= 0:
                    return line_end + 1
            if quote < 0:
                return 0
            in_quotes, at = not in_quotes, quote + 1


class _File:
    """A new file of a name of its own: an attempt of a task that died leaves what the next one does not touch."""

    def __init__(self, sealing: Sealing) -> None:
        self.path = f"{sealing.folder}sealed-{uuid.uuid4().hex}"
        self._target = _Hashed(_writing(self.path, sealing.storage))
        self._sink = _compressor(self._target, sealing.compression)
        self._line_ends = 0

    def write(self, text: bytes) -> None:
        self._line_ends += text.count(_LF)
        self._sink.write(text)

    def close(self, rows: int | None) -> Piece:
        self._sink.close()
        return Piece(self.path, self._target.size, self._target.digest.hexdigest(), self._line_ends, rows)


class _Kept:
    """Writes into memory."""

    closed = False

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> int:
        self.data += data
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _Hashed:
    """Writes into a file, and knows its size and sha256 without reading it again."""

    closed = False

    def __init__(self, target: Any) -> None:
        self._target = target
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        self._target.write(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None:
        self._target.close()


class _Gzip:
    """One gzip member without name and time: the same text gives the same bytes."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._deflate = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def write(self, data: bytes) -> None:
        self._target.write(self._deflate.compress(data))

    def close(self) -> None:
        self._target.write(self._deflate.flush())
        self._target.close()


def _compressor(target: Any, compression: str) -> Any:
    """Return something with write() and close() that ends up in the target, which it closes."""
    if compression == "gzip":
        return _Gzip(target)
    if compression == "zstd":
        import pyarrow

        return pyarrow.CompressedOutputStream(pyarrow.PythonFile(target, mode="w"), "zstd")
    return target


def _reading(path: str, storage: Storage) -> BinaryIO:
    if "://" not in path:
        return open(path, "rb", buffering=0)
    stream: BinaryIO = _cloud_storage(storage).open_input_stream(path.removeprefix("gs://"))
    return stream


def _writing(path: str, storage: Storage) -> BinaryIO:
    """Open a new file; in Cloud Storage it appears when it is closed, and only whole."""
    if "://" not in path:
        return open(path, "wb")
    stream: BinaryIO = _cloud_storage(storage).open_output_stream(path.removeprefix("gs://"))
    return stream


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Say of which part an error is, and on one line: those of Cloud Storage name no object."""
    try:
        yield
    except (OSError, ValueError) as error:
        if "://" not in path:
            raise
        raise OSError(f"{path}: {' '.join(str(error).split())}") from None


def _cloud_storage(storage: Storage) -> Any:
    from pyarrow import fs

    options: dict[str, Any] = {"anonymous": storage.anonymous, "retry_time_limit": timedelta(seconds=_RETRY_SECONDS)}
    if storage.endpoint:
        options["scheme"], _, options["endpoint_override"] = storage.endpoint.rstrip("/").partition("://")
    return fs.GcsFileSystem(**options)
