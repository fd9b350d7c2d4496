"""LocalFiles: objects in a local (or mounted) file system. Implements clients.Files.

A folder is only a prefix: it comes with its first object and goes with its last one. A put writes a temporary
file beside the object and renames it over the object, under an exclusive lock on the folder: a reader sees
the old or the new content, and of two conditional puts one finds the other's generation.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NoReturn

from polyexpose_spark.clients import ABSENT, Changed, Composed, StoredFile
from polyexpose_spark.errors import TargetFailed, TargetUnavailable

# Every put holds the lock of its folder: a temporary file seen under the lock was left by a dead process.
_TEMPORARY = ".polyexpose-put"
_BLOCK = 256 << 10
_ATTEMPTS = 1000
"""Others who remove a folder just when it is needed cannot do so this often; a folder that cannot be made always."""


class LocalFiles:
    """Files below absolute paths; the generation of an object is the sha256 of its content."""

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Return content and generation, or None where there is no such file."""
        try:
            data = Path(_local(path)).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _fail(error, path, "read")
        return data, _generation(data)

    def put(self, path: str, data: bytes, if_generation: str | None = None) -> str:
        """Write a file in one step; see Files.put."""
        target = Path(_local(path))
        try:
            with _locked(target.parent) as folder:
                _remove_temporaries(target.parent)
                if if_generation is not None:
                    found = self.read(path)
                    if (found[1] if found else ABSENT) != if_generation:
                        raise Changed(path)
                _replace(target, data)
                os.fsync(folder)
        except OSError as error:
            _fail(error, path, "written")
        return _generation(data)

    def open(self, path: str) -> FileIO:
        """Open a file for reading."""
        try:
            return FileIO(_local(path))
        except OSError as error:
            _fail(error, path, "read")

    def list(self, prefix: str) -> Sequence[StoredFile]:
        """Return all files below a folder, sorted by path, without those of a put that is under way."""
        try:
            return tuple(sorted(_walk(_local(prefix)), key=lambda each: each.path))
        except OSError as error:
            _fail(error, prefix, "listed")

    def move(self, source: str, target: str) -> None:
        """Rename a file; an existing target is replaced."""
        path = Path(_local(target))
        try:
            with _locked(path.parent):
                os.replace(_local(source), path)
        except OSError as error:
            _fail(error, target, "written")

    def compose(self, parts: Sequence[str], target: str) -> Composed:
        """Concatenate files, hashing on the way; the result appears whole or not at all."""
        path = Path(_local(target))
        try:
            with _locked(path.parent):
                _remove_temporaries(path.parent)
                temporary = _temporary(path)
                try:
                    composed = self._concatenate(parts, temporary)
                    os.replace(temporary, path)
                finally:
                    temporary.unlink(missing_ok=True)
        except OSError as error:
            _fail(error, target, "written")
        return composed

    def _concatenate(self, parts: Sequence[str], target: Path) -> Composed:
        # The kernel copies while we hash; both read the part from its cache.
        digest, size, buffer = hashlib.sha256(), 0, bytearray(_BLOCK)
        with FileIO(target, "w") as out, ThreadPoolExecutor(1) as copier:
            for part in parts:
                with self.open(part) as source, self.open(part) as copied:
                    copying = copier.submit(_copy, copied.fileno(), out.fileno())
                    while count := source.readinto(buffer):
                        digest.update(memoryview(buffer)[:count])
                        size += count
                    copying.result()
        return Composed(size, f"sha256:{digest.hexdigest()}")

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, and whole folders where a path ends in `/`; a folder left empty goes as well."""
        for path in paths:
            local = Path(_local(path))
            try:
                if path.endswith("/"):
                    _remove_tree(local)
                else:
                    local.unlink(missing_ok=True)
                _prune(local.parent)
            except NotADirectoryError:
                continue
            except OSError as error:
                _fail(error, path, "deleted")


def _local(path: str) -> str:
    return path.removeprefix("file://")


def _generation(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _copy(source: int, target: int) -> None:
    while os.sendfile(target, source, None, 1 << 30):
        pass


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}{_TEMPORARY}")


def _replace(target: Path, data: bytes) -> None:
    temporary = _temporary(target)
    try:
        with temporary.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder, made where it is missing, against every other change; yield its descriptor."""
    for attempt in itertools.count(1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, FileExistsError):
            if attempt == _ATTEMPTS or (os.path.lexists(folder) and not folder.is_dir()):
                raise
            continue  # another process removes an empty folder just now
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same(descriptor, folder):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _same(descriptor: int, folder: Path) -> bool:
    """Say whether the descriptor still is what stands at this path, after waiting for the lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def _remove_temporaries(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.name.endswith(_TEMPORARY):
            Path(entry.path).unlink(missing_ok=True)


def _walk(folder: str) -> Iterator[StoredFile]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif not entry.name.endswith(_TEMPORARY):
            try:
                yield StoredFile(entry.path, entry.stat().st_size)
            except FileNotFoundError:
                continue


def _remove_tree(folder: Path) -> None:
    # A process that was told to stop may still write for a moment: what it adds is removed by the next round.
    for last in (False, False, True):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        except OSError as error:
            if last or error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(0.1)


def _prune(folder: Path) -> None:
    """Remove the folder, and then its parents, as long as they hold nothing but leftovers of puts."""
    while True:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            folder = folder.parent
            continue
        except OSError:
            return
        try:
            if any(not name.endswith(_TEMPORARY) for name in os.listdir(descriptor)):
                return
            # Somebody who holds the lock is about to put something here.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _same(descriptor, folder):
                return
            _remove_temporaries(folder)
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # not empty any more, a mount point, or a folder that is not ours to remove
            return
        finally:
            os.close(descriptor)
        folder = folder.parent


def _fail(error: OSError, path: str, done: str) -> NoReturn:
    """Raise what the error means to a user."""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            raise TargetFailed(f"disk full: {path} could not be {done}; make room and run again") from error
        case errno.EACCES | errno.EPERM:
            who = f"user id {os.geteuid()}"
            raise TargetFailed(f"{path} could not be {done}: {who} has no right to ({reason})") from error
        case errno.EIO | errno.ESTALE | errno.ETIMEDOUT | errno.EHOSTDOWN:
            raise TargetUnavailable(f"{path} could not be {done}: {reason}; run again, it is safe") from error
    raise TargetFailed(f"{path} could not be {done}: {reason}") from error
