"""GcsFiles: objects in Google Cloud Storage, at gs:// addresses. Implements clients.Files.

A folder is only a prefix; the empty objects named like a folder that Hadoop's connector leaves are no objects here.
What is written in one step is conditional on the object's generation at the service itself, so that of two writers
one is told so. Every upload and every read to the end is held against its crc32c.
"""

from __future__ import annotations

import base64
import io
import mimetypes
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

from polyexpose_spark.clients import ABSENT, Changed, Composed, StoredFile
from polyexpose_spark.clients.bigquery_calls import NO_RETRY, REQUEST, UPLOAD, Calls, Deadline
from polyexpose_spark.errors import TargetFailed, TargetUnavailable

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.storage import Blob, Client

    from polyexpose_spark.config import GcsConfig

T = TypeVar("T")

_MOST_PARTS = 32
"""One compose request takes no more. Source: Cloud Storage, "Composite objects"."""
_CHUNK = 8 << 20
"""Bytes that one request reads of a stream."""
_THREADS = 8
"""The library's connection pool keeps ten connections."""
_PUT = "polyexpose-put"
"""Custom metadata of a conditional put, by which it knows its own object when the answer was lost."""
_READ, _WRITTEN, _LISTED, _DELETED = (f"could not be {done}" for done in ("read", "written", "listed", "deleted"))


@dataclass(frozen=True)
class Deadlines:
    """Seconds that an operation on one object may take, all its requests and pauses together."""

    request: float = 120.0
    transfer: float = 600.0
    """Of what carries or copies content."""


