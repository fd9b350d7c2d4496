"""The difference between Hasura's metadata and what a product wants, applied by a model of Hasura's own rules."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyexpose_spark.clients.hasura_difference import (
    concerns,
    difference,
    root_fields,
    select_limit,
    waiting,
    withdrawal,
)
from polyexpose_spark.clients.hasura_metadata import (
    Command,
    Publication,
    Relationship,
    SelectPermission,
    Source,
    TableName,
    TrackedColumn,
    TrackedTable,
    mark,
)
from polyexpose_spark.errors import Refused, TargetFailed
from tests.hasura_model import VALIDATOR, run

SOURCE = Source("bq_air", "acme", ("air",), "BIGQUERY_KEY")
FLIGHTS = TableName("air", "flights")
PLANES = TableName("air", "planes")
TO_PLANE = Relationship("flights", FLIGHTS, "plane", "object", PLANES, {"tailnum": "tailnum"})
TO_FLIGHTS = Relationship("flights", PLANES, "flights", "array", FLIGHTS, {"tailnum": "tailnum"})
ANALYST = SelectPermission("analyst", ("flight", "tailnum"), {"carrier": {"_eq": "UA"}}, 100, True)
PILOT = SelectPermission("pilot", ("flight",), {"pilot_id": {"_eq": "X-Hasura-User-Id"}})

PRODUCT = Publication(
    product="flights",
    source=SOURCE,
    table=TrackedTable(
        "air",
        "flights",
        "flights",
        "Every departure from New York in 2013.",
        {"flight": TrackedColumn("flightNumber", "as printed on the ticket"), "tailnum": TrackedColumn()},
    ),
    permissions=(ANALYST, PILOT),
    relationships=(TO_PLANE, TO_FLIGHTS),
)
OTHER_PRODUCT = Publication(
    "planes", SOURCE, TrackedTable("air", "planes"), (SelectPermission("analyst", ("tailnum",)),)
)

EMPTY: dict[str, Any] = {"version": 3, "sources": []}


def theirs() -> dict[str, Any]:
    """Metadata of other people: another database, and a table with everything in the source that we share."""
    return {
        "version": 3,
        "sources": [
            {"name": "default", "kind": "postgres", "tables": [], "configuration": {"url": "postgres://u:pw@db"}},
            {
                "name": "bq_air",
                "kind": "bigquery",
                "configuration": {
                    "service_account": {"from_env": "THEIR_KEY"},
                    "project_id": "acme",
                    "datasets": ["weather"],
                    "retry_limit": 3,
                },
                "tables": [
                    {
                        "table": {"dataset": "weather", "name": "hours"},
                        "configuration": {"comment": "Weather by hour."},
                        "select_permissions": [
                            {"role": "analyst", "permission": {"columns": "*", "filter": {}}, "comment": None}
                        ],
                        "object_relationships": [
                            {
                                "name": "next",
                                "using": {
                                    "manual_configuration": {
                                        "remote_table": {"dataset": "weather", "name": "hours"},
                                        "column_mapping": {"hour": "hour"},
                                        "insertion_order": None,
                                    }
                                },
                            }
                        ],
                    }
                ],
            },
        ],
        "query_collections": [{"name": "allowed"}],
    }


def send(metadata: dict[str, Any], commands: tuple[Command, ...]) -> dict[str, Any]:
    bulk = {"type": "bulk", "resource_version": 1, "args": [each.json for each in commands]}
    VALIDATOR.validate(bulk)
    return run(metadata, bulk["args"])


def publish(metadata: dict[str, Any], *desired: Publication) -> dict[str, Any]:
    for each in desired:
        metadata = send(metadata, difference(metadata, each))
    return metadata


def types(commands: tuple[Command, ...]) -> list[str]:
    return [each.type.removeprefix("bigquery_") for each in commands]


def in_words(commands: tuple[Command, ...]) -> list[str]:
    return [str(each) for each in commands]


def changed(**fields: Any) -> Publication:
    return dataclasses.replace(PRODUCT, **fields)


def table_of(metadata: dict[str, Any], name: TableName) -> dict[str, Any]:
    source = next(each for each in metadata["sources"] if each["name"] == "bq_air")
    return next(each for each in source["tables"] if each["table"] == name.json)


def test_first_publication_adds_source_table_and_permissions_in_words() -> None:
    assert in_words(difference(EMPTY, PRODUCT)) == [
        "add source bq_air",
        "track table air.flights",
        "create select permission analyst on air.flights",
        "create select permission pilot on air.flights",
    ]


def test_what_hasura_is_sent() -> None:
    add, track, permission, _ = (each.json for each in difference(EMPTY, PRODUCT))
    assert add["args"]["configuration"] == {
        "service_account": {"from_env": "BIGQUERY_KEY"},
        "project_id": "acme",
        "datasets": ["air"],
        "global_select_limit": 1000,
    }
    assert track["args"]["configuration"] == {
        "custom_name": "flights",
        "comment": "Every departure from New York in 2013.\n\npolyexpose data product flights",
        "column_config": {"flight": {"custom_name": "flightNumber", "comment": "as printed on the ticket"}},
    }
    assert permission["args"]["permission"] == {
        "columns": ["flight", "tailnum"],
        "filter": {"carrier": {"_eq": "UA"}},
        "limit": 100,
        "allow_aggregations": True,
    }


def test_published_again_there_is_nothing_to_do() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    assert difference(metadata, PRODUCT) == ()
    assert difference(metadata, OTHER_PRODUCT) == ()


def test_other_columns_mean_to_read_the_source_anew_and_nothing_else() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    assert in_words(difference(metadata, PRODUCT, columns_changed=True)) == ["reload metadata bq_air"]


def test_permissions_are_dropped_before_the_source_is_read_anew_and_created_after() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    desired = changed(permissions=(dataclasses.replace(ANALYST, columns=("flight", "gate")),))
    assert in_words(difference(metadata, desired, columns_changed=True)) == [
        "drop select permission analyst on air.flights",
        "drop select permission pilot on air.flights",
        "reload metadata bq_air",
        "create select permission analyst on air.flights",
    ]


@pytest.mark.parametrize(
    ("desired", "commands"),
    [
        (changed(permissions=(ANALYST,)), ["drop_select_permission"]),
        (changed(permissions=(PILOT, ANALYST)), []),
        (
            changed(permissions=(ANALYST, dataclasses.replace(PILOT, limit=5))),
            ["drop_select_permission", "create_select_permission"],
        ),
        (changed(permissions=(dataclasses.replace(ANALYST, columns=("tailnum", "flight")), PILOT)), []),
        (changed(table=dataclasses.replace(PRODUCT.table, comment="Other words.")), ["set_table_customization"]),
        (changed(relationships=(TO_PLANE,)), ["drop_relationship"]),
        (
            changed(relationships=(dataclasses.replace(TO_PLANE, column_mapping={"tailnum": "id"}), TO_FLIGHTS)),
            ["drop_relationship", "create_object_relationship"],
        ),
        (
            changed(relationships=(dataclasses.replace(TO_PLANE, kind="array"), TO_FLIGHTS)),
            ["drop_relationship", "create_array_relationship"],
        ),
        (changed(source=dataclasses.replace(SOURCE, datasets=("air", "sea"))), ["update_source"]),
        (changed(source=dataclasses.replace(SOURCE, global_select_limit=50)), ["update_source"]),
    ],
)
def test_each_change_is_the_least_that_is_needed(desired: Publication, commands: list[str]) -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    found = difference(metadata, desired)
    assert types(found) == commands
    after = send(metadata, found)
    assert difference(after, desired) == ()


def test_a_relationship_waits_until_the_other_product_is_published_then_both_ways_are_made() -> None:
    metadata = publish(EMPTY, PRODUCT)
    assert waiting(EMPTY, PRODUCT) == waiting(metadata, PRODUCT) == (TO_PLANE, TO_FLIGHTS)
    assert difference(metadata, PRODUCT) == ()
    other = dataclasses.replace(OTHER_PRODUCT, relationships=(TO_PLANE, TO_FLIGHTS))
    assert types(difference(metadata, other)) == [
        "reload_metadata",
        "track_table",
        "create_object_relationship",
        "create_array_relationship",
        "create_select_permission",
    ]
    metadata = publish(metadata, other)
    assert waiting(metadata, PRODUCT) == ()
    assert difference(metadata, PRODUCT) == ()
    assert difference(metadata, dataclasses.replace(OTHER_PRODUCT, relationships=())) == (), (
        "what another product declared stays when this one does not name it"
    )


def test_a_new_table_in_a_source_that_is_there_is_read_first() -> None:
    metadata = publish(EMPTY, PRODUCT)
    assert in_words(difference(metadata, OTHER_PRODUCT)) == [
        "reload metadata bq_air",
        "track table air.planes",
        "create select permission analyst on air.planes",
    ]


def test_in_a_shared_source_only_our_dataset_is_added() -> None:
    metadata = publish(theirs(), PRODUCT)
    before, after = theirs(), copy.deepcopy(metadata)
    shared = after["sources"][1]
    assert shared["configuration"].pop("datasets") == ["weather", "air"]
    before["sources"][1]["configuration"].pop("datasets")
    shared["tables"] = [each for each in shared["tables"] if each["table"]["name"] != "flights"]
    assert after == before
    assert select_limit(metadata, PRODUCT) == 1000, "Hasura's own limit, where they set none"


def test_a_source_with_their_key_in_it_is_not_sent_back() -> None:
    metadata = theirs()
    metadata["sources"][1]["configuration"]["service_account"] = {"private_key": "-----BEGIN", "client_email": "x"}
    with pytest.raises(Refused, match="source bq_air holds a key in its metadata; add air to its datasets by hand"):
        difference(metadata, PRODUCT)
    metadata["sources"][1]["configuration"]["datasets"].append("air")
    assert "update_source" not in types(difference(metadata, PRODUCT))


def test_permissions_and_relationships_that_others_put_on_our_table_stay() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    table = table_of(metadata, FLIGHTS)
    by_hand = {"role": "auditor", "permission": {"columns": "*", "filter": {}}}
    table["select_permissions"].append(by_hand)
    leads = copy.deepcopy(table["object_relationships"][0]) | {"name": "again", "comment": "by hand"}
    table["object_relationships"].append(leads)
    assert difference(metadata, PRODUCT) == ()
    after = publish(metadata, changed(permissions=(), relationships=()))
    assert table_of(after, FLIGHTS)["select_permissions"] == [by_hand]
    assert table_of(after, FLIGHTS)["object_relationships"] == [leads]


def without_mark(metadata: dict[str, Any]) -> dict[str, Any]:
    table_of(metadata, FLIGHTS)["configuration"]["comment"] = "Mine."
    return metadata


def other_permission(metadata: dict[str, Any]) -> dict[str, Any]:
    table_of(metadata, FLIGHTS)["select_permissions"][0] |= {"comment": "mine", "permission": {"columns": "*"}}
    return metadata


def other_relationship(metadata: dict[str, Any]) -> dict[str, Any]:
    table_of(metadata, FLIGHTS)["object_relationships"][0]["comment"] = None
    using = table_of(metadata, FLIGHTS)["object_relationships"][0]["using"]
    using["manual_configuration"]["column_mapping"] = {"flight": "id"}
    return metadata


def other_kind(metadata: dict[str, Any]) -> dict[str, Any]:
    metadata["sources"][0]["kind"] = "postgres"
    return metadata


def other_project(metadata: dict[str, Any]) -> dict[str, Any]:
    metadata["sources"][0]["configuration"]["project_id"] = "rival"
    return metadata


def of_product(metadata: dict[str, Any]) -> dict[str, Any]:
    table_of(metadata, FLIGHTS)["configuration"]["comment"] = "Theirs.\n\n" + mark("departures")
    return metadata


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            without_mark,
            r"table air\.flights was tracked by somebody else; untrack it, or end its comment with the line",
        ),
        (of_product, r"table air\.flights is published by data product departures; publish into another dataset"),
        (other_permission, r"select permission of role analyst on air\.flights was made by somebody else; drop it"),
        (other_relationship, r"relationship plane of table air\.flights was not made by data product flights; drop it"),
        (other_kind, r"source bq_air is of kind postgres, not bigquery; choose another name"),
        (other_project, r"source bq_air is for project rival, not acme; choose another name"),
    ],
)
def test_what_others_made_is_refused_and_named(spoil: Any, said: str) -> None:
    metadata = spoil(publish(EMPTY, OTHER_PRODUCT, PRODUCT))
    with pytest.raises(Refused, match=said) as caught:
        difference(metadata, PRODUCT)
    assert "\n" not in str(caught.value)


def test_admin_is_no_role_to_publish_to() -> None:
    with pytest.raises(Refused, match=r"table air\.flights: role admin reads everything in Hasura"):
        difference(EMPTY, changed(permissions=(SelectPermission("admin", ("flight",)),)))


def test_metadata_of_another_version_is_said_so() -> None:
    with pytest.raises(TargetFailed, match="metadata of version 2; version 3"):
        difference({"version": 2}, PRODUCT)


def test_withdrawal_takes_the_source_with_the_last_table() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    commands = withdrawal(metadata, "flights", SOURCE, FLIGHTS)
    assert in_words(commands) == ["drop relationship flights on air.planes", "untrack table air.flights"]
    metadata = send(metadata, commands)
    assert difference(metadata, OTHER_PRODUCT) == ()
    assert withdrawal(metadata, "flights", SOURCE, FLIGHTS) == ()
    commands = withdrawal(metadata, "planes", SOURCE, PLANES)
    assert in_words(commands) == ["untrack table air.planes", "drop source bq_air"]
    assert send(metadata, commands) == EMPTY


def test_withdrawal_drops_what_other_products_lead_here() -> None:
    metadata = publish(EMPTY, OTHER_PRODUCT, PRODUCT)
    assert in_words(withdrawal(metadata, "planes", SOURCE, PLANES)) == [
        "drop relationship plane on air.flights",
        "untrack table air.planes",
    ]


def test_withdrawal_is_refused_where_others_lead_here() -> None:
    metadata = publish(theirs(), PRODUCT)
    using = {"manual_configuration": {"remote_table": FLIGHTS.json, "column_mapping": {"hour": "hour"}}}
    hours = table_of(metadata, TableName("weather", "hours"))
    hours["array_relationships"] = [{"name": "departures", "using": using}]
    with pytest.raises(Refused, match=r"relationship departures of table weather\.hours leads to air\.flights"):
        withdrawal(metadata, "flights", SOURCE, FLIGHTS)


def test_withdrawal_leaves_a_table_of_others_and_a_source_made_otherwise() -> None:
    metadata = without_mark(publish(EMPTY, PRODUCT))
    assert withdrawal(metadata, "flights", SOURCE, FLIGHTS) == ()
    metadata = publish(EMPTY, PRODUCT)
    metadata["sources"][0]["customization"] = {"root_fields": {"prefix": "air_"}}
    assert types(withdrawal(metadata, "flights", SOURCE, FLIGHTS)) == ["untrack_table"]
    metadata["sources"][0]["customization"] = {"root_fields": {"prefix": ""}}
    assert types(withdrawal(metadata, "flights", SOURCE, FLIGHTS)) == ["untrack_table", "drop_source"]
    metadata["sources"][0]["native_queries"] = [{"root_field_name": "x"}]
    assert types(withdrawal(metadata, "flights", SOURCE, FLIGHTS)) == ["untrack_table"]


def test_root_fields_follow_custom_name_and_source() -> None:
    assert root_fields(EMPTY, PRODUCT) == ("flights", "flights_aggregate")
    assert root_fields(EMPTY, OTHER_PRODUCT) == ("air_planes", "air_planes_aggregate")
    metadata = publish(EMPTY, PRODUCT)
    metadata["sources"][0]["customization"] = {"root_fields": {"namespace": "bq", "prefix": "p_", "suffix": "_s"}}
    assert root_fields(metadata, PRODUCT) == ("bq.p_flights_s", "bq.p_flights_aggregate_s")


@pytest.mark.parametrize(
    ("inconsistent", "ours"),
    [
        ({"type": "source", "name": "source bq_air", "definition": "bq_air"}, True),
        ({"type": "source", "name": "source default", "definition": "default"}, False),
        ({"type": "table", "name": "table air.flights in source bq_air", "definition": FLIGHTS.json}, True),
        ({"type": "table", "name": "table air.flights in source old", "definition": FLIGHTS.json}, False),
        ({"type": "table", "name": "table air.planes in source bq_air", "definition": PLANES.json}, False),
        (
            {
                "type": "select_permission",
                "name": "select permission for role analyst in table air.flights in source bq_air",
                "definition": {"role": "analyst", "source": "bq_air", "table": FLIGHTS.json},
            },
            True,
        ),
        (
            {
                "type": "select_permission",
                "name": "select permission for role auditor in table air.flights in source bq_air",
                "definition": {"role": "auditor", "source": "bq_air", "table": FLIGHTS.json},
            },
            False,
        ),
        (
            {
                "type": "array_relationship",
                "name": "array_relation flights in table air.planes in source bq_air",
                "definition": {"name": "flights", "source": "bq_air", "table": PLANES.json},
            },
            True,
        ),
    ],
)
def test_which_inconsistencies_are_ours(inconsistent: dict[str, Any], ours: bool) -> None:
    assert concerns(inconsistent, PRODUCT) is ours


NAMES = st.sampled_from(["flights", "planes", "hours"])
COLUMNS = st.sampled_from(["id", "carrier", "gate"])
PERMISSIONS = st.builds(
    SelectPermission,
    st.sampled_from(["analyst", "pilot", "auditor"]),
    st.lists(COLUMNS, min_size=1, unique=True).map(tuple),
    st.sampled_from([{}, {"id": {"_eq": "X-Hasura-User-Id"}}]),
    st.none() | st.integers(0, 9),
    st.booleans(),
)


@st.composite
def publications(draw: st.DrawFn, dataset: str = "air") -> Publication:
    name = draw(NAMES)
    us = TableName(dataset, name)
    relationships = []
    for label in draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True)):
        other = TableName(dataset, draw(NAMES))
        on, remote = (us, other) if draw(st.booleans()) else (other, us)
        kind = draw(st.sampled_from(["object", "array"]))
        relationships.append(Relationship(name, on, f"{name}_{label}", kind, remote, {draw(COLUMNS): draw(COLUMNS)}))
    columns = st.builds(TrackedColumn, st.none() | st.just("named"), st.sampled_from(["", "words"]))
    return Publication(
        product=name,
        source=dataclasses.replace(SOURCE, datasets=(dataset,), global_select_limit=draw(st.integers(1, 3))),
        table=TrackedTable(
            dataset, name, draw(st.none() | st.just("x" + name)), "", draw(st.dictionaries(COLUMNS, columns))
        ),
        permissions=tuple(draw(st.lists(PERMISSIONS, unique_by=lambda each: each.role))),
        relationships=tuple(relationships),
    )


def foreign(metadata: dict[str, Any]) -> Any:
    """What is in the metadata that no product made."""
    left = copy.deepcopy(metadata)
    for source in left["sources"]:
        source["tables"] = [each for each in source["tables"] if each["table"]["dataset"] != "air"]
        if source["kind"] == "bigquery":
            source["configuration"].pop("datasets")
    return left


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no error
@given(st.lists(publications(), min_size=1, max_size=5), st.booleans())
def test_any_run_of_publications_converges_keeps_what_is_others_and_can_be_taken_back(
    desired: list[Publication], shared: bool
) -> None:
    start = theirs() if shared else EMPTY
    metadata = copy.deepcopy(start)
    for each in desired:
        metadata = send(metadata, difference(metadata, each))
        assert difference(metadata, each) == (), "applied, there is nothing left to do"
        if shared:
            assert foreign(metadata) == foreign(start)
    for each in {each.product: each for each in desired}.values():
        limit = next((s["configuration"].get("global_select_limit") for s in metadata["sources"][-1:]), None)
        source = dataclasses.replace(each.source, global_select_limit=limit or 1000)
        metadata = send(metadata, withdrawal(metadata, each.product, source, each.table.address))
        assert withdrawal(metadata, each.product, source, each.table.address) == ()
    if not shared:
        assert metadata == EMPTY
    else:
        assert foreign(metadata) == foreign(start)
        assert [each["table"]["dataset"] for each in metadata["sources"][1]["tables"]] == ["weather"]
