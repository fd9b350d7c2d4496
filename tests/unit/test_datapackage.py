"""datapackage.json: what it says, and that it says the same for the same plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polyexpose_spark import logical
from polyexpose_spark.catalog import Snapshot
from polyexpose_spark.ports import datapackage
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.csv_text import Dialect, header_line
from polyexpose_spark.ports.datapackage import DataFile
from polyexpose_spark.product import Column
from tests.products import data_product

COLUMNS = (
    Column("day", logical.parse("date"), True, "", 2),
    Column("id", logical.parse("uuid"), True, "Who it is.", 1),
    Column("flag", logical.parse("boolean"), False, "", 0),
    Column("by_text", logical.parse("map<string,int>"), False, "", 0),
    Column("by_day", logical.parse("map<date,int>"), False, "", 0),
)
FILES = (DataFile("t-1-00000.csv", 10, "sha256:aa", 2), DataFile("t-1-00001.csv", 20, "sha256:bb", 3))


def exposure() -> Exposure:
    product = data_product("Sales_Orders", ("sales", "orders"), name="Orders", version="1.2.0", title="Orders é")
    committed_at = 1_700_000_000_123
    return Exposure(product, Snapshot(7, None, committed_at, "append", 0, 5, 1, 1, {}), COLUMNS, "tag")


def described(dialect: Dialect = Dialect(), **more: Any) -> dict[str, Any]:  # noqa: B008 - frozen
    given = {"header": True, "compression": "none"} | more
    found: dict[str, Any] = json.loads(datapackage.descriptor(exposure(), "d1", FILES, dialect, **given))
    return found


def test_package() -> None:
    package = described(folder="snapshot=7/")
    assert package["name"] == "sales_orders"
    assert package["title"] == "Orders é"
    assert package["version"] == "1.2.0"
    assert "description" not in package
    assert package["polyexpose"]["snapshotId"] == 7
    assert package["polyexpose"]["committedAt"] == "2023-11-14T22:13:20.123Z"
    assert package["polyexpose"]["rows"] == 5
    assert [(each["path"], each["bytes"], each["hash"], each["rows"]) for each in package["resources"]] == [
        ("snapshot=7/t-1-00000.csv", 10, "sha256:aa", 2),
        ("snapshot=7/t-1-00001.csv", 20, "sha256:bb", 3),
    ]
    assert len({each["name"] for each in package["resources"]}) == 2


def test_schema() -> None:
    schema = described()["resources"][0]["schema"]
    assert schema["primaryKey"] == ["id", "day"]
    assert schema["missingValues"] == [""]
    assert schema["fields"] == [
        {"name": "day", "type": "date", "constraints": {"required": True}},
        {
            "name": "id",
            "type": "string",
            "format": "uuid",
            "description": "Who it is.",
            "constraints": {"required": True},
        },
        {"name": "flag", "type": "boolean", "trueValues": ["true"], "falseValues": ["false"]},
        {"name": "by_text", "type": "object"},
        {"name": "by_day", "type": "array"},
    ]


def test_dialect_and_compression() -> None:
    package = described(Dialect(";", "\\N", True), header=False, compression="gzip")
    resource = package["resources"][0]
    assert resource["dialect"] == package["polyexpose"]["dialect"]
    assert resource["dialect"]["delimiter"] == ";"
    assert resource["dialect"]["nullSequence"] == "\\N"
    assert resource["dialect"]["header"] is False
    assert resource["schema"]["missingValues"] == ["\\N"]
    assert resource["compression"] == "gz"


def test_the_text_is_the_same_each_time() -> None:
    texts = {datapackage.descriptor(exposure(), "d", FILES, Dialect(), True, "none") for _ in range(3)}
    assert len(texts) == 1


def test_what_was_written_is_read() -> None:
    package = datapackage.read(datapackage.descriptor(exposure(), "d1", FILES, Dialect(), True, "none"))
    assert package is not None
    assert (package.product_id, package.contract_version) == ("Sales_Orders", "1.2.0")
    assert (package.snapshot_id, package.digest, package.rows, package.files) == (7, "d1", 5, FILES)


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"[]", b"{}", b'{"polyexpose": {}}', b'{"polyexpose": 1, "resources": []}']
)
def test_what_others_wrote_is_not_taken_for_ours(data: bytes) -> None:
    assert datapackage.read(data) is None


@pytest.mark.parametrize(
    ("names", "dialect", "line"),
    [
        (["a", "b"], Dialect(), "a,b"),
        (["a,b", 'say "x"', "l\n", "r\r"], Dialect(), '"a,b","say ""x""","l\n","r\r"'),
        (["a,b", "c;d"], Dialect(";"), 'a,b;"c;d"'),
        (["", "\\N"], Dialect(null_marker="\\N"), '"","\\N"'),
        (["a", "b"], Dialect(quote_all=True), '"a","b"'),
        (["\ufeffa", "\ufeffb"], Dialect(), '"\ufeffa",\ufeffb'),
    ],
)
def test_header(names: list[str], dialect: Dialect, line: str) -> None:
    assert header_line(names, dialect) == line
