"""BigQueryClient over the real protocol: what it leaves in BigQuery, and what it says, in good times and in bad."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from polyexpose_spark.clients.bigquery import BigQueryClient, Deadlines
from polyexpose_spark.clients.bigquery_tables import (
    DIGEST_LABEL,
    RangePartition,
    TableField,
    TableName,
    TableSpec,
    TimePartition,
    digest_label,
    label,
    labelled_digest,
    loadable,
    view_statement,
)
from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetFailed, TargetUnavailable
from tests.http_faults import Fault, Proxy
from tests.servers import ROOT, free_port

GOOGLESQL = ROOT.parent / "shared" / "tools" / "googlesql-check" / "run"
PROJECT = "test-project"
JOBS = r"/projects/[^/]+/jobs"
UPLOADS = f"/upload/.*{JOBS}"
LARGE = 60_000
RAISED = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
FIELDS = (
    TableField("id", "INT64", "REQUIRED", "The key."),
    TableField("text", "STRING"),
    TableField("day", "DATE"),
)


def digest(text: str = "") -> str:
    return hashlib.sha256((text or uuid.uuid4().hex).encode()).hexdigest()


def parquet(folder: Path, *sizes: int, text: str = "x") -> list[str]:
    """Write one file for each size; ids run through."""
    paths, first = [], 0
    for number, size in enumerate(sizes):
        ids = range(first, first + size)
        texts = pa.array([f"{text}{i}" for i in ids], pa.string())
        days = pa.array([dt.date(2026, 1, 1 + i % 3) for i in ids], pa.date32())
        table = pa.table({"id": pa.array(ids, pa.int64()), "text": texts, "day": days})
        paths.append(str(folder / f"part-{text}-{number}.parquet"))
        pq.write_table(table, paths[-1])
        first += size
    return paths


def large(folder: Path) -> str:
    """Write a file above the 5 MB from which an upload goes in pieces."""
    path = str(folder / "large.parquet")
    texts = [hashlib.sha512(str(i).encode()).hexdigest() for i in range(LARGE)]
    pq.write_table(pa.table({"id": range(LARGE), "text": texts, "day": [dt.date(2026, 1, 1)] * LARGE}), path)
    assert Path(path).stat().st_size > 5 * 1024 * 1024
    return path


def second_opinion(request: pytest.FixtureRequest) -> bool:
    """Say whether the server is local-bigquery; the faults of it that show here are named where this is asked."""
    return request.node.get_closest_marker("second_opinion") is not None


def official(address: str) -> google_bigquery.Client:
    """The Google client without anything of ours, to look with."""
    return google_bigquery.Client(
        PROJECT, AnonymousCredentials(), location="EU", client_options={"api_endpoint": address}
    )


def load_jobs(address: str, table: TableName) -> list[google_bigquery.LoadJob]:
    """Every load job of the table that went well."""
    client = official(address)
    jobs = [client.get_job(each.job_id, location="EU") for each in client.list_jobs(max_results=200)]
    return [
        job
        for job in jobs
        if job.job_type == "load" and job.destination.table_id == table.name and job.error_result is None
        and job.destination.dataset_id == table.dataset
    ]  # fmt: skip


def spec(dataset: str, name: str = "flights__1", **more: Any) -> TableSpec:
    return TableSpec(TableName(f"{dataset}__versions", name), FIELDS, **more)


def one_line(error: pytest.ExceptionInfo[PolyexposeError], *words: str) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 800
    for word in words:
        assert word in text
    return text


# ------------------------------------------------------------------ datasets


def test_a_dataset_is_made_once_where_it_is_wanted(client: BigQueryClient, faulty: Proxy) -> None:
    name = f"d{uuid.uuid4().hex[:8]}"
    client.ensure_dataset(name, "What it is for.", {"product": "flights"})
    held = official(faulty.address).get_dataset(name)
    assert (held.location, held.description, held.labels) == ("EU", "What it is for.", {"product": "flights"})
    faulty.seen.clear()
    client.ensure_dataset(name, "Other words.")
    assert faulty.modifying == []


def test_a_dataset_elsewhere_is_told_with_both_locations(faulty: Proxy, dataset: str) -> None:
    there = BigQueryClient(PROJECT, "us-east1", faulty.address, "anonymous")
    with pytest.raises(TargetFailed) as error:
        there.ensure_dataset(dataset)
    one_line(error, f"{PROJECT}.{dataset}", "EU", "us-east1")


# Ours alone: local-bigquery answers 400 where two write at once; BigQuery answers 412 or waits.
@pytest.mark.parametrize("bigquery", ["stand_in"], indirect=True)
def test_two_that_let_views_in_at_once_lose_no_entry(client: BigQueryClient, faulty: Proxy, dataset: str) -> None:
    versions, names = f"{dataset}__versions", [f"{dataset}_{i}" for i in range(4)]
    for name in names:
        client.ensure_dataset(name)
    before = official(faulty.address).get_dataset(versions).access_entries
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: client.allow_views(versions, name), names))
    entries = official(faulty.address).get_dataset(versions).access_entries
    let_in = {e.to_api_repr()["dataset"]["dataset"]["datasetId"] for e in entries if e.entity_type == "dataset"}
    assert let_in == set(names)
    assert len(entries) == len(before) + len(names)
    faulty.seen.clear()
    client.allow_views(versions, names[0])
    assert faulty.modifying == []


# ------------------------------------------------------------------ loads


def test_several_files_become_one_table_by_one_job(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    wanted = spec(
        dataset,
        description="Every flight.",
        labels={"product": "flights", "snapshot": "1"},
        partition=TimePartition("day", "DAY"),
        clustering=("id", "text"),
    )
    key = digest()
    loaded = client.load_parquet(key, parquet(tmp_path, 10, 0, 25), wanted)
    assert (loaded.rows, loaded.job_id) == (35, f"polyexpose_{key}_1")
    table = official(faulty.address).get_table(str(wanted.table))
    required = "NULLABLE" if second_opinion(request) else "REQUIRED"  # local-bigquery loses the mode in a load
    assert [(f.name, f.field_type, f.mode, f.description) for f in table.schema] == [
        ("id", "INTEGER", required, "The key."),
        ("text", "STRING", "NULLABLE", None),
        ("day", "DATE", "NULLABLE", None),
    ]
    assert table.num_rows == 35
    assert (table.time_partitioning.field, table.time_partitioning.type_) == ("day", "DAY")
    assert table.clustering_fields == ["id", "text"]
    assert table.description == "Every flight."
    assert table.labels == {"product": "flights", "snapshot": "1", DIGEST_LABEL: digest_label(key)}
    assert len(load_jobs(faulty.address, wanted.table)) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".parquet"] * 3


def test_range_partitions(client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path) -> None:
    wanted = spec(dataset, partition=RangePartition("id", 0, 100, 10))
    client.load_parquet(digest(), parquet(tmp_path, 5), wanted)
    ranges = official(faulty.address).get_table(str(wanted.table)).range_partitioning
    assert (ranges.field, ranges.range_.start, ranges.range_.end, ranges.range_.interval) == ("id", 0, 100, 10)


def test_every_type_comes_back_cell_by_cell(
    client: BigQueryClient, dataset: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    moment = dt.datetime(2026, 2, 3, 4, 5, 6, 789)
    columns = {
        "i": (TableField("i", "INT64"), pa.array([2**63 - 1, -(2**63), None], pa.int64())),
        "f": (TableField("f", "FLOAT64"), pa.array([0.1, float("-inf"), None], pa.float64())),
        "b": (TableField("b", "BOOL"), pa.array([True, False, None])),
        "s": (TableField("s", "STRING"), pa.array(["", 'né"\n', None])),
        "y": (TableField("y", "BYTES"), pa.array([b"", b"\x00\xff", None], pa.binary())),
        "d": (TableField("d", "DATE"), pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31), None])),
        "local": (TableField("local", "DATETIME"), pa.array([moment, dt.datetime(1, 1, 1), None], pa.timestamp("us"))),
        "zoned": (
            TableField("zoned", "TIMESTAMP"),
            pa.array([moment, dt.datetime(1, 1, 1), None], pa.timestamp("us", tz="UTC")),
        ),
        "n": (
            TableField("n", "NUMERIC", precision=10, scale=2),
            pa.array([Decimal("99999999.99"), Decimal("-0.01"), None], pa.decimal128(10, 2)),
        ),
        "big": (
            TableField("big", "BIGNUMERIC", precision=38, scale=18),
            pa.array([Decimal("1.000000000000000001"), Decimal(-3), None], pa.decimal128(38, 18)),
        ),
        "st": (
            TableField("st", "STRUCT", fields=(TableField("a", "INT64"), TableField("b", "STRING"))),
            pa.array(
                [{"a": 1, "b": "x"}, {"a": None, "b": None}, None],
                pa.struct([("a", pa.int64()), ("b", pa.string())]),
            ),
        ),
    }  # fmt: skip
    if second_opinion(request):
        del columns["y"]  # local-bigquery cannot load BYTES with a schema (it looks for base64 text)
    table = pa.table({"k": pa.array([0, 1, 2]), **{name: values for name, (_, values) in columns.items()}})
    paths = []
    for part in range(2):  # two files, so that they are put together on the way
        paths.append(str(tmp_path / f"{part}.parquet"))
        pq.write_table(table.slice(part * 2, 2), paths[-1])
    target = TableName(f"{dataset}__versions", "types")
    fields = (TableField("k", "INT64"), *(declared for declared, _ in columns.values()))
    client.load_parquet(digest(), paths, TableSpec(target, fields))
    assert client.query(f"SELECT * FROM `{PROJECT}.{target}` ORDER BY k") == table.to_pylist()


def test_loading_again_changes_nothing(client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path) -> None:
    files, key, wanted = parquet(tmp_path, 7), digest(), spec(dataset, description="Text", labels={"snapshot": "1"})
    client.load_parquet(key, files, wanted)
    faulty.seen.clear()
    again = client.load_parquet(key, files, wanted)
    assert (again.rows, again.job_id) == (7, "")
    assert faulty.modifying == []


def test_a_large_file_is_uploaded_in_pieces(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    assert client.load_parquet(digest(), [large(tmp_path)], spec(dataset)).rows == LARGE
    assert any("uploadType=resumable" in path for _, path in faulty.seen)


def test_a_run_that_died_before_the_labels_takes_the_job_that_is_done(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    files, key, wanted = parquet(tmp_path, 7), digest(), spec(dataset, labels={"snapshot": "1"})
    faulty.faults = [Fault("PATCH", "/tables/", status=400)]
    with pytest.raises(TargetFailed):
        client.load_parquet(key, files, wanted)
    assert client.load_parquet(key, files, wanted).job_id == f"polyexpose_{key}_1"
    assert len(load_jobs(faulty.address, wanted.table)) == 1
    assert official(faulty.address).get_table(str(wanted.table)).labels["snapshot"] == "1"


def test_a_table_that_is_gone_is_loaded_by_the_next_attempt(
    client: BigQueryClient, dataset: str, tmp_path: Path
) -> None:
    files, key, wanted = parquet(tmp_path, 7), digest(), spec(dataset)
    client.load_parquet(key, files, wanted)
    client.delete(wanted.table)
    assert client.load_parquet(key, files, wanted).job_id == f"polyexpose_{key}_2"
    client.delete(wanted.table)
    assert client.load_parquet(key, files, wanted).job_id == f"polyexpose_{key}_3"


@pytest.mark.parametrize("labelled", [True, False], ids=["complete", "died before its labels"])
def test_rows_of_another_digest_are_never_taken_for_ours(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path, labelled: bool
) -> None:
    """The same table, the same number of rows, other content, and back again."""
    ours, others = parquet(tmp_path, 7, text="ours"), parquet(tmp_path, 7, text="others")
    key, wanted = digest(), spec(dataset)
    client.load_parquet(key, ours, wanted)
    time.sleep(0.01)  # BigQuery's times are in milliseconds
    if not labelled:
        # The first PATCH takes the mark of the load before away, the second sets the new one.
        faulty.faults = [Fault("PATCH", "/tables/", times=1), Fault("PATCH", "/tables/", status=400)]
        with pytest.raises(TargetFailed):
            client.load_parquet(digest(), others, wanted)
        faulty.faults = []
    else:
        client.load_parquet(digest(), others, wanted)
    assert _first_text(client, wanted) == "others0"
    assert client.load_parquet(key, ours, wanted).job_id == f"polyexpose_{key}_2"
    assert _first_text(client, wanted) == "ours0"


def _first_text(client: BigQueryClient, wanted: TableSpec) -> Any:
    return client.query(f"SELECT text FROM `{PROJECT}.{wanted.table}` WHERE id = @id", {"id": 0})[0]["text"]


def test_a_job_that_failed_before_is_followed_by_the_next_attempt(
    client: BigQueryClient, dataset: str, tmp_path: Path
) -> None:
    files, key, good = parquet(tmp_path, 7), digest(), spec(dataset)
    with pytest.raises(TargetFailed) as error:
        client.load_parquet(key, files, TableSpec(good.table, (TableField("id", "DATE"), *FIELDS[1:])))
    one_line(error, f"{PROJECT}.{good.table}", f"job polyexpose_{key}_1 failed: ")
    assert client.load_parquet(key, files, good).job_id == f"polyexpose_{key}_2"


NULL_KEY, TEXT_KEY = pa.array([1, None], pa.int64()), pa.array(["a", "b"])


@pytest.mark.parametrize(
    ("bigquery", "ids"),
    [
        # Ours alone: local-bigquery loses the mode REQUIRED in a load, and takes the NULL.
        pytest.param("stand_in", NULL_KEY, id="NULL key"),
        pytest.param("stand_in", TEXT_KEY, id="text key"),
        pytest.param("local_bigquery", TEXT_KEY, id="text key, second opinion", marks=pytest.mark.second_opinion),
    ],
    indirect=["bigquery"],
)
def test_a_load_with_bad_rows_leaves_the_table_as_it_was(
    client: BigQueryClient, dataset: str, tmp_path: Path, ids: pa.Array
) -> None:
    wanted, bad = spec(dataset), str(tmp_path / "bad.parquet")
    client.load_parquet(digest(), parquet(tmp_path, 3), wanted)
    pq.write_table(pa.table({"id": ids, "text": ["a", "b"], "day": [dt.date(2026, 1, 1)] * 2}), bad)
    with pytest.raises(TargetFailed) as error:
        client.load_parquet(digest(), [bad], wanted)
    one_line(error, f"{PROJECT}.{wanted.table}", "job polyexpose_")
    assert client.query(f"SELECT COUNT(*) AS n FROM `{PROJECT}.{wanted.table}`") == [{"n": 3}]


def test_the_errors_of_rows_are_told(client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path) -> None:
    rows = [{"reason": "invalid", "message": f"row {i} is wrong"} for i in range(9)]
    faulty.faults = [Fault("GET|POST", JOBS, change=_ended("invalid", "Too many errors", rows), times=99)]
    with pytest.raises(TargetFailed) as error:
        client.load_parquet(digest(), parquet(tmp_path, 3), spec(dataset))
    assert "row 8" not in one_line(error, "Too many errors; row 0 is wrong; row 1 is wrong")


def test_a_job_ended_by_bigquery_itself_is_tried_three_times(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    files, key = parquet(tmp_path, 3), digest()
    faulty.faults = [Fault("POST", UPLOADS, change=_ended("backendError", "Try again"), times=2)]
    assert client.load_parquet(key, files, spec(dataset)).job_id == f"polyexpose_{key}_3"
    key = digest()
    faulty.faults = [Fault("POST", UPLOADS, change=_ended("backendError", "Try again"), times=3)]
    with pytest.raises(TargetUnavailable) as error:
        client.load_parquet(key, files, spec(dataset))
    one_line(error, "Try again", f"polyexpose_{key}_3")


def _ended(reason: str, message: str, rows: list[dict[str, str]] | None = None) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        if "jobReference" not in answer:
            return answer
        final = {"reason": reason, "message": message}
        return {**answer, "status": {"state": "DONE", "errorResult": final, "errors": [final, *(rows or [])]}}

    return change


def _running(answer: Any) -> Any:
    return {**answer, "status": {"state": "RUNNING"}} if "jobReference" in answer else answer


def test_a_job_that_runs_is_waited_for(client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path) -> None:
    files, key, wanted = parquet(tmp_path, 3), digest(), spec(dataset)
    faulty.faults = [
        Fault("POST", UPLOADS, change=_running),
        Fault("GET", f"{JOBS}/polyexpose_", change=_running, times=3),
    ]
    assert client.load_parquet(key, files, wanted).job_id == f"polyexpose_{key}_1"
    assert len(load_jobs(faulty.address, wanted.table)) == 1


def test_a_job_that_outlives_the_deadline_is_taken_by_the_next_run(faulty: Proxy, dataset: str, tmp_path: Path) -> None:
    client = BigQueryClient(PROJECT, "EU", faulty.address, "anonymous", Deadlines(load=1.0))
    files, key, wanted = parquet(tmp_path, 3), digest(), spec(dataset)
    faulty.faults = [Fault("GET|POST", JOBS, change=_running, times=99)]
    with pytest.raises(TargetUnavailable) as error:
        client.load_parquet(key, files, wanted)
    one_line(error, f"{PROJECT}.{wanted.table}", f"polyexpose_{key}_1 still runs after 1 s", "run again")
    faulty.faults = []
    assert client.load_parquet(key, files, wanted).job_id == f"polyexpose_{key}_1"
    assert len(load_jobs(faulty.address, wanted.table)) == 1


# Ours alone: local-bigquery answers 400 where two write at once; BigQuery answers 409.
@pytest.mark.parametrize("bigquery", ["stand_in"], indirect=True)
def test_two_runs_at_once_load_once(bigquery: str, dataset: str, tmp_path: Path) -> None:
    files, key, wanted = parquet(tmp_path, 50, 50), digest(), spec(dataset)
    clients = [BigQueryClient(PROJECT, "EU", bigquery, "anonymous") for _ in range(4)]
    together = threading.Barrier(len(clients))

    def run(client: BigQueryClient) -> int:
        together.wait()
        return client.load_parquet(key, files, wanted).rows

    with ThreadPoolExecutor(len(clients)) as pool:
        assert list(pool.map(run, clients)) == [100] * len(clients)
    assert len(load_jobs(bigquery, wanted.table)) == 1
    assert official(bigquery).get_table(str(wanted.table)).num_rows == 100


def test_staged_files_that_do_not_fit_are_told(client: BigQueryClient, dataset: str, tmp_path: Path) -> None:
    good = parquet(tmp_path, 3)
    other = str(tmp_path / "other.parquet")
    pq.write_table(pa.table({"id": [1]}), other)
    for files, words in (
        ([*good, other], "columns differ"),
        ([str(tmp_path / "none.parquet")], "none.parquet"),
        ([*good, str(tmp_path / "none.parquet")], "none.parquet"),
    ):
        with pytest.raises(TargetFailed) as error:
            client.load_parquet(digest(), files, spec(dataset))
        one_line(error, f"{PROJECT}.{dataset}__versions.flights__1", words)


def test_files_in_storage_are_one_job_with_our_schema(client: BigQueryClient, faulty: Proxy, dataset: str) -> None:
    """What the job is asked for; that it reads a bucket is BigQuery's part."""
    key, uris = digest(), ["gs://no-such-bucket/a-*.parquet", "gs://no-such-bucket/b.parquet"]
    faulty.faults = [Fault("POST", JOBS, change=_ended("notFound", "Not found: gs://no-such-bucket"))]
    with pytest.raises(TargetFailed) as error:
        client.load_parquet(key, uris, spec(dataset))
    one_line(error, f"polyexpose_{key}_1 failed: Not found: gs://no-such-bucket")
    job = official(faulty.address).get_job(f"polyexpose_{key}_1", location="EU")
    assert list(job.source_uris) == uris
    assert [(f.name, f.mode) for f in job.schema] == [("id", "REQUIRED"), ("text", "NULLABLE"), ("day", "NULLABLE")]
    assert (job.source_format, job.write_disposition, job.autodetect) == ("PARQUET", "WRITE_TRUNCATE", False)


