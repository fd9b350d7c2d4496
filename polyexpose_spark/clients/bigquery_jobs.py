"""Jobs of BigQuery, under ids of ours: the same work done again finds its job instead of starting a second one."""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from polyexpose_spark.clients.bigquery_calls import (
    LATER,
    NO_RETRY,
    PASSING,
    REQUEST,
    UPLOAD,
    Calls,
    Deadline,
    one_line,
)
from polyexpose_spark.clients.bigquery_tables import DIGEST_LABEL, Merged, TableSpec, digest_label, load_config
from polyexpose_spark.errors import TargetFailed, TargetUnavailable

if TYPE_CHECKING:
    from google.cloud import bigquery

    Job = bigquery.LoadJob | bigquery.QueryJob

_log = logging.getLogger(__name__)

# Load jobs that one call starts at most: a job that BigQuery's own trouble ended is followed by another.
_STARTS = 3
_SHOWN_ERRORS = 3
_ROWS_AT_A_TIME = 122_880


class Jobs:
    """Starts jobs and waits for them."""

    def __init__(self, client: bigquery.Client, location: str, calls: Calls) -> None:
        """Keep what is handed in; nothing is contacted."""
        self._client = client
        self._location = location
        self._calls = calls

    def statement(self, sql: str, what: str, deadline: Deadline, job_id: str | None = None) -> bigquery.QueryJob:
        """Run one DDL or DML statement, once, whatever happens to the answers; return its job.

        Args:
            sql: the statement.
            what: what is being done to what, for messages.
            deadline: of all of it.
            job_id: its id, never used before; None: one that is its own.

        Raises:
            TargetFailed, TargetUnavailable: see Calls; a statement without an answer may still be carried out.
        """
        job_id = job_id or f"polyexpose_{uuid.uuid4().hex}"

        def start(timeout: float) -> bigquery.QueryJob:
            return self._client.query(
                sql, job_id=job_id, location=self._location, retry=NO_RETRY, timeout=timeout, job_retry=NO_RETRY
            )

        job = self._wait(self._start(job_id, start, what, deadline), what, deadline)
        if job.error_result:
            raise self._ended(job, what)
        return cast("bigquery.QueryJob", job)

    def clone(self, digest: str, sql: str, what: str, deadline: Deadline) -> int:
        """Run a CLONE when all that was started for this digest before has ended; return the number of the attempt.

        So no statement of a run that died, still under way, is carried out between this one and what follows it.
        """
        attempt = 1
        while any([self._over(f"polyexpose_{digest}_{kind}_{attempt}", what, deadline) for kind in ("clone", "merge")]):
            attempt += 1
        self.statement(sql, what, deadline, f"polyexpose_{digest}_clone_{attempt}")
        return attempt

    def merge(self, digest: str, attempt: int, sql: str, what: str, deadline: Deadline) -> Merged:
        """Run the MERGE that follows the clone of this attempt."""
        job = self.statement(sql, what, deadline, f"polyexpose_{digest}_merge_{attempt}")
        done = job.dml_stats
        if done is None:
            raise TargetFailed(f"{self._calls.target}: {what}: job {job.job_id} does not say what it changed")
        return Merged(done.inserted_row_count, done.updated_row_count, done.deleted_row_count)

    def _over(self, job_id: str, what: str, deadline: Deadline) -> bool:
        """Wait for a job of before; False: there never was one."""
        job = self._look(job_id, what, deadline)
        if job is not None:
            self._wait(job, what, deadline)
        return job is not None

    def load(
        self, digest: str, files: Sequence[str], spec: TableSpec, what: str, deadline: Deadline
    ) -> tuple[bigquery.LoadJob | None, bigquery.Table]:
        """Return the table with exactly this load in it, and the job that did it: one of before, or a new one.

        None: the table says itself that it holds this load. All files go in one job, since a job is all or nothing.

        Raises:
            TargetFailed: the job failed; the table is as it was.
            TargetUnavailable: see Calls. A job that still runs is found again by the next call.
        """
        table = self._table(spec, what, deadline)
        if table is not None and table.labels.get(DIGEST_LABEL) == digest_label(digest):
            return None, table
        started, attempt = 0, 0
        while True:
            attempt += 1
            job_id = f"polyexpose_{digest}_{attempt}"
            found = self._look(job_id, what, deadline)
            if found is None:
                if started == 0 and table is not None and DIGEST_LABEL in table.labels:
                    self._unmark(table, what, deadline)
                started += 1
                found = self._start_load(job_id, files, spec, what, deadline)
                ours = True
            else:
                ours = False
            job = cast("bigquery.LoadJob", self._wait(found, what, deadline))
            if job.error_result is None:
                table = self._table(spec, what, deadline)
                if table is not None and _holds(table, job, digest, ours):
                    return job, table
                if ours:
                    message = f"{what}: job {job_id} is done, but another run changed the table"
                    raise TargetUnavailable(f"{self._calls.target}: {message}; run again later")
                _log.info("%s: job %s is done, but its table is gone or changed: loading again", what, job_id)
            elif ours:
                passes = str(job.error_result.get("reason")) in PASSING
                if not passes or started == _STARTS or not deadline.pause(started):
                    raise self._ended(job, what)

    def _start_load(self, job_id: str, files: Sequence[str], spec: TableSpec, what: str, deadline: Deadline) -> Job:
        config = load_config(spec)
        target = f"{self._client.project}.{spec.table}"
        if files[0].startswith("gs://"):

            def from_storage(timeout: float) -> bigquery.LoadJob:
                return self._client.load_table_from_uri(
                    list(files),
                    target,
                    job_id=job_id,
                    location=self._location,
                    job_config=config,
                    retry=NO_RETRY,
                    timeout=timeout,
                )

            return self._start(job_id, from_storage, what, deadline)
        with one_file(files, what) as stream:
            size = os.fstat(stream.fileno()).st_size

            def upload(timeout: float) -> bigquery.LoadJob:
                return self._client.load_table_from_file(
                    stream,
                    target,
                    rewind=True,
                    size=size,
                    num_retries=2,  # of one piece of 100 MB, so that a lost piece does not send all of them again
                    job_id=job_id,
                    location=self._location,
                    job_config=config,
                    timeout=timeout,
                )

            return self._start(job_id, upload, what, deadline, UPLOAD)

    def _start(
        self, job_id: str, start: Callable[[float], Job], what: str, deadline: Deadline, request: float = REQUEST
    ) -> Job:
        """Start a job, or find it where the answer to its start was lost, or where another process was first."""
        from google.api_core.exceptions import Conflict, NotFound

        tried = False

        def once(timeout: float) -> Job:
            nonlocal tried
            if tried and (found := self._find(job_id, timeout)):
                return found
            tried = True
            try:
                return start(timeout)
            except (Conflict, NotFound):  # NotFound: of an upload that ended, while its last answer was lost
                if (found := self._find(job_id, timeout)) is None:
                    raise  # after a conflict it appears a little later (googleapis/python-bigquery issue 2134)
                return found

        return self._calls(f"{what}: job {job_id}", deadline, once, request)

    def _wait(self, job: Job, what: str, deadline: Deadline) -> Job:
        job_id, round_ = str(job.job_id), 0
        while job.state != "DONE":
            round_ += 1
            if not deadline.pause(round_):
                message = f"{what}: job {job_id} still runs after {deadline.seconds:.0f} s"
                raise TargetUnavailable(f"{self._calls.target}: {message}; run again later")
            found = self._look(job_id, what, deadline)
            if found is None:
                raise TargetFailed(f"{self._calls.target}: {what}: job {job_id} was deleted")
            job = found
        return job

    def _look(self, job_id: str, what: str, deadline: Deadline) -> Job | None:
        return self._calls(f"{what}: job {job_id}", deadline, lambda timeout: self._find(job_id, timeout))

    def _find(self, job_id: str, timeout: float) -> Job | None:
        from google.api_core.exceptions import NotFound

        try:
            found: Any = self._client.get_job(job_id, location=self._location, retry=NO_RETRY, timeout=timeout)
        except NotFound:
            return None
        return cast("Job", found)

    def _table(self, spec: TableSpec, what: str, deadline: Deadline) -> bigquery.Table | None:
        from google.api_core.exceptions import NotFound

        def fetch(timeout: float) -> bigquery.Table | None:
            try:
                return self._client.get_table(str(spec.table), retry=NO_RETRY, timeout=timeout)
            except NotFound:
                return None

        return self._calls(what, deadline, fetch)

    def _unmark(self, table: bigquery.Table, what: str, deadline: Deadline) -> None:
        """Take the mark of another load away before this one replaces its rows: a load job does not touch labels."""
        from google.cloud import bigquery

        unmarked = bigquery.Table(table.reference)
        unmarked.labels = {DIGEST_LABEL: None}
        self._calls(
            what,
            deadline,
            lambda timeout: self._client.update_table(unmarked, ["labels"], retry=NO_RETRY, timeout=timeout),
        )

    def _ended(self, job: Job, what: str) -> TargetFailed | TargetUnavailable:
        """Return the error of a job that failed: its own reason, then those of single rows or files."""
        final = job.error_result or {}
        said = dict.fromkeys(str(each.get("message", "")) for each in [final, *(job.errors or ())])
        text = one_line("; ".join([message for message in said if message][:_SHOWN_ERRORS]) or "no reason given")
        message = f"{self._calls.target}: {what}: job {job.job_id} failed: {text}"
        if str(final.get("reason")) in PASSING | LATER:
            return TargetUnavailable(f"{message}; run again later")
        return TargetFailed(message)


