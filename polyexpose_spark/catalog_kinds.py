"""The kinds of Iceberg catalog, read through pyiceberg: jdbc (SQLite, PostgreSQL), rest, hive, hadoop.

Imported on first use only: pyiceberg takes its time. Nothing here writes; where nothing is, nothing is made.
"""

from __future__ import annotations

import gzip
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, NoSuchViewError
from pyiceberg.io import load_file_io
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.view.metadata import ViewMetadata

from polyexpose_spark.clients import Identifier, secrets
from polyexpose_spark.config import CatalogConfig

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog as IcebergCatalog
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.catalog.sql import SqlCatalog

CONNECT_SECONDS = 5
"""So long a server may take to accept a connection."""
ANSWER_SECONDS = 30
"""So long a server may take to answer, and another writer of an SQLite file to finish."""


class Kind(ABC):
    """One kind of catalog. None stands for what is not there; errors are the library's own."""

    def __init__(self, config: CatalogConfig) -> None:
        """Keep the settings; nothing is contacted yet."""
        self.config = config

    @abstractmethod
    def namespaces(self) -> list[Identifier]:
        """Return all namespaces, nested ones too."""

    @abstractmethod
    def tables(self) -> list[Identifier]:
        """Return all tables."""

    @abstractmethod
    def table(self, identifier: Identifier) -> TableMetadata | None:
        """Return the metadata of a table."""

    def has_views(self) -> bool:
        """Say whether the catalog has views."""
        return False

    def views(self, namespace: Identifier) -> list[Identifier]:
        """Return the views of a namespace."""
        return []

    def view(self, identifier: Identifier) -> ViewMetadata | None:
        """Return the metadata of a view."""
        return None

    def properties(self) -> dict[str, str]:
        """Return the profile's properties for pyiceberg, secrets resolved."""
        given = {key: _resolved(value) for key, value in self.config.properties.items()}
        return given | ({"warehouse": self.config.warehouse} if self.config.warehouse else {})


def _resolved(value: str) -> str:
    return secrets.resolve(value) if secrets.is_reference(value) else value


def kind_of(config: CatalogConfig) -> Kind:
    """Return the kind of catalog that the settings name."""
    if config.type == "jdbc":
        return SqlKind(config)
    if config.type == "rest":
        return RestKind(config)
    return HiveKind(config) if config.type == "hive" else HadoopKind(config)


def _walk(catalog: IcebergCatalog, below: Identifier = ()) -> Iterator[Identifier]:
    try:
        found = catalog.list_namespaces(below)
    except NoSuchNamespaceError:  # dropped since it was listed
        return
    for each in found:
        yield each
        yield from _walk(catalog, each)


def _tables(catalog: IcebergCatalog, namespaces: Iterator[Identifier]) -> Iterator[Identifier]:
    for each in namespaces:
        try:
            yield from catalog.list_tables(each)
        except NoSuchNamespaceError:  # dropped since it was listed
            continue


def _load(catalog: IcebergCatalog, identifier: Identifier) -> TableMetadata | None:
    try:
        return catalog.load_table(identifier).metadata
    except (NoSuchTableError, NoSuchNamespaceError):
        return None


