"""Port gql as its consumers see it: BigQuery's tables and views, and GraphQL over them."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from polyexpose_spark import sample_types, session
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.errors import ConfigError, Refused
from polyexpose_spark.receipt import Outcome
from tests.http_faults import Fault
from tests.missing import missing
from tests.spark.gql_exposed import (
    GOOGLESQL,
    PROJECT,
    Gql,
    check_with_googlesql,
    no_correlated_subquery,
    sql_type,
)

pytestmark = pytest.mark.spark

ID_NAME = "id BIGINT NOT NULL, name STRING"


@pytest.fixture
def things(gql: Gql) -> Gql:
    """A table with three rows, not exposed yet."""
    gql.create(ID_NAME, "(1, 'one')", "(2, 'two')", "(3, NULL)")
    return gql


def no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_: Any) -> Any:
        raise AssertionError("no session is needed here")

    monkeypatch.setattr(session, "build_session", asked)


# ------------------------------------------------------------------ what is served


def test_rows_descriptions_labels_and_graphql_of_a_first_exposure(things: Gql) -> None:
    receipt = things.expose(things.contract(roles=("analyst",), descriptions={"name": 'Its "name";\nas it is.'}))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert receipt.rows == 3
    assert receipt.bytes_written > 0
    assert receipt.address == f"{PROJECT}.{things.namespace}.{things.named('t')}"
    assert receipt.details["rootFields"] == [things.root(), f"{things.root()}_aggregate"]
    assert receipt.details["selectLimit"] == 500
    view = things.client.get_table(f"{things.namespace}.{things.named('t')}")
    assert view.table_type == "VIEW"
    assert view.description == 'Things, as "they" are.'
    assert [(each.name, each.description) for each in view.schema] == [
        ("id", "The id."),
        ("name", 'Its "name";\nas it is.'),
    ]
    [version] = things.tables()
    table = things.client.get_table(f"{things.namespace}__versions.{version}")
    assert table.description == 'Things, as "they" are.'
    for labels in (view.labels, table.labels):
        assert labels["polyexpose_product"] == things.named("t")
        assert labels["polyexpose_version"] == "1_2_0"
        assert labels["polyexpose_snapshot"] == str(receipt.snapshot_id)
    assert [each.description for each in table.schema] == ["The id.", 'Its "name";\nas it is.']
    assert things.rows(f"SELECT * FROM {things.view()} ORDER BY id") == [(1, "one"), (2, "two"), (3, None)]
    asked = things.ask(f"{{ {things.root()}(order_by: {{id: asc}}) {{ id name }} }}", "analyst")
    sent = [each for each in things.servers.statements if things.named("t") in each]
    assert sorted({each.split()[0] for each in sent}) == ["CREATE", "SELECT"], "what is checked when all tests are done"
    assert [(str(each["id"]), each["name"]) for each in asked[things.root()]] == [
        ("1", "one"),
        ("2", "two"),
        ("3", None),
    ]


def test_an_empty_table_is_an_empty_view(gql: Gql) -> None:
    gql.create("id BIGINT, inside STRUCT<a: INT, b: ARRAY<INT>>", "(1, NULL)")
    gql.spark.sql(f"DELETE FROM lake.{gql.namespace}.{gql.named('t')}")
    receipt = gql.expose(gql.contract())
    assert (receipt.outcome, receipt.rows) == (Outcome.PUBLISHED, 0), receipt.error
    assert gql.ask(f"{{ {gql.root()} {{ id inside_a inside_b }} }}") == {gql.root(): []}


def test_structs_are_flattened_and_names_made_legal(gql: Gql) -> None:
    gql.create(
        "`order id` BIGINT, `größe` INT, order_id INT, `2nd` STRING, __type STRING, _partitiontime INT, "
        "at STRUCT<place: STRUCT<`x-y`: DOUBLE, tags: ARRAY<STRING>>, n: INT>",
        "(1, 2, 3, 'second', 't', 9, "
        "named_struct('place', named_struct('x-y', 1.5D, 'tags', array('a', NULL)), 'n', 7))",
        "(4, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    receipt = gql.expose(gql.contract())
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    view = gql.client.get_table(f"{gql.namespace}.{gql.named('t')}")
    assert {each.name: each.description for each in view.schema} == {
        "order_id_2": "The order id. (column order id)",
        "gr__e": "The größe. (column größe)",
        "order_id": "The order_id.",
        "_2nd": "The 2nd. (column 2nd)",
        "_type": "The __type. (column __type)",
        "c_partitiontime": "The _partitiontime. (column _partitiontime)",
        "at_place_x_y": "The at. (column at.place.x-y)",
        "at_place_tags": "The at. (column at.place.tags)",
        "at_n": "The at. (column at.n)",
    }
    names = ["order_id_2", "gr__e", "order_id", "_2nd", "_type", "c_partitiontime"]
    names += ["at_place_x_y", "at_place_tags", "at_n"]
    rows = gql.ask(f"{{ {gql.root()}(order_by: {{order_id_2: asc}}) {{ {' '.join(names)} }} }}")[gql.root()]
    assert [str(rows[0][name]) for name in names] == ["1", "2", "3", "second", "t", "9", "1.5", '["a",null]', "7"]
    assert [rows[1][name] for name in names[1:]] == [None] * 8


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (
            "a STRUCT<b: INT>, a_b INT",
            "(1, NULL, 2)",
            "column a_b of the GraphQL view would be there twice, from a.b and from a_b",
        ),
        (
            f"a STRUCT<{'b' * 299}: INT>",
            "(1, NULL)",
            "its name is longer than 300 characters, which BigQuery does not take",
        ),
    ],
)
def test_names_that_cannot_be_kept_apart_are_refused(gql: Gql, columns: str, row: str, expected: str) -> None:
    gql.create(f"id INT, {columns}", row)
    receipt = gql.expose(gql.contract())
    assert receipt.exit_code == 3
    assert expected in str(receipt.error)
    assert gql.tables() == []


def test_integers_as_text(gql: Gql) -> None:
    gql.create("id BIGINT, small INT, inside STRUCT<n: BIGINT>", f"({2**53 + 1}, 1, named_struct('n', {-(2**63)}))")
    gql.expose(gql.contract(roles=("analyst",)))
    first = gql.ask(f"{{ {gql.root()} {{ id }} }}", "analyst")
    receipt = gql.expose(gql.contract(roles=("analyst",), integers="string"))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    view = gql.client.get_table(f"{gql.namespace}.{gql.named('t')}")
    assert [sql_type(each) for each in view.schema] == ["STRING", "INT64", "STRING"]
    [row] = gql.ask(f'{{ {gql.root()}(where: {{id: {{_eq: "{2**53 + 1}"}}}}) {{ id inside_n }} }}', "analyst")[
        gql.root()
    ]
    assert row == {"id": str(2**53 + 1), "inside_n": str(-(2**63))}
    assert str(first[gql.root()][0]["id"]) == row["id"]


# ------------------------------------------------------------------ every type, cell by cell


@pytest.fixture(scope="session")
def all_types(spark: Any, config: Any) -> list[dict[str, Any]]:
    """The table gql_samples.all_types, made once; its rows read from its Parquet file by Arrow, not by Spark."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spark.sql("CREATE NAMESPACE IF NOT EXISTS lake.gql_samples")
    sample_types.create(spark, "lake", ("gql_samples", "all_types"), {})
    sample_types.rows(spark, "lake.gql_samples.all_types").writeTo("lake.gql_samples.all_types").append()
    folder = Path(Catalog(config.catalog).table(("gql_samples", "all_types")).location.removeprefix("file:")) / "data"
    rows = pa.concat_tables(pq.read_table(file) for file in sorted(folder.rglob("*.parquet"))).to_pylist()
    assert len(rows) == len(sample_types.CASES)
    return sorted(rows, key=lambda row: int(row["id"]))


