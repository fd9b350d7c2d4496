"""The whole flow, and the only place that wires things together.

config -> product -> snapshot -> policy -> contract -> port.plan -> port.publish -> receipt
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from polyexpose_spark import __version__, run_log, tags
from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.errors import ExitCode, PolyexposeError, TargetUnavailable
from polyexpose_spark.ledger import Entry
from polyexpose_spark.ports.base import Plan, Positions, Published, StepListener
from polyexpose_spark.product import DataProduct, PortSpec
from polyexpose_spark.receipt import Check, Outcome, Receipt, at
from polyexpose_spark.served import PinnedRows
from polyexpose_spark.spark_errors import explained
from polyexpose_spark.workspace import AnyPort, Prepared, Request, Workspace

log = logging.getLogger(__name__)

T = TypeVar("T")


def _silent(name: str, detail: str) -> None:
    """Tell nobody."""


def run(request: Request, step: StepListener = _silent) -> tuple[Receipt, ...]:
    """Expose every product at every port asked for; all are tried, each gets a receipt.

    Raises:
        ConfigError: the configuration or a contract is not valid; nothing was touched.
    """
    workspace = Workspace(request)
    run_id = uuid.uuid4().hex[:12]
    exposed = [_exposed(workspace, run_id, of, ports, step) for of, ports in workspace.ports]
    return tuple(receipt for each in exposed for receipt in each)


def _exposed(
    workspace: Workspace, run_id: str, of: DataProduct, ports: Sequence[AnyPort], step: StepListener
) -> list[Receipt]:
    """Expose one product at its ports, all at one snapshot."""
    exposures = [_Exposing(workspace, run_id, of, port, step) for port in ports]
    try:
        prepared = workspace.prepare(of)
    except PolyexposeError as error:
        return [_told(each.failed(error)) for each in exposures]
    return [_told(each.expose(prepared)) for each in exposures]


def _told(receipt: Receipt) -> Receipt:
    run_log.receipt(receipt)
    return receipt


def follow(
    request: Request, told_to_stop: Callable[[float], bool], every: float, step: StepListener = _silent
) -> tuple[Receipt, ...]:
    """Expose, and expose again whenever a table has a new snapshot; return the last receipt of every exposure.

    What is being exposed when it is told to stop is finished first. An unavailable target is tried again at every
    look; any other failure ends it.

    Args:
        request: as for run(), without a snapshot of its own.
        told_to_stop: waits so many seconds, and says whether it is to stop.
        every: seconds between two looks at the catalog, which need no session.
        step: told every step.

    Raises:
        ConfigError: the configuration or a contract is not valid; nothing was touched.
    """
    workspace = Workspace(request)
    run_id = uuid.uuid4().hex[:12]
    last: dict[tuple[str, str], Receipt] = {}
    seen: dict[str, int | None] = {}
    while True:
        for of, ports in workspace.ports:
            again = any(last[key].exit_code for key in last if key[0] == of.id)
            try:
                current = workspace.clients.catalog.table(of.table).current_snapshot_id
            except TargetUnavailable as error:
                log.warning("%s", error)
                continue
            if of.id in seen and seen[of.id] == current and not again:
                continue
            for receipt in _exposed(workspace, run_id, of, ports, step):
                last[of.id, receipt.port] = receipt
                if receipt.error and receipt.exit_code is ExitCode.UNAVAILABLE:
                    log.warning("%s; trying again", receipt.error)
            seen[of.id] = current
        failed = any(each.exit_code not in (ExitCode.DONE, ExitCode.UNAVAILABLE) for each in last.values())
        if failed or told_to_stop(every):
            return tuple(last.values())


def withdraw(request: Request, step: StepListener = _silent) -> tuple[Receipt, ...]:
    """Take away what every product published at every port asked for, and nothing else; each gets a receipt.

    Raises:
        ConfigError: the configuration or a contract is not valid; nothing was touched.
    """
    workspace = Workspace(request)
    run_id = uuid.uuid4().hex[:12]
    # A product goes before those that it refers to: what leads to a table is gone before the table is.
    return tuple(
        _told(_Exposing(workspace, run_id, of, port, step).withdraw())
        for of, ports in reversed(workspace.ports)
        for port in ports
    )


def exit_code(results: Sequence[Receipt | Planned | PortStatus]) -> ExitCode:
    """Return the first that occurred of 1, 2, 3, 4, 5; 0 where none did."""
    return min((each.exit_code for each in results if each.exit_code), default=ExitCode.DONE)


class _Exposing:
    """One exposure: one product at one port in one run."""

    def __init__(self, workspace: Workspace, run_id: str, of: DataProduct, port: AnyPort, step: StepListener) -> None:
        self.workspace, self.run_id, self.of, self.port, self._step = workspace, run_id, of, port, step
        self.started = datetime.now(UTC)
        self._snapshot_id: int | None = None

    def step(self, name: str, detail: str) -> None:
        """Tell a step by its port's name: `csv.staged`."""
        server = self.port.spec.server
        told, text = f"{server}.{name.rpartition('.')[2]}", f"{self.of.id} {detail}".rstrip()
        run_log.step(told, text, run=self.run_id, product=self.of.id, port=server, snapshotId=self._snapshot_id)
        self._step(told, text)

    def expose(self, prepared: Prepared) -> Receipt:
        """Expose; whatever goes wrong becomes a receipt."""
        plan_: Plan | None = None
        self.started, self._snapshot_id = datetime.now(UTC), prepared.exposure.snapshot.id
        try:
            plan_ = self.port.plan(prepared.exposure)
            book = self.workspace.ledger(self.of, self.port)
            entry, _ = book.read()
            anew = self.workspace.begins_anew(self.of, self.port)
            if entry.exposed and not anew and is_there(entry, plan_, self.port):
                return self._unchanged(entry.exposed)
            with book.claim(self.run_id, prepared.exposure.snapshot.id) as held:
                self.step("claimed", "")
                if anew and held.entry.position:
                    held.store(held.entry.position.anew())
                self.workspace.begun(self.of, self.port)
                warnings = plan_.warnings + tags.tag(self.workspace, prepared, self.port, self.step)
                published = self._publish(prepared, plan_, held)
                held.check()
                receipt = self._published(prepared, plan_, published, warnings)
                self.step("recording", "")
                held.record(receipt, self.port.settings.keep_snapshots)
                self.step("recorded", "")
                kept = tuple(each.snapshot_id for each in held.entry.kept if each.snapshot_id is not None)
                self.port.collect(self.of, kept, self.step)
                # Where a run died before, this one finishes its work, even if a session has to start for that alone.
                tags.untag(self.workspace, self.of, self.step, start_session=entry.claim is not None)
            self.step("released", "")
            return receipt
        except PolyexposeError as error:
            return self.failed(error, prepared, plan_)

    def withdraw(self) -> Receipt:
        """Take away; whatever goes wrong becomes a receipt."""
        try:
            book = self.workspace.ledger(self.of, self.port)
            address = self.port.address(self.of)
            with book.claim(self.run_id, snapshot_id=0) as held:
                self.step("claimed", "")
                there = self._answered(lambda: self.port.withdraw(self.of, self.step))
                outcome = Outcome.WITHDRAWN if there or held.entry.kept else Outcome.UNCHANGED
                receipt = self._receipt(None, None, outcome=outcome, exit_code=ExitCode.DONE, address=address)
                if outcome is Outcome.WITHDRAWN:
                    held.forget(receipt)
                    tags.untag(self.workspace, self.of, self.step, start_session=True)
            return receipt
        except PolyexposeError as error:
            return self.failed(error)

    def _answered(self, work: Callable[[], T]) -> T:
        """Return what a port returns; what it did not expect becomes an error of ours, in one line."""
        try:
            return work()
        except PolyexposeError:
            raise
        except Exception as error:
            raise explained(error) from error

    def _publish(self, prepared: Prepared, plan_: Plan, positions: Positions) -> Published:
        served_ = served(self.workspace, prepared, self.port)
        return self._answered(lambda: self.port.publish(plan_, served_, positions, self.step))

    def _unchanged(self, exposed: Receipt) -> Receipt:
        again: dict[str, Any] = {"run": self.run_id, "outcome": Outcome.UNCHANGED, "bytes_written": 0, "warnings": ()}
        again |= {"started_at": self.started, "finished_at": datetime.now(UTC)}
        return exposed.model_copy(update=again)

    def _published(self, prepared: Prepared, plan_: Plan, published: Published, warnings: tuple[str, ...]) -> Receipt:
        return self._receipt(
            prepared,
            plan_,
            outcome=Outcome.PUBLISHED,
            exit_code=ExitCode.DONE,
            tag=prepared.exposure.tag,
            uris=published.uris,
            rows=published.rows,
            bytes_written=published.bytes_written,
            details=published.details,
            warnings=warnings,
        )

    def failed(self, error: PolyexposeError, prepared: Prepared | None = None, plan_: Plan | None = None) -> Receipt:
        """Return the receipt of a failure, written where the ledger can be written."""
        code = error.exit_code
        receipt = self._receipt(prepared, plan_, outcome=Outcome.FAILED, exit_code=code, error=str(error))
        try:
            self.workspace.ledger(self.of, self.port).write_receipt(receipt)
        except PolyexposeError as second:
            log.warning("the receipt of the failure could not be written: %s", second)
        return receipt

    def _receipt(self, prepared: Prepared | None, plan_: Plan | None, **values: Any) -> Receipt:
        of, pinned = self.of, prepared.exposure.snapshot if prepared else None
        checks: tuple[Check, ...] = (Check(name="columns", verdict="passed"),) if prepared else ()
        if of.quality_rules:
            checks += (Check(name="quality", verdict="not checked", detail=f"{of.quality_rules} rule(s)"),)
        given: dict[str, Any] = {
            "run": self.run_id,
            "product": of.id,
            "contract_version": of.version,
            "port": self.port.spec.server,
            "mode": self.port.mode,
            "table": of.source,
            "table_uuid": prepared.table.uuid if prepared else None,
            "snapshot_id": pinned.id if pinned else None,
            "snapshot_committed_at": at(pinned.committed_at) if pinned else None,
            "digest": plan_.digest if plan_ else None,
            "address": plan_.address if plan_ else None,
            "checks": checks,
            "started_at": self.started,
            "finished_at": datetime.now(UTC),
            "version": __version__,
        }
        return Receipt(**(given | values))


