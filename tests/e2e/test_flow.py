"""The flow as a user sees it: expose, again, move on, behind, roll back; and what goes wrong, told in one line."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.e2e.conftest import CONTRACT, Laptop

pytestmark = pytest.mark.spark

ALL = ("--mode", "all", "--product", "orders.odcs.yaml")
NO_JAVA = {"JAVA_HOME": "/nonexistent", "PATH": "/nonexistent"}


@pytest.fixture(scope="module")
def exposed(laptop: Laptop) -> dict[str, Any]:
    """The receipts of the first exposure, by port."""
    done = laptop.cli(*ALL, "--output", "json")
    assert done.code == 0, done.err
    return {each["port"]: each for each in done.json()}


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a command that starts a JVM fails."""
    for key, value in NO_JAVA.items():
        monkeypatch.setenv(key, value)


def snapshot_of_files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_every_port_serves_the_same_snapshot_and_the_receipts_say_so(laptop: Laptop, exposed: dict[str, Any]) -> None:
    [snapshot_id] = {each["snapshotId"] for each in exposed.values()}
    assert laptop.csv_reader() == (snapshot_id, 100)
    assert laptop.sql_reader() == snapshot_id
    answer = laptop.cli(
        "--mode",
        "sql",
        "--output",
        "json",
        "--query",
        "SELECT count(*) AS n, max(note) AS m FROM lake.sales_exposed.orders",
    )
    assert json.loads(answer.out.splitlines()[0] if answer.out.startswith("{") else answer.out) in (
        {"n": 100, "m": "n99"},
        [{"n": 100, "m": "n99"}],
    )


def test_a_receipt_keeps_its_published_schema(laptop: Laptop, exposed: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parents[2] / "conf/schema/receipt.schema.json").read_text())
    written = sorted((laptop.folder / ".polyexpose/state/orders/receipts").rglob("*.json"))
    assert len(written) >= 2
    for file in written:
        Draft202012Validator(schema).validate(json.loads(file.read_text()))


@pytest.mark.usefixtures("exposed", "no_java")
def test_again_with_nothing_to_do_starts_no_session_writes_nothing_and_is_quick(laptop: Laptop) -> None:
    before = snapshot_of_files(laptop.folder / ".polyexpose")
    began = time.monotonic()
    done = laptop.cli(*ALL, "--output", "json")
    took = time.monotonic() - began
    assert done.code == 0, done.err
    assert {each["outcome"] for each in done.json()} == {"unchanged"}
    assert snapshot_of_files(laptop.folder / ".polyexpose") == before
    # A bound on the order of magnitude (a JVM alone takes longer); the figure is in benchmarks/.
    assert took < 10


@pytest.mark.usefixtures("exposed", "no_java")
def test_plan_reads_metadata_only_and_is_deterministic(laptop: Laptop) -> None:
    data = next((laptop.folder / ".polyexpose/warehouse/sales/orders").glob("data"))
    hidden = data.with_name("hidden")
    data.rename(hidden)
    try:
        one, other = (
            laptop.cli("--mode", "plan", "--product", "orders.odcs.yaml", "--output", "json") for _ in range(2)
        )
    finally:
        hidden.rename(data)
    assert one.code == 0, one.err
    assert one.out == other.out
    plans = {each["port"]: each for each in one.json()}
    assert plans["csv"]["toDo"] is False
    assert [each["name"] for each in plans["csv"]["columns"]] == ["id", "note"]
    assert plans["csv"]["estimatedRows"] == 100
    text = laptop.cli("--mode", "plan", "--product", "orders.odcs.yaml").out
    assert "nothing to do: this is exposed" in text
    assert "lake.sales_exposed.orders" in text


