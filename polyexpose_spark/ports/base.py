"""Port, the interface of one way of serving, and the values that pass through it.

For the author of a port: one file with the settings of the contract (camelCase), the addresses of the profile
(snake_case), the type map and the class, in that order; one line in PORTS; nothing else.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import Field

from polyexpose_spark.documents import Strict, StrictCamel
from polyexpose_spark.errors import ConfigError, Problem, Refused
from polyexpose_spark.logical import ColumnType, LogicalType

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from polyexpose_spark.catalog import Snapshot
    from polyexpose_spark.clients import Clients
    from polyexpose_spark.position import Position
    from polyexpose_spark.product import Column, DataProduct, PortSpec

S = TypeVar("S", bound="PortSettings")
A = TypeVar("A", bound="PortAddresses")

# Told at every named point of a run ("csv.staged", "14 files"): progress for the user.
StepListener = Callable[[str, str], None]


class PortSettings(StrictCamel):
    """What a contract may say about a port (besides `mode`)."""

    keep_snapshots: int = Field(default=3, ge=1)
    """How many exposed snapshots stay available for a rollback, the current one included."""


class PortAddresses(Strict):
    """What a profile may say about a port: the block `ports.<mode>`; it wins over the contract."""


@dataclass(frozen=True)
class Native:
    """How a type is carried: its name at the target, and what a consumer can no longer see (empty: nothing)."""

    name: str
    loses: str = ""


@dataclass(frozen=True)
class TypeMap:
    """Each LogicalType in exactly one of the two (a test checks it)."""

    carries: Mapping[LogicalType, Native]
    refuses: Mapping[LogicalType, str]
    """Type -> reason."""


# Spark cannot open a table with a column of these types, not even for its other columns.
# Source: Iceberg TypeToSparkType (Spark 3.5 with Iceberg 1.12: tried).
NOT_READ_BY_SPARK: Mapping[LogicalType, str] = {
    LogicalType.TIME: "Spark does not support time columns and cannot open the table",
    LogicalType.TIMESTAMP_NS: "Spark does not support nanosecond timestamps and cannot open the table",
    LogicalType.TIMESTAMPTZ_NS: "Spark does not support nanosecond timestamps and cannot open the table",
    LogicalType.VARIANT: "Spark 3.5 does not support variant columns and cannot open the table",
    LogicalType.GEOMETRY: "Spark does not support geometry columns and cannot open the table",
    LogicalType.GEOGRAPHY: "Spark does not support geography columns and cannot open the table",
    LogicalType.UNKNOWN: "Spark 3.5 does not support columns of unknown type and cannot open the table",
}


@dataclass(frozen=True)
class Exposure:
    """What is to be exposed: a product at a snapshot, with the columns that the contract and the table agree on."""

    product: DataProduct
    snapshot: Snapshot
    columns: tuple[Column, ...]
    tag: str
    """Name of the Iceberg tag that keeps the snapshot: ``polyexpose_<product>_<snapshot id>``."""
    partitioning: tuple[str, ...] = ()
    """The table's partition spec, one text per field: `month(time_hour)`."""
    table_uuid: str = ""
    """Iceberg's id of the table; another one after it was dropped and made anew."""
    lineage: tuple[Snapshot, ...] = ()
    """The snapshot and its live ancestors, newest first."""
    live: frozenset[int] = frozenset()
    """Ids of all live snapshots."""
    referenced: frozenset[int] = frozenset()
    """Ids of those that a tag or branch keeps from expiry."""


@dataclass(frozen=True)
class Action:
    """One line of a plan: what will be done to what."""

    verb: str
    target: str
    detail: str = ""


