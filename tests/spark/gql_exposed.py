"""Real Iceberg tables, exposed by the real gql port to real servers: what the tests of the port start from."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlglot
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from sqlglot import exp

from polyexpose_spark import app
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import Config
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.product import STANDS_FOR
from polyexpose_spark.receipt import Receipt
from polyexpose_spark.workspace import Request
from tests.http_faults import Proxy
from tests.servers import ROOT

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PROJECT = "test-project"
GOOGLESQL = ROOT.parent / "shared" / "tools" / "googlesql-check" / "run"


@dataclass
class Servers:
    """Addresses of the two servers, and the proxies through which port and engine reach them."""

    bigquery: str
    engine: str
    for_port: Proxy
    for_engine: Proxy
    hasura: Proxy
    declared: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tables and views that there were at any time, as googlesql-check wants them."""

    @property
    def modifying(self) -> list[Any]:
        """What has changed, or may have changed, something since the last `forget`."""
        return self.for_port.modifying + [
            each for each in self.hasura.sent if "query" not in each and each.get("type") not in _READING
        ]

    def forget(self) -> None:
        """Count from here."""
        self.for_port.seen.clear()
        self.hasura.sent.clear()

    @property
    def statements(self) -> list[str]:
        """The SQL that the BigQuery server was sent."""
        return list(dict.fromkeys(_statements(self.for_port.sent + self.for_engine.sent)))

    def check_statements(self) -> None:
        """Hold every statement that was sent against Google's analyzer, and against what BigQuery refuses."""
        for each in self.statements:
            no_correlated_subquery(each)
        check_with_googlesql(self.statements, list(self.declared.values()))


_READING = ("export_metadata", "get_inconsistent_metadata")


def _statements(bodies: Iterable[Any]) -> Iterable[str]:
    for body in bodies:
        job = body.get("configuration", {}).get("query", {})
        if sql := job.get("query") or body.get("query"):
            yield sql


def no_correlated_subquery(sql: str) -> None:
    """BigQuery refuses correlated sub-queries over another table; one in FROM or JOIN cannot be correlated."""
    for statement in sqlglot.parse(sql, read="bigquery"):
        assert statement is not None
        assert not isinstance(statement, exp.Command), f"not understood: {sql}"
        assert not list(statement.find_all(exp.Exists, exp.Lateral)), sql
        for select in statement.find_all(exp.Select):
            if isinstance(select.parent, exp.Subquery):
                assert isinstance(select.parent.parent, exp.From | exp.Join), sql
            else:
                assert select is statement or isinstance(select.parent, exp.Create | exp.CTE), sql


def check_with_googlesql(statements: list[str], declared: list[dict[str, Any]]) -> None:
    """Google's own parser and analyzer, where the tool is there. (The analyzer has no column options of views.)"""
    if not GOOGLESQL.exists():
        return
    texts = [each for each in statements if "INFORMATION_SCHEMA" not in each]
    # The tool does not know ROW_NUMBER; COUNT(*) OVER has its type.
    analyzed = [each.rpartition("\nAS ")[2].replace("ROW_NUMBER()", "COUNT(*)") for each in texts]
    given = json.dumps({"tables": declared, "statements": texts + analyzed})
    found = subprocess.run([GOOGLESQL], input=given, capture_output=True, text=True, check=True)
    verdicts = json.loads(found.stdout)
    for text, verdict in zip(texts, verdicts[: len(texts)], strict=True):
        assert verdict["parses"], (text, verdict)
    for text, verdict in zip(texts, verdicts[len(texts) :], strict=True):
        # The analyzer of the tool does not know CLONE.
        assert verdict["analyzes"] or " CLONE " in text, (text, verdict)


def sql_type(field_: bigquery.SchemaField) -> str:
    """Return the type as SQL writes it."""
    names = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
    if field_.field_type in ("RECORD", "STRUCT"):
        return f"STRUCT<{', '.join(f'`{part.name}` {sql_type(part)}' for part in field_.fields)}>"
    return names.get(field_.field_type, field_.field_type)


