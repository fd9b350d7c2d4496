"""The metadata document under change: finding entries, and what hangs on what."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from polyexpose_spark.engine.catalog import Inconsistent, Introspection
from polyexpose_spark.engine.document import TableName
from polyexpose_spark.engine.failure import MetadataError

RELATIONSHIPS = ("object_relationships", "array_relationships")


class Draft:
    """A copy of the document under change.

    ``subject`` is the name of the object that a command brings in: when that one is inconsistent, the error says so.
    ``inconsistent`` are the names of what was inconsistent when the request came.
    """

    def __init__(self, metadata: dict[str, Any], introspection: Introspection, inconsistent: frozenset[str]) -> None:
        self.metadata = metadata
        self._inconsistent = inconsistent
        self.introspection = introspection
        self.changed = False
        self.subject = ""

    def is_inconsistent(self, name: str) -> bool:
        """Whether an object was inconsistent when the request came."""
        return name in self._inconsistent

    def find(self, name: str) -> dict[str, Any] | None:
        """A source by name."""
        return next((source for source in self.metadata["sources"] if source["name"] == name), None)

    def source(self, name: str) -> dict[str, Any]:
        """A source by name; MetadataError ``not-exists``."""
        found = self.find(name)
        if found is None:
            raise MetadataError("not-exists", f'source with name "{name}" does not exist')
        return found

    def table(self, source: str, name: TableName) -> dict[str, Any]:
        """A tracked table; MetadataError ``not-exists``."""
        for table in self.source(source).setdefault("tables", []):
            if table["table"] == name.model_dump():
                entry: dict[str, Any] = table
                return entry
        text = f'table "{name}" does not exist in source: {source}'
        raise MetadataError("not-exists", text, path="$.args.table")

    def drop(self, inconsistent: Inconsistent) -> None:
        """Remove an inconsistent object."""
        if inconsistent.type == "source":
            name = inconsistent.definition
            self.metadata["sources"] = [each for each in self.metadata["sources"] if each["name"] != name]
            return
        where = inconsistent.definition
        source = self.find(where["source"])
        if source is None:
            return
        if inconsistent.type == "table":
            source["tables"] = [each for each in source["tables"] if each["table"] != where["table"]]
            return
        for table in source["tables"]:
            if table["table"] == where["table"]:
                kind = {"select_permission": ("select_permissions", "role")}.get(inconsistent.type)
                lists, key = ((kind[0],), kind[1]) if kind else (RELATIONSHIPS, "name")
                for name in lists:
                    keep(table, name, partial(_other, key, where[key]))


def relationships(table: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The relationships of a table entry, each with the list it stands in."""
    for kind in RELATIONSHIPS:
        for each in table.get(kind, []):
            yield kind, each


def filters_with(
    source: Mapping[str, Any], at: Mapping[str, str], relationship: str
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Permissions (with their tables) whose filter follows a relationship of the table ``at``."""
    tables = {(each["table"]["dataset"], each["table"]["name"]): each for each in source.get("tables", [])}

    def follows(condition: Any, table: Mapping[str, Any] | None) -> bool:
        if isinstance(condition, list):
            return any(follows(each, table) for each in condition)
        if not isinstance(condition, Mapping) or table is None:
            return False
        for key, value in condition.items():
            remote = next((each for _, each in relationships(table) if each["name"] == key), None)
            if key in ("_and", "_or", "_not", "$and", "$or", "$not"):
                if follows(value, table):
                    return True
            elif remote is not None:
                if key == relationship and table["table"] == at:
                    return True
                to = remote["using"]["manual_configuration"]["remote_table"]
                if follows(value, tables.get((to["dataset"], to["name"]))):
                    return True
        return False

    for table in source.get("tables", []):
        for permission in table.get("select_permissions", []):
            if follows(permission["permission"]["filter"], table):
                yield table, permission


def drop_filters(source: Mapping[str, Any], at: Mapping[str, str], relationship: str) -> None:
    """Remove the permissions whose filter follows a relationship."""
    for table, permission in list(filters_with(source, at, relationship)):
        keep(table, "select_permissions", partial(operator.is_not, permission))


def keep(table: dict[str, Any], key: str, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Keep what is wanted of a list of an entry; an empty list is not kept, as Hasura exports none."""
    kept = [each for each in table.get(key, []) if wanted(each)]
    if kept:
        table[key] = kept
    else:
        table.pop(key, None)


def _other(key: str, value: Any, each: Mapping[str, Any]) -> bool:
    return bool(each[key] != value)