def _holds(table: bigquery.Table, job: bigquery.LoadJob, digest: str, ours: bool) -> bool:
    """Say whether the table holds what this job loaded, and nothing else has been loaded into it since.

    A job of before is believed where the table says so, or has not been touched since the job ended.
    """
    if table.num_rows != job.output_rows:
        return False
    if ours or table.labels.get(DIGEST_LABEL) == digest_label(digest):
        return True
    to_this = (job.destination.dataset_id, job.destination.table_id) == (table.dataset_id, table.table_id)
    return bool(to_this and table.modified and job.ended and table.modified <= job.ended)


def one_file(paths: Sequence[str], what: str) -> IO[bytes]:
    """Open local Parquet files as one.

    An upload carries one file, and several load jobs that append would leave part of a table behind when the run
    dies between them. So several files are written to one, in their order, in a nameless file beside them, which goes
    with the process; one file is sent as it is.

    Raises:
        TargetFailed: a file cannot be read, or its columns differ from the first's.
    """
    import pyarrow as pa

    try:
        if len(paths) == 1:
            return open(paths[0], "rb")
        merged = tempfile.TemporaryFile(dir=Path(paths[0]).parent)  # noqa: SIM115 (the caller closes it)
        try:
            _merge(paths, merged, what)
        except BaseException:
            merged.close()
            raise
    except (OSError, pa.ArrowInvalid) as error:
        raise TargetFailed(f"{what}: a staged file cannot be read: {one_line(str(error))}") from None
    return merged


def _merge(paths: Sequence[str], merged: IO[bytes], what: str) -> None:
    import pyarrow.parquet as pq

    schema = pq.read_schema(paths[0])
    with pq.ParquetWriter(merged, schema, compression="zstd") as writer:
        for path in paths:
            with pq.ParquetFile(path) as part:
                if not part.schema_arrow.equals(schema):
                    raise TargetFailed(f"{what}: {path}: its columns differ from those of {paths[0]}")
                for batch in part.iter_batches(_ROWS_AT_A_TIME):
                    writer.write_batch(batch)
    merged.flush()
