"""What ports and ledger reach the outside through: Protocols, and Clients, which builds each on first use.

Nothing is imported or contacted before it is used, so `--mode csv` needs no BigQuery library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from polyexpose_spark.errors import Refused

if TYPE_CHECKING:
    from datetime import datetime

    from pyarrow import RecordBatch
    from pyspark.sql import SparkSession

    from polyexpose_spark.catalog import Catalog
    from polyexpose_spark.clients.bigquery_tables import HeldTable, HeldView, Loaded, Merged, TableName, TableSpec
    from polyexpose_spark.clients.delivery import Envelope
    from polyexpose_spark.clients.event_addresses import KafkaAddress, PubsubAddress, PubsubliteAddress
    from polyexpose_spark.clients.hasura import Applied
    from polyexpose_spark.clients.hasura_metadata import Command, Publication, Source
    from polyexpose_spark.clients.hasura_metadata import TableName as TrackedName
    from polyexpose_spark.config import Config

Identifier = tuple[str, ...]

ABSENT = ""
"""The generation of an object that does not exist."""


class Changed(Exception):
    """A conditional put found another generation than the one expected; nothing was written."""


@dataclass(frozen=True)
class StoredFile:
    """One object below a listed prefix: full path, size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class Composed:
    """A file put together from parts: size in bytes, and its hash as ``sha256:<hex>`` or ``crc32c:<base64>``."""

    size: int
    hash: str


