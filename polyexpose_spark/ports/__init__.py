"""The registry of ports. A fifth port: one file here, one line below, its block in a contract file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyexpose_spark.ports.base import Port

PORTS: dict[str, str] = {
    "sql": "polyexpose_spark.ports.sql:SqlPort",
    "csv": "polyexpose_spark.ports.csv:CsvPort",
    "gql": "polyexpose_spark.ports.graphql:GraphqlPort",
    "events": "polyexpose_spark.ports.events:EventsPort",
}


def port_class(mode: str) -> type[Port[Any, Any]]:
    """Import the port of this mode, and only this one."""
    module, _, name = PORTS[mode].partition(":")
    found: type[Port[Any, Any]] = getattr(import_module(module), name)
    return found