def is_there(entry: Entry, plan_: Plan, port: AnyPort) -> bool:
    """Say whether ledger and target both hold this plan. A claim left by a dead run means: there is work to finish."""
    if entry.claim is not None or entry.exposed is None or entry.exposed.digest != plan_.digest:
        return False
    held = port.held(plan_.exposure.product)
    return held is not None and held.digest == plan_.digest and port.is_complete(plan_)


def served(workspace: Workspace, prepared: Prepared, port: AnyPort) -> PinnedRows:
    """Return the data of an exposure, as a port is handed it."""
    files, folder = workspace.state(prepared.product)
    return PinnedRows(
        exposure=prepared.exposure,
        table=workspace.source(prepared.product),
        session=workspace.clients.session,
        source=prepared.table,
        files=files,
        checkpoints=f"{folder}/checkpoints/{port.spec.server}",
    )


@dataclass(frozen=True)
class Planned:
    """One port of one product: what would be done, or why it cannot be."""

    product: DataProduct
    spec: PortSpec
    plan: Plan | None = None
    """None where there is an error."""
    to_do: bool = False
    """False: the target already holds this plan."""
    exposed_snapshot_id: int | None = None
    outlook: tuple[str, ...] = ()
    """What only the target knows."""
    error: PolyexposeError | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of what went wrong."""
        return self.error.exit_code if self.error else ExitCode.DONE


def plan(request: Request) -> tuple[Planned, ...]:
    """Say what run() would do. Reads metadata only: no data file, no session, nothing written."""
    workspace = Workspace(request)
    planned: list[Planned] = []
    for of, ports in workspace.ports:
        try:
            prepared = workspace.prepare(of)
        except PolyexposeError as error:
            planned += [Planned(of, port.spec, error=error) for port in ports]
            continue
        planned += [_planned(workspace, port, prepared) for port in ports]
    return tuple(planned)


def _planned(workspace: Workspace, port: AnyPort, prepared: Prepared) -> Planned:
    of = prepared.product
    try:
        plan_ = port.plan(prepared.exposure)
        entry, _ = workspace.ledger(of, port).read()
        exposed = entry.exposed.snapshot_id if entry.exposed else None
        outlook = port.outlook(plan_, entry.position)
        return Planned(of, port.spec, plan_, not is_there(entry, plan_, port), exposed, outlook)
    except PolyexposeError as error:
        return Planned(of, port.spec, error=error)


@dataclass(frozen=True)
class PortStatus:
    """One port of one product: what is exposed, and how far that is behind the table."""

    product: DataProduct
    spec: PortSpec
    address: str | None = None
    exposed: Receipt | None = None
    held_snapshot_id: int | None = None
    """What the target itself says; differs from the receipt where somebody else changed the target."""
    current: Snapshot | None = None
    snapshots_behind: int | None = None
    """Commits between the exposed and the current snapshot; None: not an ancestor, or nothing exposed."""
    seconds_behind: float | None = None
    """Between the commits of the two."""
    publishing: str | None = None
    """Id of the run that publishes just now."""
    error: PolyexposeError | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of what went wrong."""
        return self.error.exit_code if self.error else ExitCode.DONE