def as_json(value: Any) -> Any:
    """Return a nested value as its JSON text is to say it."""
    import base64

    match value:
        case dict():
            return {key: as_json(each) for key, each in value.items()}
        case list() if value and isinstance(value[0], tuple):  # a map that is not empty, as Arrow hands it out
            if isinstance(value[0][0], str):
                return {key: as_json(each) for key, each in value}
            return [{"key": as_json(key), "value": as_json(each)} for key, each in value]
        case list():
            return [as_json(each) for each in value]
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.strftime(f"{value.year:04}-%m-%dT%H:%M:%S.%f") + ("Z" if value.tzinfo else "")
        case date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
    return value


NESTED = {"list_value", "map_value", "map_by_int", "list_of_lists", "list_of_structs", "map_of_lists", "map_of_structs"}
MAPS = {"map_value", "map_of_lists", "map_of_structs"}


def expected_cells(row: dict[str, Any]) -> dict[str, Any]:
    """Return column of the view -> value."""
    found: dict[str, Any] = {}

    def put(name: str, value: Any, nested: bool) -> None:
        if name.endswith("uuid") or name == "uuid_value":
            value = value and str(value if isinstance(value, uuid.UUID) else uuid.UUID(bytes=value))
        found[name] = as_json(value) if nested else value

    for name, value in row.items():
        if name in NESTED:
            empty_map = name in MAPS and value == []
            put(name, {} if empty_map else value, nested=True)
        elif name == "struct_value":
            for part in ("label", "amount", "at"):
                put(f"{name}_{part}", value and value[part], nested=False)
        elif name == "deep_value":
            inner = value and value["inner"]
            put(f"{name}_when", value and value["when"], nested=False)
            put(f"{name}_parts", value and _maps(value["parts"]), nested=True)
            put(f"{name}_inner_flag", inner and inner["flag"], nested=False)
            put(f"{name}_inner_uuid", inner and inner["uuid"], nested=False)
        else:
            put(name, value, nested=False)
    return found


