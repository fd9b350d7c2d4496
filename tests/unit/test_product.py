"""Contract files: what is read, what is refused, and how it is said."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from polyexpose_spark import contract, logical, policy, product
from polyexpose_spark.clients import Files
from polyexpose_spark.errors import ConfigError, ExitCode, Refused
from polyexpose_spark.logical import Field
from polyexpose_spark.product import DataProduct
from polyexpose_spark.workspace import settings_models

HEAD = """\
apiVersion: v3.2.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    logicalType: object
    physicalName: sales.orders
    properties:
"""
COLUMNS = """\
      - {name: id, logicalType: integer, physicalType: long, required: true, primaryKey: true}
      - {name: note, logicalType: string}
"""
SERVERS = """\
servers:
  - {server: source, type: iceberg, catalog: lake, catalogUrl: 'jdbc:sqlite:x', namespace: sales}
  - server: csv
    type: custom
    format: csv
    location: out
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: csv}}
"""


def no_address(path: str) -> Files:
    raise AssertionError(f"{path} is a local path")


def load(folder: Path, text: str, environment: str | None = "local") -> DataProduct:
    file = folder / "orders.odcs.yaml"
    file.write_text(text)
    [found] = product.load([str(file)], settings_models(), environment, no_address)
    return found


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert caught.value.exit_code == ExitCode.CONFIG
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_a_contract_is_read(tmp_path: Path) -> None:
    found = load(tmp_path, HEAD + COLUMNS + SERVERS)
    assert (found.id, found.name, found.source) == ("orders", "orders", "sales.orders")
    assert [(each.name, each.primary_key, each.required) for each in found.properties] == [
        ("id", 1, True),
        ("note", 0, False),
    ]
    assert [(each.server, each.mode, each.address["location"]) for each in found.ports] == [("csv", "csv", "out")]


def test_digest_is_of_the_content_not_of_layout_servers_or_state(tmp_path: Path) -> None:
    one = load(tmp_path, HEAD + COLUMNS + SERVERS)
    other = load(
        tmp_path,
        "# a comment\n" + HEAD + COLUMNS.replace("name: note, ", "name:   note,  ") + SERVERS.replace("out", "in"),
    )
    changed = load(tmp_path, HEAD + COLUMNS.replace("note", "remark") + SERVERS)
    assert one.content_digest == other.content_digest != changed.content_digest


def test_problems_of_the_standard_and_of_our_values_all_at_once(tmp_path: Path) -> None:
    text = HEAD.replace("status: active", "statuss: active") + COLUMNS.replace("required: true", "required: 'yes'")
    text += SERVERS.replace("{mode: csv}", "{mode: csv, headr: true}")
    found = problems(tmp_path, text)
    assert any(line.startswith("orders.odcs.yaml:5: statuss: unknown key; ODCS allows here: ") for line in found)
    assert any(line.startswith("orders.odcs.yaml:11: schema[0].properties[0].required: ") for line in found)


@pytest.mark.parametrize(
    ("change", "to", "expected"),
    [
        (
            "{mode: csv}",
            "{mode: csv, headr: 1}",
            "servers[1].customProperties[0].value.headr: unknown key; known keys: ",
        ),
        (
            "{mode: csv}",
            "{mode: ftp}",
            "servers[1].customProperties[0].value.mode: 'ftp' is not allowed; allowed: csv, events, gql, sql",
        ),
        (
            "{mode: csv}",
            "{mode: csv, keepSnapshots: 0}",
            "value.keepSnapshots: Input should be greater than or equal to 1",
        ),
        ("vendor: polyexpose", "vendor: other", "every server after `source` is a port"),
        ("property: port", "property: prt", "'prt' is not a property of polyexpose; known: port"),
        ("server: csv", "server: source", "servers[1].server: 'source' is written twice"),
        ("server: source", "server: main", "the first server is the Iceberg table"),
        ("physicalType: long", "physicalType: lung", "'lung' is not a type; types: boolean, int, "),
        ("id: orders", "id: or/ders", "letters, digits, - and _ only"),
    ],
)
def test_one_line_names_file_line_key_and_what_is_allowed(tmp_path: Path, change: str, to: str, expected: str) -> None:
    text = HEAD + COLUMNS + SERVERS
    assert change in text
    found = problems(tmp_path, text.replace(change, to, 1))
    assert any(line.startswith("orders.odcs.yaml:") and expected in line for line in found), found


def test_a_server_of_another_environment_is_left_out(tmp_path: Path) -> None:
    text = HEAD + COLUMNS + SERVERS.replace("  - server: csv", "  - environment: prod\n    server: csv")
    assert load(tmp_path, text).ports == ()
    assert len(load(tmp_path, text, environment="prod").ports) == 1


def test_two_files_with_one_id(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.odcs.yaml").write_text(HEAD + COLUMNS + SERVERS)
    with pytest.raises(ConfigError, match="is also the id of"):
        product.load([str(tmp_path)], settings_models(), None, no_address)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*.odcs.yaml file"):
        product.load([str(tmp_path)], settings_models(), None, no_address)


def test_policies_are_refused_until_they_are_built(tmp_path: Path) -> None:
    masked = """\
      - name: email
        logicalType: string
        customProperties: [{property: masking, vendor: polyexpose, value: {method: sha256}}]