@pytest.mark.usefixtures("exposed", "no_java")
def test_what_the_profile_sets_wins_over_the_contract(laptop: Laptop, tmp_path: Path) -> None:
    profile = tmp_path / "elsewhere.yaml"
    profile.write_text(f"ports: {{csv: {{root: {tmp_path}/files}}, sql: {{namespace: other}}}}\n")
    done = laptop.cli("--mode", "plan", "--product", "orders.odcs.yaml", "--conf", str(profile), "--output", "json")
    assert {each["port"]: each["address"] for each in done.json()} == {
        "csv": f"{tmp_path}/files/csv/orders",
        "sql": "lake.other.orders",
    }
    contract_only = laptop.cli(
        "--mode",
        "plan",
        "--ports",
        "csv",
        "--product",
        "orders.odcs.yaml",
        "--set",
        "ports.csv.root=null",
        "--output",
        "json",
    )
    assert contract_only.json()[0]["address"].endswith("out")


def test_behind_and_up_to_date_and_the_way_back(
    laptop: Laptop, exposed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exposed["csv"]["snapshotId"]
    laptop.append(100, 150)
    [csv] = laptop.cli("--mode", "status", "--ports", "csv", "--product", "orders.odcs.yaml", "--output", "json").json()
    assert (csv["exposedSnapshotId"], csv["snapshotsBehind"]) == (first, 1)
    assert csv["secondsBehind"] > 0
    done = laptop.cli(*ALL, "--output", "json")
    assert done.code == 0, done.err
    second, rows = laptop.csv_reader()
    assert rows == 150
    assert second != first
    for (
        key,
        value,
    ) in NO_JAVA.items():  # the old files are kept: going back is a pointer swap without a session
        monkeypatch.setenv(key, value)
    back = laptop.cli("--mode", "csv", "--product", "orders.odcs.yaml", "--snapshot", str(first), "--output", "json")
    assert back.code == 0, back.err
    assert laptop.csv_reader() == (first, 100)
    tagged = laptop.cli(
        "--mode",
        "csv",
        "--product",
        "orders.odcs.yaml",
        "--as-of",
        f"polyexpose_orders_{second}",
        "--output",
        "json",
    )
    assert tagged.code == 0, tagged.err
    assert laptop.csv_reader() == (second, 150)


def test_when_one_port_fails_the_others_are_done(laptop: Laptop, exposed: dict[str, Any], tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    laptop.append(1000, 1001)
    before = laptop.csv_reader()
    done = laptop.cli(*ALL, "--set", f"ports.csv.root={in_the_way}", "--output", "json")
    receipts = {each["port"]: each for each in done.json()}
    assert done.code == 4
    assert receipts["sql"]["outcome"] == "published"
    assert receipts["csv"]["outcome"] == "failed"
    assert receipts["csv"]["exitCode"] == 4
    assert str(in_the_way) in receipts["csv"]["error"]
    assert laptop.csv_reader() == before


@pytest.mark.usefixtures("exposed", "no_java")
@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("--mode", "all"), 2, "error: --product: is required"),
        (("--mode", "all", "--product", "no.yaml"), 2, "error: no.yaml: cannot be read"),
        (
            ("--mode", "csv", "--product", "orders.odcs.yaml", "--ports", "csv"),
            2,
            "error: --ports: goes with --mode all",
        ),
        (
            ("--mode", "all", "--product", "orders.odcs.yaml", "--ports", "ftp"),
            2,
            "'ftp' is not known; allowed: sql, csv, gql",
        ),
        (
            ("--mode", "plan", "--product", "orders.odcs.yaml", "--output", "xml"),
            2,
            "'xml' is not allowed here; allowed: text, json",
        ),
        (("--mode", "csv", "--query", "SELECT 1"), 2, "--query: goes with --mode sql only"),
        (
            ("--mode", "plan", "--product", "orders.odcs.yaml", "--limit", "3"),
            2,
            "--limit: goes with --query and --file only",
        ),
        (("--mode", "all", "--product", "orders.odcs.yaml", "--as-of", "whenever"), 2, "whenever"),
        (("--mode", "csv", "--product", "orders.odcs.yaml", "--snapshot", "1"), 4, "1"),
        (
            ("--mode", "csv", "--product", "s3://b/c.yaml"),
            2,
            "error: --product: s3://b/c.yaml: s3:// is not served; local paths and gs:// addresses are",
        ),
        (
            ("--mode", "csv", "--product", "orders.odcs.yaml", "--set", "ports.csv.root=abfs://c@a/x"),
            3,
            "abfs://c@a/x/csv/orders: abfs:// is not served; local paths and gs:// addresses are",
        ),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    laptop: Laptop, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    done = laptop.cli(*arguments)
    assert done.code == code, done.err
    assert expected in done.err + done.out
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("exposed", "no_java")
def test_a_contract_that_the_table_does_not_keep_is_refused_column_by_column(laptop: Laptop, tmp_path: Path) -> None:
    contract = tmp_path / "wrong.odcs.yaml"
    contract.write_text(
        CONTRACT.replace("physicalType: long", "physicalType: int").replace("name: note", "name: remark")
    )
    done = laptop.cli("--mode", "csv", "--product", str(contract), "--output", "json")
    assert done.code == 3
    [receipt] = done.json()
    assert "column id: the contract says int, the table has long" in receipt["error"]
    assert "column remark: missing in the table" in receipt["error"]
    assert "column note: in the table (string), not in the contract" in receipt["error"]


@pytest.mark.usefixtures("no_java")
def test_a_missing_warehouse_and_a_table_that_is_not_there(laptop: Laptop, tmp_path: Path) -> None:
    nowhere = laptop.cli(
        *ALL, "--set", f"catalog.uri=jdbc:sqlite:{tmp_path}/none.db", "--set", f"state.location={tmp_path}/s"
    )
    assert nowhere.code == 4
    assert "sales.orders" in nowhere.out
    assert not (tmp_path / "none.db").exists()


def test_a_file_of_the_table_that_is_gone(laptop: Laptop, exposed: dict[str, Any], tmp_path: Path) -> None:
    files = sorted((laptop.folder / ".polyexpose/warehouse/sales/orders/data").rglob("*.parquet"))
    moved = tmp_path / files[0].name
    shutil.move(files[0], moved)
    try:
        before = laptop.csv_reader()
        root = tmp_path / "fresh"
        done = laptop.cli(
            "--mode",
            "csv",
            "--product",
            "orders.odcs.yaml",
            "--set",
            f"ports.csv.root={root}",
            "--set",
            f"state.location={tmp_path}/state",
            "--output",
            "json",
        )
        assert done.code == 4
        [receipt] = done.json()
        assert files[0].name in receipt["error"]
        assert "\n" not in receipt["error"]
        assert laptop.csv_reader() == before
        assert not list(root.rglob("datapackage.json"))
    finally:
        shutil.move(moved, files[0])


def test_tags_that_nobody_names_are_dropped(laptop: Laptop, exposed: dict[str, Any]) -> None:
    for start in (2000, 2001):
        laptop.append(start, start + 1)
        assert laptop.cli(*ALL).code == 0
    kept = {each["snapshotId"] for port in ("sql", "csv") for each in laptop.ledger(port)["kept"]}
    assert len(kept) == 2
    assert laptop.tags() == {f"polyexpose_orders_{each}" for each in kept}
    folders = {path.name for path in laptop.csv.glob("snapshot=*")}
    assert folders == {f"snapshot={each}" for each in kept}


def test_withdrawal_takes_away_what_was_published_and_nothing_else(laptop: Laptop, exposed: dict[str, Any]) -> None:
    other = laptop.csv / "notes.txt"
    other.write_text("of somebody else")
    done = laptop.cli(*ALL, "--withdraw", "--output", "json")
    assert done.code == 0, done.err
    assert {each["outcome"] for each in done.json()} == {"withdrawn"}
    assert laptop.catalog.view(("sales_exposed", "orders")) is None
    assert [path.name for path in laptop.csv.rglob("*")] == ["notes.txt"]
    assert laptop.tags() == set()
    assert laptop.ledger("csv")["kept"] == []
    assert laptop.catalog.table(("sales", "orders")).current_snapshot_id is not None
    again = laptop.cli(*ALL, "--withdraw", "--output", "json")
    assert {each["outcome"] for each in again.json()} == {"unchanged"}
