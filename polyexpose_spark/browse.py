"""What there is, without a JVM: list, describe and history for `--mode sql`."""

from __future__ import annotations

from dataclasses import dataclass

from polyexpose_spark import app
from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.clients import Identifier, View
from polyexpose_spark.errors import ConfigError, Problem
from polyexpose_spark.product import DataProduct
from polyexpose_spark.workspace import Request, Workspace


@dataclass(frozen=True)
class Listed:
    """One table or view of the catalog, and the product whose source or exposed view it is."""

    identifier: Identifier
    kind: str
    """`table` or `view`."""
    product: str | None
    rows: int | None
    snapshot: Snapshot | None


@dataclass(frozen=True)
class Described:
    """A table with its product and the state of its ports, or a view."""

    identifier: Identifier
    table: Table | None
    view: View | None
    product: DataProduct | None
    ports: tuple[app.PortStatus, ...]


@dataclass(frozen=True)
class Committed:
    """One snapshot in a table's history, with the refs and ports that name it."""

    snapshot: Snapshot
    current: bool
    refs: tuple[str, ...]
    ports: tuple[str, ...]
    """Ports that expose this snapshot just now."""


def listed(request: Request) -> tuple[Listed, ...]:
    """Return the tables and views of the catalog, sorted by name."""
    workspace = Workspace(request)
    catalog = workspace.clients.catalog
    products = {of.table: of.id for of in workspace.products}
    found: list[Listed] = []
    for identifier in catalog.tables():
        table = catalog.table(identifier)
        current = table.snapshot(table.current_snapshot_id) if table.current_snapshot_id is not None else None
        rows = current.records if current else 0
        found.append(Listed(identifier, "table", products.get(identifier), rows, current))
    for namespace in catalog.namespaces() if catalog.has_views else ():
        for identifier in catalog.views(namespace):
            view = catalog.view(identifier)
            of = view.properties.get("polyexpose.product") if view else None
            found.append(Listed(identifier, "view", of, None, None))
    return tuple(sorted(found, key=lambda each: each.identifier))


def described(request: Request, name: str) -> Described:
    """Return what is known about a product (by id or name), a table or a view (by namespace.name).

    Raises:
        ConfigError: there is nothing of this name.
    """
    workspace = Workspace(request)
    catalog = workspace.clients.catalog
    of = _product(workspace, name)
    identifier = of.table if of else tuple(name.split("."))
    if of is None and identifier not in catalog.tables():
        view = catalog.view(identifier) if catalog.has_views and len(identifier) > 1 else None
        if view is None:
            known = [each.id for each in workspace.products] + [".".join(each) for each in catalog.tables()]
            raise ConfigError(
                [Problem(name, 0, "", f"no product, table or view of this name; there is: {', '.join(known)}")]
            )
        return Described(identifier, None, view, None, ())
    ports = tuple(each for each in app.status(request) if of and each.product.id == of.id)
    return Described(identifier, catalog.table(identifier), None, of, ports)


def history(request: Request, name: str) -> tuple[Committed, ...]:
    """Return the live snapshots of a product's table, or of a table, newest first."""
    found = described(request, name)
    if found.table is None:
        raise ConfigError([Problem(name, 0, "", "is a view; its history is that of the table it reads")])
    table = found.table
    exposed = {each.spec.server: each.exposed.snapshot_id for each in found.ports if each.exposed}
    return tuple(
        Committed(
            snapshot=each,
            current=each.id == table.current_snapshot_id,
            refs=tuple(sorted(ref for ref, at in table.refs.items() if at.snapshot_id == each.id)),
            ports=tuple(sorted(port for port, id_ in exposed.items() if id_ == each.id)),
        )
        for each in reversed(table.snapshots)
    )


def _product(workspace: Workspace, name: str) -> DataProduct | None:
    return next((each for each in workspace.products if name in (each.id, each.name, each.source)), None)