class SqlKind(Kind):
    """Iceberg's JdbcCatalog in SQLite or PostgreSQL."""

    @contextmanager
    def _open(self) -> Iterator[SqlCatalog | None]:
        """Yield the catalog, or None where it is not there yet: no file, or no Iceberg tables in it."""
        from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
        from sqlalchemy import inspect

        file = self._sqlite_file
        if file is not None and not file.exists():
            yield None
            return
        # Spark makes the tables, with the layout that has views; pyiceberg is not to make any on a read.
        properties = self.properties() | {"init_catalog_tables": "false"}
        catalog = SqlCatalog(self.config.name, uri=self._url(file), **properties)
        try:
            yield catalog if inspect(catalog.engine).has_table(IcebergTables.__tablename__) else None
        finally:
            catalog.close()

    @property
    def _sqlite_file(self) -> Path | None:
        address = str(self.config.uri)
        if not address.startswith("jdbc:sqlite:"):
            return None
        return Path(address.removeprefix("jdbc:sqlite:").partition("?")[0]).absolute()

    def _url(self, file: Path | None) -> str:
        from sqlalchemy import URL

        if file is not None:
            # mode=rw: a file that went away in between is not made again. Not ro: only who may write can roll
            # back the journal of a killed writer.
            query = {"mode": "rw", "uri": "true", "timeout": str(ANSWER_SECONDS)}
            url = URL.create("sqlite", database=f"file:{quote(str(file))}", query=query)
            return url.render_as_string(hide_password=False)
        parts = urlsplit(str(self.config.uri).removeprefix("jdbc:"))
        url = URL.create(
            "postgresql+psycopg2",
            username=self.config.user,
            password=secrets.resolve(self.config.password) if self.config.password else None,
            host=parts.hostname,
            port=parts.port,
            database=parts.path.lstrip("/"),
            query=_libpq_options(parts.query),
        )
        return url.render_as_string(hide_password=False)

    def namespaces(self) -> list[Identifier]:
        """Return all namespaces, nested ones too."""
        with self._open() as catalog:
            return list(_walk(catalog)) if catalog else []

    def tables(self) -> list[Identifier]:
        """Return all tables."""
        with self._open() as catalog:
            return list(_tables(catalog, _walk(catalog))) if catalog else []

    def table(self, identifier: Identifier) -> TableMetadata | None:
        """Return the metadata of a table."""
        location = self._locations(identifier[:-1], "TABLE").get(identifier[-1])
        return TableMetadataUtil.parse_raw(_text(location, self.properties())) if location else None

    def has_views(self) -> bool:
        """Say whether the catalog has views: Spark makes them with the layout that Iceberg calls V1."""
        return True

    def views(self, namespace: Identifier) -> list[Identifier]:
        """Return the views of a namespace."""
        return [(*namespace, name) for name in self._locations(namespace, "VIEW")]

    def view(self, identifier: Identifier) -> ViewMetadata | None:
        """Return the metadata of a view."""
        location = self._locations(identifier[:-1], "VIEW").get(identifier[-1])
        return ViewMetadata.model_validate_json(_text(location, self.properties())) if location else None

    def _locations(self, namespace: Identifier, type_: str) -> dict[str, str]:
        """Return name -> metadata location of the tables or views; pyiceberg's SqlCatalog reads no views."""
        from pyiceberg.catalog.sql import IcebergTables
        from sqlalchemy import func, inspect, select

        with self._open() as catalog:
            if catalog is None:
                return {}
            rows = select(IcebergTables.table_name, IcebergTables.metadata_location).where(
                IcebergTables.catalog_name == self.config.name,
                IcebergTables.table_namespace == ".".join(namespace),
            )
            columns = {each["name"] for each in inspect(catalog.engine).get_columns(IcebergTables.__tablename__)}
            if "iceberg_type" in columns:
                # Rows that were there before the column was added are tables.
                rows = rows.where(func.coalesce(IcebergTables.iceberg_type, "TABLE") == type_)
            elif type_ != "TABLE":  # Iceberg's V0 layout: tables only
                return {}
            with catalog.engine.connect() as connection:
                return {name: location for name, location in connection.execute(rows) if location}


# Options of PostgreSQL's JDBC driver that libpq knows as well; the others steer the driver in the JVM only.
_LIBPQ_NAMES = {
    "sslmode": "sslmode",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslrootcert": "sslrootcert",
    "ApplicationName": "application_name",
    "targetServerType": "target_session_attrs",
}


def _libpq_options(jdbc: str) -> dict[str, str]:
    given = dict(parse_qsl(jdbc))
    options = {_LIBPQ_NAMES[key]: value for key, value in given.items() if key in _LIBPQ_NAMES}
    settings = f"-c statement_timeout={ANSWER_SECONDS * 1000}"
    if "currentSchema" in given:
        settings += f" -c search_path={given['currentSchema']}"
    if given.get("ssl", "false") != "false":
        # What ssl=true means to the JDBC driver.
        options.setdefault("sslmode", "verify-full")
    return options | {
        "connect_timeout": str(CONNECT_SECONDS),
        "tcp_user_timeout": str(ANSWER_SECONDS * 1000),
        "options": settings,
    }


_LOCAL = re.compile(r"(?:file:(?://)?)?(/.*)")


def _text(location: str, properties: dict[str, str]) -> str:
    """Return the text of a metadata file, which may be gzipped."""
    local = _LOCAL.fullmatch(location)
    if local:
        # pyiceberg would import Arrow and, through it, pandas: half a second for one small file.
        data = Path(local[1]).read_bytes()
    else:
        with load_file_io(properties, location).new_input(location).open() as stream:
            data = stream.read()
    # Known by its first bytes (RFC 1952): Iceberg has had two endings for the name.
    return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8")


