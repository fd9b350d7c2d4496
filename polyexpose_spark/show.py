"""Results as text for people (rich renderables). Nothing here prints: cli.py does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from polyexpose_spark.app import Planned, PortStatus
from polyexpose_spark.browse import Committed, Described, Listed
from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.receipt import Outcome, Receipt, at
from polyexpose_spark.sample import Sample


def grid(*headers: str) -> Grid:
    """Return an empty table in the house style; nothing is cut off."""
    made = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        made.add_column(header, overflow="fold")
    return made


def receipts(done: Sequence[Receipt]) -> RenderableType:
    """Return one line per exposure, then the errors and warnings in full."""
    table = grid("product", "port", "outcome", "snapshot", "rows", "written", "seconds", "where")
    for each in done:
        style = {Outcome.FAILED: "red", Outcome.PUBLISHED: "green"}.get(each.outcome, "")
        seconds = f"{(each.finished_at - each.started_at).total_seconds():.1f}"
        table.add_row(
            each.product,
            each.port,
            Text(each.outcome, style=style),
            _text(each.snapshot_id),
            _count(each.rows),
            size(each.bytes_written),
            seconds,
            each.address or "",
        )
    lines: list[RenderableType] = [table]
    for each in done:
        lines += [Text(f"warning: {each.product} {each.port}: {w}", style="yellow") for w in each.warnings]
        if each.error:
            lines.append(Text(f"error: {each.product} {each.port}: {each.error}", style="red"))
    unchanged = sum(each.outcome is Outcome.UNCHANGED for each in done)
    if done and unchanged == len(done):
        lines.append(Text("Nothing to do."))
    return Group(*lines)


def plans(planned: Sequence[Planned]) -> RenderableType:
    """Return every plan in full."""
    blocks: list[RenderableType] = []
    for each in planned:
        head = f"{each.product.id} {each.product.version} · {each.spec.server} ({each.spec.mode})"
        blocks.append(Text(head, style="bold"))
        if each.plan is None:
            blocks += [Text(f"  error: {each.error}", style="red"), Text("")]
            continue
        plan, pinned = each.plan, each.plan.exposure.snapshot
        blocks.append(Text(f"  table     {each.product.source}, snapshot {pinned.id} of {_time(pinned)}"))
        blocks.append(Text(f"  address   {plan.address}"))
        blocks.append(Text(f"  state     {_state(each)}"))
        estimate = f"about {_count(pinned.records)} rows" if pinned.records is not None else "rows unknown"
        if plan.estimated_bytes is not None:
            estimate += f", {size(plan.estimated_bytes)}"
        blocks.append(Text(f"  estimate  {estimate}"))
        if each.product.quality_rules:
            blocks.append(Text(f"  quality   {each.product.quality_rules} rule(s): not checked"))
        blocks += [Text(f"  warning   {warning}", style="yellow") for warning in plan.warnings]
        steps = grid("  do", "what", "detail")
        for action in plan.actions:
            steps.add_row(f"  {action.verb}", action.target, action.detail)
        columns = grid("  column", "type", "served as", "a consumer no longer sees")
        for column in plan.exposure.columns:
            native = plan.columns[column.name]
            columns.add_row(f"  {column.name}", str(column.type), native.name, native.loses)
        blocks += [steps, columns, *(Text(f"  {line}") for line in each.outlook), Text("")]
    return Group(*blocks)


def statuses(states: Sequence[PortStatus]) -> RenderableType:
    """Return one line per port."""
    table = grid("product", "port", "version", "exposed", "current", "behind", "where")
    notes: list[RenderableType] = []
    for each in states:
        version = each.exposed.contract_version if each.exposed else ""
        exposed = _text(each.exposed.snapshot_id) if each.exposed else "nothing yet"
        current = _text(each.current.id) if each.current else ""
        table.add_row(each.product.id, each.spec.server, version, exposed, current, _behind(each), each.address or "")
        if each.error:
            notes.append(Text(f"error: {each.product.id} {each.spec.server}: {each.error}", style="red"))
        elif each.exposed and each.held_snapshot_id != each.exposed.snapshot_id:
            held = each.held_snapshot_id or "nothing"
            text = f"the receipt says {each.exposed.snapshot_id}, the target serves {held}: expose again"
            notes.append(Text(f"warning: {each.product.id} {each.spec.server}: {text}", style="yellow"))
        if each.publishing:
            notes.append(Text(f"{each.product.id} {each.spec.server}: run {each.publishing} is publishing"))
    return Group(table, *notes)


def listing(found: Iterable[Listed]) -> RenderableType:
    """Return one line per table and view."""
    table = grid("name", "kind", "product", "rows", "snapshot", "committed (UTC)")
    for each in found:
        time = _time(each.snapshot) if each.snapshot else ""
        snapshot = _text(each.snapshot.id) if each.snapshot else ""
        table.add_row(".".join(each.identifier), each.kind, each.product or "", _count(each.rows), snapshot, time)
    return table


def description(found: Described) -> RenderableType:
    """Return columns, partitioning, ports and freshness."""
    blocks: list[RenderableType] = [Text(".".join(found.identifier), style="bold")]
    if found.product:
        blocks.append(Text(f"{found.product.id} {found.product.version}: {found.product.description}"))
    if found.view:
        blocks.append(Text(found.view.comment))
        columns = grid("column", "comment")
        for name, comment in found.view.columns.items():
            columns.add_row(name, comment)
        blocks += [columns, Text(found.view.sql)]
        blocks += [Text(f"{key} = {value}") for key, value in sorted(found.view.properties.items())]
    if found.table:
        said = {each.name: each for each in found.product.properties} if found.product else {}
        columns = grid("column", "type", "", "key", "comment")
        for column in found.table.schemas[found.table.current_schema_id]:
            contract = said.get(column.name)
            comment = (contract.description if contract else "") or column.comment
            key = str(contract.primary_key) if contract and contract.primary_key else ""
            columns.add_row(column.name, str(column.type), "required" if column.required else "", key, comment)
        blocks.append(columns)
        blocks.append(Text(f"partitioned by {', '.join(found.table.partitioning) or 'nothing'}"))
        current = found.table.current_snapshot_id
        newest = found.table.snapshot(current) if current is not None else None
        if newest:
            age = datetime.now(UTC) - at(newest.committed_at)
            blocks.append(
                Text(f"{_count(newest.records)} rows, snapshot {newest.id} of {_time(newest)}, {_age(age)} ago")
            )
    if found.ports:
        blocks.append(statuses(found.ports))
    return Group(*blocks)


def log(history: Iterable[Committed]) -> RenderableType:
    """Return one line per snapshot, newest first."""
    table = grid("snapshot", "committed (UTC)", "operation", "rows", "files", "refs", "exposed at")
    for each in history:
        one = each.snapshot
        table.add_row(
            f"{one.id}{' *' if each.current else ''}",
            _time(one),
            one.operation,
            _count(one.records),
            _count(one.data_files),
            ", ".join(each.refs),
            ", ".join(each.ports),
        )
    return table


def samples(loaded: Iterable[Sample]) -> RenderableType:
    """Return one line per sample table."""
    table = grid("table", "rows", "")
    for each in loaded:
        table.add_row(".".join(each.identifier), _count(each.rows), "loaded" if each.loaded else "already there")
    return table


def size(number: int) -> str:
    """Return bytes for people: 2.0 MiB."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _state(each: Planned) -> str:
    if not each.to_do:
        return "nothing to do: this is exposed"
    if each.exposed_snapshot_id is None:
        return "to be exposed for the first time"
    same = each.plan is not None and each.exposed_snapshot_id == each.plan.exposure.snapshot.id
    return (
        "to be exposed again (contract, settings or target changed)"
        if same
        else (f"to be exposed; now at snapshot {each.exposed_snapshot_id}")
    )


def _behind(each: PortStatus) -> str:
    if each.exposed is None:
        return ""
    if each.snapshots_behind is None:
        return "not an ancestor of the current snapshot"
    if each.snapshots_behind == 0:
        return "up to date"
    return f"{each.snapshots_behind} snapshot(s), {_age(timedelta(seconds=each.seconds_behind or 0))}"


def _age(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _time(snapshot: Snapshot) -> str:
    return at(snapshot.committed_at).strftime("%Y-%m-%d %H:%M:%S")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
