"""BigQuery by its official client: datasets, load jobs into version tables, views over them.

Where it is and with what credentials is told by the caller; the Google library is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from polyexpose_spark.clients.bigquery_calls import NO_RETRY, Calls, Deadline
from polyexpose_spark.clients.bigquery_jobs import Jobs
from polyexpose_spark.clients.bigquery_tables import (
    DIGEST_LABEL,
    HeldTable,
    HeldView,
    Loaded,
    Merged,
    TableName,
    TableSpec,
    clone_statement,
    description,
    digest_label,
    loadable,
    merge_statement,
    parameter_type,
    quoted,
    view_statement,
)
from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud import bigquery

T = TypeVar("T")


@dataclass(frozen=True)
class Deadlines:
    """Seconds that an operation may take, all its requests and pauses together.

    A load job that outlives its deadline goes on, and is found by the next run.
    """

    metadata: float = 120.0
    query: float = 600.0
    load: float = 3600.0


class BigQueryClient:
    """One project of BigQuery. Every method raises TargetFailed (it answered) or TargetUnavailable (it did not).

    A message names the table and, where there is one, the job. All methods can be called again after any failure.
    """

    def __init__(
        self,
        project: str,
        location: str,
        endpoint: str | None = None,
        credentials: Literal["application_default", "anonymous"] = "application_default",
        deadlines: Deadlines | None = None,
    ) -> None:
        """Keep what is handed in; nothing is imported or contacted yet.

        Args:
            project: holds the datasets, and is billed for the jobs.
            location: of datasets and jobs (EU, US, europe-west1, ...); a job is not found without it.
            endpoint: address of the API; None: Google's own.
            credentials: of the environment, or none at all.
            deadlines: of the operations.
        """
        self.project = project
        self.location = location
        self._endpoint = endpoint
        self._credentials = credentials
        self._deadlines = deadlines or Deadlines()
        self._calls = Calls("BigQuery" if endpoint is None else f"BigQuery at {endpoint}")

    def ensure_dataset(self, name: str, text: str = "", labels: Mapping[str, str] | None = None) -> None:
        """Create the dataset where it is missing; one that is there stays as it is.

        Raises:
            TargetFailed: it is there, in another location.
        """
        from google.api_core.exceptions import Conflict

        wanted = self._bigquery.Dataset(f"{self.project}.{name}")
        wanted.location = self.location
        wanted.description = text or None
        wanted.labels = dict(labels or {})

        def fetch_or_create(timeout: float) -> bigquery.Dataset:
            if (found := self._dataset(name, timeout)) is not None:
                return found
            try:
                return self._client.create_dataset(wanted, retry=NO_RETRY, timeout=timeout)
            except Conflict:
                if (found := self._dataset(name, timeout)) is None:
                    raise
                return found

        held = self._metadata(f"dataset {self.project}.{name}", fetch_or_create)
        if (problem := self._elsewhere(name, held)) is not None:
            raise TargetFailed(f"{self._calls.target}: {problem}")

    def allow_views(self, versions: str, dataset: str) -> None:
        """Let the views of one dataset read the tables of another, whoever asks them.

        The entry names the dataset, not its views: it stays when a view is replaced, and one entry serves all of them.
        """
        entry = self._bigquery.AccessEntry(
            entity_type="dataset",
            entity_id={
                "dataset": {"projectId": self.project, "datasetId": dataset},
                "targetTypes": ["VIEWS"],
            },
        )

        def allow(timeout: float) -> None:
            held = self._client.get_dataset(versions, retry=NO_RETRY, timeout=timeout)
            if any(_views_of(each.to_api_repr()) == (self.project, dataset) for each in held.access_entries):
                return
            held.access_entries = [*held.access_entries, entry]
            # The dataset carries its etag: where somebody else changed it meanwhile, this fails, and is done again.
            self._client.update_dataset(held, ["access_entries"], retry=NO_RETRY, timeout=timeout)

        self._metadata(f"access of {self.project}.{dataset}'s views to {versions}", allow)

    def load_parquet(self, digest: str, files: Sequence[str], spec: TableSpec) -> Loaded:
        """Make the table hold the rows of these files and nothing else, as `spec` says.

        One load job with the schema of `spec`, all or nothing, under the id `polyexpose_<digest>_<attempt>`. A job of
        before with the same digest is waited for and taken, as long as its table still holds what it loaded.

        Args:
            digest: sha256 in hex of all that decides the rows; another digest in the same table replaces it.
            files: at least one; all local paths, or all gs:// addresses (a `*` is allowed there).
            spec: the table.
        """
        what = f"table {self.project}.{spec.table}"
        remote = {path.startswith("gs://") for path in files}
        if len(remote) != 1:
            raise ValueError(f"files are all local or all gs://, at least one: {list(files)[:3]}")
        job, table = self._jobs.load(digest, files, spec, what, Deadline(self._deadlines.load))
        labels = {**spec.labels, DIGEST_LABEL: digest_label(digest)}
        text = description(spec.description) or None
        if (table.labels, table.description, table.expires) != (labels, text, spec.expires):
            self.set_table(spec.table, spec.description, labels, spec.expires)
        if job is None:
            return Loaded(int(table.num_rows or 0), int(table.num_bytes or 0), "")
        return Loaded(int(job.output_rows or 0), int(job.output_bytes or 0), str(job.job_id))

    def clone(self, digest: str, base: TableName, table: TableName) -> int:
        """Make a table a clone of another one, whatever it held; return the number of the attempt, for merge().

        Nothing that was started for this digest before is under way any more then.
        """
        statement = clone_statement(self.project, base, table)
        return self._jobs.clone(digest, statement, f"table {self.project}.{table}", Deadline(self._deadlines.query))

    def merge(
        self,
        digest: str,
        attempt: int,
        changes: TableName,
        table: TableName,
        key: Sequence[str],
        columns: Sequence[str],
    ) -> Merged:
        """Apply a table of changes, all or nothing, once after each clone; see merge_statement().

        Raises:
            TargetFailed: two changes of one row, among others; the table is as it was.
        """
        statement = merge_statement(self.project, changes, table, key, columns)
        what = f"table {self.project}.{table}"
        return self._jobs.merge(digest, attempt, statement, what, Deadline(self._deadlines.load))

    def set_table(self, table: TableName, text: str, labels: Mapping[str, str], expires: datetime | None) -> None:
        """Set description, labels and expiration (None: never) of a table or view; other labels of it stay."""
        wanted = self._bigquery.Table(f"{self.project}.{table}")
        wanted.description = description(text) or None
        wanted.labels = dict(labels)
        wanted.expires = expires
        changed = ["description", "labels", "expires"]
        self._metadata(
            f"table {self.project}.{table}",
            lambda timeout: self._client.update_table(wanted, changed, retry=NO_RETRY, timeout=timeout),
        )

    def expire(self, table: TableName, at: datetime | None) -> None:
        """Let BigQuery delete the table at this moment; None: never."""
        wanted = self._bigquery.Table(f"{self.project}.{table}")
        wanted.expires = at
        self._metadata(
            f"table {self.project}.{table}",
            lambda timeout: self._client.update_table(wanted, ["expires"], retry=NO_RETRY, timeout=timeout),
        )

    def replace_view(
        self, view: TableName, sql: str, text: str, columns: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Create or replace a view with all that belongs to it, in one statement: a reader sees the old or the new.

        The REST method would need two steps: BigQuery takes the descriptions of a view's columns only after its text.

        Args:
            view: its name.
            sql: the query behind it, tables with their project.
            text: its description.
            columns: name -> description, in the order of what `sql` selects.
            labels: all labels that the view will have.
        """
        statement = view_statement(self.project, view, sql, text, columns, labels)
        self._jobs.statement(statement, f"view {self.project}.{view}", Deadline(self._deadlines.query))

    def view(self, view: TableName) -> HeldView | None:
        """Return the view, or None.

        Raises:
            TargetFailed: a table has this name.
        """
        what = f"view {self.project}.{view}"
        found = self._metadata(what, partial(self._table, view))
        if found is None:
            return None
        if found.table_type != "VIEW":
            raise TargetFailed(f"{self._calls.target}: {what}: a {found.table_type.lower()} has this name")
        columns = {column.name: column.description or "" for column in found.schema}
        return HeldView(view, found.view_query or "", dict(found.labels), found.description or "", columns)

    def versions(self, dataset: str, prefix: str) -> tuple[HeldTable, ...]:
        """Return the tables of a dataset whose names start so, oldest first; empty where there is no such dataset."""
        from google.api_core.exceptions import NotFound

        def names(timeout: float) -> list[TableName]:
            try:
                listed = list(self._client.list_tables(dataset, retry=NO_RETRY, timeout=timeout))
            except NotFound:
                return []
            return [
                TableName(dataset, each.table_id)
                for each in listed
                if each.table_type == "TABLE" and each.table_id.startswith(prefix)
            ]

        held = []
        for name in self._metadata(f"dataset {self.project}.{dataset}", names):
            if (found := self._metadata(f"table {self.project}.{name}", partial(self._table, name))) is not None:
                held.append(_held(name, found))
        return tuple(sorted(held, key=lambda each: (each.created, each.table.name)))

    def table(self, table: TableName) -> HeldTable | None:
        """Return what is known of a table, or None."""
        found = self._metadata(f"table {self.project}.{table}", partial(self._table, table))
        return None if found is None else _held(table, found)

    def delete(self, table: TableName) -> None:
        """Delete a table or view; one that is gone is no error."""
        name = f"{self.project}.{table}"
        self._metadata(
            f"table {name}",
            lambda timeout: self._client.delete_table(name, retry=NO_RETRY, timeout=timeout, not_found_ok=True),
        )

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return all rows of a SELECT (never of a statement that changes anything: it may be run twice).

        Args:
            sql: GoogleSQL, tables with their project.
            parameters: values of its @names.
        """
        config = self._bigquery.QueryJobConfig(
            query_parameters=[
                self._bigquery.ScalarQueryParameter(name, parameter_type(value), value)
                for name, value in (parameters or {}).items()
            ]
        )
        deadline = Deadline(self._deadlines.query)

        def ask(timeout: float) -> list[dict[str, Any]]:
            rows = self._client.query_and_wait(
                sql,
                job_config=config,
                location=self.location,
                api_timeout=timeout,
                wait_timeout=max(1.0, deadline.left),
                retry=NO_RETRY,
                job_retry=NO_RETRY,
            )
            return [dict(row.items()) for row in rows]

        return self._calls("query", deadline, ask)

    def preflight(self, dataset: str, versions: str, bucket_location: str | None = None) -> list[str]:
        """Say what would keep an exposure from working; nothing is changed.

        Permissions are asked for by dry runs of statements like those of an exposure: BigQuery's testIamPermissions
        knows tables only, and what an exposure needs is granted on projects and datasets. A dataset that is missing is
        no problem: it will be made.

        Args:
            dataset: where the views are.
            versions: where their tables are.
            bucket_location: of the bucket that load jobs read; None: files are uploaded.
        """
        problems: list[str] = []
        view, table = (quoted(f"{self.project}.{name}.polyexpose_preflight") for name in (dataset, versions))
        checks = {
            dataset: f"CREATE OR REPLACE VIEW {view} AS SELECT 1 AS one",
            versions: f"CREATE OR REPLACE TABLE {table} (one INT64)",
        }
        try:
            self._dry_run(f"project {self.project}", "SELECT 1 AS one")
            for name, statement in checks.items():
                what = f"dataset {self.project}.{name}"
                held = self._metadata(what, partial(self._dataset, name))
                if held is None:
                    continue
                if (elsewhere := self._elsewhere(name, held)) is not None:
                    problems.append(elsewhere)
                    continue
                try:
                    self._dry_run(what, statement)
                except TargetFailed as error:
                    problems.append(str(error))
        except PolyexposeError as error:
            problems.append(str(error))
        if bucket_location is not None and not loadable(self.location, bucket_location):
            problems.append(
                f"BigQuery in {self.location} does not load from a bucket in {bucket_location}; "
                "take a bucket in the same region, or within the same multi-region"
            )
        return problems

    @cached_property
    def _bigquery(self) -> Any:
        try:
            from google.cloud import bigquery
        except ImportError:
            raise ConfigError("google-cloud-bigquery is not installed: pip install google-cloud-bigquery") from None
        return bigquery

    @cached_property
    def _client(self) -> bigquery.Client:
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials

        def connect(_: float) -> bigquery.Client:
            return self._bigquery.Client(  # type: ignore[no-any-return]
                project=self.project,
                location=self.location,
                credentials=AnonymousCredentials() if self._credentials == "anonymous" else None,  # type: ignore[no-untyped-call]
                client_options=ClientOptions(api_endpoint=self._endpoint) if self._endpoint else None,
            )

        return self._metadata("credentials", connect)

    @cached_property
    def _jobs(self) -> Jobs:
        return Jobs(self._client, self.location, self._calls)

    def _metadata(self, what: str, call: Callable[[float], T]) -> T:
        return self._calls(what, Deadline(self._deadlines.metadata), call)

    def _dataset(self, name: str, timeout: float) -> bigquery.Dataset | None:
        from google.api_core.exceptions import NotFound

        try:
            return self._client.get_dataset(name, retry=NO_RETRY, timeout=timeout)
        except NotFound:
            return None

    def _table(self, table: TableName, timeout: float) -> bigquery.Table | None:
        from google.api_core.exceptions import NotFound

        try:
            return self._client.get_table(str(table), retry=NO_RETRY, timeout=timeout)
        except NotFound:
            return None

    def _elsewhere(self, name: str, held: bigquery.Dataset) -> str | None:
        if held.location.upper() == self.location.upper():
            return None
        return (
            f"dataset {self.project}.{name} is in {held.location}, configured is {self.location}; "
            "a dataset cannot move: change the location, or take another dataset"
        )

    def _dry_run(self, what: str, sql: str) -> None:
        config = self._bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        self._metadata(
            what,
            lambda timeout: self._client.query(
                sql, job_config=config, location=self.location, retry=NO_RETRY, timeout=timeout, job_retry=NO_RETRY
            ),
        )


def _held(name: TableName, table: bigquery.Table) -> HeldTable:
    return HeldTable(
        name, dict(table.labels), int(table.num_rows or 0), int(table.num_bytes or 0), table.created, table.expires
    )


def _views_of(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (project, dataset) whose views this access entry lets in."""
    below = entry.get("dataset") or {}
    if "VIEWS" not in (below.get("targetTypes") or below.get("target_types") or ()):
        return None
    return below["dataset"]["projectId"], below["dataset"]["datasetId"]
