"""``/v1/metadata``: the document, its commands, and what they leave behind.

A command edits a copy of the document; the copy is decoded, held against BigQuery and only then stored. ``bulk`` runs
all its commands over one copy that is stored once, so it is all or nothing and one step of ``resource_version``.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from polyexpose_spark.engine import document
from polyexpose_spark.engine.bigquery import Warehouse
from polyexpose_spark.engine.catalog import Catalog, Inconsistent, Introspection, resolve
from polyexpose_spark.engine.commands import COMMANDS
from polyexpose_spark.engine.document import Metadata, decode
from polyexpose_spark.engine.draft import Draft
from polyexpose_spark.engine.failure import MetadataError
from polyexpose_spark.engine.store import Committed, Store

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_READING = frozenset(("export_metadata", "get_inconsistent_metadata"))
# What Hasura's bulk_atomic takes; everything else it refuses with a 500.
_ATOMIC = frozenset(
    ("bigquery_create_object_relationship", "bigquery_create_array_relationship", "bigquery_drop_relationship")
)


class MetadataApi:
    """The state behind ``/v1/metadata``; one change at a time, readers never wait for one."""

    def __init__(self, store: Store, warehouse: Warehouse) -> None:
        self._store = store
        self._introspection = Introspection(warehouse)
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._committed = store.load()
        self._catalog = self._resolve(self._committed.metadata)

    def catalog(self) -> Catalog:
        """What is served now.

        Where BigQuery could not be reached for a part of it, it is asked again in the background, every few seconds
        while there are requests: an engine that was started first recovers by itself.
        """
        if self._catalog.unreachable and self._asking.acquire(blocking=False):
            threading.Thread(target=self._ask_again, name="introspection", daemon=True).start()
        return self._catalog

    def _ask_again(self) -> None:
        try:
            time.sleep(_RETRY_SECONDS)
            with self._lock:
                self._introspection.forget()
                self._catalog = self._resolve(self._committed.metadata)
        finally:
            self._asking.release()

    def run(self, request: Any) -> Any:
        """Carry out one request and give its answer.

        Raises:
            MetadataError: nothing was changed.
        """
        kind, args, version, expected = _envelope(request)
        with self._lock:
            if expected is not None and kind not in _READING and expected != self._committed.resource_version:
                text = f"metadata resource version referenced ({expected}) did not match current version"
                raise MetadataError("conflict", text, path="$", status=409)
            names = frozenset(each.name for each in self._catalog.inconsistent)
            draft = Draft(copy.deepcopy(self._committed.metadata), self._introspection, names)
            answer, catalog = self._command(kind, args, version, draft, self._catalog)
            if draft.changed:
                committed = Committed(self._committed.resource_version + 1, draft.metadata)
                self._store.save(committed)
                self._committed = committed
                self._catalog = catalog
        return answer

    def _command(self, kind: str, args: Any, version: int, draft: Draft, catalog: Catalog) -> tuple[Any, Catalog]:
        if kind in ("bulk", "bulk_keep_going", "bulk_atomic"):
            return self._bulk(kind, args, draft, catalog)
        if kind == "export_metadata":
            metadata = copy.deepcopy(draft.metadata)
            if version == 1:
                return metadata, catalog
            return {"resource_version": self._committed.resource_version, "metadata": metadata}, catalog
        if kind == "get_inconsistent_metadata":
            return _consistency(catalog), catalog
        if kind == "reload_metadata":
            return self._reload(args, draft)
        if kind == "drop_inconsistent_metadata":
            return self._drop_inconsistent(draft, catalog)
        if kind == "clear_metadata":
            draft.metadata, draft.changed = copy.deepcopy(dict(document.EMPTY)), True
            return {"message": "success"}, self._resolve(draft.metadata)
        if kind == "replace_metadata":
            return self._replace(args, version, draft, catalog)
        command = COMMANDS.get(kind)
        if command is None:
            raise _unknown(kind)
        before = copy.deepcopy(draft.metadata)
        try:
            answer = command(args, draft, lambda: self._accept(draft, catalog))
            catalog = self._accept(draft, catalog)
        except MetadataError:
            # bulk_keep_going goes on with what stood before this command.
            draft.metadata = before
            raise
        draft.subject, draft.changed = "", True
        return answer, catalog

    def _bulk(self, kind: str, args: Any, draft: Draft, catalog: Catalog) -> tuple[Any, Catalog]:
        if not isinstance(args, list):
            raise MetadataError("parse-failed", "parsing [] failed, expected Array", path="$.args")
        answers = []
        for i, each in enumerate(args):
            place = f"$.args[{i}]"
            try:
                name, inner, version, _ = _envelope(each)
                if kind == "bulk_atomic" and name not in _ATOMIC:
                    raise MetadataError("unexpected", "Bulk atomic does not support this command", status=500)
                answer, catalog = self._command(name, inner, version, draft, catalog)
                answers.append(answer)
            except MetadataError as error:
                if kind == "bulk_atomic" and error.status == 500:
                    raise
                if kind != "bulk_keep_going":
                    raise error.under(place) from None
                answers.append(error.under(place).body())
        return ({"message": "success"} if kind == "bulk_atomic" else answers), catalog

    def _accept(self, draft: Draft, before: Catalog) -> Catalog:
        """Resolve a draft; refuse what was not inconsistent before and is now."""
        after = self._resolve(draft.metadata)
        new = _new(before, after)
        if not new:
            return after
        internal = [each.body() for each in new]
        first = new[0]
        if first.reason.startswith("node "):
            raise MetadataError("remote-schema-conflicts", first.reason)
        if first.name == draft.subject:
            raise MetadataError("invalid-configuration", f"Inconsistent object: {first.reason}", internal=internal)
        raise MetadataError("unexpected", "cannot continue due to new inconsistent metadata", internal=internal)

    def _resolve(self, metadata: Mapping[str, Any]) -> Catalog:
        return resolve(Metadata.model_validate(metadata), metadata, self._introspection)

    def _reload(self, args: Any, draft: Draft) -> tuple[Any, Catalog]:
        if not isinstance(args, Mapping):
            raise MetadataError("parse-failed", "parsing ReloadMetadata failed, expected Object", path="$.args")
        wanted = args.get("reload_sources", True)
        known = {source["name"] for source in draft.metadata["sources"]}
        for name in wanted if isinstance(wanted, list) else ():
            if name not in known:
                raise MetadataError("not-exists", f'source with name "{name}" does not exist')
        # Asking BigQuery for more than was named costs little and is never wrong.
        self._introspection.forget()
        draft.changed = True
        catalog = self._resolve(draft.metadata)
        answer: dict[str, Any] = {"message": "success", "is_consistent": not catalog.inconsistent}
        if catalog.inconsistent:
            answer["inconsistent_objects"] = [each.body() for each in catalog.inconsistent]
        return answer, catalog

    def _replace(self, args: Any, version: int, draft: Draft, catalog: Catalog) -> tuple[Any, Catalog]:
        whole = isinstance(args, Mapping) and "metadata" in args
        metadata = args["metadata"] if whole else args
        path = "$.args.metadata" if whole else "$.args"
        allowed = bool(whole and args.get("allow_inconsistent_metadata"))
        decode(Metadata, metadata, "replace_metadata", path)
        others = [key for key, value in metadata.items() if key not in ("version", "sources") and value]
        if others:
            raise MetadataError("not-supported", f"not supported by this engine: {', '.join(others)}", path=path)
        _unique(metadata, path)
        self._introspection.forget()
        draft.metadata, draft.changed = {"sources": [], **copy.deepcopy(metadata)}, True
        after = self._resolve(draft.metadata)
        if after.inconsistent and not allowed:
            internal = [each.body() for each in after.inconsistent]
            if len(_new(catalog, after)):
                text = "cannot continue due to inconsistent metadata"
                raise MetadataError("unexpected", text, internal=internal)
        return (_consistency(after) if version == 2 else {"message": "success"}), after

    def _drop_inconsistent(self, draft: Draft, catalog: Catalog) -> tuple[Any, Catalog]:
        # Dropping a table makes the relationships that lead to it inconsistent: until there is nothing left.
        while catalog.inconsistent:
            for each in catalog.inconsistent:
                draft.drop(each)
            catalog = self._resolve(draft.metadata)
        draft.changed = True
        return {"message": "success"}, catalog


def _envelope(request: Any) -> tuple[str, Any, int, int | None]:
    if not isinstance(request, Mapping):
        raise MetadataError("parse-failed", "parsing a command failed, expected Object", path="$")
    kind = request.get("type")
    if not isinstance(kind, str):
        raise MetadataError("parse-failed", 'key "type" not found', path="$")
    version = request.get("version", 1)
    if version not in (1, 2):
        raise MetadataError("parse-failed", 'expected 1 or 2 for "version"', path="$.version")
    expected = request.get("resource_version")
    if expected is not None and (not isinstance(expected, int) or isinstance(expected, bool)):
        raise MetadataError("parse-failed", 'expected an integer for "resource_version"', path="$.resource_version")
    if "args" not in request:
        raise MetadataError("parse-failed", 'key "args" not found', path="$")
    return kind, request["args"], version, expected


def _unknown(kind: str) -> MetadataError:
    backend, _, name = kind.partition("_")
    if backend == "bigquery":
        return MetadataError("parse-failed", f'unknown metadata command "{name}" for backend bigquery', path="$")
    return MetadataError("parse-failed", f'unknown metadata command "{kind}"', path="$")


def _new(before: Catalog, after: Catalog) -> list[Inconsistent]:
    old = {(each.type, each.name) for each in before.inconsistent}
    return [each for each in after.inconsistent if (each.type, each.name) not in old]


def _consistency(catalog: Catalog) -> dict[str, Any]:
    return {
        "is_consistent": not catalog.inconsistent,
        "inconsistent_objects": [each.body() for each in catalog.inconsistent],
    }


def _unique(metadata: Mapping[str, Any], path: str) -> None:
    """A list in the document is a set with names: say which name is there twice."""
    _once([source["name"] for source in metadata.get("sources", [])], "source", f"{path}.sources")
    for i, source in enumerate(metadata.get("sources", [])):
        below = f"{path}.sources[{i}].tables"
        names = [f"{table['table']['dataset']}.{table['table']['name']}" for table in source.get("tables", [])]
        _once(names, "table", below)
        for j, table in enumerate(source.get("tables", [])):
            relationships = [*table.get("object_relationships", []), *table.get("array_relationships", [])]
            _once([each["name"] for each in relationships], "relationship", f"{below}[{j}]")
            _once([each["role"] for each in table.get("select_permissions", [])], "select permission", f"{below}[{j}]")


def _once(names: list[str], what: str, path: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise MetadataError(
                "parse-failed", f"multiple declarations exist for the following {what} : {name}", path=path
            )