def status(request: Request) -> tuple[PortStatus, ...]:
    """Say what every port serves, asking the target itself, and how far that is behind the table."""
    workspace = Workspace(request)
    found: list[PortStatus] = []
    for of, ports in workspace.ports:
        try:
            table = workspace.clients.catalog.table(of.table)
        except PolyexposeError as error:
            found += [PortStatus(of, port.spec, error=error) for port in ports]
            continue
        found += [_status(workspace, port, of, table) for port in ports]
    return tuple(found)


def _status(workspace: Workspace, port: AnyPort, of: DataProduct, table: Table) -> PortStatus:
    try:
        entry, _ = workspace.ledger(of, port).read()
        held = port.held(of)
        address = port.address(of)
    except PolyexposeError as error:
        return PortStatus(of, port.spec, error=error)
    line = table.ancestors(table.current_snapshot_id) if table.current_snapshot_id is not None else ()
    ids = [each.id for each in line]
    exposed = entry.exposed
    behind = ids.index(exposed.snapshot_id) if exposed and exposed.snapshot_id in ids else None
    return PortStatus(
        product=of,
        spec=port.spec,
        address=address,
        exposed=exposed,
        held_snapshot_id=held.snapshot_id if held else None,
        current=line[0] if line else None,
        snapshots_behind=behind,
        seconds_behind=(line[0].committed_at - line[behind].committed_at) / 1000 if behind is not None else None,
        publishing=entry.claim.run if entry.claim else None,
    )
