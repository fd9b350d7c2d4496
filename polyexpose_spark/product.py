"""DataProduct: one contract file (ODCS v3.2), read and checked.

The first of `servers[]`, named `source`, is the Iceberg table; every other server is a port. What is checked here
needs nothing but the file; whether the table keeps the contract is contract.py's question.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from polyexpose_spark import documents, logical, odcs
from polyexpose_spark.documents import Document
from polyexpose_spark.errors import ConfigError, Problem, Refused
from polyexpose_spark.logical import ColumnType, LogicalType

if TYPE_CHECKING:
    from polyexpose_spark.clients import Files

_ENDING = ".odcs.yaml"


@dataclass(frozen=True)
class Property:
    """A column, or a part of one, as the contract declares it."""

    name: str
    logical_type: str | None
    declared: ColumnType | None
    """From `physicalType`, in Iceberg's names; None where the contract gives `logicalType` only."""
    zoned: bool | None
    """logicalTypeOptions.timezone of a timestamp; None: not said."""
    required: bool
    parts: tuple[Property, ...] = ()
    """Fields of an object, `element` of an array, `key` and `value` of a map; empty: not declared."""
    description: str = ""
    primary_key: int = 0
    """Position in the primary key, from 1; 0: not part of it."""
    masking: odcs.Masking | None = None


@dataclass(frozen=True)
class Column:
    """A column as it is served: the table's type, the contract's words."""

    name: str
    type: ColumnType
    required: bool
    description: str
    primary_key: int


