"""What one data product wants at one Hasura: the values, as the metadata API writes them, and the mark of ownership.

The shapes are those of Hasura v2's metadata API for BigQuery (`POST /v1/metadata`, metadata version 3).

Whose is what. Everything made here carries a mark that names its data product: permissions and relationships in
their `comment` (consumers do not see it), a table in the last line of its comment (consumers do see it: it tells
them which data product they read). What carries no mark is somebody else's and is never changed or dropped; where
it stands in the way, the difference is refused. A BigQuery source has no place for a mark (see withdrawal).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

MARK = "polyexpose data product "

DEFAULT_SELECT_LIMIT = 1000
"""Rows that Hasura answers with where the source does not say (silently: hence it is always sent)."""

Metadata = Mapping[str, Any]
"""`metadata` of export_metadata. It may hold other people's secrets: never log it."""


class TableName(NamedTuple):
    """Name of a BigQuery table or view within the project of a source."""

    dataset: str
    name: str

    def __str__(self) -> str:
        return f"{self.dataset}.{self.name}"

    @property
    def json(self) -> dict[str, str]:
        """The name as Hasura writes it."""
        return {"dataset": self.dataset, "name": self.name}


@dataclass(frozen=True)
class Source:
    """A BigQuery source of Hasura; several products, and other people, may share it."""

    name: str
    project: str
    datasets: tuple[str, ...]
    service_account_env: str
    """Environment variable of Hasura itself that holds the key; a key is never sent."""
    global_select_limit: int = DEFAULT_SELECT_LIMIT

    @property
    def configuration(self) -> dict[str, Any]:
        """The configuration of a source that is this product's alone."""
        return {
            "service_account": {"from_env": self.service_account_env},
            "project_id": self.project,
            "datasets": list(self.datasets),
            "global_select_limit": self.global_select_limit,
        }


class TrackedColumn(NamedTuple):
    """A column in GraphQL: its name there (None: its own) and its description."""

    custom_name: str | None = None
    comment: str = ""


@dataclass(frozen=True)
class TrackedTable:
    """A table in GraphQL; `columns` by their BigQuery names."""

    dataset: str
    name: str
    custom_name: str | None = None
    """Name of type and root field; None: `<dataset>_<table>`."""
    comment: str = ""
    columns: Mapping[str, TrackedColumn] = field(default_factory=dict)

    @property
    def address(self) -> TableName:
        """The name in BigQuery."""
        return TableName(self.dataset, self.name)


@dataclass(frozen=True)
class SelectPermission:
    """What one role may read: columns by BigQuery name, rows by Hasura's boolean expression (empty: all)."""

    role: str
    columns: tuple[str, ...]
    filter: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    allow_aggregations: bool = False

    @property
    def json(self) -> dict[str, Any]:
        """The permission as Hasura writes it."""
        limit = {} if self.limit is None else {"limit": self.limit}
        return {
            "columns": list(self.columns),
            "filter": dict(self.filter),
            "allow_aggregations": self.allow_aggregations,
            **limit,
        }


@dataclass(frozen=True)
class Relationship:
    """A field of one table that leads to rows of another one; declared by the contract of `product`."""

    product: str
    on: TableName
    name: str
    kind: Literal["object", "array"]
    remote: TableName
    column_mapping: Mapping[str, str]
    """Column of `on` -> column of `remote`, BigQuery names."""

    @property
    def using(self) -> dict[str, Any]:
        """The definition as Hasura writes it."""
        manual = {"remote_table": self.remote.json, "column_mapping": dict(self.column_mapping)}
        return {"manual_configuration": manual}


@dataclass(frozen=True)
class Publication:
    """What one product wants at one Hasura: one table, who may read it, and how it is related.

    `relationships` may stand on tables of other products (the way back), and may be declared by other products
    (those that waited for this table).
    """

    product: str
    """Id that marks what is this product's; with the server's name where a product has several such ports."""
    source: Source
    table: TrackedTable
    permissions: tuple[SelectPermission, ...] = ()
    relationships: tuple[Relationship, ...] = ()


@dataclass(frozen=True)
class Command:
    """One command of the metadata API."""

    type: str
    args: Mapping[str, Any]

    @property
    def json(self) -> dict[str, Any]:
        """The command as it is sent."""
        return {"type": self.type, "args": dict(self.args)}

    def __str__(self) -> str:
        """Return it in words: what is done to what."""
        words = [self.type.removeprefix("bigquery_").replace("_", " ")]
        for key in ("role", "name", "relationship"):
            words += [str(self.args[key])] if key in self.args else []
        if "table" in self.args:
            table = TableName(**self.args["table"])
            words += ["on", str(table)] if len(words) > 1 else [str(table)]
        words += [" ".join(self.args.get("reload_sources", ()))]
        return " ".join(filter(None, words))


def mark(product: str) -> str:
    """Return the words that mark what a product made."""
    return MARK + product


def marked_by(comment: object) -> str | None:
    """Return the product that a comment's last line names; None: not made by any product."""
    last = str(comment or "").rstrip().rpartition("\n")[2]
    return last.removeprefix(MARK) if last.startswith(MARK) else None
