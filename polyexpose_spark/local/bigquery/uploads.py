"""Uploads of a load job's file: multipart in one request, or resumable in several; never whole in memory."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from polyexpose_spark.local.bigquery.errors import ApiError, invalid, not_found
from polyexpose_spark.local.bigquery.store import Resource

BLOCK = 1 << 20
Insert = Callable[[str, Resource, Path], Resource]


@dataclass
class Session:
    """One resumable upload."""

    project: str
    body: Resource
    file: Path
    received: int = 0


@dataclass(frozen=True)
class Answer:
    """Status, headers and JSON body of an answer."""

    status: int
    body: Resource | None
    headers: dict[str, str]


class Uploads:
    """Uploads under way; files are kept in `folder` and gone when their job has run."""

    def __init__(self, folder: Path, insert: Insert) -> None:
        self.folder = folder
        self.insert = insert
        self._sessions: dict[str, Session] = {}

    def multipart(self, project: str, content_type: str, stream: IO[bytes], length: int) -> Answer:
        """Run the job of a multipart/related request: its JSON, then its file."""
        found = re.search(r'boundary="?([^";]+)"?', content_type)
        if not found:
            raise invalid("A multipart upload needs a boundary")
        file = self._new_file()
        try:
            self._store(stream, length, file)
            body = _split(file, found.group(1).encode())
            return Answer(200, self.insert(project, body, file), {})
        finally:
            file.unlink(missing_ok=True)

    def start(self, project: str, body: Resource, address: str) -> Answer:
        """Open a resumable upload."""
        key = uuid.uuid4().hex
        self._sessions[key] = Session(project, body, self._new_file())
        self._sessions[key].file.touch()
        return Answer(200, {}, {"Location": f"{address}?uploadType=resumable&upload_id={key}"})

    def receive(self, key: str, content_range: str, stream: IO[bytes], length: int) -> Answer:
        """Take one part of a resumable upload; run the job after the last."""
        session = self._sessions.get(key)
        if session is None:
            raise not_found("Upload", key)
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", content_range or f"bytes 0-{length - 1}/{length}")
        if not found:
            raise invalid(f"Invalid Content-Range: {content_range}")
        first, _, total = found.groups()
        if first is not None:
            if int(first) > session.received:
                raise ApiError(503, "backendError", f"Upload {key} has {session.received} bytes, not {first}")
            with session.file.open("r+b") as out:
                out.seek(int(first))
                _copy(stream, length, out)
            session.received = int(first) + length
        if total == "*" or session.received < int(total):
            headers = {"Range": f"bytes=0-{session.received - 1}"} if session.received else {}
            return Answer(308, None, headers)
        del self._sessions[key]
        try:
            return Answer(200, self.insert(session.project, session.body, session.file), {})
        finally:
            session.file.unlink(missing_ok=True)

    def _new_file(self) -> Path:
        return self.folder / uuid.uuid4().hex

    def _store(self, stream: IO[bytes], length: int, file: Path) -> None:
        with file.open("wb") as out:
            _copy(stream, length, out)


def _copy(stream: IO[bytes], length: int, out: IO[bytes]) -> None:
    while length:
        block = stream.read(min(BLOCK, length))
        if not block:
            raise invalid("The upload ended early")
        out.write(block)
        length -= len(block)


def _split(file: Path, boundary: bytes) -> Any:
    """Return the JSON of a stored multipart body, and leave its second part alone in the file."""
    mark = b"--" + boundary
    with file.open("rb") as source:
        head = source.read(BLOCK)
        second = head.find(b"\n" + mark, len(mark))
        start = _after_headers(head, second + 1)
        meta = head[_after_headers(head, 0) : second].strip()
        size = file.stat().st_size
        source.seek(max(0, size - len(mark) - 16))
        tail = source.read()
        ending = tail.rfind(mark)
        if second < 0 or start < 0 or ending < 0:
            raise invalid("The multipart upload is malformed")
        end = size - len(tail) + ending
        end -= 2 if tail[ending - 2 : ending] == b"\r\n" else 1
        try:
            body = json.loads(meta)
        except ValueError as error:
            raise invalid("The first part of a multipart upload must be JSON") from error
        part = file.with_suffix(".part")
        with part.open("wb") as out:
            source.seek(start)
            _copy(source, end - start, out)
    part.replace(file)
    return body


def _after_headers(data: bytes, at: int) -> int:
    for blank in (b"\r\n\r\n", b"\n\n"):
        found = data.find(blank, at)
        if found >= 0:
            return found + len(blank)
    return -1