class GcsFiles:
    """Objects at gs:// addresses; the generation of an object is Cloud Storage's own.

    Every method raises TargetFailed (it answered), TargetUnavailable (it did not, or asked to come again) or
    ConfigError (there are no credentials). All can be called again after any failure.
    """

    def __init__(self, config: GcsConfig, deadlines: Deadlines | None = None) -> None:
        """Keep what is handed in; nothing is imported or contacted yet."""
        self._config = config
        self._deadlines = deadlines or Deadlines()
        self._calls = Calls("Cloud Storage" if config.endpoint is None else f"Cloud Storage at {config.endpoint}")

    @cached_property
    def _client(self) -> Client:
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        # Otherwise the library also asks for the bucket itself, for traces, which takes a right that nobody else needs.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        config, options = self._config, {}
        if config.endpoint is not None:
            options["api_endpoint"] = config.endpoint
        anonymous = config.credentials == "anonymous"
        if config.project is not None and not anonymous:
            options["quota_project_id"] = config.project
        credentials = AnonymousCredentials() if anonymous else None  # type: ignore[no-untyped-call]
        return Client(config.project, credentials, client_options=options)

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Return content and generation of a small object, or None where there is none."""
        from google.api_core.exceptions import NotFound

        def fetch(timeout: float) -> tuple[bytes, str] | None:
            blob = self._blob(path)
            try:
                data = _checked(path, partial(blob.download_as_bytes, raw_download=True, checksum="crc32c"), timeout)
            except NotFound:
                return None
            return data, str(blob.generation)

        return self._call(path, _READ, fetch, self._deadlines.transfer)

    def put(self, path: str, data: bytes, if_generation: str | None = None) -> str:
        """Write a small object in one step; see Files.put."""
        from google.api_core.exceptions import PreconditionFailed

        blob = self._blob(path)
        # What is replaced in place must not be served from a cache; of public objects the default is an hour.
        blob.cache_control = "no-cache"
        condition: dict[str, Any] = {}
        if if_generation is not None:
            condition["if_generation_match"] = 0 if if_generation == ABSENT else int(if_generation)
            blob.metadata = {_PUT: uuid.uuid4().hex}
        upload = partial(blob.upload_from_string, data, _content_type(path), checksum="crc32c", **condition)

        def write(timeout: float) -> str:
            try:
                _checked(path, upload, timeout)
            except PreconditionFailed:
                # An answer that was lost is a put that is repeated, and that finds what it wrote itself.
                found = self._fetched(path, timeout)
                if found is None or (found.metadata or {}).get(_PUT) != blob.metadata[_PUT]:
                    raise Changed(path) from None
                return str(found.generation)
            return str(blob.generation)

        return self._call(path, _WRITTEN, write, self._deadlines.transfer, UPLOAD)

    def open(self, path: str) -> io.BufferedReader:
        """Open an object for reading, as a stream of this generation of it."""
        found = self._call(path, _READ, partial(self._fetched, path))
        if found is None:
            raise self._failed(path, _READ, "there is no such object")
        return io.BufferedReader(_Reading(self, path, found), _CHUNK)

    def list(self, prefix: str) -> Sequence[StoredFile]:
        """Return all objects below a folder, sorted by path."""
        found = (each for each in self._below(prefix) if not each.path.endswith("/"))
        return tuple(sorted(found, key=lambda each: each.path))

    def move(self, source: str, target: str) -> None:
        """Copy an object within the service and delete it; an existing target is replaced."""
        token: str | None = None
        while True:
            token = self._call(
                target, _WRITTEN, partial(self._rewrite, source, target, token), self._deadlines.transfer
            )
            if token is None:
                break
        self._delete(source)

    def compose(self, parts: Sequence[str], target: str) -> Composed:
        """Put parts together at the service: its generations of now, by more than one round where there are many."""
        temporary: list[str] = []
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                sources = list(pool.map(self._present, parts))
            size = sum(each.size for each in sources)
            while len(sources) > _MOST_PARTS:
                groups = [sources[first : first + _MOST_PARTS] for first in range(0, len(sources), _MOST_PARTS)]
                names = [f"{target}.{uuid.uuid4().hex}" for _ in groups]
                temporary += names
                with ThreadPoolExecutor(_THREADS) as pool:
                    sources = list(pool.map(self._composed, groups, names))
            whole = self._composed(sources, target)
        finally:
            self.delete(temporary)
        if whole.size != size:
            raise self._failed(target, _WRITTEN, f"it has {whole.size} bytes and its parts have {size}")
        return Composed(size, f"crc32c:{whole.crc32c}")

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, and all below a path that ends in `/`; placeholders of folders left empty go as well."""
        wanted = list(paths)
        names = [each for each in wanted if not each.endswith("/")]
        for folder in wanted:
            if folder.endswith("/"):
                names += [each.path for each in self._below(folder)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self._delete, dict.fromkeys(names)):
                pass
        for folder in sorted({_parent(each) for each in wanted}, reverse=True):
            self._prune(folder)

    def fetch(self, path: str, generation: int, first: int, last: int) -> bytes:
        """Return the bytes from `first` to `last`, both included, of one generation of an object.

        Raises:
            TargetUnavailable: there is another generation by now.
        """
        from google.api_core.exceptions import NotFound

        def download(timeout: float) -> bytes:
            blob = self._blob(path, generation)
            part = partial(blob.download_as_bytes, start=first, end=last, raw_download=True, checksum=None)
            try:
                return bytes(_checked(path, part, timeout))
            except NotFound:
                raise TargetUnavailable(f"{path} was replaced while it was read; run again, it is safe") from None

        return self._call(path, _READ, download, self._deadlines.transfer)

    def _call(
        self, path: str, done: str, call: Callable[[float], T], seconds: float | None = None, request: float = REQUEST
    ) -> T:
        deadline = Deadline(seconds or self._deadlines.request)
        return self._calls(f"{path} {done}", deadline, partial(_answered, call), request)

    def _failed(self, path: str, done: str, reason: str) -> TargetFailed:
        return TargetFailed(f"{self._calls.target}: {path} {done}: {reason}")

    def _blob(self, path: str, generation: int | None = None) -> Blob:
        bucket, name = _split(path)
        return self._client.bucket(bucket).blob(name, generation=generation)

    def _fetched(self, path: str, timeout: float) -> Blob | None:
        """Return an object with its metadata, None where there is none."""
        bucket, name = _split(path)
        return self._client.bucket(bucket).get_blob(name, retry=NO_RETRY, timeout=timeout)

    def _present(self, path: str) -> Blob:
        found = self._call(path, _READ, partial(self._fetched, path))
        if found is None:
            raise self._failed(path, _READ, "there is no such object")
        return found

    def _below(self, folder: str) -> Iterator[StoredFile]:
        """Yield all objects below a folder, the placeholders of folders too."""
        token: str | None = None
        while True:
            page, token = self._call(folder, _LISTED, partial(self._page, folder, token, None))
            yield from page
            if token is None:
                return

    def _page(
        self, folder: str, token: str | None, most: int | None, timeout: float
    ) -> tuple[Sequence[StoredFile], str | None]:
        bucket, prefix = _split(folder)
        found = self._client.list_blobs(
            bucket,
            prefix=prefix if prefix.endswith("/") or not prefix else f"{prefix}/",
            page_token=token,
            max_results=most,
            fields="items(name,size),nextPageToken",
            retry=NO_RETRY,
            timeout=timeout,
        )
        page = [StoredFile(f"gs://{bucket}/{each.name}", each.size) for each in next(found.pages, ())]
        return page, found.next_page_token

    def _rewrite(self, source: str, target: str, token: str | None, timeout: float) -> str | None:
        """Copy, or go on copying; return the token with which to go on, None where it is done."""
        copied = self._blob(target).rewrite(self._blob(source), token=token, retry=NO_RETRY, timeout=timeout)
        return None if copied[0] is None else str(copied[0])

    def _composed(self, sources: Sequence[Blob], target: str) -> Blob:
        def compose(timeout: float) -> Blob:
            blob = self._blob(target)
            blob.content_type = _content_type(target)
            generations = [each.generation for each in sources]
            blob.compose(sources, if_source_generation_match=generations, retry=NO_RETRY, timeout=timeout)
            return blob

        return self._call(target, _WRITTEN, compose, self._deadlines.transfer)

    def _delete(self, path: str) -> None:
        from google.api_core.exceptions import NotFound

        def delete(timeout: float) -> None:
            try:
                self._blob(path).delete(retry=NO_RETRY, timeout=timeout)
            except NotFound:
                return

        self._call(path, _DELETED, delete)

    def _prune(self, folder: str) -> None:
        """Remove the placeholder of a folder that holds nothing else, and then those of its parents."""
        while _split(folder)[1]:
            page, _ = self._call(folder, _LISTED, partial(self._page, folder, None, 2))
            if any(each.path != folder for each in page):
                return
            if page:
                self._delete(folder)
            folder = _parent(folder)