def primary_key(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of the primary key, in its order; empty where there is none."""
    return tuple(sorted((each for each in columns if each.primary_key), key=lambda each: each.primary_key))


@dataclass(frozen=True)
class Relationship:
    """A foreign key: these columns name a row of another product."""

    columns: tuple[str, ...]
    to: str
    """Name of the other product's schema object."""
    to_columns: tuple[str, ...]


@dataclass(frozen=True)
class PortSpec:
    """One server of the contract that is a port."""

    server: str
    mode: str
    settings: BaseModel
    """The port's own settings, an instance of its `settings_model`."""
    address: Mapping[str, Any]
    """The ODCS fields of the server that say where it is (location, namespace, dataset, ...)."""
    roles: tuple[str, ...]
    key: str
    """Where the settings stand in the file, for messages: `servers[2]`."""


@dataclass(frozen=True)
class DataProduct:
    """One contract file."""

    path: str
    id: str
    name: str
    """Name of the schema object: the exposed view, table or file is called so."""
    version: str
    title: str
    description: str
    table: tuple[str, ...]
    """Identifier of the Iceberg table within the catalog: (*namespace, table)."""
    properties: tuple[Property, ...]
    relationships: tuple[Relationship, ...]
    ports: tuple[PortSpec, ...]
    row_filters: tuple[odcs.RowFilter, ...]
    quality_rules: int
    """Quality rules in the file; shown as not checked."""
    state_location: str | None
    content: Mapping[str, Any]
    """The contract without servers and state: what a consumer is promised. Part of every plan's digest."""

    @property
    def source(self) -> str:
        """The table as `namespace.table`."""
        return ".".join(self.table)

    @property
    def content_digest(self) -> str:
        """sha256 of the content, the same for files that differ in layout or comments only."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def load(
    paths: Sequence[str],
    port_models: Mapping[str, type[BaseModel]],
    environment: str | None,
    files: Callable[[str], Files],
) -> tuple[DataProduct, ...]:
    """Read every contract named, a folder standing for its `*.odcs.yaml` files.

    Args:
        paths: local paths, or addresses; an address is of a folder where it does not end in `.yaml` or `.yml`.
        port_models: mode -> model of what a contract may say about that port.
        environment: picks among `servers[]`.
        files: address -> the client that reads there.

    Raises:
        ConfigError: every problem of every file, each with file, line, key and what is allowed.
        TargetFailed, TargetUnavailable: an address cannot be read.
    """
    problems: list[Problem] = []
    products: list[DataProduct] = []
    for path in _files(paths, files):
        try:
            products.append(_product(_document(path, files), port_models, environment))
        except ConfigError as error:
            problems += error.problems
    seen: dict[str, str] = {}
    for product in products:
        if product.id in seen:
            problems.append(Problem(product.path, 0, "id", f"{product.id!r} is also the id of {seen[product.id]}"))
        seen[product.id] = product.path
    if problems:
        raise ConfigError(problems)
    return by_reference(products)


def by_reference(products: Sequence[DataProduct]) -> tuple[DataProduct, ...]:
    """Return the products so that each comes after those it refers to; otherwise in the order given."""
    by_name = {each.name: each for each in products}
    ordered: dict[str, DataProduct] = {}

    def place(each: DataProduct, waiting: frozenset[str]) -> None:
        for relationship in each.relationships:
            other = by_name.get(relationship.to)
            if other is not None and other.id not in waiting and other.id not in ordered:
                place(other, waiting | {other.id})
        ordered.setdefault(each.id, each)

    for each in products:
        place(each, frozenset({each.id}))
    return tuple(ordered.values())


def _files(paths: Sequence[str], files: Callable[[str], Files]) -> Iterator[str]:
    for path in (each.removeprefix("file://") for each in paths):
        if path.endswith((".yaml", ".yml")) if "://" in path else not Path(path).is_dir():
            yield path
            continue
        found = _in_folder(path, files)
        if not found:
            raise ConfigError([Problem("--product", 0, "", f"{path}: no *{_ENDING} file in this folder")])
        yield from found


def _in_folder(path: str, files: Callable[[str], Files]) -> list[str]:
    if "://" not in path:
        return sorted(str(file) for file in Path(path).glob(f"*{_ENDING}"))
    folder = path.rstrip("/")
    stored = (each.path for each in _client(path, files).list(f"{folder}/"))
    return [each for each in stored if each.endswith(_ENDING) and each.rpartition("/")[0] == folder]


def _client(path: str, files: Callable[[str], Files]) -> Files:
    try:
        return files(path)
    except Refused as error:
        raise ConfigError([Problem("--product", 0, "", str(error))]) from None


def _document(path: str, files: Callable[[str], Files]) -> Document:
    try:
        data = _bytes(path, files)
        return documents.parse(data.decode("utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, 0, "", f"cannot be read: {error}")]) from None


def _bytes(path: str, files: Callable[[str], Files]) -> bytes:
    if "://" not in path:
        return Path(path).read_bytes()
    found = _client(path, files).read(path)
    if found is None:
        raise FileNotFoundError("there is no such object")
    return found[0]


def _product(document: Document, port_models: Mapping[str, type[BaseModel]], environment: str | None) -> DataProduct:
    data = document.data
    problems = list(odcs.problems(document))
    if problems:  # the rest relies on the shape that the schema promises
        raise ConfigError(problems)
    problems += _shape(document)
    if problems:
        raise ConfigError(problems)
    schema = data["schema"][0]
    properties = tuple(
        _property(document, each, ("schema", 0, "properties", i), each["name"], problems)
        for i, each in enumerate(schema["properties"])
    )
    relationships = tuple(_relationships(document, problems))
    ports = tuple(_ports(document, port_models, environment, problems))
    if problems:
        raise ConfigError(problems)
    described = data.get("description") or {}
    state = odcs.own(data.get("customProperties"), "state")
    filters = odcs.own(data.get("customProperties"), "policies") or []
    return DataProduct(
        path=document.name,
        id=data["id"],
        name=schema["name"],
        version=str(data["version"]),
        title=str(data.get("name") or schema["name"]),
        description=str(schema.get("description") or described.get("purpose") or ""),
        table=_table(data),
        properties=properties,
        relationships=relationships,
        ports=ports,
        row_filters=tuple(odcs.RowFilter.model_validate(each) for each in filters),
        quality_rules=sum(len(each.get("quality") or ()) for each in (schema, *schema["properties"])),
        state_location=state["location"] if state else None,
        content=_content(data),
    )


def _content(data: Mapping[str, Any]) -> dict[str, Any]:
    content = {key: value for key, value in data.items() if key not in ("servers", "customProperties")}
    content["customProperties"] = [
        each for each in data.get("customProperties") or () if each.get("property") != "state"
    ]
    return content


def _table(data: Mapping[str, Any]) -> tuple[str, ...]:
    schema = data["schema"][0]
    name = str(schema.get("physicalName") or schema["name"])
    namespace = str(data["servers"][0].get("namespace") or "")
    return tuple(name.split(".")) if "." in name else (*namespace.split("."), name)


def _shape(document: Document) -> Iterator[Problem]:
    """Yield what ODCS allows and one product per file does not."""
    data = document.data
    schema, servers = data.get("schema") or [], data.get("servers") or []
    if not str(data["id"]).replace("-", "").replace("_", "").isalnum():
        yield document.problem(("id",), f"{data['id']!r}: letters, digits, - and _ only (it names tags and folders)")
    if len(schema) != 1:
        message = f"exactly one object is allowed (a data product is one table); {len(schema)} found"
        yield document.problem(("schema",), message)
    elif not schema[0].get("properties"):
        yield document.problem(("schema", 0), "properties are required: the columns of the product")
    else:
        nameless = [i for i, each in enumerate(schema[0]["properties"]) if not each.get("name")]
        for index in nameless:
            yield document.problem(("schema", 0, "properties", index), "a column needs a name")
        name = str(schema[0].get("physicalName") or schema[0].get("name") or "")
        if "." not in name and servers and not servers[0].get("namespace"):
            yield document.problem(("schema", 0, "physicalName"), "write namespace.table, or servers[0].namespace")
    if not servers or servers[0].get("server") != "source" or servers[0].get("type") != "iceberg":
        yield document.problem(("servers",), "the first server is the Iceberg table: {server: source, type: iceberg}")
    names = [str(each.get("server")) for each in servers]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield document.problem(("servers", index, "server"), f"{name!r} is written twice; names are unique")


def _ports(
    document: Document,
    port_models: Mapping[str, type[BaseModel]],
    environment: str | None,
    problems: list[Problem],
) -> Iterator[PortSpec]:
    for index, server in enumerate(document.data["servers"]):
        path: documents.Path = ("servers", index)
        if index == 0 or server.get("environment") not in (None, environment):
            continue
        value = odcs.own(server.get("customProperties"), "port")
        if not isinstance(value, dict):
            example = "{property: port, vendor: polyexpose, value: {mode: csv}}"
            problems.append(
                document.problem(path, f"every server after `source` is a port: add customProperties {example}")
            )
            continue
        below = odcs.own_path(server.get("customProperties"), path, "port")
        mode = str(value.get("mode"))
        if mode not in port_models:
            message = f"{mode!r} is not allowed; allowed: {', '.join(sorted(port_models))}"
            problems.append(document.problem((*below, "mode"), message))
            continue
        given = {key: each for key, each in value.items() if key != "mode"}
        settings = documents.validate(port_models[mode], given, document, below)
        if isinstance(settings, list):
            problems += settings
            continue
        address = {key: each for key, each in server.items() if key not in ("customProperties", "roles")}
        roles = tuple(str(each["role"]) for each in server.get("roles") or () if each.get("role"))
        yield PortSpec(str(server["server"]), mode, settings, address, roles, documents.dotted(path))


def _relationships(document: Document, problems: list[Problem]) -> Iterator[Relationship]:
    """Yield the foreign keys: of the schema object (from, to), and of single columns (to)."""
    schema = document.data["schema"][0]
    given: list[tuple[Mapping[str, Any], Any, documents.Path]] = [
        (each, each.get("from"), ("schema", 0, "relationships", i))
        for i, each in enumerate(schema.get("relationships") or ())
    ]
    for index, column in enumerate(schema["properties"]):
        for i, each in enumerate(column.get("relationships") or ()):
            given.append((each, column["name"], ("schema", 0, "properties", index, "relationships", i)))
    for each, from_, path in given:
        columns = [text.rpartition(".")[2] for text in _texts(from_)]
        targets = [text.rpartition(".") for text in _texts(each.get("to"))]
        objects = {of for of, _, _ in targets}
        if len(objects) != 1 or "" in objects or len(columns) != len(targets):
            message = "`to` is written object.column (a list of them where `from` is one), all of one object"
            problems.append(document.problem((*path, "to"), message))
            continue
        unknown = [name for name in columns if name not in {each["name"] for each in schema["properties"]}]
        if unknown:
            problems.append(document.problem((*path, "from"), f"{unknown[0]!r} is not a column of this contract"))
            continue
        yield Relationship(tuple(columns), objects.pop(), tuple(name for _, _, name in targets))


def _texts(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


def _property(
    document: Document, data: Mapping[str, Any], path: documents.Path, name: str, problems: list[Problem]
) -> Property:
    declared: ColumnType | None = None
    physical = data.get("physicalType")
    if physical and str(physical).lower() not in ("struct", "list", "map", "array"):
        try:
            declared = logical.parse(str(physical))
        except ValueError as error:
            problems.append(document.problem((*path, "physicalType"), str(error)))
    options = data.get("logicalTypeOptions") or {}
    masking = odcs.own(data.get("customProperties"), "masking")
    return Property(
        name=name,
        logical_type=data.get("logicalType"),
        declared=declared,
        zoned=options.get("timezone"),
        required=bool(data.get("required", False)),
        parts=tuple(_parts(document, data, path, problems)),
        description=str(data.get("description") or ""),
        primary_key=int(data.get("primaryKeyPosition") or 1) if data.get("primaryKey") else 0,
        masking=odcs.Masking.model_validate(masking) if masking else None,
    )


def _parts(
    document: Document, data: Mapping[str, Any], path: documents.Path, problems: list[Problem]
) -> Iterator[Property]:
    for index, each in enumerate(data.get("properties") or ()):
        below = (*path, "properties", index)
        if not each.get("name"):
            problems.append(document.problem(below, "a field needs a name"))
            continue
        yield _property(document, each, below, each["name"], problems)
    if data.get("items"):
        yield _property(document, data["items"], (*path, "items"), "element", problems)
    for part in ("key", "value"):
        if (data.get("map") or {}).get(part):
            yield _property(document, data["map"][part], (*path, "map", part), part, problems)


# ODCS logical type -> the Iceberg types it can stand for, where no physicalType is given.
# Source: ODCS v3.2, "Logical types"; Iceberg spec, "Primitive types".
STANDS_FOR: Mapping[str, frozenset[LogicalType]] = {
    "boolean": frozenset({LogicalType.BOOLEAN}),
    "integer": frozenset({LogicalType.INT, LogicalType.LONG}),
    "number": frozenset(
        {LogicalType.FLOAT, LogicalType.DOUBLE, LogicalType.DECIMAL, LogicalType.INT, LogicalType.LONG}
    ),
    "string": frozenset({LogicalType.STRING, LogicalType.UUID, LogicalType.FIXED, LogicalType.BINARY}),
    "date": frozenset({LogicalType.DATE}),
    "time": frozenset({LogicalType.TIME}),
    "timestamp": frozenset(
        {LogicalType.TIMESTAMP, LogicalType.TIMESTAMPTZ, LogicalType.TIMESTAMP_NS, LogicalType.TIMESTAMPTZ_NS}
    ),
    "object": frozenset({LogicalType.STRUCT}),
    "array": frozenset({LogicalType.LIST}),
    "map": frozenset({LogicalType.MAP}),
}
