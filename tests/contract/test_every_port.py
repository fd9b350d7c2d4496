"""What every port must keep, run over all of PORTS: a fifth port is picked up by its line in the registry."""

from __future__ import annotations

from typing import Any

import pytest

from polyexpose_spark import logical
from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.clients import Clients
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.errors import Refused
from polyexpose_spark.logical import ColumnType, Field, LogicalType
from polyexpose_spark.ports import PORTS, port_class
from polyexpose_spark.ports.base import Exposure, Port
from polyexpose_spark.product import Column, PortSpec
from tests.products import data_product

PINNED = Snapshot(7, None, 1_700_000_000_000, "append", 0, 3, 1000, 1, {})


@pytest.fixture(params=list(PORTS))
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def port(mode: str, tmp_path: Any, request: pytest.FixtureRequest) -> Port[Any, Any]:
    """The port with a place of its own and no session: asking for one is a failure."""
    found = port_class(mode)
    addresses: dict[str, Any] = {}
    if mode == "gql":
        addresses = {"endpoint": request.getfixturevalue("stand_in"), "staging": str(tmp_path / "staging")}
        addresses |= {"credentials": "anonymous"}
    if mode == "events":
        kafka = {"bootstrap_servers": "127.0.0.1:9", "security_protocol": "PLAINTEXT"}
        addresses = {"sink": "kafka", "kafka": kafka, "documents": str(tmp_path / "documents")}
    catalog = CatalogConfig(type="jdbc", uri=f"jdbc:sqlite:{tmp_path}/c.db", warehouse=str(tmp_path / "w"))
    address = {
        "namespace": "exposed",
        "location": str(tmp_path / "out"),
        "dataset": "exposed",
        "project": "test-project",
    }
    spec = PortSpec(mode, mode, found.settings_model(), address, (), "servers[1]")

    def no_session() -> Any:
        raise AssertionError("no session is needed here")

    return found(spec, spec.settings, found.address_model(**addresses), Clients(Config(catalog=catalog), no_session))


def exposure(*columns: Column) -> Exposure:
    product = data_product("x", ("db", "things"), content={"id": "x"})
    return Exposure(product, PINNED, columns, "polyexpose_x_7")


def column(type_: ColumnType) -> Column:
    return Column("c", type_, False, "", 0)


def sample_type(kind: LogicalType) -> ColumnType:
    match kind:
        case LogicalType.DECIMAL:
            return logical.parse("decimal(18,2)")
        case LogicalType.FIXED:
            return logical.parse("fixed[4]")
        case LogicalType.LIST:
            return logical.parse("list<int>")
        case LogicalType.MAP:
            return logical.parse("map<string,int>")
        case LogicalType.STRUCT:
            return logical.parse("struct<a: int>")
    return ColumnType(kind)


ID = Column("id", ColumnType(LogicalType.LONG), True, "the key", 1)


def test_mode_is_the_key_of_the_registry(mode: str) -> None:
    assert port_class(mode).mode == mode


@pytest.mark.parametrize("kind", list(LogicalType))
def test_every_type_is_carried_or_refused_with_a_reason(mode: str, kind: LogicalType) -> None:
    types = port_class(mode).types
    assert (kind in types.carries) != (kind in types.refuses), f"{mode}: {kind} must be in exactly one of the two"
    if kind in types.refuses:
        assert types.refuses[kind]


@pytest.mark.parametrize("kind", list(LogicalType))
def test_a_carried_type_is_planned_and_a_refused_one_names_column_and_reason(
    port: Port[Any, Any], kind: LogicalType
) -> None:
    asked = exposure(ID, column(sample_type(kind)))
    if kind in port.types.carries:
        assert port.plan(asked).columns["c"].name
        return
    with pytest.raises(Refused) as caught:
        port.plan(asked)
    assert "column c: " in str(caught.value)
    assert port.types.refuses[kind] in str(caught.value)


def test_a_refused_type_is_found_inside_nested_ones(port: Port[Any, Any]) -> None:
    inner = ColumnType(LogicalType.STRUCT, fields=(Field("at", ColumnType(LogicalType.TIME), False),))
    nested = ColumnType(LogicalType.LIST, fields=(Field("element", inner, False),))
    with pytest.raises(Refused, match=r"column c\.element\.at: time is refused"):
        port.plan(exposure(ID, column(nested)))


def test_the_same_gives_the_same_plan(port: Port[Any, Any]) -> None:
    asked = exposure(ID, column(logical.parse("decimal(18,2)")))
    assert port.plan(asked) == port.plan(asked)


def test_the_digest_changes_with_what_is_served(port: Port[Any, Any]) -> None:
    one = port.plan(exposure(ID, column(logical.parse("int")))).digest
    other = port.plan(exposure(ID, column(logical.parse("long")))).digest
    assert one != other


def test_nothing_is_held_before_the_first_exposure(port: Port[Any, Any]) -> None:
    assert port.held(exposure(ID).product) is None


def test_a_plan_says_what_is_done_to_what(port: Port[Any, Any]) -> None:
    plan = port.plan(exposure(ID))
    assert plan.actions
    assert all(action.verb and action.target for action in plan.actions)
    assert plan.address == port.address(plan.exposure.product)


def test_keep_snapshots_is_a_setting_of_every_port(mode: str) -> None:
    assert "keep_snapshots" in port_class(mode).settings_model.model_fields