@dataclass
class Gql:
    """A namespace of the catalog; its products go to the dataset of the same name. Tables are called NAME_NAMESPACE."""

    spark: SparkSession
    config: Config
    namespace: str
    folder: Path
    servers: Servers
    settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.client = bigquery.Client(
            PROJECT, AnonymousCredentials(), client_options={"api_endpoint": self.servers.bigquery}
        )

    def named(self, name: str) -> str:
        """Return a name that no other test has: googlesql-check tells tables apart by their last name only."""
        return f"{name}_{self.namespace}"

    def create(self, columns: str, *rows: str, name: str = "t", partition: str = "") -> None:
        table = f"lake.{self.namespace}.{self.named(name)}"
        self.spark.sql(f"CREATE TABLE {table} ({columns}) USING iceberg {partition}")
        if rows:
            self.insert(*rows, name=name)

    def insert(self, *rows: str, name: str = "t") -> None:
        self.spark.sql(f"INSERT INTO lake.{self.namespace}.{self.named(name)} VALUES {', '.join(rows)}")

    def contract(
        self,
        name: str = "t",
        roles: tuple[str, ...] = (),
        descriptions: Mapping[str, str] | None = None,
        references: Mapping[str, str] | None = None,
        table: tuple[str, str] | None = None,
        **settings: Any,
    ) -> Path:
        """Write the contract of a table as it is; `references` is column -> OBJECT.COLUMN."""
        namespace, own = table or (self.namespace, self.named(name))
        found = Catalog(self.config.catalog).table((namespace, own))
        current = found.snapshot(found.current_snapshot_id or 0)
        assert current is not None
        properties = [
            {
                "name": column.name,
                **declared(column.type),
                "required": column.required,
                "description": (descriptions or {}).get(column.name, f"The {column.name}."),
                **(
                    {"relationships": [{"type": "foreignKey", "to": (references or {})[column.name]}]}
                    if column.name in (references or {})
                    else {}
                ),
            }
            for column in found.columns(current)
        ]
        iceberg = {"type": "iceberg", "catalog": "lake", "catalogUrl": "jdbc:sqlite:x", "namespace": namespace}
        port = {"property": "port", "vendor": "polyexpose", "value": {"mode": "gql", **settings}}
        document = {
            "apiVersion": "v3.2.0",
            "kind": "DataContract",
            "id": self.named(name),
            "name": name,
            "version": "1.2.0",
            "status": "active",
            "schema": [
                {
                    "name": self.named(name),
                    "logicalType": "object",
                    "physicalName": f"{namespace}.{own}",
                    "description": 'Things, as "they" are.',
                    "properties": properties,
                }
            ],
            "servers": [
                {"server": "source", **iceberg},
                {
                    "server": "graphql",
                    "type": "bigquery",
                    "project": PROJECT,
                    "dataset": self.namespace,
                    "roles": [{"role": each} for each in roles],
                    "customProperties": [port],
                },
            ],
        }
        path = self.folder / f"{name}.odcs.yaml"
        path.write_text(json.dumps(document))
        return path

    def request(self, *products: Path, **more: Any) -> Request:
        addresses = (
            f"ports.gql.project={PROJECT}",
            f"ports.gql.endpoint={self.servers.for_port.address}",
            "ports.gql.credentials=anonymous",
            f"ports.gql.staging={self.folder / 'staging'}",
            f"ports.gql.hasura.endpoint={self.servers.hasura.address}",
            f"ports.gql.hasura.source={self.namespace}",
            "ports.gql.hasura.select_limit=500",
        )
        given = {"settings": (*addresses, *self.settings), **more}
        return Request(products=tuple(map(str, products)), modes=("gql",), **given)

    def expose(self, *products: Path, steps: list[str] | None = None, **more: Any) -> Receipt:
        """Expose as `--mode gql` does; return the last product's receipt."""
        told = [] if steps is None else steps

        def listen(name: str, _: str) -> None:
            told.append(name)
            if name == "graphql.sent":  # there is a table of changes, for a while
                self.declare()

        receipts = app.run(self.request(*products, **more), listen)
        self.declare()
        assert not list((self.folder / "staging").rglob("*")), "left in staging"
        return receipts[-1]

    def plan(self, *products: Path, **more: Any) -> app.Planned:
        return app.plan(self.request(*products, **more))[-1]

    def declare(self) -> None:
        """Note the columns of every table and view there is."""
        for dataset in (self.namespace, f"{self.namespace}__versions"):
            for each in self.tables(dataset):
                self.servers.declared[f"{PROJECT}.{dataset}.{each}"] = {
                    "name": f"{PROJECT}.{dataset}.{each}",
                    "columns": [
                        {"name": column.name, "type": sql_type(column)}
                        for column in self.client.get_table(f"{dataset}.{each}").schema
                    ],
                }

    def tables(self, dataset: str | None = None) -> list[str]:
        """Return the names of tables and views of a dataset; of the version tables where none is given."""
        datasets = {each.dataset_id for each in self.client.list_datasets()}
        dataset = dataset or f"{self.namespace}__versions"
        return sorted(each.table_id for each in self.client.list_tables(dataset)) if dataset in datasets else []

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in self.client.query_and_wait(sql)]

    def view(self, name: str = "t") -> str:
        """Return the view's name in SQL."""
        return f"`{PROJECT}.{self.namespace}.{self.named(name)}`"

    def root(self, name: str = "t") -> str:
        """Return the root field of GraphQL."""
        return f"{self.namespace}_{self.named(name)}"

    def ask(self, query: str, role: str = "admin", variables: Mapping[str, Any] | None = None) -> Any:
        """Ask the engine; return `data`."""
        body = self.answer(query, role, variables)
        assert "errors" not in body, body
        return body["data"]

    def answer(self, query: str, role: str = "admin", variables: Mapping[str, Any] | None = None) -> Any:
        return _posted(
            f"{self.servers.engine}/v1/graphql", {"query": query, "variables": variables}, {"x-hasura-role": role}
        )

    def metadata(self, kind: str, args: Any) -> Any:
        """Change Hasura's metadata, as somebody else does."""
        return _posted(f"{self.servers.engine}/v1/metadata", {"type": kind, "args": args}, {})


def declared(type_: ColumnType) -> dict[str, Any]:
    """Return the type as a contract writes it."""
    match type_.kind:
        case LogicalType.STRUCT:
            parts = [{"name": part.name, **declared(part.type), "required": part.required} for part in type_.fields]
            return {"logicalType": "object", "properties": parts}
        case LogicalType.LIST:
            return {"logicalType": "array", "items": declared(type_.fields[0].type)}
        case LogicalType.MAP:
            return {"logicalType": "map", "map": {part.name: declared(part.type) for part in type_.fields}}
    [logical] = [name for name, kinds in STANDS_FOR.items() if type_.kind in kinds][:1]
    return {"logicalType": logical, "physicalType": str(type_)}


def _posted(url: str, body: Any, headers: Mapping[str, str]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)
