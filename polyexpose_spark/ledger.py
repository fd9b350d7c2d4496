"""The ledger: one small JSON object per product and port under `state.location`, changed by compare-and-set only.

It holds the receipts of the snapshots that are kept (newest first: the first one is what is exposed) and, while a run
publishes, that run's claim. Beside it every receipt, of failures as well, is a file of its own. Of two runs at the same
time one gets the claim; the other is told so and may be repeated. A claim of a process that died is taken over: at once
on the same machine, where the process can be seen to be gone, elsewhere when it was not renewed for CLAIM_SECONDS.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from polyexpose_spark.clients import ABSENT, Changed, Files
from polyexpose_spark.documents import Strict
from polyexpose_spark.errors import PolyexposeError, TargetFailed, TargetUnavailable
from polyexpose_spark.position import Position
from polyexpose_spark.receipt import Receipt

log = logging.getLogger(__name__)

CLAIM_SECONDS = 120
"""A claim on another machine counts as abandoned when it was not renewed for so long."""


class _Record(Strict):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Claim(_Record):
    """Who publishes just now."""

    run: str
    machine: str
    process: int
    snapshot_id: int
    renewed_at: float
    """Seconds since 1970 UTC."""


class Entry(_Record):
    """Content of the ledger object."""

    format: int = 1
    claim: Claim | None = None
    kept: tuple[Receipt, ...] = ()
    """Receipts of the exposures that can be served again, newest first; the first is what is exposed."""

    position: Position | None = None
    """How far a port that sends what changed has come."""

    @property
    def exposed(self) -> Receipt | None:
        """The receipt of what is exposed."""
        return self.kept[0] if self.kept else None


@dataclass
class Ledger:
    """The ledger object of one port of one product."""

    files: Files
    folder: str
    """`<state.location>/<product>`."""
    port: str

    @property
    def path(self) -> str:
        """Path of the ledger object."""
        return f"{self.folder}/{self.port}.json"

    def read(self) -> tuple[Entry, str]:
        """Return the entry and its generation, by one read; an empty entry where there is none.

        Raises:
            TargetFailed: the object is not a ledger that this version can read.
        """
        found = self.files.read(self.path)
        if found is None:
            return Entry(), ABSENT
        try:
            entry = Entry.model_validate_json(found[0])
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise TargetFailed(f"{self.path}: not a ledger of this version ({reason}); nothing was changed") from None
        return entry, found[1]

    @contextmanager
    def claim(self, run: str, snapshot_id: int) -> Iterator[Held]:
        """Hold the port for this run.

        Raises:
            TargetUnavailable: another run holds it, or took it over in the meantime.
        """
        entry, generation = self.read()
        _refuse_if_held(entry.claim, self.path)
        claim = Claim(run=run, machine=_machine(), process=os.getpid(), snapshot_id=snapshot_id, renewed_at=time.time())
        held = Held(self, entry.model_copy(update={"claim": claim}), generation)
        held.write()
        renewal = threading.Thread(target=held.keep_renewed, name=f"claim {self.path}", daemon=True)
        renewal.start()
        try:
            yield held
        finally:
            held.release()
            renewal.join()

    def write_receipt(self, receipt: Receipt) -> None:
        """Write a receipt as a file of its own, named by time and run; receipts are never changed."""
        stamp = receipt.finished_at.strftime("%Y%m%dT%H%M%S")
        path = f"{self.folder}/receipts/{self.port}/{stamp}-{receipt.run}.json"
        self.files.put(path, receipt.to_json().encode())


class Held:
    """A ledger object under a claim; every write says which generation it expects."""

    def __init__(self, ledger: Ledger, entry: Entry, generation: str) -> None:
        """Keep what was read; write() puts the claim down."""
        self.ledger = ledger
        self.entry = entry
        self._generation = generation
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._lost = False

    def write(self) -> None:
        """Write the entry.

        Raises:
            TargetUnavailable: somebody else changed it; this run no longer holds the port.
        """
        try:
            data = self.entry.model_dump_json(by_alias=True).encode()
            self._generation = self.ledger.files.put(self.ledger.path, data, if_generation=self._generation)
        except Changed:
            self._lost = True
            raise _lost(self.ledger.path) from None

    def check(self) -> None:
        """Make sure that the claim still stands, before something that a reader sees is changed.

        Raises:
            TargetUnavailable: another run took it over.
        """
        with self._lock:
            current, generation = self.ledger.read()
            if self._lost or generation != self._generation or current.claim is None:
                self._lost = True
                raise _lost(self.ledger.path)

    def keep_renewed(self) -> None:
        """Renew the claim until it is released, so that other machines see that this run is alive."""
        while not self._released.wait(CLAIM_SECONDS / 4):
            with self._lock:
                if self._lost or self.entry.claim is None:
                    return
                renewed = self.entry.claim.model_copy(update={"renewed_at": time.time()})
                self.entry = self.entry.model_copy(update={"claim": renewed})
                try:
                    self.write()
                except PolyexposeError as error:
                    log.warning("%s: the claim could not be renewed: %s", self.ledger.path, error)

    def record(self, receipt: Receipt, keep: int) -> None:
        """Make this receipt the one of what is exposed; beyond `keep` snapshots the oldest go."""
        with self._lock:
            self.ledger.write_receipt(receipt)
            others = [each for each in self.entry.kept if each.snapshot_id != receipt.snapshot_id]
            self.entry = self.entry.model_copy(update={"kept": tuple([receipt, *others][:keep])})
            self.write()

    def read(self) -> Position | None:
        """Return the position. With store() this is ports.base.Positions."""
        return self.entry.position

    def store(self, position: Position) -> None:
        """Store the position.

        Raises:
            TargetUnavailable: another run took this port over.
        """
        with self._lock:
            self.entry = self.entry.model_copy(update={"position": position})
            self.write()

    def forget(self, receipt: Receipt) -> None:
        """Write the receipt of a withdrawal: nothing is exposed or kept any more.

        Of a position the epoch stays, so that what is sent in another life has other ids.
        """
        with self._lock:
            self.ledger.write_receipt(receipt)
            position = self.entry.position.anew() if self.entry.position else None
            self.entry = self.entry.model_copy(update={"kept": (), "position": position})
            self.write()

    def release(self) -> None:
        """Give the claim back; where that fails it runs out by itself."""
        self._released.set()
        with self._lock:
            if self._lost:
                return
            self.entry = self.entry.model_copy(update={"claim": None})
            try:
                self.write()
            except PolyexposeError as error:
                log.warning("%s: the claim could not be given back: %s", self.ledger.path, error)


def entries(files: Files, folder: str) -> dict[str, Entry]:
    """Return the entry of every port of a product that has one."""
    found: dict[str, Entry] = {}
    for each in files.list(f"{folder}/"):
        name = each.path.rsplit("/", 1)
        if name[0] == folder and name[1].endswith(".json"):
            port = name[1].removesuffix(".json")
            found[port] = Ledger(files, folder, port).read()[0]
    return found


def _lost(path: str) -> TargetUnavailable:
    return TargetUnavailable(f"{path}: another run took this port over; it is safe to run again")


def _refuse_if_held(claim: Claim | None, path: str) -> None:
    if claim is None:
        return
    age = time.time() - claim.renewed_at
    if claim.machine == _machine():
        if not _alive(claim.process):
            log.warning("%s: run %s died without giving its claim back; taken over", path, claim.run)
            return
    elif age > CLAIM_SECONDS:
        log.warning(
            "%s: run %s on %s has not renewed its claim for %d s; taken over",
            path,
            claim.run,
            claim.machine,
            age,
        )
        return
    raise TargetUnavailable(
        f"{path}: run {claim.run} (process {claim.process} on {claim.machine.split('/')[0]}) is publishing this port; "
        "nothing was changed, run again when it is done"
    )


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A killed child that nobody waited for (a zombie) still has a process id and does nothing any more.
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def _machine() -> str:
    """Name this machine, this boot and this process table: where they are equal, a process id can be asked for."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass  # not Linux: the host name has to do
    return "/".join(parts)
