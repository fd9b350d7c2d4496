"""Request, and Workspace: the configuration, contracts and clients of one command, read before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from polyexpose_spark import config, contract, policy, product, snapshot
from polyexpose_spark.catalog import Table
from polyexpose_spark.clients import Clients, Files, secrets
from polyexpose_spark.config import Config
from polyexpose_spark.errors import ConfigError, Problem
from polyexpose_spark.ledger import Ledger
from polyexpose_spark.ports import PORTS, port_class
from polyexpose_spark.ports.base import Exposure, Port, PortAddresses, PortSettings
from polyexpose_spark.product import DataProduct, PortSpec

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

AnyPort = Port[Any, Any]


@dataclass(frozen=True)
class Request:
    """One command: which products, which ports of them, at which snapshot, in which environment."""

    products: tuple[str, ...] = ()
    """Contract files or folders, local or at gs:// addresses."""
    modes: tuple[str, ...] = tuple(PORTS)
    """Ports of these modes only."""
    profile: str = "local"
    conf: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    snapshot_id: int | None = None
    as_of: str | None = None
    from_scratch: bool = False
    """Begin the events with a whole snapshot again."""


@dataclass(frozen=True)
class Prepared:
    """A product, its table and the exposure that all ports of this run share."""

    product: DataProduct
    table: Table
    exposure: Exposure


@cache
def settings_models() -> Mapping[str, type[PortSettings]]:
    """Return mode -> model of what a contract may say about that port."""
    return {mode: port_class(mode).settings_model for mode in PORTS}


@cache
def address_models() -> Mapping[str, type[PortAddresses]]:
    """Return mode -> model of what a profile may say about that port."""
    return {mode: port_class(mode).address_model for mode in PORTS}


class Workspace:
    """Configuration, contracts and clients of one request."""

    def __init__(self, request: Request) -> None:
        """Read the configuration and every contract.

        Raises:
            ConfigError: all the problems found; nothing was touched.
        """
        self.request = request
        self.config: Config = config.load(request.profile, request.conf, request.settings, address_models())
        secrets.begin(self.config.secret_manager)
        self.clients = Clients(self.config, lambda: self._session)
        self.products = product.load(request.products, settings_models(), self.config.environment, self.clients.files)
        self._begun: set[tuple[str, str]] = set()
        self.ports = [(each, self._ports(each)) for each in self.products]
        """Every product with the ports that the request asks for."""

    @cached_property
    def _session(self) -> SparkSession:
        from polyexpose_spark.session import build_session

        return build_session(self.config)

    @property
    def has_session(self) -> bool:
        """Say whether this command has started a session."""
        return "_session" in self.__dict__

    def _ports(self, of: DataProduct) -> tuple[AnyPort, ...]:
        specs = [each for each in of.ports if each.mode in self.request.modes]
        if not specs:
            has = ", ".join(sorted({each.mode for each in of.ports})) or "none"
            asked = ", ".join(self.request.modes)
            raise ConfigError(
                [Problem(of.path, 0, "servers", f"no port of mode {asked} here; the contract has: {has}")]
            )
        return tuple(self._port(each) for each in specs)

    def _port(self, spec: PortSpec) -> AnyPort:
        addresses = address_models()[spec.mode].model_validate(self.config.ports.get(spec.mode, {}))
        return port_class(spec.mode)(spec, spec.settings, addresses, self.clients)

    def begins_anew(self, of: DataProduct, port: AnyPort) -> bool:
        """Say whether this exposure is to begin with a whole snapshot again, and has not done so yet."""
        return self.request.from_scratch and (of.id, port.spec.server) not in self._begun

    def begun(self, of: DataProduct, port: AnyPort) -> None:
        """Remember that it has begun: from now on it goes on."""
        self._begun.add((of.id, port.spec.server))

    def prepare(self, of: DataProduct) -> Prepared:
        """Pin the snapshot and hold policy, contract and table against each other.

        Raises:
            Refused: policy or contract is not kept. TargetFailed, TargetUnavailable: the catalog.
        """
        policy.check(of)
        table = self.clients.catalog.table(of.table)
        pinned = snapshot.pin(table, self.request.snapshot_id, self.request.as_of)
        columns = contract.columns(of, table.columns(pinned))
        tag = f"{tag_prefix(of)}{pinned.id}"
        exposure = Exposure(
            product=of,
            snapshot=pinned,
            columns=columns,
            tag=tag,
            partitioning=table.partitioning,
            table_uuid=table.uuid,
            lineage=table.ancestors(pinned.id),
            live=frozenset(each.id for each in table.snapshots),
            referenced=frozenset(each.snapshot_id for each in table.refs.values()),
        )
        return Prepared(of, table, exposure)

    def source(self, of: DataProduct) -> str:
        """Return the full name of the product's table, quoted for Spark SQL."""
        return snapshot.quoted(self.config.catalog.name, of.table)

    def ledger(self, of: DataProduct, port: AnyPort) -> Ledger:
        """Return the ledger of one port of a product."""
        return Ledger(*self.state(of), port.spec.server)

    def state(self, of: DataProduct) -> tuple[Files, str]:
        """Return the client and the folder of a product's ledgers.

        Raises:
            ConfigError: neither profile nor contract says where.
        """
        location = self.config.state.location or of.state_location
        if not location:
            message = "say where the ledger is kept: state.location in the profile, or the contract's own `state`"
            raise ConfigError([Problem(of.path, 0, "customProperties.state", message)])
        return self.clients.files(location), f"{location.rstrip('/')}/{of.id}"


def tag_prefix(of: DataProduct) -> str:
    """Return what the names of a product's tags begin with; the snapshot id follows."""
    return f"polyexpose_{of.id}_"