class Files(Protocol):
    """Objects in a file system or an object store. Paths are absolute, folders are only prefixes ending in `/`.

    Every method raises TargetFailed (it answered: no right, disk full, ...) or TargetUnavailable (it did not).
    """

    def read(self, path: str) -> tuple[bytes, str] | None:
        """Return content and generation of a small object, or None where there is none."""
        ...

    def put(self, path: str, data: bytes, if_generation: str | None = None) -> str:
        """Write a small object in one step, so that a reader sees the old or the new; return its generation.

        Args:
            path: where to.
            data: the whole content.
            if_generation: write only where the object has this generation (ABSENT: does not exist).

        Raises:
            Changed: it has another one.
        """
        ...

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """Open an object for reading, as a stream."""
        ...

    def list(self, prefix: str) -> Sequence[StoredFile]:
        """Return all objects below a folder, sorted by path; empty where there is no such folder."""
        ...

    def move(self, source: str, target: str) -> None:
        """Move an object; an existing target is replaced."""
        ...

    def compose(self, parts: Sequence[str], target: str) -> Composed:
        """Put parts together, in this order, as one object that appears whole; the parts stay."""
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; a path ending in `/` stands for all below it. One that is gone is no error.

        Folders left empty go as well.
        """
        ...


@dataclass(frozen=True)
class View:
    """A view in the Iceberg catalog: its name, SQL text, columns (name -> comment) and properties."""

    identifier: Identifier
    sql: str
    columns: Mapping[str, str]
    comment: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)


class Views(Protocol):
    """The views of the Iceberg catalog."""

    @property
    def supported(self) -> bool:
        """Say whether this kind of catalog has views."""
        ...

    def load(self, identifier: Identifier) -> View | None:
        """Return the view without a Spark session, or None."""
        ...

    def replace(self, view: View) -> None:
        """Create the namespace where it is missing, and create or replace the view in one step."""
        ...

    def drop(self, identifier: Identifier) -> None:
        """Drop the view if it is there."""
        ...


class BigQuery(Protocol):
    """One project of BigQuery. Every method can be called again after any failure."""

    def ensure_dataset(self, name: str, text: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Create the dataset where it is missing."""
        ...

    def allow_views(self, versions: str, dataset: str) -> None:
        """Let the views of one dataset read the tables of another, whoever asks them."""
        ...

    def load_parquet(self, digest: str, files: Sequence[str], spec: TableSpec) -> Loaded:
        """Load files into a table, all or nothing, and mark it with the digest."""
        ...

    def clone(self, digest: str, base: TableName, table: TableName) -> int:
        """Make a table a clone of another one, whatever it held; return the number of the attempt, for merge()."""
        ...

    def merge(
        self,
        digest: str,
        attempt: int,
        changes: TableName,
        table: TableName,
        key: Sequence[str],
        columns: Sequence[str],
    ) -> Merged:
        """Apply a table of changes, all or nothing, once after each clone."""
        ...

    def set_table(self, table: TableName, text: str, labels: Mapping[str, str], expires: datetime | None) -> None:
        """Set description, labels and expiration (None: never) of a table; other labels of it stay."""
        ...

    def replace_view(
        self, view: TableName, sql: str, text: str, columns: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Create or replace a view with descriptions and labels, in one statement."""
        ...

    def view(self, view: TableName) -> HeldView | None:
        """Return the view, or None."""
        ...

    def table(self, table: TableName) -> HeldTable | None:
        """Return what is known of a table, or None."""
        ...

    def versions(self, dataset: str, prefix: str) -> tuple[HeldTable, ...]:
        """Return the tables of a dataset whose names start so, oldest first."""
        ...

    def delete(self, table: TableName) -> None:
        """Delete a table or view; one that is gone is no error."""
        ...

    def preflight(self, dataset: str, versions: str, bucket_location: str | None = None) -> list[str]:
        """Return what stands in the way of loading: regions, permissions."""
        ...


class Hasura(Protocol):
    """One Hasura, or anything that answers its metadata API."""

    def difference(self, desired: Publication) -> tuple[Command, ...]:
        """Return what would have to be changed; empty: it is as desired. Changes nothing."""
        ...

    def apply(self, desired: Publication, columns_changed: bool = False) -> Applied:
        """Bring the metadata to what is desired, and see that each published role can read the table."""
        ...

    def withdraw(self, product: str, source: Source, table: TrackedName) -> tuple[Command, ...]:
        """Take away what a product published, and nothing else; return what was done."""
        ...


@dataclass(frozen=True)
class Topic:
    """A topic that is there."""

    partitions: int
    """0: the service has none."""
    max_bytes: int
    """The largest event that it takes: key, value and attributes together."""
    described: str = ""
    """What the service says of retention, compaction, replicas; one line."""


@dataclass(frozen=True)
class TopicSettings:
    """A topic that is wanted; None: as the service or the profile has it."""

    partitions: int | None = None
    retention_hours: int | None = None
    compacted: bool = False
    """Keep the last event of each key (and tombstones) instead of all for a time."""


class EventSink(Protocol):
    """One topic of one message service. Every method raises TargetFailed or TargetUnavailable within a deadline."""

    @property
    def address(self) -> str:
        """Return what a user sees: `kafka://host:9092/topic`."""
        ...

    @property
    def host(self) -> str:
        """Return where clients connect to: host or host:port, several with commas."""
        ...

    @property
    def by_route(self) -> bool:
        """Say whether all events of a route must come in one task, in an order that a repeat gives again."""
        ...

    def routes(self, topic: Topic) -> int:
        """Return among how many routes the keys are spread, sha256(key) mod routes; 0: the service does it itself."""
        ...

    def topic(self) -> Topic | None:
        """Return the topic; None: it is not there."""
        ...

    def create(self, wanted: TopicSettings) -> Topic:
        """Create the topic; one that is there by now is no error.

        Raises:
            Refused: the service has no such setting.
        """
        ...

    def delete(self) -> None:
        """Delete the topic; one that is gone is no error."""
        ...

    def sender(
        self, topic: Topic, envelope: Envelope, batch: str
    ) -> Callable[[Iterable[RecordBatch]], Iterable[RecordBatch]]:
        """Return what sends the events of a task, for DataFrame.mapInArrow: delivery.EVENT_COLUMNS to SENT_COLUMNS.

        Args:
            topic: as topic() returned it.
            envelope: what all events share.
            batch: names this batch of events; a repeat of the same events has the same name.
        """
        ...


class Clients:
    """One of each client, built on first use."""

    def __init__(self, config: Config, session: Callable[[], SparkSession]) -> None:
        """Keep the configuration and the way to a session; nothing is built yet."""
        self.config = config
        self.session = session

    @cached_property
    def catalog(self) -> Catalog:
        """The Iceberg catalog without a JVM."""
        from polyexpose_spark.catalog import Catalog

        return Catalog(self.config.catalog)

    @cached_property
    def views(self) -> Views:
        """The views of the Iceberg catalog."""
        from polyexpose_spark.clients.views import IcebergViews

        return IcebergViews(self.catalog, self.session)

    def bigquery(
        self,
        project: str,
        location: str,
        endpoint: str | None,
        credentials: Literal["application_default", "anonymous"],
    ) -> BigQuery:
        """Return a client of one project."""
        from polyexpose_spark.clients.bigquery import BigQueryClient

        return BigQueryClient(project, location, endpoint, credentials)

    def hasura(self, endpoint: str, admin_secret: str | None) -> Hasura:
        """Return a client of one Hasura; the secret is a reference."""
        from polyexpose_spark.clients.hasura import HasuraClient

        return HasuraClient(endpoint, admin_secret)

    def kafka(self, address: KafkaAddress, topic: str) -> EventSink:
        """Return a topic of a Kafka cluster."""
        from polyexpose_spark.clients.kafka import KafkaSink

        return KafkaSink(address, topic)

    def pubsublite(self, address: PubsubliteAddress, topic: str) -> EventSink:
        """Return a topic of Pub/Sub Lite."""
        from polyexpose_spark.clients.pubsublite import PubsubliteSink

        return PubsubliteSink(address, topic)

    def pubsub(self, address: PubsubAddress, topic: str) -> EventSink:
        """Return a topic of Pub/Sub."""
        from polyexpose_spark.clients.pubsub import PubsubSink

        return PubsubSink(address, topic)

    def files(self, location: str) -> Files:
        """Return the client for the scheme of this location.

        Raises:
            Refused: no client serves this scheme.
        """
        scheme = location.partition("://")[0] if "://" in location else "file"
        if scheme == "file":
            return self._local_files
        if scheme == "gs":
            return self._gcs_files
        raise Refused(f"{location}: {scheme}:// is not served; local paths and gs:// addresses are")

    @cached_property
    def _local_files(self) -> Files:
        from polyexpose_spark.clients.files import LocalFiles

        return LocalFiles()

    @cached_property
    def _gcs_files(self) -> Files:
        from polyexpose_spark.clients.gcs import GcsFiles

        return GcsFiles(self.config.gcs)
