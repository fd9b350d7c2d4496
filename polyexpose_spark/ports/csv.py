"""Port csv: files by RFC 4180, and one datapackage.json that is manifest, schema and pointer in one.

`<address>/snapshot=<id>/` holds the files of one snapshot and a manifest of them; `<address>/datapackage.json` is
the manifest of the snapshot that is exposed and is replaced last, in one put with a precondition. Names of files
carry the plan's digest, so that no file that a pointer names is ever written again.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Sequence
from pathlib import Path

from polyexpose_spark.clients import ABSENT, Changed, Files
from polyexpose_spark.errors import ConfigError, Problem, Refused, TargetFailed, TargetUnavailable
from polyexpose_spark.logical import ColumnType, LogicalType
from polyexpose_spark.ports import csv_job, csv_parts, csv_text, datapackage
from polyexpose_spark.ports.base import (
    NOT_READ_BY_SPARK,
    Action,
    Exposure,
    Held,
    Native,
    Plan,
    Port,
    Positions,
    Published,
    Served,
    StepListener,
    TypeMap,
)
from polyexpose_spark.ports.csv_parts import Piece, Sealing, Storage
from polyexpose_spark.ports.csv_settings import CsvAddresses, CsvSettings, shown
from polyexpose_spark.ports.datapackage import DataFile, Package
from polyexpose_spark.product import Column, DataProduct
from polyexpose_spark.spark_errors import explained
from polyexpose_spark.value_text import has_text_keys

log = logging.getLogger(__name__)

_STAGING = "_staging/"
_SUFFIXES = {"none": ".csv", "gzip": ".csv.gz", "zstd": ".csv.zst"}


class CsvPort(Port[CsvSettings, CsvAddresses]):
    """Serves a data product as CSV files."""

    mode = "csv"
    revision = 1
    settings_model = CsvSettings
    address_model = CsvAddresses
    # What a reader can no longer see goes by the file alone; datapackage.json tells the types.
    types = TypeMap(
        carries={
            LogicalType.BOOLEAN: Native("true or false"),
            LogicalType.INT: Native("integer"),
            LogicalType.LONG: Native("integer"),
            LogicalType.FLOAT: Native("number, NaN, INF, -INF"),
            LogicalType.DOUBLE: Native("number, NaN, INF, -INF"),
            LogicalType.DECIMAL: Native("number, all digits"),
            LogicalType.DATE: Native("date, ISO 8601"),
            LogicalType.TIMESTAMP: Native("date and time, ISO 8601, microseconds"),
            LogicalType.TIMESTAMPTZ: Native("date and time, ISO 8601, microseconds, Z"),
            LogicalType.STRING: Native("text"),
            LogicalType.UUID: Native("text, canonical UUID"),
            LogicalType.FIXED: Native("text, base64"),
            LogicalType.BINARY: Native("text, base64"),
            LogicalType.STRUCT: Native("text, JSON object", "the types of its parts"),
            LogicalType.LIST: Native("text, JSON array", "the type of its elements"),
            LogicalType.MAP: Native("text, JSON object", "the type of its values"),
        },
        refuses=NOT_READ_BY_SPARK,
    )

    def address(self, product: DataProduct) -> str:
        """Return the folder of the product.

        Raises:
            ConfigError: neither contract nor profile says where.
        """
        if self.addresses.root:
            return f"{_absolute(self.addresses.root)}/{self.spec.server}/{product.id}"
        location = self.spec.address.get("location")
        if not location:
            message = "say where the files go: `location` of this server, or ports.csv.root in the profile (it wins)"
            raise ConfigError([Problem(product.path, 0, f"{self.spec.key}.location", message)])
        return _absolute(str(location))

    def natives(self, columns: tuple[Column, ...]) -> dict[str, Native]:
        """Return how each column is carried.

        Raises:
            Refused: a type that cannot be carried, or `nested: reject` and a struct, list or map.
        """
        natives = super().natives(columns)
        nested = (
            [each for each in columns if each.type.kind in csv_text.NESTED] if self.settings.nested == "reject" else []
        )
        if nested:
            place = f"port {self.spec.server} ({self.mode})"
            lines = (f"column {each.name}: {each.type} is refused by {place}: `nested` is reject" for each in nested)
            raise Refused("\n".join(lines))
        return natives

    def native(self, type_: ColumnType) -> Native:
        """Return how one type is carried; a map whose keys are not text cannot be a JSON object."""
        if type_.kind is LogicalType.MAP and not has_text_keys(type_):
            return Native("text, JSON array of {key, value}", "the types of its keys and values")
        return super().native(type_)

    def plan(self, exposure: Exposure) -> Plan:
        """Say which files would be written.

        Raises:
            ConfigError: no address; one column that can be NULL, and no `nullMarker`.
            Refused: a type that cannot be carried.
        """
        address, settings = self.address(exposure.product), self.settings
        columns = self.natives(exposure.columns)
        self._check_one_column(exposure)
        digest = self.digest(exposure, address)
        records = exposure.snapshot.records
        rows = "rows not known from metadata" if records is None else f"about {records:,} rows"
        shape = "one file" if settings.single_file else f"files of at most {shown(settings.target_bytes)}"
        packed = "" if settings.compression == "none" else f", {settings.compression}"
        name = f"{_file_name(exposure, digest)}-*{_SUFFIXES[settings.compression]}"
        keep = f"all but the {settings.keep_snapshots} newest snapshots exposed, and what no manifest names"
        return Plan(
            exposure=exposure,
            server=self.spec.server,
            mode=self.mode,
            address=address,
            columns=columns,
            actions=(
                Action("write", f"{address}/{_folder(exposure.snapshot.id)}{name}", f"{rows}, {shape}{packed}"),
                Action(
                    "replace",
                    f"{address}/{datapackage.FILE_NAME}",
                    "manifest, schema and pointer, last and in one step",
                ),
                Action("remove", address, keep),
            ),
            digest=digest,
            estimated_bytes=None if records is None else records * csv_text.estimated_bytes(exposure.columns),
        )

    def _check_one_column(self, exposure: Exposure) -> None:
        columns = exposure.columns
        if len(columns) == 1 and not columns[0].required and not self.settings.null_marker:
            message = (
                f"column {columns[0].name} is the only one and can be NULL, which would be an empty line that "
                r"readers skip: set a nullMarker (for example \N)"
            )
            raise ConfigError([Problem(exposure.product.path, 0, f"{self.spec.key}...nullMarker", message)])

    def held(self, product: DataProduct) -> Held | None:
        """Read the pointer.

        Raises:
            TargetFailed: there is a datapackage.json of another product, or of somebody else.
        """
        address = self.address(product)
        package, _ = _pointer(self.clients.files(address), address, product)
        return Held(package.digest, package.snapshot_id, package.contract_version) if package else None

    def publish(self, plan: Plan, served: Served, positions: Positions, step: StepListener) -> Published:
        """Write the files of the snapshot where they are not there yet, then replace the pointer."""
        store, address = self.clients.files(plan.address), plan.address
        _, generation = _pointer(store, address, plan.exposure.product)
        files, written = self._there(plan, store), 0
        if files is None:
            try:
                files, written = self._write(plan, served, store, step)
            except Exception as error:
                _remove_staging(store, address)
                raise explained(error, served.table) from error
        written += self._point(plan, files, store, generation, step)
        sizes = sum(each.size for each in files)
        folder = f"{address}/{_folder(plan.exposure.snapshot.id)}"
        uris = [f"{folder}{each.name}" for each in files] if self.settings.single_file else []
        return Published(
            uris=(f"{address}/{datapackage.FILE_NAME}", *uris),
            rows=sum(each.rows for each in files),
            bytes_written=written,
            details={"folder": folder, "files": len(files), "bytes": sizes},
        )

    def _there(self, plan: Plan, store: Files) -> tuple[DataFile, ...] | None:
        """Return the files of the plan's snapshot, if its manifest is of this plan and all of them are there."""
        folder = f"{plan.address}/{_folder(plan.exposure.snapshot.id)}"
        found = store.read(f"{folder}{datapackage.FILE_NAME}")
        package = datapackage.read(found[0]) if found else None
        if package is None or package.digest != plan.digest:
            return None
        sizes = {each.path: each.size for each in store.list(folder)}
        return package.files if all(sizes.get(f"{folder}{each.name}") == each.size for each in package.files) else None

    def _write(self, plan: Plan, served: Served, store: Files, step: StepListener) -> tuple[tuple[DataFile, ...], int]:
        """Write files and manifest of a snapshot; return the files, and all bytes written."""
        settings, columns = self.settings, plan.exposure.columns
        folder = f"{plan.address}/{_folder(plan.exposure.snapshot.id)}"
        store.delete([f"{plan.address}/{_STAGING}"])
        # A folder of its own for each run: a Spark job that outlives its killed driver writes somewhere else.
        staging = f"{plan.address}/{_STAGING}{plan.digest[:12]}/{uuid.uuid4().hex[:12]}/"
        header = csv_text.header_line([each.name for each in columns], settings.dialect) if settings.header else None
        in_parts = None if settings.single_file else header

        step("csv.staging", folder)
        read = served.rows(settings.split_bytes)
        rows = csv_job.stage(read, csv_text.line(columns, settings.dialect, in_parts), staging)
        parts = csv_job.parts(store.list(staging))
        step("csv.staged", f"{rows:,} rows in {len(parts)} parts")

        step("csv.sealing", f"{len(parts)} parts")
        target = None if settings.single_file else settings.target_bytes
        gcs = self.clients.config.gcs
        storage = Storage(gcs.endpoint, gcs.credentials == "anonymous")
        hashed = not settings.single_file
        sealing = Sealing(staging, settings.compression, target, in_parts, hashed, storage)
        sealed = csv_job.sealed(read.sparkSession, parts, sealing, rows)
        step("csv.sealed", f"{len(sealed)} files")

        step("csv.moving", folder)
        files = self._place(plan, header, sealed, store, folder, staging)
        step("csv.moved", f"{len(files)} files")

        manifest = self._descriptor(plan, files)
        step("csv.describing", f"{folder}{datapackage.FILE_NAME}")
        store.put(f"{folder}{datapackage.FILE_NAME}", manifest)
        step("csv.described", f"{rows:,} rows")
        return files, sum(each.size for each in files) + len(manifest)

    def _place(
        self,
        plan: Plan,
        header: str | None,
        sealed: Sequence[tuple[Piece, int]],
        store: Files,
        folder: str,
        staging: str,
    ) -> tuple[DataFile, ...]:
        """Give the finished files their names in the snapshot's folder."""
        base, suffix = _file_name(plan.exposure, plan.digest), _SUFFIXES[self.settings.compression]
        beginning = b"" if header is None else header.encode() + b"\n"
        if self.settings.single_file or not sealed:
            name, first = (
                f"{base}{suffix}" if self.settings.single_file else f"{base}-00000{suffix}",
                f"{staging}header",
            )
            store.put(first, csv_parts.compressed(beginning, self.settings.compression))
            whole = store.compose([first, *(piece.path for piece, _ in sealed)], f"{folder}{name}")
            return (DataFile(name, whole.size, whole.hash, sum(rows for _, rows in sealed)),)
        files = []
        for number, (piece, rows) in enumerate(sealed):
            name = f"{base}-{number:05}{suffix}"
            store.move(piece.path, f"{folder}{name}")
            files.append(DataFile(name, piece.size, f"sha256:{piece.sha256}", rows))
        return tuple(files)

    def _descriptor(self, plan: Plan, files: Sequence[DataFile], folder: str = "") -> bytes:
        settings = self.settings
        return datapackage.descriptor(
            plan.exposure, plan.digest, files, settings.dialect, settings.header, settings.compression, folder
        )

    def _point(self, plan: Plan, files: Sequence[DataFile], store: Files, generation: str, step: StepListener) -> int:
        """Replace the pointer where it says something else; return the bytes written."""
        path = f"{plan.address}/{datapackage.FILE_NAME}"
        pointer = self._descriptor(plan, files, _folder(plan.exposure.snapshot.id))
        found = store.read(path)
        if found == (pointer, generation):
            return 0
        step("csv.pointing", path)
        try:
            store.put(path, pointer, if_generation=generation)
        except Changed:
            message = "another run published meanwhile, and that stands; run again"
            raise TargetUnavailable(f"{path}: {message}") from None
        step("csv.pointed", f"snapshot {plan.exposure.snapshot.id}")
        return len(pointer)

    def collect(self, product: DataProduct, kept: tuple[int, ...], step: StepListener) -> None:
        """Remove snapshots that are not kept, files that no manifest names, and what dead runs left."""
        address = self.address(product)
        store = self.clients.files(address)
        pointer, _ = _pointer(store, address, product)
        named = {f"{address}/{datapackage.FILE_NAME}"}
        named |= {f"{address}/{each.name}" for each in pointer.files} if pointer else set()
        for snapshot_id in {*kept, *([pointer.snapshot_id] if pointer else [])}:
            folder = f"{address}/{_folder(snapshot_id)}"
            found = store.read(f"{folder}{datapackage.FILE_NAME}")
            manifest = datapackage.read(found[0]) if found else None
            if manifest:
                named |= {f"{folder}{each}" for each in (datapackage.FILE_NAME, *(f.name for f in manifest.files))}
        step("csv.collecting", address)
        gone = [each for each in _written(store, address) if each not in named]
        store.delete([*gone, f"{address}/{_STAGING}"])
        step("csv.collected", f"{len(gone)} files")

    def withdraw(self, product: DataProduct, step: StepListener) -> bool:
        """Remove the pointer first, so that a reader sees all or nothing, then everything that was written."""
        address = self.address(product)
        store = self.clients.files(address)
        pointer, _ = _pointer(store, address, product)
        if pointer:
            store.delete([f"{address}/{datapackage.FILE_NAME}"])
            step("csv.unpointed", address)
        written = _written(store, address)
        store.delete([*written, f"{address}/{_STAGING}"])
        step("csv.emptied", f"{len(written)} files")
        return bool(pointer or written)


