"""`python -m benchmarks [NAME ...]`: run all, or those named, and print text and JSON."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import benchmarks

PARTS = {"__main__", "event_tables", "ports", "processor"}
"""Modules that are no benchmarks."""


def main(names: list[str]) -> None:
    """Run the benchmarks named, or all of them."""
    known = sorted(each.name for each in pkgutil.iter_modules(benchmarks.__path__) if each.name not in PARTS)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are: {', '.join(known)}")
    for name in names or known:
        print(f"== {name}", flush=True)
        print(json.dumps(importlib.import_module(f"benchmarks.{name}").measure(), indent=2), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
