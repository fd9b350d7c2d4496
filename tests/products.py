"""A data product made in code, for tests that need no contract file."""

from __future__ import annotations

from typing import Any

from polyexpose_spark.product import DataProduct


def data_product(id_: str, table: tuple[str, ...], **changes: Any) -> DataProduct:
    """Return a product without ports, named like its table."""
    given: dict[str, Any] = {
        "path": f"{id_}.odcs.yaml",
        "id": id_,
        "name": table[-1],
        "version": "1.0.0",
        "title": table[-1].capitalize(),
        "description": "",
        "table": table,
        "properties": (),
        "relationships": (),
        "ports": (),
        "row_filters": (),
        "quality_rules": 0,
        "state_location": None,
        "content": {},
    }
    return DataProduct(**(given | changes))


class NoPositions:
    """Stands where a port must not ask how far it has come: it sends no changes."""

    def read(self) -> Any:
        raise AssertionError("no position is needed")

    def store(self, position: Any) -> None:
        raise AssertionError("no position is needed")