"""
    filtered = """\
customProperties:
  - {property: policies, vendor: polyexpose, value: [{id: own, rowFilter: "country = 'DE'"}]}
"""
    found = load(tmp_path, HEAD + COLUMNS + masked + SERVERS + filtered)
    with pytest.raises(Refused, match="masking of column email, row filter own"):
        policy.check(found)


def fields(text: str) -> tuple[Field, ...]:
    """`id: long!, note: string` -> fields; `!` is required."""
    made = []
    for part in text.split(", "):
        name, type_ = part.split(": ")
        made.append(Field(name, logical.parse(type_.rstrip("!")), type_.endswith("!")))
    return tuple(made)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("id: long!", "column note: missing in the table (it has: id)"),
        ("id: long!, note: string, more: int", "column more: in the table (int), not in the contract"),
        ("id: int!, note: string", "column id: the contract says long, the table has int"),
        (
            "id: long!, note: int",
            "column note: the contract says string (binary or fixed or string or uuid), the table has int",
        ),
        ("id: long, note: string", "column id: the contract says required, the table has optional"),
        ("id: long!, note: string!", "column note: the contract says optional, the table has required"),
    ],
)
def test_each_difference_between_contract_and_table_is_named(tmp_path: Path, table: str, expected: str) -> None:
    found = load(tmp_path, HEAD + COLUMNS + SERVERS)
    with pytest.raises(Refused) as caught:
        contract.columns(found, fields(table))
    assert expected in str(caught.value)
    assert caught.value.exit_code == ExitCode.REFUSED


def test_columns_are_served_in_the_order_of_the_contract(tmp_path: Path) -> None:
    found = load(tmp_path, HEAD + COLUMNS + SERVERS)
    assert [each.name for each in contract.columns(found, fields("note: string, id: long!"))] == [
        "id",
        "note",
    ]


def test_nested_types_are_compared_part_by_part(tmp_path: Path) -> None:
    nested = textwrap.indent(
        textwrap.dedent("""\
        - name: lines
          logicalType: array
          items:
            logicalType: object
            properties:
              - {name: sku, logicalType: string, required: true}
              - {name: qty, logicalType: integer, physicalType: int}
        - name: attrs
          logicalType: map
          map:
            key: {logicalType: string}
            value: {logicalType: integer, physicalType: long}
        """),
        "      ",
    )
    found = load(tmp_path, HEAD + nested + SERVERS)
    sku, qty = Field("sku", logical.parse("string"), True), Field("qty", logical.parse("long"), False)
    struct = logical.ColumnType(logical.LogicalType.STRUCT, fields=(sku, qty))
    lines = logical.ColumnType(logical.LogicalType.LIST, fields=(Field("element", struct, False),))
    with pytest.raises(Refused) as caught:
        contract.columns(found, (Field("lines", lines, False), Field("attrs", logical.parse("map<string,int>"), False)))
    assert "column lines.element.qty: the contract says int, the table has long" in str(caught.value)
    assert "column attrs.value: the contract says long, the table has int" in str(caught.value)


KEYED = """\
      - {name: carrier, logicalType: string, relationships: [{type: foreignKey, to: airlines.carrier}]}
"""


def test_relationships_of_columns_and_of_the_object(tmp_path: Path) -> None:
    composite = (
        "    relationships: [{from: [orders.id, orders.carrier], to: [lots.id, lots.carrier]}]\n    properties:\n"
    )
    found = load(tmp_path, HEAD.replace("    properties:\n", composite) + COLUMNS + KEYED + SERVERS)
    assert [(each.columns, each.to, each.to_columns) for each in found.relationships] == [
        (("id", "carrier"), "lots", ("id", "carrier")),
        (("carrier",), "airlines", ("carrier",)),
    ]


def test_a_relationship_to_nothing_in_particular(tmp_path: Path) -> None:
    keyed = KEYED.replace("airlines.carrier", "[airlines.carrier, planes.tail]")
    found = problems(tmp_path, HEAD + COLUMNS + keyed + SERVERS)
    assert any("`to` is written object.column" in line for line in found), found


def test_a_product_comes_after_those_it_refers_to(tmp_path: Path) -> None:
    (tmp_path / "a.odcs.yaml").write_text(HEAD + COLUMNS + KEYED + SERVERS)
    (tmp_path / "b.odcs.yaml").write_text(
        (HEAD + KEYED.replace("airlines", "orders") + SERVERS)
        .replace("id: orders", "id: air")
        .replace("name: orders", "name: airlines")
    )
    found = product.load([str(tmp_path)], settings_models(), None, no_address)
    assert [each.id for each in found] == ["air", "orders"]