class _Reading(io.RawIOBase):
    """One generation of an object, read from its beginning; at its end its crc32c is checked."""

    def __init__(self, files: GcsFiles, path: str, blob: Blob) -> None:
        import google_crc32c

        self._files, self._path, self._blob = files, path, blob
        self._crc32c: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        self._at = 0

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        # Python's own asks for 8 KiB at a time.
        return b"".join(iter(lambda: self.read(_CHUNK) or b"", b""))

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._blob.size - self._at)
        if wanted == 0:
            return 0
        data = self._files.fetch(self._path, self._blob.generation, self._at, self._at + wanted - 1)
        buffer[: len(data)] = data
        self._at += len(data)
        self._crc32c.update(data)
        if self._at == self._blob.size and self._blob.crc32c != base64.b64encode(self._crc32c.digest()).decode():
            raise _corrupt(self._path)
        return len(data)


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix("gs://").partition("/")
    return bucket, name


def _parent(path: str) -> str:
    """Return the folder of an object or of a folder, ending in `/`."""
    return f"{path.rstrip('/').rpartition('/')[0]}/"


def _content_type(path: str) -> str:
    type_, packed = mimetypes.guess_type(path)
    return "application/octet-stream" if packed or type_ is None else type_


def _checked(path: str, call: Callable[..., T], timeout: float) -> T:
    """Make a call that carries content and that the library holds against its checksum."""
    from google.cloud.storage.exceptions import DataCorruption

    try:
        return call(retry=NO_RETRY, timeout=timeout)
    except DataCorruption:
        raise _corrupt(path) from None


def _corrupt(path: str) -> TargetUnavailable:
    return TargetUnavailable(f"{path}: what arrived is not what was sent (crc32c); run again, it is safe")


def _answered(call: Callable[[float], T], timeout: float) -> T:
    """Make a call; of an answer with content the library keeps the service's words in the answer only."""
    from google.api_core.exceptions import GoogleAPICallError, from_http_status

    try:
        return call(timeout)
    except GoogleAPICallError as error:
        if error.errors or error.response is None:
            raise
        answer: GoogleAPICallError = from_http_status(error.code, "", errors=[_words(error)])  # type: ignore[no-untyped-call]
        raise answer from None


def _words(error: GoogleAPICallError) -> dict[str, str]:
    """Return reason and message of an answer: JSON of the API's form, or a text."""
    text = str(error.response.text)
    try:
        first = error.response.json()["error"]
        return {"reason": str(first["errors"][0]["reason"]), "message": str(first["message"])}
    except (ValueError, LookupError, TypeError):
        return {"message": "" if text.lstrip().startswith("<") else text}
