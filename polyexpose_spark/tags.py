"""The Iceberg tags that keep exposed snapshots alive: one per product and snapshot, as long as a ledger names it."""

from __future__ import annotations

from polyexpose_spark import ledger, snapshot
from polyexpose_spark.errors import TargetFailed
from polyexpose_spark.ports.base import StepListener
from polyexpose_spark.workspace import AnyPort, Prepared, Workspace, tag_prefix


def tag(workspace: Workspace, prepared: Prepared, port: AnyPort, step: StepListener) -> tuple[str, ...]:
    """Tag the snapshot, so that expiry cannot take it away; return a warning where that is not possible.

    Raises:
        TargetFailed: it cannot be tagged and the port points at the tag.
    """
    name, id_ = prepared.exposure.tag, prepared.exposure.snapshot.id
    ref = prepared.table.refs.get(name)
    if ref is None or ref.snapshot_id != id_:
        step("tagging", name)
        try:
            snapshot.tag(workspace.clients.session(), workspace.source(prepared.product), name, id_)
        except TargetFailed as error:
            if port.points:
                raise
            return (f"snapshot {id_} could not be tagged, so expiry may take it away: {error}",)
        step("tagged", name)
    return ()


def untag(workspace: Workspace, prepared: Prepared, step: StepListener) -> None:
    """Drop the product's tags that no kept receipt of any port, and no running exposure, names any more."""
    of, prefix = prepared.product, tag_prefix(prepared.product)
    # First the tags, then the ledgers: a run claims its snapshot before it tags it, so a tag seen here whose
    # snapshot is in no ledger belongs to nobody.
    tags = [name for name in workspace.clients.catalog.table(of.table).refs if name.startswith(prefix)]
    needed: set[str] = set()
    for entry in ledger.entries(*workspace.state(of)).values():
        needed |= {str(each.snapshot_id) for each in entry.kept}
        needed |= {str(entry.claim.snapshot_id)} if entry.claim else set()
    old = [name for name in tags if name.removeprefix(prefix) not in needed]
    if not old or not workspace.has_session:
        return  # a pointer swap starts no session for this; the next run that has one drops them
    for name in old:
        snapshot.untag(workspace.clients.session(), workspace.source(of), name)
    step("untagged", ", ".join(old))
