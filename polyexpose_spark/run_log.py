"""What a run says of itself to whoever operates it: a step or a result a line, as Cloud Logging reads them.

Said through Python's logging, with the fields beside the message; JsonFormatter writes them. Source of the names
severity, message and time: Cloud Logging, "Structured logging", special fields.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyexpose_spark.receipt import Receipt

logger = logging.getLogger(__name__)

IN_BETWEEN = frozenset(
    {
        *("claimed", "recording", "recorded", "released", "tagging", "checked", "replacing", "flipping", "tracking"),
        *("sealing", "moving", "moved", "describing", "described", "pointing", "collecting", "collected"),
        *("sending", "storing", "stored"),
    }
)
"""Steps that follow at once from the one before, or are of interest to an operator only."""


def step(name: str, detail: str, **fields: Any) -> None:
    """Tell a step, `csv.staged`; `fields` say whose it is."""
    done = name.rpartition(".")[2]
    level = logging.DEBUG if done in IN_BETWEEN else logging.INFO
    logger.log(level, "%s", f"{name} {detail}".rstrip(), extra={"fields": {**fields, "step": done}})


def receipt(made: Receipt) -> None:
    """Tell how an exposure ended."""
    # What may be long stays in the ledger: an entry of Cloud Logging ends at 256 KiB.
    fields = made.model_dump(mode="json", by_alias=True, exclude={"format", "details", "uris", "checks"})
    fields["seconds"] = round((made.finished_at - made.started_at).total_seconds(), 3)
    of = "" if made.snapshot_id is None else f"snapshot {made.snapshot_id}"
    text = made.error or (of if made.rows is None else f"{of}, {made.rows:,} rows")
    _say(f"{made.product} {made.port} {made.outcome}{': ' if text else ''}{text}", fields)


def planned(plan: Mapping[str, Any]) -> None:
    """Tell a plan, as show_json.plans() has it."""
    fields = {key: value for key, value in plan.items() if key != "columns"}
    text = plan["error"] or ("to do" if plan["toDo"] else "already there")
    _say(f"{plan['product']} {plan['port']} plan: {text}", fields)


def status(state: Mapping[str, Any]) -> None:
    """Tell what a port serves, as show_json.statuses() has it."""
    seconds, snapshots = state["secondsBehind"], state["snapshotsBehind"]
    if state["error"] or state["exposedSnapshotId"] is None:
        text = state["error"] or "nothing is exposed"
    elif snapshots is None:
        text = "what is exposed is not an ancestor of the table's current snapshot"
    else:
        text = f"{snapshots} snapshot(s), {seconds:g} s behind" if snapshots else "current"
    _say(f"{state['product']} {state['port']}: {text}", state)


def _say(message: str, fields: Mapping[str, Any]) -> None:
    level = logging.ERROR if fields["exitCode"] else logging.INFO
    logger.log(level, "%s", message, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line. Python's names of levels are severities of Cloud Logging as they are."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line break."""
        time = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": None if record.name == __name__ else record.name,
        }
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)
        for key, value in getattr(record, "fields", {}).items():
            # Cloud Logging keeps numbers as doubles, which cannot tell one snapshot's id from the next.
            line[key] = str(value) if isinstance(value, int) and key.lower().endswith("snapshotid") else value
        return json.dumps({key: value for key, value in line.items() if value is not None})