class RestKind(Kind):
    """A server of Iceberg's REST catalog API."""

    @cached_property
    def _catalog(self) -> RestCatalog:
        from pyiceberg.catalog.rest import RestCatalog

        class _Bounded(RestCatalog):
            """pyiceberg sets no deadline on any call."""

            def _create_session(self) -> Any:
                session = super()._create_session()
                session.request = partial(session.request, timeout=(CONNECT_SECONDS, ANSWER_SECONDS))  # type: ignore[method-assign]
                return session

        # The server sends the metadata itself; pyiceberg still loads what would read files, by default Arrow.
        properties = {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"} | self.properties()
        return _Bounded(self.config.name, uri=str(self.config.uri), **properties)

    def namespaces(self) -> list[Identifier]:
        """Return all namespaces, nested ones too."""
        return list(_walk(self._catalog))

    def tables(self) -> list[Identifier]:
        """Return all tables."""
        return list(_tables(self._catalog, _walk(self._catalog)))

    def table(self, identifier: Identifier) -> TableMetadata | None:
        """Return the metadata of a table."""
        return _load(self._catalog, identifier)

    def has_views(self) -> bool:
        """Say whether the server serves views."""
        from pyiceberg.catalog.rest import Capability

        return Capability.V1_LOAD_VIEW in self._catalog._supported_endpoints

    def views(self, namespace: Identifier) -> list[Identifier]:
        """Return the views of a namespace."""
        try:
            return list(self._catalog.list_views(namespace))
        except NoSuchNamespaceError:
            return []

    def view(self, identifier: Identifier) -> ViewMetadata | None:
        """Return the metadata of a view."""
        if not self.has_views():
            return None
        try:
            metadata: ViewMetadata = self._catalog.load_view(identifier).metadata
            return metadata
        except (NoSuchViewError, NoSuchNamespaceError):
            return None


class HiveKind(Kind):
    """A Hive metastore."""

    @cached_property
    def _catalog(self) -> IcebergCatalog:
        from pyiceberg.catalog.hive import HiveCatalog

        return HiveCatalog(self.config.name, uri=str(self.config.uri), **self.properties())

    def namespaces(self) -> list[Identifier]:
        """Return all namespaces; Hive has one level of them."""
        return self._catalog.list_namespaces()

    def tables(self) -> list[Identifier]:
        """Return all tables."""
        return list(_tables(self._catalog, iter(self.namespaces())))

    def table(self, identifier: Identifier) -> TableMetadata | None:
        """Return the metadata of a table."""
        return _load(self._catalog, identifier)


# The names that Iceberg's HadoopTableOperations reads.
_VERSION = re.compile(r"v(\d+)(?:\.gz)?\.metadata\.json(?:\.gz)?")


class HadoopKind(Kind):
    """Iceberg's HadoopCatalog: a folder per namespace and table, versions numbered in `metadata/`."""

    @cached_property
    def _root(self) -> tuple[Any, str]:
        """Return the file system and the warehouse's path in it."""
        from pyarrow import fs

        warehouse = str(self.config.warehouse)
        system, path = fs.FileSystem.from_uri(warehouse) if "://" in warehouse else (fs.LocalFileSystem(), warehouse)
        return system, path.rstrip("/")

    def namespaces(self) -> list[Identifier]:
        """Return all namespaces, nested ones too."""
        return [path for path, is_table in self._folders(()) if not is_table]

    def tables(self) -> list[Identifier]:
        """Return all tables."""
        return [path for path, is_table in self._folders(()) if is_table]

    def _folders(self, below: Identifier) -> Iterator[tuple[Identifier, bool]]:
        from pyarrow.fs import FileType

        for name, kind in self._list(below):
            if kind == FileType.Directory and not name.startswith((".", "_")):
                path = (*below, name)
                is_table = bool(self._versions(path))
                yield path, is_table
                if not is_table:
                    yield from self._folders(path)

    def _list(self, folder: Identifier) -> list[tuple[str, Any]]:
        from pyarrow.fs import FileSelector

        system, root = self._root
        selector = FileSelector("/".join((root, *folder)), allow_not_found=True)
        return [(each.base_name, each.type) for each in system.get_file_info(selector)]

    def _versions(self, identifier: Identifier) -> list[tuple[int, str]]:
        found = ((_VERSION.fullmatch(name), name) for name, _ in self._list((*identifier, "metadata")))
        return sorted((int(match[1]), name) for match, name in found if match)

    def table(self, identifier: Identifier) -> TableMetadata | None:
        """Return the metadata of a table."""
        versions = self._versions(identifier)
        if not versions:
            return None
        # version-hint.text may lag behind; Iceberg itself goes on from it to the newest version.
        location = "/".join((str(self.config.warehouse).rstrip("/"), *identifier, "metadata", versions[-1][1]))
        return TableMetadataUtil.parse_raw(_text(location, self.properties()))
