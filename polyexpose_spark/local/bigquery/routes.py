"""The REST resources: which function answers which method and path."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from polyexpose_spark.local.bigquery import resources, results, wire
from polyexpose_spark.local.bigquery.errors import ApiError, invalid
from polyexpose_spark.local.bigquery.fields import Field, quote_name
from polyexpose_spark.local.bigquery.jobs import Jobs
from polyexpose_spark.local.bigquery.results import Result
from polyexpose_spark.local.bigquery.store import DatasetKey, Entry, Resource, Store, TableKey

MAX_PAGE_CELLS = 500_000
DEFAULT_LISTING = 1_000
QUERY_KEYS = ("query", "useLegacySql", "defaultDataset", "queryParameters", "parameterMode", "labels", "location",
              "createSession", "connectionProperties")  # fmt: skip


@dataclass
class Call:
    """One request: its path parameters, query string, headers and JSON body."""

    store: Store
    jobs: Jobs
    query: dict[str, str]
    if_match: str | None = None
    body: Resource = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """Tell whether a boolean of the query string is set."""
        return self.query.get(name, "").lower() == "true"

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the query string."""
        try:
            return max(0, int(self.query.get(name) or default))
        except ValueError as error:
            raise invalid(f"Invalid value for {name}: {self.query[name]}") from error


Handler = Callable[..., Resource | None]
ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []
BASE = "/bigquery/v2"


def route(method: str, path: str) -> Callable[[Handler], Handler]:
    """Register a handler; ``{name}`` in the path is handed over as a keyword argument."""
    # A colon before the end is a custom method, as in tables/x:getIamPolicy; only projects have one in their name.
    named = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", path).replace("<project>[^/:]", "<project>[^/]")
    pattern = re.compile(BASE + named)

    def register(fn: Handler) -> Handler:
        ROUTES.append((method, pattern, fn))
        return fn

    return register


def answer(call: Call, method: str, path: str) -> Resource | None:
    """Return the body of the answer to a request; None is an empty one (204).

    Raises ApiError.
    """
    known = False
    for wanted, pattern, fn in ROUTES:
        match = pattern.fullmatch(path)
        if match:
            known = True
            if wanted == method:
                return fn(call, **match.groupdict())
    if known:
        raise ApiError(405, "methodNotAllowed", f"{method} is not allowed here")
    raise ApiError(501, "notImplemented", f"{method} {path} is not supported by this local BigQuery server")


def _listed(call: Call, kind: str, name: str, items: list[Resource]) -> Resource:
    start = call.number("pageToken", 0)
    count = call.number("maxResults", DEFAULT_LISTING) or DEFAULT_LISTING
    out: Resource = {"kind": f"bigquery#{kind}", name: items[start : start + count]}
    if start + count < len(items):
        out["nextPageToken"] = str(start + count)
    return out


# ---- datasets


@route("GET", "/projects/{project}/datasets")
def list_datasets(call: Call, project: str) -> Resource:
    """datasets.list, with ``labels.key[:value]`` filters."""
    with call.store.reading() as catalog:
        found = [r for k, r in sorted(catalog.datasets.items()) if k.project == project]
    for term in call.query.get("filter", "").split():
        if not term.startswith("labels."):
            raise invalid(f"Invalid filter: {term}")
        name, _, value = term.removeprefix("labels.").partition(":")
        found = [r for r in found if name in r.get("labels", {}) and (not value or r["labels"][name] == value)]
    return _listed(call, "datasetList", "datasets", found)


@route("POST", "/projects/{project}/datasets")
def insert_dataset(call: Call, project: str) -> Resource:
    """datasets.insert."""
    key = DatasetKey(project, str(call.body["datasetReference"]["datasetId"]))
    with call.store.transaction() as tx:
        return resources.create_dataset(tx, key, call.body)


@route("GET", "/projects/{project}/datasets/{dataset}")
def get_dataset(call: Call, project: str, dataset: str) -> Resource:
    """datasets.get."""
    with call.store.reading() as catalog:
        return catalog.dataset(DatasetKey(project, dataset))


def _change_dataset(call: Call, project: str, dataset: str, *, whole: bool) -> Resource:
    with call.store.transaction() as tx:
        return resources.change_dataset(tx, DatasetKey(project, dataset), call.body, call.if_match, whole=whole)


@route("PATCH", "/projects/{project}/datasets/{dataset}")
def patch_dataset(call: Call, project: str, dataset: str) -> Resource:
    """datasets.patch."""
    return _change_dataset(call, project, dataset, whole=False)