def test_local_files_and_files_in_storage_do_not_mix(client: BigQueryClient, dataset: str) -> None:
    for files in ([], ["gs://b/a.parquet", "b.parquet"]):
        with pytest.raises(ValueError, match="all local or all gs://"):
            client.load_parquet(digest(), files, spec(dataset))


# ------------------------------------------------------------------ views and versions


def test_a_view_has_its_text_descriptions_and_labels_from_one_statement(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    wanted, view = spec(dataset), TableName(dataset, "flights")
    client.load_parquet(digest(), parquet(tmp_path, 7), wanted)
    assert client.view(view) is None
    text = 'Flights, as "they"\nare; it\'s \\ né.'
    sql = f"SELECT id, text AS `words` FROM `{PROJECT}.{wanted.table}`"
    faulty.seen.clear()
    client.replace_view(view, sql, text, {"id": "The `key`.", "words": ""}, {"snapshot": "1"})
    assert len(faulty.modifying) == 1
    held = client.view(view)
    assert held is not None
    assert (held.description, held.labels, held.columns) == (
        text,
        {"snapshot": "1"},
        {"id": "The `key`.", "words": ""},
    )
    assert f"{wanted.table}" in held.sql
    client.replace_view(view, f"SELECT id FROM `{PROJECT}.{wanted.table}`", "", {"id": ""}, {"snapshot": "2"})
    held = client.view(view)
    assert held is not None
    assert (held.description, held.labels, list(held.columns)) == ("", {"snapshot": "2"}, ["id"])
    assert client.query(f"SELECT COUNT(*) AS n FROM `{PROJECT}.{view}`") == [{"n": 7}]


def test_a_reader_sees_the_old_view_or_the_new(
    client: BigQueryClient, bigquery: str, dataset: str, tmp_path: Path
) -> None:
    view, versions = TableName(dataset, "flights"), [spec(dataset, f"flights__{i}") for i in range(2)]
    for number, wanted in enumerate(versions):
        client.load_parquet(digest(), parquet(tmp_path, 10 + number, text=f"v{number}-"), wanted)

    def flip(number: int) -> None:
        sql = f"SELECT id, text FROM `{PROJECT}.{versions[number].table}`"
        client.replace_view(view, sql, "", {"id": "", "text": ""}, {"snapshot": str(number)})

    flip(0)
    seen, done = set(), threading.Event()

    def read() -> None:
        reader = BigQueryClient(PROJECT, "EU", bigquery, "anonymous")
        while not done.is_set():
            (row,) = reader.query(f"SELECT COUNT(*) AS n, MIN(SUBSTR(text, 1, 2)) AS v FROM `{PROJECT}.{view}`")
            seen.add((row["n"], row["v"]))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for round_ in range(12):
            flip(round_ % 2)
        done.set()
        for each in readers:
            each.result()
    assert seen <= {(10, "v0"), (11, "v1")}
    assert seen


def test_a_view_that_does_not_work_leaves_the_old_one(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    view, wanted = TableName(dataset, "flights"), spec(dataset)
    client.load_parquet(digest(), parquet(tmp_path, 7), wanted)
    client.replace_view(view, f"SELECT id FROM `{PROJECT}.{wanted.table}`", "", {"id": ""}, {"snapshot": "1"})
    with pytest.raises(TargetFailed) as error:
        client.replace_view(view, f"SELECT nothing FROM `{PROJECT}.{wanted.table}`", "", {"nothing": ""}, {})
    one_line(error, f"view {PROJECT}.{view}", "nothing")
    held = client.view(view)
    assert held is not None
    assert held.labels == {"snapshot": "1"}
    with pytest.raises(TargetFailed) as error:
        client.view(wanted.table)
    one_line(error, "a table has this name")


def test_versions_are_listed_expired_and_deleted(client: BigQueryClient, dataset: str, tmp_path: Path) -> None:
    versions = f"{dataset}__versions"
    for number in range(3):
        client.load_parquet(digest(), parquet(tmp_path, 5 + number), spec(dataset, f"flights__{number}"))
        time.sleep(0.002)
    client.load_parquet(digest(), parquet(tmp_path, 1), spec(dataset, "planes__1"))
    held = client.versions(versions, "flights__")
    assert [(each.table.name, each.rows) for each in held] == [(f"flights__{i}", 5 + i) for i in range(3)]
    assert all(each.expires is None for each in held)
    assert labelled_digest(held[0].labels[DIGEST_LABEL]) != ""
    client.expire(held[0].table, RAISED)
    client.delete(held[1].table)
    client.delete(held[1].table)
    held = client.versions(versions, "flights__")
    assert [(each.table.name, each.expires) for each in held] == [("flights__0", RAISED), ("flights__2", None)]
    client.expire(held[0].table, None)
    one = client.table(held[0].table)
    assert one is not None
    assert one.expires is None
    assert client.table(TableName(versions, "flights__1")) is None
    assert client.versions(f"no_{dataset}", "") == ()


def test_query_parameters_of_every_type(client: BigQueryClient) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 6)
    values = {
        "b": True, "i": 2**62, "f": 0.5, "s": "it's ; --", "y": b"\x00\xff", "n": Decimal("1.5"),
        "d": dt.date(2026, 1, 2), "l": moment, "z": moment.replace(tzinfo=dt.UTC),
    }  # fmt: skip
    (row,) = client.query(f"SELECT {', '.join(f'@{name} AS {name}' for name in values)}", values)
    assert row == values


# ------------------------------------------------------------------ faults

Operation = Callable[[BigQueryClient, str, list[str]], Any]

# What is done, and what must be there afterwards, however often it was asked for.
OPERATIONS: dict[str, Operation] = {
    "ensure_dataset": lambda client, name, files: client.ensure_dataset(f"{name}_new"),
    "allow_views": lambda client, name, files: client.allow_views(f"{name}__versions", name),
    "load": lambda client, name, files: client.load_parquet(digest(name), files, spec(name)),
    "replace_view": lambda client, name, files: client.replace_view(
        TableName(name, "ready"), "SELECT 2 AS a", "new", {"a": ""}, {"snapshot": "2"}
    ),
    "view": lambda client, name, files: client.view(TableName(name, "ready")),
    "versions": lambda client, name, files: client.versions(f"{name}__versions", "ready"),
    "expire": lambda client, name, files: client.expire(TableName(f"{name}__versions", "ready"), RAISED),
    "query": lambda client, name, files: client.query(f"SELECT a FROM `{PROJECT}.{name}.ready`"),
    "delete": lambda client, name, files: client.delete(TableName(name, "ready")),
}
PASSING = {
    "429": Fault(status=429, reason="rateLimitExceeded"),
    "403 rate": Fault(status=403, reason="rateLimitExceeded"),
    "500": Fault(status=500),
    "503": Fault(status=503, reason="backendError"),
    "reset before": Fault(reset="before"),
    "reset after": Fault(reset="after"),
}


# The faults are the proxy's: the server behind it adds nothing.
only_ours = pytest.mark.parametrize("bigquery", ["stand_in"], indirect=True)


def _ready(address: str, dataset: str, folder: Path) -> list[str]:
    """Make what the operations work on; return files to load."""
    direct = BigQueryClient(PROJECT, "EU", address, "anonymous")
    direct.load_parquet(digest(), parquet(folder, 3), spec(dataset, "ready"))
    direct.replace_view(TableName(dataset, "ready"), "SELECT 1 AS a", "old", {"a": ""}, {"snapshot": "1"})
    return parquet(folder, 20, 30, text="faults")


@only_ours
@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_passes_is_waited_for_and_done_once(
    client: BigQueryClient, faulty: Proxy, bigquery: str, dataset: str, tmp_path: Path, operation: str, fault: str
) -> None:
    """Every request that the operation makes goes wrong once, in turn."""
    files = _ready(bigquery, dataset, tmp_path)
    failing = PASSING[fault]
    faulty.faults = [
        Fault("POST|PATCH|PUT|DELETE", "", failing.status, failing.reason, failing.reset),
        Fault("GET", "", failing.status, failing.reason, failing.reset),
    ]
    result = OPERATIONS[operation](client, dataset, files)
    assert any(each.times == 0 for each in faulty.faults), "nothing went wrong: the test tests nothing"
    look = official(bigquery)
    match operation:
        case "ensure_dataset":
            assert look.get_dataset(f"{dataset}_new").location == "EU"
        case "allow_views":
            entries = look.get_dataset(f"{dataset}__versions").access_entries
            assert [e.entity_type for e in entries].count("dataset") == 1
        case "load":
            assert result.rows == 50
            assert look.get_table(str(spec(dataset).table)).num_rows == 50
            assert len(load_jobs(bigquery, spec(dataset).table)) == 1
        case "replace_view":
            assert look.get_table(f"{dataset}.ready").labels == {"snapshot": "2"}
        case "view":
            assert result.labels == {"snapshot": "1"}
        case "versions":
            assert [each.rows for each in result] == [3]
        case "expire":
            assert look.get_table(f"{dataset}__versions.ready").expires == RAISED
        case "query":
            assert result == [{"a": 1}]
        case "delete":
            assert [each.table_id for each in look.list_tables(dataset)] == []


FINAL = {
    "401": "requiredCredentials",
    "403": "accessDenied",
    "400": "invalid",
    "404": "notFound",
    "501": "notImplemented",
}


@only_ours
@pytest.mark.parametrize("status", FINAL)
@pytest.mark.parametrize("operation", ["load", "replace_view", "query"])
def test_what_is_final_is_told_at_once(
    client: BigQueryClient, faulty: Proxy, bigquery: str, dataset: str, tmp_path: Path, operation: str, status: str
) -> None:
    files = _ready(bigquery, dataset, tmp_path)
    faulty.faults = [Fault("POST", "", int(status), FINAL[status], times=99)]
    started = time.monotonic()
    with pytest.raises(TargetFailed) as error:
        OPERATIONS[operation](client, dataset, files)
    assert time.monotonic() - started < 2
    named = {
        "load": f"table {PROJECT}.{dataset}__versions.flights__1: job polyexpose_",
        "replace_view": f"view {PROJECT}.{dataset}.ready: job polyexpose_",
        "query": "query",
    }
    one_line(error, named[operation], f"HTTP {status}")
    assert official(bigquery).get_table(f"{dataset}.ready").labels == {"snapshot": "1"}


@pytest.mark.parametrize("fault", ["503", "reset before", "reset after", "slow"])
def test_what_does_not_pass_ends_with_the_deadline(
    faulty: Proxy, bigquery: str, dataset: str, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = BigQueryClient(PROJECT, "EU", faulty.address, "anonymous", Deadlines(1.5, 1.5, 1.5))
    files = _ready(bigquery, dataset, tmp_path)
    client.query("SELECT 1 AS a")
    failing = Fault(seconds=3) if fault == "slow" else PASSING[fault]
    faulty.faults = [Fault(".*", "", failing.status, failing.reason, failing.reset, failing.seconds, times=99)]
    for operation in ("load", "replace_view", "query", "versions"):
        started = time.monotonic()
        with caplog.at_level(logging.INFO), pytest.raises(TargetUnavailable) as error:
            OPERATIONS[operation](client, dataset, files)
        assert time.monotonic() - started < 3.5
        one_line(error, "run again later", faulty.address)
    faulty.faults = []
    client = BigQueryClient(PROJECT, "EU", faulty.address, "anonymous")
    assert client.load_parquet(digest(dataset), files, spec(dataset)).rows == 50
    assert len(load_jobs(bigquery, spec(dataset).table)) == 1


def test_a_quota_is_told_at_once_and_can_be_run_later(client: BigQueryClient, faulty: Proxy) -> None:
    faulty.faults = [Fault("POST", "", 403, "quotaExceeded")]
    with pytest.raises(TargetUnavailable) as error:
        client.query("SELECT 1 AS a")
    one_line(error, "quotaExceeded", "run again later")


def test_the_address_of_an_upload_is_never_told(
    faulty: Proxy, dataset: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = BigQueryClient(PROJECT, "EU", faulty.address, "anonymous", Deadlines(load=2.0))
    path = large(tmp_path)
    refused = Fault("PUT", "upload_id", 403, "accessDenied", times=9)
    for failing in (refused, Fault("PUT", "upload_id", reset="before", times=99)):
        faulty.faults = [failing]
        with caplog.at_level(logging.INFO), pytest.raises(PolyexposeError) as error:
            client.load_parquet(digest(), [path], spec(dataset))
        assert "upload_id" not in one_line(error) + caplog.text


def test_the_answer_to_the_last_piece_of_an_upload_is_lost(
    client: BigQueryClient, faulty: Proxy, dataset: str, tmp_path: Path
) -> None:
    path = large(tmp_path)
    faulty.faults = [Fault("PUT", "upload_id", reset="after")]
    assert client.load_parquet(digest(), [path], spec(dataset)).rows == LARGE
    assert len(load_jobs(faulty.address, spec(dataset).table)) == 1


def test_nobody_is_there() -> None:
    client = BigQueryClient(PROJECT, "EU", f"http://127.0.0.1:{free_port()}", "anonymous")
    started = time.monotonic()
    with pytest.raises(TargetUnavailable) as error:
        client.view(TableName("d", "v"))
    assert 5 < time.monotonic() - started < 20
    one_line(error, f"view {PROJECT}.d.v", "nobody answers at this address")


# ------------------------------------------------------------------ preflight, credentials, names


def test_preflight(client: BigQueryClient, faulty: Proxy, dataset: str) -> None:
    versions = f"{dataset}__versions"
    assert client.preflight(dataset, versions) == []
    assert client.preflight(f"{dataset}_to_be", f"{dataset}_to_be__versions", "europe-west4") == []
    (region,) = client.preflight(dataset, versions, "us-central1")
    assert "EU" in region
    assert "us-central1" in region
    before = [each.table_id for each in official(faulty.address).list_tables(dataset)]
    assert before == []
    faulty.faults = [Fault("POST", JOBS, times=1), Fault("POST", JOBS, status=403, reason="accessDenied")]
    (denied,) = client.preflight(dataset, versions)
    assert f"dataset {PROJECT}.{dataset}" in denied
    assert "accessDenied" in denied
    there = BigQueryClient(PROJECT, "us-east1", faulty.address, "anonymous")
    assert len(there.preflight(dataset, versions)) == 2


def test_preflight_of_a_project_that_is_not_reached(faulty: Proxy, dataset: str) -> None:
    client = BigQueryClient(PROJECT, "EU", faulty.address, "anonymous", Deadlines(metadata=1.0))
    faulty.faults = [Fault(reset="before", times=99)]
    (problem,) = client.preflight(dataset, f"{dataset}__versions")
    assert "the connection was lost" in problem


def test_credentials_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    client = BigQueryClient(PROJECT, "EU")
    with pytest.raises(ConfigError) as error:
        client.query("SELECT 1 AS a")
    one_line(error, "application default credentials", "key.json")


def test_nothing_of_google_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from polyexpose_spark.clients.bigquery import BigQueryClient; "
        "BigQueryClient('p', 'EU'); "
        "print([name for name in sys.modules if name.split('.')[0] in ('google', 'pyarrow', 'requests')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_labels_and_digests() -> None:
    assert label("1.0.0-Beta/ä") == "1_0_0-beta__"
    assert len(label("x" * 100)) == 63
    for key in (digest("a"), "0" * 64, "f" * 64):
        value = digest_label(key)
        assert labelled_digest(value) == key
        assert len(value) <= 63
        assert value == label(value)
    assert labelled_digest("not one of ours") == ""


@pytest.mark.skipif(not GOOGLESQL.exists(), reason="googlesql-check is not beside this checkout")
def test_the_statement_of_a_view_is_googlesql() -> None:
    nasty = 'q " \' ` \\ / \n\r\t\b\f\x01\x1f\x7f\u2028 é 😀 ${x} """ r\''
    view, sql = TableName("d", "v"), "SELECT id, `a b` AS `b` FROM `p-1.d__versions.f__1`"
    statements = [
        view_statement("p-1", view, sql, nasty, {"id": nasty, "b": ""}, {"snapshot": "1", "empty": ""}),
        view_statement("p-1", view, sql, nasty, {"id": "", "b": ""}, {"snapshot": "1"}),
        view_statement("p-1", view, sql, "", {"id": "", "b": ""}, {}),
    ]
    columns = [{"name": "id", "type": "INT64"}, {"name": "a b", "type": "STRING"}]
    given = {"tables": [{"name": "p-1.d__versions.f__1", "columns": columns}], "statements": statements}
    done = subprocess.run([GOOGLESQL], input=json.dumps(given), capture_output=True, text=True, check=True)
    verdicts = json.loads(done.stdout)
    assert [each["parses"] for each in verdicts] == [True, True, True]
    # The checker's analyzer has no options of a view's columns; BigQuery's reference has (view_column_option_list).
    assert "column options not supported" in verdicts[0]["error"]
    assert [each["analyzes"] for each in verdicts[1:]] == [True, True]


@pytest.mark.parametrize(
    ("dataset", "bucket", "loads"),
    [
        ("US", "ASIA-EAST1", True),
        ("EU", "EU", True),
        ("EU", "europe-west4", True),
        ("EU", "EUR4", True),
        ("EU", "europe-west2", False),
        ("EU", "US", False),
        ("europe-west1", "EUROPE-WEST1", True),
        ("europe-west1", "EU", False),
        ("us-central1", "US", False),
    ],
)
def test_regions(dataset: str, bucket: str, loads: bool) -> None:
    assert loadable(dataset, bucket) is loads