def _written(store: Files, address: str) -> list[str]:
    """Return every file that this port writes below an address, but for the pointer."""
    ours = (f"{address}/snapshot=", f"{address}/{_STAGING}")
    return [each.path for each in store.list(f"{address}/") if each.path.startswith(ours)]


def _pointer(store: Files, address: str, product: DataProduct) -> tuple[Package | None, str]:
    """Return what the pointer says, and its generation."""
    path = f"{address}/{datapackage.FILE_NAME}"
    found = store.read(path)
    if found is None:
        return None, ABSENT
    package = datapackage.read(found[0])
    if package is None or package.product_id != product.id:
        whose = f"data product {package.product_id}" if package else "somebody else"
        raise TargetFailed(f"{path} is of {whose}; choose another location, or remove that file")
    return package, found[1]


def _remove_staging(store: Files, address: str) -> None:
    """Make room after a failure, which is told even where that does not work."""
    try:
        store.delete([f"{address}/{_STAGING}"])
    except (TargetFailed, TargetUnavailable) as error:
        log.warning("%s", error)


def _folder(snapshot_id: int) -> str:
    return f"snapshot={snapshot_id}/"


def _file_name(exposure: Exposure, digest: str) -> str:
    """Return the beginning of a file's name: what it is, and of which plan."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', exposure.product.name)}-{digest[:12]}"


def _absolute(location: str) -> str:
    local = location.removeprefix("file://")
    return location.rstrip("/") if "://" in local else str(Path(local).expanduser().absolute())