@route("PUT", "/projects/{project}/datasets/{dataset}")
def update_dataset(call: Call, project: str, dataset: str) -> Resource:
    """datasets.update."""
    return _change_dataset(call, project, dataset, whole=True)


@route("DELETE", "/projects/{project}/datasets/{dataset}")
def delete_dataset(call: Call, project: str, dataset: str) -> None:
    """datasets.delete."""
    with call.store.transaction() as tx:
        resources.delete_dataset(tx, DatasetKey(project, dataset), contents=call.flag("deleteContents"))


# ---- tables


@route("GET", "/projects/{project}/datasets/{dataset}/tables")
def list_tables(call: Call, project: str, dataset: str) -> Resource:
    """tables.list."""
    shown = (
        "kind", "id", "tableReference", "friendlyName", "type", "timePartitioning", "rangePartitioning", "clustering",
        "labels", "view", "creationTime", "expirationTime",
    )  # fmt: skip
    with call.store.reading() as catalog:
        catalog.dataset(DatasetKey(project, dataset))
        entries = catalog.of(DatasetKey(project, dataset))
    items = [{k: v for k, v in e.resource.items() if k in shown} for _, e in entries]
    return {**_listed(call, "tableList", "tables", items), "totalItems": len(items)}


@route("POST", "/projects/{project}/datasets/{dataset}/tables")
def insert_table(call: Call, project: str, dataset: str) -> Resource:
    """tables.insert."""
    key = TableKey(project, dataset, str(call.body["tableReference"]["tableId"]))
    with call.store.transaction() as tx:
        return resources.with_counts(call.store, resources.create_table(call.store, tx, key, call.body))


@route("GET", "/projects/{project}/datasets/{dataset}/tables/{table}")
def get_table(call: Call, project: str, dataset: str, table: str) -> Resource:
    """tables.get."""
    with call.store.reading() as catalog:
        return resources.with_counts(call.store, catalog.table(TableKey(project, dataset, table)))


def _change_table(call: Call, key: TableKey, *, whole: bool) -> Resource:
    with call.store.transaction() as tx:
        entry = resources.change_table(call.store, tx, key, call.body, call.if_match, whole=whole)
        return resources.with_counts(call.store, entry)


@route("PATCH", "/projects/{project}/datasets/{dataset}/tables/{table}")
def patch_table(call: Call, project: str, dataset: str, table: str) -> Resource:
    """tables.patch."""
    return _change_table(call, TableKey(project, dataset, table), whole=False)


@route("PUT", "/projects/{project}/datasets/{dataset}/tables/{table}")
def update_table(call: Call, project: str, dataset: str, table: str) -> Resource:
    """tables.update."""
    return _change_table(call, TableKey(project, dataset, table), whole=True)


@route("DELETE", "/projects/{project}/datasets/{dataset}/tables/{table}")
def delete_table(call: Call, project: str, dataset: str, table: str) -> None:
    """tables.delete."""
    with call.store.transaction() as tx:
        resources.delete_table(tx, TableKey(project, dataset, table), call.if_match)


@route("GET", "/projects/{project}/datasets/{dataset}/tables/{table}/data")
def list_rows(call: Call, project: str, dataset: str, table: str) -> Resource:
    """tabledata.list."""
    key = TableKey(project, dataset, table)
    with call.store.reading() as catalog:
        entry = catalog.table(key)
        if entry.is_view:
            raise invalid(f"Cannot list a table of type VIEW: {key}")
        fields = _selected(entry, call.query.get("selectedFields"))
        con = call.store.con
        total = con.execute(f"SELECT count(*) FROM {entry.source}").fetchall()[0][0]
        start, count = _window(call, len(fields))
        names = ", ".join(quote_name(f["name"]) for f in fields) or "NULL"
        rows = con.execute(f"SELECT {names} FROM {entry.source} LIMIT {count} OFFSET {start}").fetchall()
    body = _page(call, fields, rows, start, total)
    return {"kind": "bigquery#tableDataList", "etag": entry.resource["etag"], **body}


def _selected(entry: Entry, names: str | None) -> list[Field]:
    if not names:
        return entry.fields
    wanted = {n.strip().lower() for n in names.split(",")}
    if any("." in n for n in wanted):
        raise ApiError(501, "notImplemented", "selectedFields with nested fields is not supported here")
    return [f for f in entry.fields if f["name"].lower() in wanted]


