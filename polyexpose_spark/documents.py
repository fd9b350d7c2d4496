"""YAML files with the line of every key, and pydantic validation that reports file, line and key.

The one place where a hand-written file becomes data and where a validation error becomes a message, for
configuration (snake_case keys) and contracts (camelCase keys) alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from polyexpose_spark.errors import ConfigError, Problem

Path = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class Strict(BaseModel):
    """Base of every model for a hand-written file: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StrictCamel(Strict):
    """A strict model whose keys are camelCase, as in ODCS."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


@dataclass(frozen=True)
class Place:
    """Where a value was written: file (or ``--set``) and line, counted from 1 (0: no line)."""

    file: str
    line: int


@dataclass
class Document:
    """Data of a file and the place of each of its keys (``("catalog", "type") -> Place``)."""

    name: str
    data: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Return the place of a key, or of the nearest parent that was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(self.name, 0)

    def problem(self, path: Path, message: str) -> Problem:
        """Return a problem at this key."""
        place = self.place(path)
        return Problem(place.file, place.line, dotted(path), message)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `no`, `on` and dates stay text (a country NO is not False)."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def parse(text: str, name: str) -> Document:
    """Parse one YAML mapping.

    Raises:
        ConfigError: not YAML, not a mapping, or a key written twice; with file and line.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        document = Document(name, {})
        if node is None:
            return document
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError([Problem(name, 1, "", "a mapping of keys to values is expected")])
        twice = list(_record(node, (), document))
        if twice:
            raise ConfigError(twice)
        document.data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError([Problem(name, mark.line + 1 if mark else 0, "", f"not YAML: {error.problem}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(name, 0, "", f"not YAML: {error}".splitlines()[0])]) from None
    finally:
        loader.dispose()
    return document


def _record(node: yaml.Node, path: Path, document: Document) -> Iterator[Problem]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in document.places:
                yield Problem(
                    document.name,
                    key.start_mark.line + 1,
                    dotted(below),
                    "this key is written twice; keep one",
                )
            document.places[below] = Place(document.name, key.start_mark.line + 1)
            yield from _record(value, below, document)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            document.places[(*path, index)] = Place(document.name, value.start_mark.line + 1)
            yield from _record(value, (*path, index), document)


def dotted(path: Sequence[str | int]) -> str:
    """Return ``servers[1].type`` for ``("servers", 1, "type")``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def validate(model: type[M], data: Mapping[str, Any], document: Document, below: Path = ()) -> M | list[Problem]:
    """Return the model, or every problem found, each with file, line, key and what is allowed.

    Args:
        model: a strict pydantic model.
        data: the value at ``below`` in the document.
        document: where the value was written.
        below: path of the value in the document.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        return [
            document.problem((*below, *_written(each["loc"], data)), _message(model, each)) for each in error.errors()
        ]


def _written(loc: Path, data: Any) -> Iterator[str | int]:
    """Drop pydantic's own parts of a location (union tags), keep the keys that the user wrote."""
    for index, part in enumerate(loc):
        if isinstance(data, Mapping) and part in data:  # noqa: SIM114 - mypy narrows each by itself
            data = data[part]
            yield part
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
            yield part
        elif index == len(loc) - 1:
            yield part


def _message(model: type[BaseModel], error: Any) -> str:
    kind, loc = error["type"], error["loc"]
    if kind == "extra_forbidden":
        return f"unknown key; known keys: {', '.join(sorted(_keys(model, loc[:-1])))}"
    if kind == "missing":
        return "this key is required"
    if kind == "literal_error":
        return f"{error['input']!r} is not allowed; allowed: {error['ctx']['expected'].replace(chr(39), '')}"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    given = error["input"]
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = "" if isinstance(given, Mapping | list) else f" (given: {given!r})"
    return f"{message}{shown}"


def _keys(model: type[BaseModel], loc: Path) -> set[str]:
    """Return the keys known at this location of the model."""
    for part in loc:
        by_key = {info.alias or name: info for name, info in model.model_fields.items()}
        if part in by_key:
            annotation = by_key[str(part)].annotation
            candidates = [annotation, *get_args(annotation)]
            model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return {info.alias or name for name, info in model.model_fields.items()}
