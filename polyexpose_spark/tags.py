"""The Iceberg tags that keep exposed snapshots alive: one per product and snapshot, as long as a ledger names it."""

from __future__ import annotations

from polyexpose_spark import ledger, snapshot
from polyexpose_spark.errors import TargetFailed
from polyexpose_spark.ports.base import StepListener
from polyexpose_spark.product import DataProduct
from polyexpose_spark.workspace import AnyPort, Prepared, Workspace, tag_prefix


def tag(workspace: Workspace, prepared: Prepared, port: AnyPort, step: StepListener) -> tuple[str, ...]:
    """Tag the snapshot, so that expiry cannot take it away; return a warning where that is not possible.

    Raises:
        TargetFailed: it cannot be tagged and the port points at the tag; or the table is another one by now.
    """
    of, name, id_ = prepared.product, prepared.exposure.tag, prepared.exposure.snapshot.id
    now = workspace.clients.catalog.table(of.table)  # asked anew: another port may have tagged it, or worse happened
    if now.uuid != prepared.table.uuid:
        raise TargetFailed(
            f"table {of.source} was dropped and made anew while this ran; nothing was exposed, run again"
        )
    ref = now.refs.get(name)
    if ref is None or ref.snapshot_id != id_:
        step("tagging", name)
        try:
            snapshot.tag(workspace.clients.session(), workspace.source(of), name, id_)
        except TargetFailed as error:
            if port.points:
                raise
            return (f"snapshot {id_} could not be tagged, so expiry may take it away: {error}",)
        step("tagged", name)
    return ()


def untag(workspace: Workspace, of: DataProduct, step: StepListener, *, start_session: bool = False) -> None:
    """Drop the product's tags that no kept receipt of any port, and no running exposure, names any more.

    Args:
        workspace: of this command.
        of: the product.
        step: told what was dropped.
        start_session: start one for it; otherwise, without one, the tags are left for the next run that has one.
    """
    prefix = tag_prefix(of)
    # First the tags, then the ledgers: a run claims its snapshot before it tags it, so a tag seen here whose
    # snapshot is in no ledger belongs to nobody.
    tags = [name for name in workspace.clients.catalog.table(of.table).refs if name.startswith(prefix)]
    needed: set[str] = set()
    for entry in ledger.entries(*workspace.state(of)).values():
        needed |= {str(each.snapshot_id) for each in entry.kept}
        needed |= {str(entry.claim.snapshot_id)} if entry.claim else set()
        needed |= {str(entry.position.snapshot_id), str(entry.position.toward)} if entry.position else set()
    old = [name for name in tags if name.removeprefix(prefix) not in needed]
    if not old or not (start_session or workspace.has_session):
        return
    for name in old:
        snapshot.untag(workspace.clients.session(), workspace.source(of), name)
    step("untagged", ", ".join(old))