@dataclass(frozen=True)
class Plan:
    """What publish() will do. Deterministic: the same product, snapshot and settings give the same plan."""

    exposure: Exposure
    server: str
    mode: str
    address: str
    """The effective address, after the profile's word."""
    columns: Mapping[str, Native]
    actions: tuple[Action, ...]
    digest: str
    """Kept at the target: the same digest there means that there is nothing to do."""
    estimated_bytes: int | None = None
    """Bytes to be written, estimated from metadata; None: nothing is copied."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """What the target itself says it serves."""

    digest: str
    snapshot_id: int
    contract_version: str


@dataclass(frozen=True)
class Published:
    """What publish() did."""

    uris: tuple[str, ...]
    rows: int | None
    """Rows served; None where the port points instead of copying."""
    bytes_written: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


class Served(Protocol):
    """The data as it may be served: pinned snapshot, policy applied. All that a port sees of the source."""

    @property
    def table(self) -> str:
        """Return the full name of the source table, quoted for Spark SQL; for ports that point."""
        ...

    def rows(self, split_bytes: int) -> DataFrame:
        """Return the rows in an order that is the same for the same snapshot on any machine.

        Args:
            split_bytes: size of the pieces of data files that one task reads.
        """
        ...

    def snapshot(self, snapshot_id: int) -> Snapshot:
        """Return a live snapshot of the table.

        Raises:
            Refused: it expired; says that `--from-scratch` begins anew.
        """
        ...

    def pieces(self, snapshot_id: int, split_bytes: int) -> Pieces:
        """Return all rows of a live snapshot, in the columns of the exposed one, in pieces that never change.

        Raises:
            Refused: the snapshot expired.
        """
        ...

    def commits(self, since: int) -> Sequence[Snapshot] | None:
        """Return the commits after a snapshot up to the exposed one, oldest first.

        Those that only rewrite files (operation `replace`) are left out.

        Returns:
            None where the exposed snapshot does not descend from it: a rollback, a branch, or expired in between.

        Raises:
            Refused: the snapshot expired; says that `--from-scratch` begins anew.
        """
        ...

    def changes(self, since: int, until: int | None = None) -> AbstractContextManager[DataFrame]:
        """Return what changed between two live snapshots, one row per key, in the columns of the exposed one.

        Args:
            since: the older state; it need not be an ancestor.
            until: the newer state; the exposed snapshot where None. A commit and its parent give that commit alone.

        Returns:
            The columns of changes.CHANGE: op (insert, update, delete), key, before, after (structs; NULL where there
            is none), snapshot_id, committed_at, ordinal. Equal keys are in one partition. Valid inside the `with`.

        Raises:
            Refused: a snapshot expired; says that `--from-scratch` begins anew.
        """
        ...

    def appends(self, since: int) -> Appends | str:
        """Return what was appended after a snapshot up to the exposed one, as a stream; or why there is none."""
        ...


class Pieces(Protocol):
    """The rows of one snapshot, cut into pieces: the same pieces of the same rows whenever it is read."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    @property
    def at_once(self) -> int:
        """How many of them keep all cores busy."""
        ...

    def rows(self, first: int, end: int) -> AbstractContextManager[DataFrame]:
        """Return the rows of pieces first to end - 1 in the form of Served.changes(), op `read`."""
        ...


class Appends(Protocol):
    """What was appended, by Structured Streaming with a checkpoint."""

    def run(self, send: Callable[[DataFrame, Sequence[Snapshot]], None]) -> None:
        """Hand over everything, in order and in as few batches as the stream makes.

        Args:
            send: takes the rows of some commits, in the form of Served.changes() with the ordinal counting the commits,
                and those commits, oldest first; when it returns, they were sent. What it raises ends the stream.

        Raises:
            StreamEnded: the stream cannot go on (a commit that is no append, an expired snapshot, ...); what was not
                handed over is got by Served.changes().
        """
        ...


class StreamEnded(Exception):
    """A stream that cannot go on; the text says why."""


class Positions(Protocol):
    """How far a port that sends what changed has come; kept in the ledger by compare-and-set."""

    def read(self) -> Position | None:
        """Return the position; None: nothing was ever sent."""
        ...

    def store(self, position: Position) -> None:
        """Store it.

        Raises:
            TargetUnavailable: another run took this port over.
        """
        ...


