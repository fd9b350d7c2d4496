"""Seconds of processor: on a busy machine they say more than the clock."""

from __future__ import annotations

import os
from pathlib import Path


def processor_seconds() -> float:
    """Return user and system time of this process and all below it, ended ones included."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue
        if fields:
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = sum(map(int, fields[11:15]))
    ours = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used[each] for each in ours) / os.sysconf("SC_CLK_TCK")
