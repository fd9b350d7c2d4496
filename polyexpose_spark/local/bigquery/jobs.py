"""Jobs: their ids, states and results. A job that changed something is kept with what it changed."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import duckdb
import sqlglot

from polyexpose_spark.local.bigquery import loads
from polyexpose_spark.local.bigquery.errors import (
    ApiError,
    already_exists,
    from_engine,
    invalid,
    not_found,
    not_implemented,
)
from polyexpose_spark.local.bigquery.results import Result, Results
from polyexpose_spark.local.bigquery.sql.script import Outcome, Query
from polyexpose_spark.local.bigquery.store import Resource, Store, Transaction, now_millis

log = logging.getLogger(__name__)
KINDS = ("query", "load", "copy")
KEPT_READS = 2_000
JobKey = tuple[str, str]


def as_api_error(error: Exception) -> ApiError:
    """Return what a client is told of an error; one of ours is logged with its trace."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, sqlglot.errors.UnsupportedError):
        return not_implemented(str(error).split("\n")[0][:200])
    if isinstance(error, (duckdb.InternalException, duckdb.FatalException)):
        log.error("DuckDB failed", exc_info=error)
        return _bug("DuckDB failed")
    if isinstance(error, duckdb.Error):
        return from_engine(error)
    log.error("An error in this server", exc_info=error)
    return _bug(f"a bug of the server itself ({type(error).__name__})")


def _bug(what: str) -> ApiError:
    # Not 500: clients would ask again for ten minutes.
    return ApiError(501, "notImplemented", f"This local BigQuery server cannot do this: {what}; its log says more")


