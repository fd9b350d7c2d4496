"""`copy: incremental` of the gql port: the same tables as full copies, at the cost of what changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark.catalog import Catalog
from polyexpose_spark.receipt import Outcome, Receipt
from tests.http_faults import Fault
from tests.spark.gql_exposed import Gql

pytestmark = pytest.mark.spark

COLUMNS = """
    id BIGINT NOT NULL, region STRING NOT NULL, name STRING, ratio DOUBLE, price DECIMAL(10,2), huge DECIMAL(38,18),
    at TIMESTAMP, local TIMESTAMP_NTZ, day DATE, raw BINARY, flag BOOLEAN,
    inside STRUCT<a: INT, b: STRUCT<c: STRING, d: ARRAY<INT>>>, tags ARRAY<STRING>, sizes MAP<STRING, DOUBLE>,
    by_number MAP<INT, ARRAY<DATE>>
"""


def row(id_: int, region: str = "eu", **changes: str) -> str:
    """Return a row of COLUMNS with something in every column; `changes` is column -> SQL."""
    cells = {
        "id": str(id_),
        "region": f"'{region}'",
        "name": f"'name, \"{id_}\"'",
        "ratio": f"{id_}.25D",
        "price": f"{id_}.10",
        "huge": f"CAST('{id_}.000000000000000001' AS DECIMAL(38,18))",
        "at": "TIMESTAMP'2024-02-29 23:59:59.123456'",
        "local": "TIMESTAMP_NTZ'0001-01-01 00:00:00.000001'",
        "day": "DATE'9999-12-31'",
        "raw": "X'00FF'",
        "flag": "true",
        "inside": f"named_struct('a', {id_}, 'b', named_struct('c', 'c', 'd', array(1, NULL)))",
        "tags": "array('a', NULL, '')",
        "sizes": "map('b', 2.5D, 'a', double('NaN'))",
        "by_number": "map(2, array(DATE'2024-01-01'), 1, NULL)",
    }
    return f"({', '.join((cells | changes).values())})"


def keyed(contract: Path, *columns: str) -> Path:
    """Write the primary key into a contract."""
    document = json.loads(contract.read_text())
    for each in document["schema"][0]["properties"]:
        if each["name"] in columns:
            each |= {"primaryKey": True, "primaryKeyPosition": columns.index(each["name"]) + 1}
    contract.write_text(json.dumps(document))
    return contract


def incremental(gql: Gql, *key: str, **settings: Any) -> Path:
    return keyed(gql.contract(copy="incremental", **settings), *(key or ("id",)))


def sql(gql: Gql, *statements: str) -> None:
    """Run statements on the table, which they call {t}."""
    for each in statements:
        gql.spark.sql(each.replace("{t}", f"lake.{gql.namespace}.{gql.named('t')}"))


def cells(gql: Gql, name: str) -> tuple[Any, list[str]]:
    """Return the layout and the rows of the newest copy of a product, in an order of their own."""
    copies = [each for each in gql.tables() if each.startswith(f"{gql.named(name)}__")]
    held = [gql.client.get_table(f"{gql.namespace}__versions.{each}") for each in copies]
    table = max(held, key=lambda each: each.created)
    layout = [table.schema, table.description, table.time_partitioning, table.clustering_fields]
    rows = gql.rows(f"SELECT * FROM `{table.project}.{table.dataset_id}.{table.table_id}`")
    return layout, sorted(map(repr, rows))


def check_as_full(gql: Gql, *key: str) -> None:
    """Hold the copy against a full one of the same snapshot, made under another name."""
    full = keyed(gql.contract("full", table=(gql.namespace, gql.named("t"))), *(key or ("id",)))
    receipt = gql.expose(full)
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert cells(gql, "t") == cells(gql, "full")


def check_incremental(receipt: Receipt, inserted: int, updated: int, deleted: int) -> None:
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    counts = {"inserted": inserted, "updated": updated, "deleted": deleted}
    assert receipt.details["copy"] == {"how": "incremental", **counts}


def check_full(receipt: Receipt, *reason: str) -> None:
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    said = receipt.details["copy"]
    assert said["how"] == "full"
    assert all(each in said["reason"] for each in reason), said


@pytest.mark.parametrize("mode", ["copy-on-write", "merge-on-read"])
def test_every_cell_is_as_a_full_copy_has_it(gql: Gql, mode: str) -> None:
    modes = ", ".join(f"'write.{each}.mode' = '{mode}'" for each in ("delete", "update", "merge"))
    gql.create(COLUMNS, *(row(id_) for id_ in range(8)), partition=f"PARTITIONED BY (region) TBLPROPERTIES ({modes})")
    gql.insert(row(3, "us"), row(4, "us"))
    contract = incremental(gql, "id", "region")
    steps: list[str] = []
    check_full(gql.expose(contract, steps=steps), "nothing is served yet")
    assert "graphql.full" in steps
    sql(
        gql,
        "UPDATE {t} SET name = NULL, ratio = double('NaN'), price = -0.01, huge = NULL, tags = NULL WHERE id = 0",
        "UPDATE {t} SET ratio = -0.0D, at = NULL, local = NULL, day = NULL, raw = X'', flag = NULL WHERE id = 1",
        "UPDATE {t} SET inside = NULL, sizes = map(), by_number = NULL WHERE id = 2",
        "UPDATE {t} SET inside = named_struct('a', NULL, 'b', NULL), sizes = map('z', 1D, 'y', NULL) WHERE id = 3",
        "DELETE FROM {t} WHERE id = 4 AND region = 'eu'",
        "UPDATE {t} SET id = 50 WHERE id = 5",
    )
    gql.insert(row(9, inside="NULL", tags="array()"), row(10, "us", name="NULL", sizes="NULL"))
    receipt = gql.expose(contract)
    check_incremental(receipt, inserted=3, updated=5, deleted=2)
    assert receipt.rows == 11
    check_as_full(gql, "id", "region")
    [count] = gql.rows(f"SELECT COUNT(*) FROM {gql.view()}")
    assert count == (11,)
    assert [each for each in gql.tables() if each.endswith("_changes")] == []


def test_small_changes_again_and_again_and_back(gql: Gql) -> None:
    gql.create("id BIGINT NOT NULL, name STRING", "(1, 'a')", "(2, 'b')", "(3, 'c')")
    contract = incremental(gql)
    first = gql.expose(contract)
    sql(gql, "DELETE FROM {t} WHERE id = 1")
    check_incremental(gql.expose(contract), 0, 0, 1)
    sql(gql, "UPDATE {t} SET name = 'B' WHERE id = 2")
    gql.insert("(4, 'd')")
    check_incremental(gql.expose(contract), 1, 1, 0)
    check_as_full(gql)
    copies = gql.tables()
    sql(gql, "CALL lake.system.rollback_to_snapshot('{t}', ID)".replace("ID", str(first.snapshot_id)))
    for each in copies:  # so that the rolled-back snapshot's own copy is not simply shown again
        if f"_{first.snapshot_id}_" in each and each.startswith(gql.named("t")):
            gql.client.delete_table(f"{gql.namespace}__versions.{each}")
    check_incremental(gql.expose(contract), 1, 1, 1)
    check_as_full(gql)
    assert gql.rows(f"SELECT * FROM {gql.view()} ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]


def test_nothing_changed_and_nothing_is_loaded(gql: Gql) -> None:
    gql.create("id BIGINT NOT NULL, name STRING", "(1, 'a')", "(2, 'b')")
    gql.expose(incremental(gql))
    receipt = gql.expose(incremental(gql, integers="string"))
    check_incremental(receipt, 0, 0, 0)
    assert (receipt.rows, receipt.bytes_written) == (2, 0)
    gql.servers.forget()
    assert gql.expose(incremental(gql, integers="string")).outcome is Outcome.UNCHANGED
    assert gql.servers.modifying == []
    sql(gql, "CALL lake.system.rewrite_data_files(table => '{t}', options => map('rewrite-all', 'true'))")
    receipt = gql.expose(incremental(gql, integers="string"))
    check_incremental(receipt, 0, 0, 0)
    check_as_full(gql)


def test_a_hundredth_changed_loads_no_more_than_two_hundredths(gql: Gql) -> None:
    gql.create("id BIGINT NOT NULL, name STRING, amount DOUBLE, at TIMESTAMP")
    table = f"lake.{gql.namespace}.{gql.named('t')}"
    gql.spark.sql(
        f"INSERT INTO {table} SELECT id, sha2(string(id), 256), rand(7), timestamp_seconds(id * 61) FROM range(400000)"
    )
    contract = incremental(gql)
    full = gql.expose(contract)
    assert full.rows == 400_000
    sql(
        gql,
        "UPDATE {t} SET name = upper(name), amount = amount + 1 WHERE id % 200 = 7",
        "DELETE FROM {t} WHERE id % 400 = 9",
    )
    gql.spark.sql(f"INSERT INTO {table} SELECT id, 'new', 0.5D, timestamp_seconds(0) FROM range(400000, 401000)")
    receipt = gql.expose(contract)
    check_incremental(receipt, inserted=1000, updated=2000, deleted=1000)
    assert 0 < receipt.bytes_written <= 0.02 * full.bytes_written
    check_as_full(gql)


# ------------------------------------------------------------------ what makes it a full copy


@pytest.fixture
def exposed(gql: Gql) -> Gql:
    """A table with three rows, exposed."""
    gql.create("id BIGINT NOT NULL, name STRING, n INT", "(1, 'a', 1)", "(2, 'b', 2)", "(3, 'c', 3)")
    assert gql.expose(incremental(gql)).outcome is Outcome.PUBLISHED
    return gql


def test_no_key(exposed: Gql) -> None:
    contract = exposed.contract(copy="incremental")
    exposed.insert("(4, 'd', 4)")
    planned = exposed.plan(contract)
    assert "copy: full: the contract has no primary key" in planned.outlook
    check_full(exposed.expose(contract), "the contract has no primary key")


def test_a_key_that_bigquery_compares_otherwise(gql: Gql) -> None:
    gql.create("id DOUBLE, name STRING", "(1.5, 'a')")
    check_full(gql.expose(incremental(gql)), "key column id: double")


@pytest.mark.parametrize(
    "statements",
    [
        ("ALTER TABLE {t} ADD COLUMN extra INT",),
        ("ALTER TABLE {t} ALTER COLUMN n TYPE BIGINT",),
        # Another column of the same name: no row changes, and no value of it stays.
        ("ALTER TABLE {t} DROP COLUMN n", "ALTER TABLE {t} ADD COLUMN n INT"),
    ],
)
def test_other_columns(exposed: Gql, statements: Sequence[str]) -> None:
    sql(exposed, *statements, "DELETE FROM {t} WHERE id = 1")
    check_full(exposed.expose(incremental(exposed)), "contract, columns or layout are not those")
    check_as_full(exposed)


def test_another_layout_or_contract(exposed: Gql) -> None:
    exposed.insert("(4, 'd', 4)")
    check_full(exposed.expose(incremental(exposed, cluster=["name"])), "contract, columns or layout are not those")
    exposed.insert("(5, 'e', 5)")
    described = keyed(exposed.contract(copy="incremental", cluster=["name"], descriptions={"n": "Another."}), "id")
    check_full(exposed.expose(described), "contract, columns or layout are not those")
    check_as_full_described = exposed.client.get_table(f"{exposed.namespace}.{exposed.named('t')}")
    assert [each.description for each in check_as_full_described.schema][-1] == "Another."


def test_an_expired_snapshot(exposed: Gql) -> None:
    [tag] = [
        each
        for each in Catalog(exposed.config.catalog).table((exposed.namespace, exposed.named("t"))).refs
        if each != "main"
    ]
    exposed.insert("(4, 'd', 4)")
    sql(exposed, "ALTER TABLE {t} DROP TAG " + f"`{tag}`")
    sql(exposed, "CALL lake.system.expire_snapshots(table => '{t}', older_than => TIMESTAMP'2100-01-01 00:00:00')")
    check_full(exposed.expose(incremental(exposed)), "expired")
    check_as_full(exposed)


def test_a_copy_that_somebody_deleted(exposed: Gql) -> None:
    [copy] = exposed.tables()
    exposed.client.delete_table(f"{exposed.namespace}__versions.{copy}")
    exposed.insert("(4, 'd', 4)")
    check_full(exposed.expose(incremental(exposed)), "is not there")
    check_as_full(exposed)


@pytest.mark.parametrize(
    ("before", "change"),
    [
        (["(4, 'd', 4)"], "INSERT INTO {t} VALUES (4, 'd again', 5)"),
        (["(4, 'd', 4)", "(4, 'd again', 5)"], "UPDATE {t} SET name = 'D' WHERE n = 5"),
        (["(4, 'd', 4)", "(4, 'd again', 5)"], "DELETE FROM {t} WHERE n = 5"),
        (["(4, 'd', 4)", "(4, 'd again', 5)"], "UPDATE {t} SET name = upper(name) WHERE id = 4"),
    ],
)
def test_a_key_that_is_not_unique(gql: Gql, before: list[str], change: str) -> None:
    gql.create("id BIGINT NOT NULL, name STRING, n INT", "(1, 'a', 1)", *before)
    gql.expose(incremental(gql))
    sql(gql, change)
    steps: list[str] = []
    receipt = gql.expose(incremental(gql), steps=steps)
    check_full(receipt)
    assert (
        "not unique" in receipt.details["copy"]["reason"]
        or "at most one source row" in receipt.details["copy"]["reason"]
    )
    assert steps.index("graphql.sent") < steps.index("graphql.full") < steps.index("graphql.flipped")
    check_as_full(gql)
    assert len([each for each in gql.tables() if each.startswith(gql.named("t"))]) == 2


def test_a_key_with_nulls(gql: Gql) -> None:
    gql.create("id BIGINT, name STRING", "(1, 'a')", "(NULL, 'b')")
    gql.expose(incremental(gql))
    sql(gql, "UPDATE {t} SET name = 'A' WHERE id = 1")
    check_incremental(gql.expose(incremental(gql)), 0, 1, 0)
    sql(gql, "UPDATE {t} SET name = 'B' WHERE id IS NULL")
    check_full(gql.expose(incremental(gql)), "1 changed rows have a NULL in their key")
    check_as_full(gql)
    gql.insert("(2, 'c')")
    check_incremental(gql.expose(incremental(gql)), 1, 0, 0)
    check_as_full(gql)


# ------------------------------------------------------------------ what goes wrong on the way


@pytest.mark.parametrize("step", ["graphql.sent", "graphql.cloned", "graphql.merged", "graphql.loaded"])
def test_an_answer_that_never_comes_is_made_good_by_the_next_run(exposed: Gql, step: str) -> None:
    """The run ends where BigQuery stops to answer: after the step, whatever it was about to do is not done."""
    sql(exposed, "UPDATE {t} SET n = n + 10 WHERE id < 3", "DELETE FROM {t} WHERE id = 3")
    exposed.insert("(4, 'd', 4)")
    before = exposed.rows(f"SELECT * FROM {exposed.view()} ORDER BY id")
    refused = Fault(".*", ".*", status=403, reason="accessDenied", times=1000)

    def listen(name: str, _: str) -> None:
        if name == "graphql.sent":
            exposed.declare()
        if name == step:
            exposed.servers.for_port.faults.append(refused)

    from polyexpose_spark import app

    [failed] = app.run(exposed.request(incremental(exposed)), listen)
    assert failed.exit_code == 4, failed.error
    exposed.servers.for_port.faults.clear()
    assert exposed.rows(f"SELECT * FROM {exposed.view()} ORDER BY id") == before
    again = exposed.expose(incremental(exposed))
    assert again.outcome is Outcome.PUBLISHED, again.error
    if step != "graphql.loaded":
        check_incremental(again, 1, 2, 1)
    check_as_full(exposed)
    assert [each for each in exposed.tables() if each.endswith("_changes")] == []