def _maps(parts: Any) -> Any:
    """Return a list of maps with the empty ones told from empty lists."""
    return parts and [None if each is None else dict(each) for each in parts]


def same(one: Any, other: Any) -> bool:
    """Say whether two cells are the same, -0.0 and NaN included."""
    if isinstance(one, float) and isinstance(other, float):
        return repr(one) == repr(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(each, other[key]) for key, each in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def different_cells(gql: Gql, rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Return (case, column) -> (in Iceberg, in BigQuery) wherever the two differ."""
    served = [
        dict(each.items()) for each in gql.client.query_and_wait(f"SELECT * FROM {gql.view('all_types')} ORDER BY id")
    ]
    assert len(served) == len(rows)
    different = {}
    for row, got in zip(rows, served, strict=True):
        wanted = expected_cells(row)
        assert list(got) == list(wanted)
        for name, value in wanted.items():
            cell = got[name]
            if cell is not None and (name in NESTED or name == "deep_value_parts"):
                cell = json.loads(cell)
            if not same(value, cell):
                different[(str(row["case_name"]), name)] = (value, cell)
    return different


def test_every_type_is_the_same_cell_by_cell(gql: Gql, all_types: list[dict[str, Any]]) -> None:
    receipt = gql.expose(gql.contract("all_types", table=("gql_samples", "all_types")))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert different_cells(gql, all_types) == {}
    view = gql.client.get_table(f"{gql.namespace}.{gql.named('all_types')}")
    kinds = {each.name: sql_type(each) for each in view.schema}
    assert kinds["decimal_9_2"] == "NUMERIC"
    assert kinds["decimal_38_0"] == kinds["decimal_38_18"] == "BIGNUMERIC"
    assert kinds["timestamp_value"] == "DATETIME"
    assert kinds["timestamptz_value"] == "TIMESTAMP"
    assert kinds["fixed_value"] == kinds["binary_value"] == "BYTES"


# Of local-bigquery 0.4, not of the port. It takes BYTES of a Parquet file for base64 text, and BIGNUMERIC is a decimal
# of 20 digits before the point there: these columns are left out. All others are the same.
NOT_LOADED_THERE = ("fixed_value", "binary_value", "decimal_38_0")


@pytest.mark.second_opinion
def test_every_type_is_the_same_in_a_server_of_other_people(
    gql: Gql, local_bigquery: str, all_types: list[dict[str, Any]]
) -> None:
    left = gql.spark.table("lake.gql_samples.all_types").drop(*NOT_LOADED_THERE)
    left.writeTo(f"lake.{gql.namespace}.{gql.named('all_types')}").using("iceberg").create()
    gql.settings = (f"ports.gql.endpoint={local_bigquery}", "ports.gql.hasura=null")
    gql.client = bigquery.Client(PROJECT, AnonymousCredentials(), client_options={"api_endpoint": local_bigquery})
    receipt = gql.expose(gql.contract("all_types"))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    rows = [{name: each for name, each in row.items() if name not in NOT_LOADED_THERE} for row in all_types]
    assert different_cells(gql, rows) == {}
    gql.client.close()


def test_every_type_arrives_in_graphql(gql: Gql, all_types: list[dict[str, Any]]) -> None:
    gql.expose(gql.contract("all_types", table=("gql_samples", "all_types"), roles=("analyst",)))
    names = [name for name in expected_cells(all_types[0])]
    asked = gql.ask(f"{{ {gql.root('all_types')}(order_by: {{id: asc}}) {{ {' '.join(names)} }} }}", "analyst")
    for row, got in zip(all_types, asked[gql.root("all_types")], strict=True):
        wanted = expected_cells(row)
        assert [name for name in names if (got[name] is None) != (wanted[name] is None)] == []
        for name in ("decimal_9_2", "decimal_38_0", "decimal_38_18", "long_value"):
            assert got[name] is None or Decimal(str(got[name])) == wanted[name], (name, got[name])
        assert got["string_value"] == wanted["string_value"]
        assert got["uuid_value"] == wanted["uuid_value"]
        assert got["date_value"] == (wanted["date_value"] and wanted["date_value"].isoformat())


# ------------------------------------------------------------------ layout


def layout(gql: Gql, name: str = "t") -> tuple[Any, Any]:
    [version] = [each for each in gql.tables() if each.startswith(f"{gql.named(name)}__")]
    table = gql.client.get_table(f"{gql.namespace}__versions.{version}")
    by = table.time_partitioning
    return by and (by.type_, by.field), table.clustering_fields


def test_partitioning_and_clustering_follow_iceberg_or_the_contract(gql: Gql) -> None:
    columns = "id BIGINT, at TIMESTAMP, day DATE, `the carrier` STRING, weight DOUBLE"
    row = "(1, timestamp'2026-01-02 03:04:05', date'2026-01-02', 'UA', 1.5)"
    gql.create(columns, row, partition="PARTITIONED BY (months(at), `the carrier`, bucket(4, id))")
    receipt = gql.expose(gql.contract())
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert layout(gql) == (("MONTH", "at"), ["the_carrier", "id"])
    again = gql.contract(partition={"field": "day", "granularity": "YEAR"}, cluster=["id"])
    assert "partitioned by YEAR of day, clustered by id" in [a.detail for a in _plan(gql, again).actions]
    gql.expose(again)
    assert layout(gql) == (("YEAR", "day"), ["id"])
    assert gql.rows(f"SELECT the_carrier, weight FROM {gql.view()}") == [("UA", 1.5)]


def _plan(gql: Gql, contract: Path, **more: Any) -> Any:
    planned = gql.plan(contract, **more)
    assert planned.plan is not None, planned.error
    return planned.plan


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"cluster": ["nowhere"]}, "cluster: 'nowhere' is not a column; columns: id, name, at, on_day"),
        ({"partition": {"field": "nowhere"}}, "partition.field: 'nowhere' is not a column"),
        ({"partition": {"field": "name"}}, "partition: not by DAY of name (string); by a timestamp, or by DAY"),
        ({"partition": {"field": "on_day", "granularity": "HOUR"}}, "partition: not by HOUR of on_day (date)"),
        ({"cluster": ["id", "at", "weight"]}, "cluster: BigQuery does not cluster by weight (double)"),
    ],
)
def test_a_layout_that_bigquery_does_not_have_is_told_by_the_plan(
    gql: Gql, settings: dict[str, Any], expected: str
) -> None:
    gql.create(
        "id BIGINT, name STRING, at TIMESTAMP, on_day DATE, weight DOUBLE",
        "(1, 'one', timestamp'2026-01-01 00:00:00', date'2026-01-01', 1)",
    )
    planned = gql.plan(gql.contract(**settings))
    assert isinstance(planned.error, ConfigError)
    assert expected in str(planned.error)
    assert "servers[1]" in str(planned.error)


def test_another_way_to_copy_is_refused_and_says_what_is_allowed(things: Gql) -> None:
    with pytest.raises(ConfigError, match=r"copy.*'partial'.*full.*incremental.*none"):
        things.plan(things.contract(copy="partial"))


def test_none_needs_a_lakehouse_catalog(things: Gql) -> None:
    planned = things.plan(things.contract(copy="none"))
    assert isinstance(planned.error, Refused)
    assert "copy: none needs a Lakehouse catalog" in str(planned.error)


def test_the_view_over_a_lakehouse_table_is_googlesql(gql: Gql) -> None:
    from polyexpose_spark.clients import Clients
    from polyexpose_spark.config import CatalogConfig, Config
    from polyexpose_spark.workspace import Workspace

    gql.create(
        "id BIGINT, `the tags` ARRAY<STRING>, at STRUCT<`x y`: DOUBLE, m: MAP<STRING, INT>>, t TIMESTAMP_NTZ",
        "(1, NULL, NULL, NULL)",
    )
    workspace = Workspace(gql.request(gql.contract(copy="none", integers="string")))
    [(product, [port])] = workspace.ports
    exposure = workspace.prepare(product).exposure
    lakehouse = CatalogConfig(
        type="rest", uri="https://biglake.example/iceberg/v1/restcatalog", warehouse="bl://projects/acme/catalogs/lake"
    )
    clients = Clients(Config(catalog=lakehouse), lambda: gql.spark)
    plan = type(port)(port.spec, port.settings, port.addresses, clients).plan(exposure)
    assert plan.estimated_bytes is None
    [action] = [each for each in plan.actions if each.verb == "replace view"]
    table = f"acme.lake.{gql.namespace}.{gql.named('t')}"
    assert f"FROM `{table}` FOR SYSTEM_TIME AS OF TIMESTAMP_MILLIS({exposure.snapshot.committed_at})" in action.detail
    no_correlated_subquery(action.detail)
    columns = [
        {"name": "id", "type": "INT64"},
        {"name": "the tags", "type": "ARRAY<STRING>"},
        {"name": "at", "type": "STRUCT<`x y` FLOAT64, m ARRAY<STRUCT<key STRING, value INT64>>>"},
        {"name": "t", "type": "DATETIME"},
    ]
    check_with_googlesql([action.detail], [{"name": table, "columns": columns}])


# ------------------------------------------------------------------ versions


def test_going_back_and_forth_flips_the_view_and_loads_nothing(things: Gql, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = things.contract(roles=("analyst",))
    first = things.expose(contract)
    things.insert("(4, 'four')")
    second = things.expose(contract)
    count = f"SELECT COUNT(*) FROM {things.view()}"
    assert things.rows(count) == [(4,)]
    no_session(monkeypatch)
    for receipt, rows in ((first, 3), (second, 4), (first, 3)):
        steps: list[str] = []
        again = things.expose(contract, snapshot_id=receipt.snapshot_id, steps=steps)
        assert again.outcome is Outcome.PUBLISHED, again.error
        assert [each for each in steps if "stag" in each or "load" in each] == []
        assert "graphql.flipped" in steps
        assert things.rows(count) == [(rows,)]
        aggregate = f"{things.root()}_aggregate"
        asked = things.ask(f"{{ {aggregate} {{ aggregate {{ count }} }} }}", "analyst")
        assert asked[aggregate]["aggregate"]["count"] == str(rows)
    assert len(things.tables()) == 2


def test_a_changed_contract_at_the_same_snapshot_gets_a_table_of_its_own(things: Gql) -> None:
    things.expose(things.contract())
    before = things.tables()
    receipt = things.expose(things.contract(cluster=["name"]))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    after = things.tables()
    assert len(after) == 1, "the old plan's copy of this snapshot is of no use"
    assert after != before


def test_copies_beyond_those_kept_are_collected_and_those_of_others_stay(things: Gql) -> None:
    contract = things.contract(keepSnapshots=2)
    versions = f"{things.namespace}__versions"
    snapshots = []
    for number in range(4):
        receipt = things.expose(contract)
        assert receipt.outcome is Outcome.PUBLISHED, receipt.error
        snapshots.append(receipt.snapshot_id)
        if number == 0:
            things.client.query_and_wait(
                f"CREATE TABLE `{PROJECT}.{versions}.{things.named('t')}__theirs` AS SELECT 1 AS a"
            )
            # What a run leaves behind that died between its load and its labels.
            dead = f"`{PROJECT}.{versions}.{things.named('t')}__17_0123abcd`"
            things.client.query_and_wait(f"CREATE TABLE {dead} AS SELECT 1 AS a")
        things.insert(f"({10 + number}, 'more')")
    kept = [each.removeprefix(f"{things.named('t')}__") for each in things.tables()]
    assert sorted(kept, key=str)[-1] == "theirs"
    assert {each.split("_")[0] for each in kept} == {"theirs", *(str(each) for each in snapshots[-2:])}


def test_a_column_more_is_served_although_tracking_failed_the_first_time(things: Gql) -> None:
    contract = things.contract(roles=("analyst",))
    things.expose(contract)
    things.spark.sql(f"ALTER TABLE lake.{things.namespace}.{things.named('t')} ADD COLUMN extra INT")
    things.insert("(4, 'four', 44)")
    contract = things.contract(roles=("analyst",))
    things.servers.hasura.faults.append(Fault("POST", "/v1/metadata", status=400, times=1))
    failed = things.expose(contract)
    assert failed.outcome is Outcome.FAILED
    assert "\n" not in str(failed.error)
    assert things.expose(contract).outcome is Outcome.PUBLISHED
    rows = things.ask(f"{{ {things.root()}(where: {{extra: {{_eq: 44}}}}) {{ name }} }}", "analyst")
    assert rows == {things.root(): [{"name": "four"}]}


def test_staging_is_removed_after_a_failure_and_the_view_is_as_it_was(things: Gql) -> None:
    contract = things.contract()
    things.expose(contract)
    before = things.rows(f"SELECT * FROM {things.view()}")
    things.insert("(9, 'nine')")
    things.servers.for_port.faults.append(Fault("POST", "/upload/.*", status=403, reason="accessDenied", times=1))
    steps: list[str] = []
    failed = things.expose(contract, steps=steps)  # looks into the staging folder as well
    assert "graphql.staged" in steps
    assert failed.exit_code == 4
    assert f"{things.namespace}__versions.{things.named('t')}__" in str(failed.error)
    assert "\n" not in str(failed.error)
    assert things.rows(f"SELECT * FROM {things.view()}") == before
    assert things.expose(contract).outcome is Outcome.PUBLISHED


def test_nothing_to_do_changes_nothing_and_needs_no_session(things: Gql, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = things.contract(roles=("analyst",))
    things.expose(contract)
    no_session(monkeypatch)
    things.servers.forget()
    assert things.expose(contract).outcome is Outcome.UNCHANGED
    assert things.servers.modifying == []
    assert len(things.servers.for_port.seen) + len(things.servers.hasura.sent) <= 4


def test_a_view_of_somebody_else_is_left_alone(things: Gql) -> None:
    things.client.create_dataset(things.namespace)
    things.client.query_and_wait(f"CREATE VIEW {things.view()} AS SELECT 42 AS answer")
    receipt = things.expose(things.contract())
    assert receipt.exit_code == 4
    assert "a view of somebody else has this name; drop it, or use another dataset" in str(receipt.error)
    assert things.rows(f"SELECT * FROM {things.view()}") == [(42,)]


def test_a_table_of_the_views_name_is_left_alone(things: Gql) -> None:
    things.client.create_dataset(things.namespace)
    things.client.query_and_wait(f"CREATE TABLE {things.view()} AS SELECT 42 AS answer")
    receipt = things.expose(things.contract())
    assert receipt.exit_code == 4
    assert "a table has this name" in str(receipt.error)
    assert things.rows(f"SELECT * FROM {things.view()}") == [(42,)]


def test_a_plan_says_what_is_loaded_the_views_sql_and_what_is_tracked(
    things: Gql, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_session(monkeypatch)
    before = len(things.servers.for_port.sent)
    planned = things.plan(things.contract(roles=("analyst", "clerk"), cluster=["name"]))
    assert planned.plan is not None
    assert planned.to_do
    said = {each.verb: each for each in planned.plan.actions}
    assert list(said) == ["stage Parquet", "load", "replace view", "track"]
    assert said["stage Parquet"].target.startswith(str(things.folder / "staging"))
    assert said["load"].detail == "clustered by name"
    version = said["load"].target
    assert version.startswith(f"{PROJECT}.{things.namespace}__versions.{things.named('t')}__")
    assert said["replace view"].target == f"{PROJECT}.{things.namespace}.{things.named('t')}"
    assert said["replace view"].detail == f"SELECT `id` AS `id`, `name` AS `name` FROM `{version}`"
    assert said["track"].detail == f"source {things.namespace}; roles analyst, clerk"
    assert planned.plan.estimated_bytes
    assert any("500 rows" in each for each in planned.plan.warnings)
    assert all(each["configuration"]["dryRun"] for each in things.servers.for_port.sent[before:])
    assert things.namespace not in {each.dataset_id for each in things.client.list_datasets()}
    monkeypatch.undo()
    receipt = things.expose(things.contract(roles=("analyst", "clerk"), cluster=["name"]))
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert things.tables() == [version.rpartition(".")[2]]


# ------------------------------------------------------------------ Hasura


def test_relationships_lead_both_ways_for_every_role(gql: Gql) -> None:
    gql.create("code STRING, name STRING", "('UA', 'United')", "('B6', 'JetBlue')", name="airlines")
    gql.create(
        "id INT, carrier STRING, via STRING, after INT",
        "(1, 'UA', 'B6', NULL)",
        "(2, 'UA', NULL, 1)",
        "(3, 'B6', 'UA', 2)",
        "(4, NULL, NULL, 2)",
        name="flights",
    )
    airlines, flights = gql.named("airlines"), gql.named("flights")
    one = gql.contract("airlines", roles=("analyst",))
    other = gql.contract(
        "flights",
        roles=("analyst",),
        references={"carrier": f"{airlines}.code", "via": f"{airlines}.code", "after": f"{flights}.id"},
    )
    receipt = gql.expose(one, other)
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert receipt.details["waitingFor"] == []
    found = gql.ask(
        f"""{{ {gql.root("flights")}(order_by: {{id: asc}}) {{
            id carrier_{airlines} {{ name }} via_{airlines} {{ name }}
            after_{flights} {{ id }} {flights}_by_after(order_by: {{id: asc}}) {{ id }}
        }} }}""",
        "analyst",
    )[gql.root("flights")]
    said = [
        (
            (each[f"carrier_{airlines}"] or {}).get("name"),
            (each[f"via_{airlines}"] or {}).get("name"),
            [str(below["id"]) for below in each[f"{flights}_by_after"]],
        )
        for each in found
    ]
    assert said == [
        ("United", "JetBlue", ["2"]),
        ("United", None, ["3", "4"]),
        ("JetBlue", "United", []),
        (None, None, []),
    ]
    back = gql.ask(
        f"{{ {gql.root('airlines')}(order_by: {{code: desc}}) {{ {flights}_by_carrier_aggregate "
        "{ aggregate { count } } } }",
        "analyst",
    )[gql.root("airlines")]
    assert [each[f"{flights}_by_carrier_aggregate"]["aggregate"]["count"] for each in back] == ["2", "1"]


def test_a_relationship_waits_for_the_other_product(gql: Gql) -> None:
    gql.create("code STRING", "('UA')", name="airlines")
    gql.create("id INT, carrier STRING", "(1, 'UA')", name="flights")
    airlines = gql.named("airlines")
    flights_contract = gql.contract("flights", references={"carrier": f"{airlines}.code"})
    first = gql.expose(flights_contract)
    assert first.details["waitingFor"] == [f"{gql.namespace}.{airlines}"]
    assert gql.expose(flights_contract).outcome is Outcome.UNCHANGED
    gql.expose(gql.contract("airlines"))
    assert gql.expose(flights_contract).outcome is Outcome.PUBLISHED
    asked = gql.ask(f"{{ {gql.root('flights')} {{ {airlines} {{ code }} }} }}")
    assert asked == {gql.root("flights"): [{airlines: {"code": "UA"}}]}
    assert gql.expose(flights_contract).outcome is Outcome.UNCHANGED


def test_what_a_role_may_and_what_others_may_not(things: Gql) -> None:
    things.expose(things.contract(roles=("analyst",), rowLimit=2, aggregations=False))
    rows = things.ask(f"{{ {things.root()} {{ id }} }}", "analyst")[things.root()]
    assert len(rows) == 2
    for query, role in (
        (f"{{ {things.root()}_aggregate {{ aggregate {{ count }} }} }}", "analyst"),
        (f"{{ {things.root()} {{ id }} }}", "clerk"),
    ):
        assert things.answer(query, role)["errors"][0]["extensions"]["code"] == "validation-failed"
    receipt = things.expose(things.contract(roles=("clerk",), rowLimit=2, aggregations=False))
    assert receipt.outcome is Outcome.PUBLISHED, "another role is another permission, and no other data"
    assert len(things.ask(f"{{ {things.root()} {{ id }} }}", "clerk")[things.root()]) == 2
    assert "errors" in things.answer(f"{{ {things.root()} {{ id }} }}", "analyst")


def test_what_somebody_untracked_or_changed_is_put_back_without_loading(
    things: Gql, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = things.contract(roles=("analyst",))
    things.expose(contract)
    table = {"source": things.namespace, "table": {"dataset": things.namespace, "name": things.named("t")}}
    no_session(monkeypatch)
    spoilt: list[Callable[[], Any]] = [
        lambda: things.metadata("bigquery_untrack_table", {**table, "cascade": True}),
        lambda: things.metadata("bigquery_drop_select_permission", {**table, "role": "analyst"}),
    ]
    for spoil in spoilt:
        spoil()
        assert "errors" in things.answer(f"{{ {things.root()} {{ id }} }}", "analyst")
        assert things.plan(contract).to_do
        steps: list[str] = []
        assert things.expose(contract, steps=steps).outcome is Outcome.PUBLISHED
        assert "graphql.staging" not in steps
        assert len(things.ask(f"{{ {things.root()} {{ id }} }}", "analyst")[things.root()]) == 3
        assert things.expose(contract).outcome is Outcome.UNCHANGED


def test_without_hasura_the_views_are_served_and_a_warning_says_so(things: Gql) -> None:
    things.settings = ("ports.gql.hasura=null",)
    receipt = things.expose(things.contract())
    assert receipt.outcome is Outcome.PUBLISHED, receipt.error
    assert any("no Hasura in this profile" in each for each in receipt.warnings)
    assert things.rows(f"SELECT COUNT(*) FROM {things.view()}") == [(3,)]


def test_googlesql_check_is_where_ci_has_it() -> None:
    if not GOOGLESQL.exists():
        missing("googlesql-check is not beside this checkout: sqlglot alone has read the statements")