class Jobs:
    """All jobs of a store. Jobs that only read are kept in memory, the last of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.results = Results()
        self._lock = threading.Lock()
        self._running: dict[JobKey, Resource] = {}
        self._reads: OrderedDict[JobKey, Resource] = OrderedDict()

    # ---- starting

    def insert(self, project: str, body: Resource, upload: Path | None = None) -> Resource:
        """Run a job to its end and return its resource; an error of the job is in its status.

        Raises ApiError 409 for an id that was used before, 400 or 501 for a dry run that would fail.
        """
        config = dict(body.get("configuration") or {})
        kind = next((k for k in KINDS if k in config), "")
        if not kind:
            raise not_implemented(f"A job of the kind {', '.join(config) or 'nothing'} (there are {', '.join(KINDS)})")
        reference = body.get("jobReference") or {}
        job_id = str(reference.get("jobId") or f"job_{uuid.uuid4().hex}")
        key = (project, job_id)
        if config.get("dryRun"):
            return self._dry_run(project, job_id, config, kind)
        job = _resource(project, job_id, reference.get("location") or "US", {**config, "jobType": kind.upper()})
        with self._lock:
            if key in self._running or key in self._reads or key in self.store.finished_jobs:
                raise already_exists("Job", f"{project}:US.{job_id}")
            self._running[key] = job
        try:
            return self._run(key, job, kind, upload)
        finally:
            with self._lock:
                self._running.pop(key, None)

    def _run(self, key: JobKey, job: Resource, kind: str, upload: Path | None) -> Resource:
        config = job["configuration"][kind]
        try:
            if kind == "query":
                return self._query(key, job, config)
            with self.store.transaction() as tx:
                if kind == "load":
                    done = loads.load(self.store, tx, config, upload)
                    statistics: Resource = {
                        "load": {
                            "outputRows": str(done.rows),
                            "inputFiles": str(done.files),
                            "inputFileBytes": str(done.bytes),
                            "badRecords": "0",
                        }
                    }
                else:
                    loads.copy(tx, config)
                    statistics = {"copy": {}}
                return self._finish(tx, key, _done(job, statistics))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the job's result)
            return self._fail(key, job, as_api_error(error), read=False)

    def _query(self, key: JobKey, job: Resource, config: Resource) -> Resource:
        read = False
        try:
            query = Query(self.store, key[0], config)
            read = query.only_reads
            if read:
                outcome = query.run()
                return self._keep_read(key, _with_anonymous(_done(job, _statistics(outcome)), key), outcome.result)
            if query.single:
                with self.store.transaction() as tx:
                    outcome = query.run()
                    self._keep_result(key, outcome.result)
                    return self._finish(tx, key, _done(job, _statistics(outcome)))
            outcome = query.run()
            self._keep_result(key, outcome.result)
            with self.store.transaction() as tx:
                return self._finish(tx, key, _with_anonymous(_done(job, _statistics(outcome)), key))
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the job's result)
            return self._fail(key, job, as_api_error(error), read=read)

    def _dry_run(self, project: str, job_id: str, config: Resource, kind: str) -> Resource:
        if kind != "query":
            raise invalid(f"A {kind} job cannot be a dry run")
        try:
            outcome = Query(self.store, project, config["query"]).describe()
        except Exception as error:
            raise as_api_error(error) from error
        statistics = _statistics(outcome)
        statistics["query"]["schema"] = {"fields": outcome.result.fields}
        job = _resource(project, job_id, "US", {**config, "jobType": "QUERY"})
        return _done(job, statistics)

    # ---- ending

    def _finish(self, tx: Transaction, key: JobKey, job: Resource) -> Resource:
        tx.jobs[key] = job
        return job

    def _keep_read(self, key: JobKey, job: Resource, result: Result) -> Resource:
        self._keep_result(key, result)
        with self._lock:
            self._reads[key] = job
            while len(self._reads) > KEPT_READS:
                self._reads.popitem(last=False)
        return job

    def _keep_result(self, key: JobKey, result: Result) -> None:
        with self.store.lock:
            self.results.keep(self.store.con, key, result)

    def _fail(self, key: JobKey, job: Resource, error: ApiError, *, read: bool) -> Resource:
        failed = _done(job, {"query": {}} if "query" in job["configuration"] else {})
        failed["status"] = {"state": "DONE", "errorResult": error.proto(), "errors": [error.proto()]}
        failed["errorCode"] = error.code
        if read:
            return self._keep_read(key, failed, Result([], []))
        with self.store.transaction() as tx:
            return self._finish(tx, key, failed)

    # ---- reading

    def get(self, project: str, job_id: str) -> Resource:
        """Return a job, running or done; raise 404."""
        key = (project, job_id)
        with self._lock:
            job = self._running.get(key) or self._reads.get(key)
        job = job or self.store.finished_jobs.get(key)
        if job is None:
            raise not_found("Job", f"{project}:{job_id}")
        return job

    def list(self, project: str) -> list[Resource]:
        """Return all jobs of a project, newest first."""
        with self._lock:
            jobs = [*self._running.values(), *self._reads.values()]
        jobs += list(self.store.finished_jobs.values())
        mine = [j for j in jobs if j["jobReference"]["projectId"] == project]
        return sorted(mine, key=lambda j: str(j["statistics"]["creationTime"]), reverse=True)

    def delete(self, project: str, job_id: str) -> None:
        """Forget a job that is done."""
        self.get(project, job_id)
        key = (project, job_id)
        with self._lock:
            if key in self._running:
                raise invalid(f"Job {job_id} is still running")
            self._reads.pop(key, None)
        if key in self.store.finished_jobs:
            with self.store.transaction() as tx:
                tx.jobs[key] = None

    def result(self, project: str, job_id: str) -> Result:
        """Return the rows of a query job.

        Raises its error if it failed, 404 if its rows are not kept any more.
        """
        job = self.get(project, job_id)
        if "query" not in job["configuration"]:
            raise invalid(f"Job {job_id} is not a query job")
        if job.get("errorCode"):
            failed = job["status"]["errorResult"]
            raise ApiError(job["errorCode"], failed["reason"], failed["message"])
        found = self.results.get((project, job_id))
        if found is None:
            if job["statistics"]["query"].get("statementType") in ("SELECT", "SCRIPT"):
                raise not_found("Table", f"{project}:_anonymous.{job_id} (results are kept for the last queries only)")
            return Result([], [])
        return found


def _resource(project: str, job_id: str, location: str, config: Resource) -> Resource:
    now = now_millis()
    return {
        "kind": "bigquery#job",
        "id": f"{project}:{location}.{job_id}",
        "etag": uuid.uuid4().hex,
        "jobReference": {"projectId": project, "jobId": job_id, "location": location},
        "configuration": config,
        "statistics": {"creationTime": now, "startTime": now},
        "status": {"state": "RUNNING"},
        "user_email": "local@localhost",
    }


def _done(job: Resource, statistics: Resource) -> Resource:
    merged = {**job["statistics"], **statistics, "endTime": now_millis(), "totalBytesProcessed": "0"}
    return {**job, "statistics": merged, "status": {"state": "DONE"}}


def _statistics(outcome: Outcome) -> Resource:
    query: Resource = {"statementType": outcome.kind, "totalBytesProcessed": "0", "cacheHit": False}
    if outcome.affected is not None:
        query["numDmlAffectedRows"] = str(outcome.affected)
        query["dmlStats"] = outcome.dml
    if outcome.target is not None and outcome.affected is None:
        query["ddlTargetTable"] = outcome.target.reference
        query["ddlOperationPerformed"] = outcome.kind.split("_")[0]
    return {"query": query}


def _with_anonymous(job: Resource, key: JobKey) -> Resource:
    """Name a destination, as BigQuery does: clients read rows only of jobs that have one."""
    query: dict[str, Any] = dict(job["configuration"]["query"])
    anonymous = {"projectId": key[0], "datasetId": "_anonymous", "tableId": f"anon_{key[1].replace('-', '_')}"}
    query.setdefault("destinationTable", anonymous)
    return {**job, "configuration": {**job["configuration"], "query": query}}