def _window(call: Call, columns: int) -> tuple[int, int]:
    start = call.number("pageToken", call.number("startIndex", 0))
    most = max(1, MAX_PAGE_CELLS // max(1, columns))
    return start, min(call.number("maxResults", most), most)


def _page(call: Call, fields: list[Field], rows: list[results.Row], start: int, total: int) -> Resource:
    encoded = wire.rows(rows, fields, call.flag("formatOptions.useInt64Timestamp"))
    body: Resource = {"totalRows": str(total), "rows": encoded}
    if start + len(rows) < total:
        body["pageToken"] = str(start + len(rows))
    return body


# ---- jobs


def _shown(job: Resource) -> Resource:
    return {k: v for k, v in job.items() if k != "errorCode"}


@route("POST", "/projects/{project}/jobs")
def insert_job(call: Call, project: str) -> Resource:
    """jobs.insert."""
    return _shown(call.jobs.insert(project, call.body))


@route("GET", "/projects/{project}/jobs")
def list_jobs(call: Call, project: str) -> Resource:
    """jobs.list; scripts have no child jobs here."""
    if call.query.get("parentJobId"):
        return _listed(call, "jobList", "jobs", [])
    found = call.jobs.list(project)
    wanted = call.query.get("stateFilter", "").upper()
    if wanted:
        found = [j for j in found if j["status"]["state"] == wanted]
    after, before = call.number("minCreationTime", 0), call.number("maxCreationTime", 2**62)
    found = [j for j in found if after <= int(j["statistics"]["creationTime"]) <= before]
    items = [{**_shown(j), "state": j["status"]["state"]} for j in found]
    return _listed(call, "jobList", "jobs", items)


@route("GET", "/projects/{project}/jobs/{job}")
def get_job(call: Call, project: str, job: str) -> Resource:
    """jobs.get."""
    return _shown(call.jobs.get(project, job))


@route("POST", "/projects/{project}/jobs/{job}/cancel")
def cancel_job(call: Call, project: str, job: str) -> Resource:
    """jobs.cancel: a job that is done stays as it is, and a running one is not stopped."""
    return {"kind": "bigquery#jobCancelResponse", "job": _shown(call.jobs.get(project, job))}


@route("DELETE", "/projects/{project}/jobs/{job}/delete")
def delete_job(call: Call, project: str, job: str) -> None:
    """jobs.delete."""
    call.jobs.delete(project, job)


@route("GET", "/projects/{project}/queries/{job}")
def query_results(call: Call, project: str, job: str) -> Resource:
    """jobs.getQueryResults."""
    found = call.jobs.get(project, job)
    if found["status"]["state"] != "DONE":
        return {"kind": "bigquery#getQueryResultsResponse", "jobReference": found["jobReference"], "jobComplete": False}
    return _query_answer(call, found, call.jobs.result(project, job), "getQueryResultsResponse")


@route("POST", "/projects/{project}/queries")
def query(call: Call, project: str) -> Resource:
    """jobs.query."""
    body = call.body
    config: Resource = {"query": {k: body[k] for k in QUERY_KEYS if k in body}}
    if body.get("dryRun"):
        config["dryRun"] = True
    job = call.jobs.insert(project, {"configuration": config, "jobReference": {"location": body.get("location")}})
    if body.get("dryRun"):
        fields = job["statistics"]["query"]["schema"]["fields"]
        return _query_answer(call, job, Result(fields, []), "queryResponse")
    if body.get("maxResults") is not None:
        call.query["maxResults"] = str(body["maxResults"])
    if (body.get("formatOptions") or {}).get("useInt64Timestamp"):
        call.query["formatOptions.useInt64Timestamp"] = "true"
    return _query_answer(call, job, call.jobs.result(project, job["jobReference"]["jobId"]), "queryResponse")


def _query_answer(call: Call, job: Resource, result: Result, kind: str) -> Resource:
    start, count = _window(call, len(result.fields))
    with call.store.reading():
        rows = results.page(call.store.con, result, start, count)
    statistics = job["statistics"].get("query", {})
    body: Resource = {
        "kind": f"bigquery#{kind}",
        "jobReference": job["jobReference"],
        "jobComplete": True,
        "cacheHit": False,
        "totalBytesProcessed": "0",
        **_page(call, result.fields, list(rows), start, result.total),
    }
    if result.fields:
        body["schema"] = {"fields": result.fields}
    for name in ("numDmlAffectedRows", "dmlStats", "statementType"):
        if name in statistics and (name != "statementType" or kind == "queryResponse"):
            body[name] = statistics[name]
    return body
