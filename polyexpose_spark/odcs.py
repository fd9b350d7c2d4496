"""Validate a contract file against the published ODCS schema and the models of our own values.

The JSON Schema is the one that PyPI `open-data-contract-standard` ships (ODCS v3.2.0).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from polyexpose_spark import documents
from polyexpose_spark.documents import Document, Path, StrictCamel
from polyexpose_spark.errors import Problem

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

VENDOR = "polyexpose"


class Masking(StrictCamel):
    """Value of a property's `masking`."""

    method: Literal["sha256", "null", "redact", "hmac", "truncate", "drop"]
    except_roles: tuple[str, ...] = ()


class RowFilter(StrictCamel):
    """One entry of the top-level `policies`."""

    id: str
    row_filter: str
    roles: tuple[str, ...] = ()


class Policies(StrictCamel):
    """Value of the top-level `policies`, wrapped so that each entry is checked."""

    policies: tuple[RowFilter, ...]


class State(StrictCamel):
    """Value of the top-level `state`."""

    location: str = Field(min_length=1)


def problems(document: Document) -> Iterator[Problem]:
    """Yield what the published schema and our own models refuse, once each, with file, line and key."""
    seen: set[tuple[Path, str]] = set()
    for error in sorted(_validator().iter_errors(document.data), key=lambda e: [str(p) for p in e.absolute_path]):
        for path, message in _explained(error):
            if (path, message) not in seen:
                seen.add((path, message))
                yield document.problem(path, message)
    yield from _own_values(document)


def own(custom_properties: Any, name: str) -> Any:
    """Return the value of our custom property, or None."""
    for entry in custom_properties or ():
        if entry.get("vendor") == VENDOR and entry.get("property") == name:
            return entry.get("value")
    return None


def own_path(custom_properties: Any, below: Path, name: str) -> Path:
    """Return the path of the value of our custom property."""
    for index, entry in enumerate(custom_properties or ()):
        if entry.get("vendor") == VENDOR and entry.get("property") == name:
            return (*below, "customProperties", index, "value")
    return (*below, "customProperties")


@cache
def _validator() -> Any:
    from jsonschema import Draft201909Validator

    text = (files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8")
    return Draft201909Validator(json.loads(text))


def _explained(error: ValidationError) -> Iterator[tuple[Path, str]]:
    path: Path = tuple(error.absolute_path)
    allowed: Any = error.validator_value
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = sorted(_known_keys(error.schema) - set(re.findall(r"'([^']+)'", error.message)))
        for key in re.findall(r"'([^']+)'", error.message):
            yield (*path, key), f"unknown key; ODCS allows here: {', '.join(known)}"
    elif error.validator == "required":
        yield path, f"{error.message} (ODCS)"
    elif error.validator in ("oneOf", "anyOf") and error.context:
        from jsonschema.exceptions import best_match

        yield from _explained(best_match(error.context))
    elif error.validator == "enum":
        yield path, f"{error.instance!r} is not allowed; allowed: {', '.join(map(str, allowed))}"
    else:
        yield path, error.message if len(error.message) < 300 else f"not valid here ({error.validator}, ODCS)"


def _known_keys(schema: Any) -> set[str]:
    root = _validator().schema
    keys: set[str] = set()
    pending = [schema]
    while pending:
        each = pending.pop()
        if not isinstance(each, dict):
            continue
        keys |= set(each.get("properties", ()))
        if str(each.get("$ref", "")).startswith("#/$defs/"):
            pending.append(root["$defs"][each["$ref"].removeprefix("#/$defs/")])
        pending += each.get("allOf", [])
    return keys


# Where our custom properties may stand: level -> property name -> model. `port` is checked by the port's own model.
_OWN: Mapping[str, Mapping[str, type[StrictCamel] | None]] = {
    "": {"policies": Policies, "state": State},
    "servers": {"port": None},
    "properties": {"masking": Masking},
}


def _own_values(document: Document) -> Iterator[Problem]:
    yield from _own_level(document, document.data, (), "")
    for index, server in _mappings(document.data.get("servers")):
        yield from _own_level(document, server, ("servers", index), "servers")
    for index, each in _mappings(document.data.get("schema")):
        yield from _own_level(document, each, ("schema", index), "schema")
        yield from _own_properties(document, each, ("schema", index))


def _own_properties(document: Document, parent: Mapping[str, Any], below: Path) -> Iterator[Problem]:
    for index, each in _mappings(parent.get("properties")):
        path = (*below, "properties", index)
        yield from _own_level(document, each, path, "properties")
        yield from _own_properties(document, each, path)


def _own_level(document: Document, holder: Mapping[str, Any], below: Path, level: str) -> Iterator[Problem]:
    models = _OWN.get(level, {})
    for index, entry in _mappings(holder.get("customProperties")):
        if entry.get("vendor") != VENDOR:
            continue
        name, path = str(entry.get("property")), (*below, "customProperties", index)
        if name not in models:
            known = ", ".join(sorted(models)) or "none here"
            yield document.problem((*path, "property"), f"{name!r} is not a property of {VENDOR}; known: {known}")
            continue
        model, value = models[name], entry.get("value")
        if model is Policies:
            value = {"policies": value}
            path = (*path, "value")
        elif model is not None:
            path = (*path, "value")
        if model is not None:
            checked = documents.validate(model, value if isinstance(value, dict) else {}, document, path)
            yield from checked if isinstance(checked, list) else ()


def _mappings(value: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the mappings of a list; what is not one was already reported by the schema."""
    for index, each in enumerate(value if isinstance(value, list) else ()):
        if isinstance(each, dict):
            yield index, each