class Port(ABC, Generic[S, A]):
    """One way of serving a data product."""

    mode: ClassVar[str]
    """The value of --mode."""
    revision: ClassVar[int]
    """Part of the digest: raised when the port's output changes for the same plan."""
    points: ClassVar[bool] = False
    """True where the target points at the tagged snapshot instead of copying it: no tag, no exposure."""
    types: ClassVar[TypeMap]
    settings_model: ClassVar[type[PortSettings]]
    address_model: ClassVar[type[PortAddresses]]

    def __init__(self, spec: PortSpec, settings: S, addresses: A, clients: Clients) -> None:
        """Keep what is handed in; no network, no session."""
        self.spec = spec
        self.settings = settings
        self.addresses = addresses
        self.clients = clients

    @abstractmethod
    def address(self, product: DataProduct) -> str:
        """Return where the product is (to be) served.

        Raises:
            ConfigError: neither contract nor profile says where.
        """

    @abstractmethod
    def plan(self, exposure: Exposure) -> Plan:
        """Say what publish() would do. No data is read, no session started, nothing written.

        Raises:
            Refused: a type or a setting that this port cannot keep, naming the column.
        """

    @abstractmethod
    def held(self, product: DataProduct) -> Held | None:
        """Ask the target what it serves; None: nothing of this product. No session is started."""

    def is_complete(self, plan: Plan) -> bool:
        """Say whether all that goes with a target that holds this plan is in place as well (no session, no writing)."""
        return True

    def outlook(self, plan: Plan, position: Position | None) -> tuple[str, ...]:
        """Say what only target and ledger know of carrying out a plan: what stands in the way, what would change.

        Asked by `--mode plan` only; changes nothing.
        """
        return ()

    @abstractmethod
    def publish(self, plan: Plan, served: Served, positions: Positions, step: StepListener) -> Published:
        """Carry out the plan. A reader sees the old or the new state; doing it again changes nothing.

        Called only by the holder of the ledger's claim, so never twice at a time for one port of a product.

        Args:
            plan: what plan() returned.
            served: the data.
            positions: for ports that send what changed.
            step: told every named point.

        Raises:
            TargetFailed, TargetUnavailable: the target is as it was.
        """

    @abstractmethod
    def collect(self, product: DataProduct, kept: tuple[int, ...], step: StepListener) -> None:
        """Remove what is no longer needed: all but the snapshots in `kept` (newest first) and what is served."""

    @abstractmethod
    def withdraw(self, product: DataProduct, step: StepListener) -> bool:
        """Remove what this product published here, and nothing else; return whether there was anything.

        What readers follow goes first. Called only by the holder of the ledger's claim; may be repeated.

        Raises:
            TargetFailed, TargetUnavailable: something is still there; run again.
        """

    def said(self, product: DataProduct, key: str, setting: str | None = None) -> str:
        """Return what the contract's server says under a key.

        Args:
            product: the product.
            key: of the server.
            setting: of the profile's block `ports.<mode>`, which would win; named like the key where None.

        Raises:
            ConfigError: it says nothing.
        """
        value = str(self.spec.address.get(key) or "")
        if not value:
            profile = f"ports.{self.mode}.{setting or key}"
            message = f"no {key}: set `{key}` of this server, or {profile} in the profile"
            raise ConfigError([Problem(product.path, 0, self.spec.key, message)])
        return value

    def natives(self, columns: tuple[Column, ...]) -> dict[str, Native]:
        """Return how each column is carried.

        Raises:
            Refused: a column, or a part of one, is of a type that this port refuses; all of them are named.
        """
        refused = [
            f"column {path}: {type_} is refused by port {self.spec.server} ({self.mode}): "
            f"{self.types.refuses[type_.kind]}"
            for column in columns
            for path, type_ in column.type.walk(column.name)
            if type_.kind in self.types.refuses
        ]
        if refused:
            raise Refused("\n".join(refused))
        return {column.name: self.native(column.type) for column in columns}

    def native(self, type_: ColumnType) -> Native:
        """Return how one type is carried; a port whose names depend on precision and the like overrides it."""
        return self.types.carries[type_.kind]

    def digest(self, exposure: Exposure, address: str) -> str:
        """Return the sha256 of all that decides the output: contract, settings, snapshot, schema, port revision."""
        decides = {
            "contract": exposure.product.content_digest,
            "snapshot": exposure.snapshot.id,
            "columns": [[c.name, str(c.type), c.required] for c in exposure.columns],
            "settings": self.settings.model_dump(mode="json"),
            "address": address,
            "port": [self.mode, self.revision],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
