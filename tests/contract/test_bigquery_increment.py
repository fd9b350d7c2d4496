"""A table made of another one by CLONE and MERGE, over the real protocol, in good times and in bad."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polyexpose_spark.clients.bigquery import BigQueryClient
from polyexpose_spark.clients.bigquery_tables import (
    OPERATION,
    Merged,
    TableField,
    TableName,
    TableSpec,
    clone_statement,
    merge_statement,
)
from polyexpose_spark.errors import TargetFailed
from tests.contract.test_bigquery_client import GOOGLESQL, PROJECT, digest, official, one_line
from tests.http_faults import Fault, Proxy

FIELDS = (TableField("id", "INT64"), TableField("text", "STRING"))
CHANGES = ((1, "delete", None), (2, "update", "two"), (4, "insert", "four"))
APPLIED = [(2, "two"), (3, "c"), (4, "four")]
only_ours = pytest.mark.parametrize("bigquery", ["stand_in"], indirect=True)


class Tables:
    """A table with three rows, changes of it, and a name for what is to be made of them."""

    def __init__(self, client: BigQueryClient, dataset: str, folder: Path) -> None:
        self.client, self.folder, self.versions = client, folder, f"{dataset}__versions"
        self.base, self.changes, self.made = (TableName(self.versions, each) for each in ("base", "changes", "made"))
        rows = pa.table({"id": [1, 2, 3], "text": ["a", "b", "c"]})
        self.load(self.base, rows, FIELDS)
        self.change(CHANGES)

    def change(self, changes: tuple[tuple[int, str, str | None], ...]) -> None:
        ids, operations, texts = zip(*changes, strict=True)
        rows = pa.table({OPERATION: operations, "id": ids, "text": pa.array(texts, pa.string())})
        self.load(self.changes, rows, (TableField(OPERATION, "STRING"), *FIELDS))

    def load(self, table: TableName, rows: pa.Table, fields: tuple[TableField, ...]) -> None:
        path = str(self.folder / f"{table.name}.parquet")
        pq.write_table(rows, path)
        self.client.load_parquet(digest(), [path], TableSpec(table, fields, "What it is.", {"of": table.name}))

    def merge(self, of: str, attempt: int) -> Merged:
        return self.client.merge(of, attempt, self.changes, self.made, ["id"], ["id", "text"])

    def rows(self, table: TableName) -> list[tuple[int, str]]:
        found = self.client.query(f"SELECT id, text FROM `{PROJECT}.{table}` ORDER BY id")
        return [(each["id"], each["text"]) for each in found]


@pytest.fixture
def tables(client: BigQueryClient, dataset: str, tmp_path: Path) -> Tables:
    return Tables(client, dataset, tmp_path)


def test_a_clone_and_what_changed(tables: Tables) -> None:
    of = digest()
    assert tables.client.clone(of, tables.base, tables.made) == 1
    assert tables.rows(tables.made) == tables.rows(tables.base)
    assert tables.merge(of, 1) == Merged(inserted=1, updated=1, deleted=1)
    assert tables.rows(tables.made) == APPLIED
    assert tables.rows(tables.base) == [(1, "a"), (2, "b"), (3, "c")]


def test_a_run_that_died_is_followed_by_one_that_starts_over(tables: Tables) -> None:
    of = digest()
    tables.client.clone(of, tables.base, tables.made)
    tables.merge(of, 1)
    assert tables.client.clone(of, tables.base, tables.made) == 2
    assert tables.rows(tables.made) == tables.rows(tables.base), "what was merged is gone"
    assert tables.merge(of, 2) == Merged(1, 1, 1)
    assert tables.rows(tables.made) == APPLIED


def test_an_insertion_whose_key_is_there_is_left_out_and_counted_so(tables: Tables) -> None:
    tables.change(((2, "insert", "again"), (9, "update", "nobody"), (5, "insert", "five")))
    of = digest()
    tables.client.clone(of, tables.base, tables.made)
    assert tables.merge(of, 1) == Merged(inserted=1, updated=0, deleted=0)
    assert tables.rows(tables.made) == [(1, "a"), (2, "b"), (3, "c"), (5, "five")]


@only_ours
def test_two_changes_of_one_row_are_refused_and_change_nothing(tables: Tables) -> None:
    tables.change(((2, "update", "this"), (2, "update", "or that"), (5, "insert", "five")))
    of = digest()
    tables.client.clone(of, tables.base, tables.made)
    with pytest.raises(TargetFailed) as error:
        tables.merge(of, 1)
    one_line(error, "table test-project", f"job polyexpose_{of}_merge_1", "at most one source row")
    assert tables.rows(tables.made) == tables.rows(tables.base)


@only_ours
def test_a_base_that_is_gone_is_told(tables: Tables) -> None:
    with pytest.raises(TargetFailed) as error:
        tables.client.clone(digest(), TableName(tables.versions, "gone"), tables.made)
    one_line(error, "gone", f"{tables.versions}.made")


@only_ours
@pytest.mark.parametrize("reset", ["before", "after"])
def test_lost_answers_do_nothing_twice(tables: Tables, faulty: Proxy, reset: str) -> None:
    of = digest()
    faulty.faults = [Fault("POST", "/jobs", reset=reset), Fault("GET", "/jobs/", status=503, reason="backendError")]
    assert tables.client.clone(of, tables.base, tables.made) == 1
    assert all(each.times == 0 for each in faulty.faults)
    faulty.faults = [Fault("POST", "/jobs", reset=reset)]
    assert tables.merge(of, 1) == Merged(1, 1, 1), "of one merge: a second one would find nothing to do"
    assert all(each.times == 0 for each in faulty.faults)
    assert tables.rows(tables.made) == APPLIED


@only_ours
def test_a_request_of_a_dead_run_that_comes_late_undoes_nothing(tables: Tables, faulty: Proxy, bigquery: str) -> None:
    """The CLONE is under way so long that the next run has made the table before it is carried out."""
    of, direct = digest(), BigQueryClient(PROJECT, "EU", bigquery, "anonymous")
    faulty.faults = [Fault("POST", "/jobs", seconds=2)]
    dead = threading.Thread(target=tables.client.clone, args=(of, tables.base, tables.made))
    dead.start()
    while faulty.faults[0].times:
        dead.join(0.01)
    assert direct.clone(of, tables.base, tables.made) == 1
    assert direct.merge(of, 1, tables.changes, tables.made, ["id"], ["id", "text"]) == Merged(1, 1, 1)
    assert dead.is_alive(), "it was not late"
    dead.join()
    assert tables.rows(tables.made) == APPLIED
    assert official(bigquery).get_table(str(tables.made)).num_rows == len(APPLIED)


@pytest.mark.skipif(not GOOGLESQL.exists(), reason="googlesql-check is not beside this checkout")
def test_the_statements_are_googlesql() -> None:
    base, made, changes = (TableName("d__versions", each) for each in ("f__1", "f__2", "f__2_changes"))
    columns = [
        {"name": "id", "type": "INT64"},
        {"name": "when", "type": "TIMESTAMP"},
        {"name": "select", "type": "STRUCT<`a` INT64, `b` STRUCT<`c` STRING>>"},
        {"name": "T", "type": "NUMERIC(10, 2)"},
        {"name": "S", "type": "BYTES"},
    ]
    names = [each["name"] for each in columns]
    statements = [
        merge_statement("p-1", changes, made, ["id"], names),
        merge_statement("p-1", changes, made, ["when", "S"], names),
        merge_statement("p-1", changes, made, ["id", "when"], ["id", "when"]),
        clone_statement("p-1", base, made),
    ]
    declared = [
        {"name": f"p-1.{made}", "columns": columns},
        {"name": f"p-1.{changes}", "columns": [{"name": OPERATION, "type": "STRING"}, *columns]},
    ]
    given = json.dumps({"tables": declared, "statements": [*statements, statements[0].replace("`when`", "`whence`")]})
    done = subprocess.run([GOOGLESQL], input=given, capture_output=True, text=True, check=True)
    verdicts = json.loads(done.stdout)
    assert [each["parses"] for each in verdicts] == [True] * 5, verdicts
    assert [each["analyzes"] for each in verdicts[:3]] == [True] * 3, verdicts
    assert not verdicts[4]["analyzes"], "the check finds a column that is not there"
