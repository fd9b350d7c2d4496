"""What a contract and a profile may say about port csv, and what is said of what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark import documents
from polyexpose_spark.clients import Clients
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.documents import Document
from polyexpose_spark.errors import ConfigError
from polyexpose_spark.ports.csv import CsvPort
from polyexpose_spark.ports.csv_settings import CsvAddresses, CsvSettings
from polyexpose_spark.product import PortSpec
from tests.unit.test_datapackage import exposure


def problems(**given: Any) -> list[str]:
    found = documents.validate(CsvSettings, given, Document("x.yaml", {}))
    return [f"{each.key}: {each.message}" for each in found] if isinstance(found, list) else []


def test_defaults() -> None:
    settings = CsvSettings()
    assert (settings.header, settings.delimiter, settings.compression) == (True, ",", "none")
    assert settings.target_bytes == 256 << 20
    assert settings.split_bytes == 8 << 20


@pytest.mark.parametrize(
    ("given", "size"),
    [(1 << 20, 1 << 20), ("1048576", 1 << 20), ("256MiB", 256 << 20), ("2 GiB", 2 << 30), ("1024kib", 1 << 20)],
)
def test_sizes(given: int | str, size: int) -> None:
    assert CsvSettings.model_validate({"targetBytesPerFile": given}).target_bytes == size


def test_the_same_size_is_the_same_setting_however_it_is_written() -> None:
    written = [CsvSettings.model_validate({"targetBytesPerFile": each}) for each in ("256MiB", 256 << 20)]
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"targetBytesPerFile": "256MB"}, "'256MB' is not a size; allowed: bytes, or a number with KiB, MiB or GiB"),
        ({"targetBytesPerFile": 1000}, "greater than or equal to 1048576"),
        ({"delimiter": ""}, "'' is not allowed; allowed: one character"),
        ({"delimiter": ",,"}, "',,' is not allowed; allowed: one character"),
        ({"delimiter": '"'}, "is not allowed; allowed: one character"),
        ({"delimiter": "\n"}, "is not allowed; allowed: one character"),
        ({"delimiter": "-"}, "no part of a number, a date or base64"),
        ({"delimiter": "T"}, "no part of a number, a date or base64"),
        ({"nullMarker": ""}, "'' is not allowed; allowed: a text without quotes and line ends, not empty"),
        ({"nullMarker": 'a"'}, "allowed: a text without quotes and line ends"),
        ({"nullMarker": "a,b"}, "`nullMarker` 'a,b' must not contain the `delimiter` ','"),
        ({"compression": "bz2"}, "compression: 'bz2' is not allowed; allowed: none, gzip or zstd"),
        ({"nested": "flatten"}, "nested: 'flatten' is not allowed; allowed: json or reject"),
        ({"singleFile": True, "targetBytesPerFile": "1MiB"}, "exclude each other"),
        ({"keepSnapshots": 0}, "greater than or equal to 1"),
        ({"delimeter": ";"}, "delimeter: unknown key; known keys: compression, delimiter, header"),
        ({"partitionBy": ["x"]}, "`partitionBy` is not built yet; leave it out"),
        ({"sort": ["x"]}, "`sort` is not built yet"),
        ({"lineSeparator": "CRLF"}, "`lineSeparator` is not built yet"),
        ({"bom": True}, "`bom` is not built yet"),
        ({"flatten": True}, "`flatten` is not built yet"),
    ],
    ids=str,
)
def test_what_is_not_allowed_is_told(given: dict[str, Any], message: str) -> None:
    [problem] = problems(**given)
    assert message in problem


def port(location: str | None, root: str | None) -> CsvPort:
    address = {"location": location} if location else {}
    spec = PortSpec("files", "csv", CsvSettings(), address, (), "servers[2]")
    addresses = CsvAddresses.model_validate({"root": root} if root else {})
    catalog = CatalogConfig(type="hadoop", warehouse="warehouse")

    def no_session() -> Any:
        raise AssertionError("no session is needed here")

    return CsvPort(spec, CsvSettings(), addresses, Clients(Config(catalog=catalog), no_session))


def test_the_profile_wins_over_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    product = exposure().product
    assert port("out/orders/", None).address(product) == f"{tmp_path}/out/orders"
    assert port(f"file://{tmp_path}/out", None).address(product) == f"{tmp_path}/out"
    assert port("gs://bucket/out/", None).address(product) == "gs://bucket/out"
    assert port("out", "exposed").address(product) == f"{tmp_path}/exposed/files/Sales_Orders"
    assert port("out", "gs://bucket/x/").address(product) == "gs://bucket/x/files/Sales_Orders"


def test_no_address_names_both_keys() -> None:
    with pytest.raises(ConfigError, match=r"odcs\.yaml: servers\[2\]\.location: .*`location`.*ports\.csv\.root"):
        port(None, None).address(exposure().product)
