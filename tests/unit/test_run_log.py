"""What a run says with `log: json`: one JSON object a line, with the fields that the alerts of infra/terraform read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from polyexpose_spark.clients.files import LocalFiles
from polyexpose_spark.errors import ExitCode
from polyexpose_spark.ledger import Ledger
from polyexpose_spark.receipt import Outcome, Receipt

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "infra" / "terraform" / "modules" / "alerts" / "main.tf"
CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: shop-orders
name: Orders
version: 1.0.0
status: active
schema:
  - name: orders
    logicalType: object
    physicalType: table
    physicalName: shop.orders
    properties:
      - {name: id, logicalType: integer, physicalType: bigint}
servers:
  - {server: source, type: iceberg, catalog: lake, catalogUrl: "jdbc:sqlite:x", warehouse: w, namespace: shop}
  - server: files
    type: custom
    format: csv
    customProperties: [{property: port, vendor: polyexpose, value: {mode: csv, nullMarker: NA}}]
"""
SPECIAL = {"time", "severity", "message"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a contract, a table with two snapshots, and the first of them exposed."""
    made = tmp_path_factory.mktemp("run_log")
    (made / "orders.odcs.yaml").write_text(CONTRACT)
    (made / "nowhere.odcs.yaml").write_text(CONTRACT.replace("shop", "nowhere"))
    state = made / ".polyexpose"
    state.mkdir()
    catalog = SqlCatalog("lake", uri=f"sqlite:///{state}/catalog.db", warehouse=str(state / "warehouse"))
    rows = pa.table({"id": pa.array([1, 2], pa.int64())})
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.orders", rows.schema)
    table.append(rows)
    table.append(rows)
    catalog.close()
    now = datetime.now(UTC)
    receipt = Receipt(
        run="earlier",
        product="shop-orders",
        contract_version="1.0.0",
        port="files",
        mode="csv",
        outcome=Outcome.PUBLISHED,
        exit_code=ExitCode.DONE,
        table="shop.orders",
        snapshot_id=table.history()[0].snapshot_id,
        started_at=now,
        finished_at=now,
        version="0",
    )
    book = Ledger(LocalFiles(), str(state / "state" / "shop-orders"), "files")
    with book.claim("earlier", 1) as held:
        held.record(receipt, keep=3)
    return made


class Done:
    """What a command said, and its exit code."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "polyexpose_spark.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines; nothing else was said."""
        assert self.err == ""
        for text in self.out.splitlines():
            line = json.loads(text)
            assert set(line) >= SPECIAL
            assert datetime.fromisoformat(line["time"]).tzinfo == UTC
            yield line


JSON = ("--set", "log=json")


def test_a_failed_exposure_is_said_once_as_its_receipt_and_exit_code_have_it(folder: Path) -> None:
    done = Done(folder, "--mode", "csv", "--product", "nowhere.odcs.yaml", *JSON)
    [line] = done.lines()
    assert (line["severity"], line["outcome"], line["exitCode"]) == ("ERROR", "failed", 4)
    assert done.code == 4
    [file] = (folder / ".polyexpose/state/nowhere-orders/receipts/files").glob("*.json")
    receipt = json.loads(file.read_text())
    said = {"run", "product", "port", "mode", "outcome", "exitCode", "error", "table", "startedAt", "finishedAt"}
    assert {key: line[key] for key in said} == {key: receipt[key] for key in said}
    assert line["message"] == f"nowhere-orders files failed: {receipt['error']}"


def test_steps_say_whose_they_are(folder: Path) -> None:
    """Taking away what nobody published: the shortest way through a run that needs no Spark."""
    (folder / "other.odcs.yaml").write_text(CONTRACT.replace("id: shop-orders", "id: other-orders"))
    done = Done(folder, "--mode", "csv", "--withdraw", "--product", "other.odcs.yaml", *JSON)
    first, *_, last = done.lines()
    assert done.code == 0
    assert (first["step"], first["product"], first["port"], first["run"]) == (
        "claimed",
        "other-orders",
        "files",
        last["run"],
    )
    assert first["severity"] == "DEBUG"
    assert (last["severity"], last["outcome"]) == ("INFO", "unchanged")


def test_status_says_how_far_each_port_is_behind_as_a_number(folder: Path) -> None:
    done = Done(folder, "--mode", "status", "--product", "orders.odcs.yaml", *JSON)
    [line] = done.lines()
    assert done.code == 0
    assert (line["product"], line["port"], line["snapshotsBehind"]) == ("shop-orders", "files", 1)
    assert isinstance(line["secondsBehind"], float)
    assert 0 <= line["secondsBehind"] < 60
    # Ids are text: as numbers, Cloud Logging would round them.
    assert line["exposedSnapshotId"] != line["currentSnapshotId"]
    assert all(re.fullmatch(r"\d{10,}", line[key]) for key in ("exposedSnapshotId", "currentSnapshotId"))


def test_a_plan_is_a_line_a_port(folder: Path) -> None:
    done = Done(folder, "--mode", "plan", "--product", "orders.odcs.yaml", *JSON)
    [line] = done.lines()
    assert (done.code, line["toDo"], line["message"]) == (0, True, "shop-orders files plan: to do")
    assert re.fullmatch(r"\d{10,}", line["snapshotId"])


def test_what_ends_a_command_is_a_line_too(folder: Path) -> None:
    done = Done(folder, "--mode", "plan", "--product", "missing.odcs.yaml", *JSON)
    [line] = done.lines()
    assert (done.code, line["severity"], line["exitCode"]) == (2, "ERROR", 2)
    assert "missing.odcs.yaml: cannot be read" in line["message"]


def test_an_output_that_is_asked_for_wins(folder: Path) -> None:
    done = Done(folder, "--mode", "csv", "--product", "nowhere.odcs.yaml", "--output", "json", *JSON)
    [receipt] = json.loads(done.out)
    assert (receipt["outcome"], receipt["exitCode"], done.code) == ("failed", 4, 4)


def test_for_people_it_is_text(folder: Path) -> None:
    done = Done(folder, "--mode", "csv", "--product", "nowhere.odcs.yaml")
    assert done.code == 4
    assert done.out.count("there is no table nowhere.orders") == 1
    assert done.err == ""
    assert "{" not in done.out


def test_the_alerts_read_what_is_said(folder: Path) -> None:
    text = ALERTS.read_text(encoding="utf-8")
    outcomes = set(re.search(r"says = \{\s+for outcome in (\[.*?\])", text)[1].strip("[]").replace('"', "").split(", "))  # type: ignore[index]
    assert outcomes == set(Outcome) - {Outcome.WITHDRAWN}
    [failed] = Done(folder, "--mode", "csv", "--product", "nowhere.odcs.yaml", *JSON).lines()
    [state] = Done(folder, "--mode", "status", "--product", "orders.odcs.yaml", *JSON).lines()
    assert set(re.findall(r"jsonPayload\.(\w+)", text)) - {"message"} == {"outcome", "product", "port", "secondsBehind"}
    assert {"outcome", "product", "port"} <= set(failed)
    assert {"secondsBehind", "product", "port"} <= set(state)
    # Where a line arrives as text, its text is searched instead.
    patterns = re.findall(r'textPayload=~\\"(.+?)\\"",', text)
    assert len(patterns) == 1
    pattern = patterns[0].replace("\\\\\\", "").replace('\\"', '"').replace("${outcome}", "failed")
    assert re.search(pattern, json.dumps(failed)), pattern
    assert not re.search(pattern, json.dumps(state))
