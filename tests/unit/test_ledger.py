"""The ledger: claims, receipts, and what happens when two runs want the same port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from polyexpose_spark import ledger
from polyexpose_spark.clients.files import LocalFiles
from polyexpose_spark.errors import ExitCode, TargetFailed, TargetUnavailable
from polyexpose_spark.ledger import Claim, Entry, Ledger
from polyexpose_spark.receipt import Outcome, Receipt


def receipt(run: str, snapshot_id: int) -> Receipt:
    now = datetime.now(UTC)
    return Receipt(
        run=run,
        product="p",
        contract_version="1",
        port="csv",
        mode="csv",
        outcome=Outcome.PUBLISHED,
        exit_code=ExitCode.DONE,
        table="a.b",
        snapshot_id=snapshot_id,
        started_at=now,
        finished_at=now,
        version="0",
    )


@pytest.fixture
def book(tmp_path: Path) -> Ledger:
    return Ledger(LocalFiles(), str(tmp_path / "p"), "csv")


def put_claim(book: Ledger, **values: Any) -> None:
    """Leave a claim behind, as a run does that dies."""
    machine = ledger._machine()
    claim = Claim(
        **{"run": "r", "machine": machine, "process": os.getpid(), "snapshot_id": 1, "renewed_at": 0.0} | values
    )
    book.files.put(book.path, Entry(claim=claim).model_dump_json(by_alias=True).encode())


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_an_empty_ledger(book: Ledger) -> None:
    entry, _ = book.read()
    assert entry == Entry()
    assert entry.exposed is None


def test_the_newest_snapshots_are_kept_one_receipt_each(book: Ledger) -> None:
    for run, snapshot_id in (("a", 1), ("b", 2), ("c", 1), ("d", 3)):
        with book.claim(run, snapshot_id) as held:
            held.record(receipt(run, snapshot_id), keep=2)
    entry, _ = book.read()
    assert [(each.run, each.snapshot_id) for each in entry.kept] == [("d", 3), ("c", 1)]
    assert entry.claim is None
    written = sorted(Path(book.folder).glob("receipts/csv/*.json"))
    assert {json.loads(path.read_text())["run"] for path in written} == {"a", "b", "c", "d"}


def test_while_one_run_holds_the_port_another_is_told_so(book: Ledger) -> None:
    with book.claim("first", 1):
        with (
            pytest.raises(
                TargetUnavailable, match=r"run first .* is publishing this port; nothing was changed"
            ) as caught,
            book.claim("second", 1),
        ):
            pass
        assert caught.value.exit_code == ExitCode.UNAVAILABLE
    with book.claim("second", 1):
        pass


def test_the_claim_of_a_dead_process_on_this_machine_is_taken_over_at_once(book: Ledger) -> None:
    put_claim(book, process=dead_process(), renewed_at=9e12)
    with book.claim("next", 1) as held:
        assert held.entry.claim is not None
        assert held.entry.claim.run == "next"


def test_the_claim_of_another_machine_stands_until_it_was_not_renewed_for_long(book: Ledger) -> None:
    put_claim(book, machine="elsewhere/boot/pid", process=1, renewed_at=9e12)
    with pytest.raises(TargetUnavailable, match="on elsewhere"), book.claim("next", 1):
        pass
    put_claim(book, machine="elsewhere/boot/pid", process=1, renewed_at=1.0)
    with book.claim("next", 1):
        pass


def test_a_run_that_lost_its_claim_stops_before_it_changes_anything(book: Ledger) -> None:
    with book.claim("first", 1) as held:
        put_claim(book, run="thief")
        with pytest.raises(TargetUnavailable, match="another run took this port over"):
            held.check()
        with pytest.raises(TargetUnavailable):
            held.record(receipt("first", 1), keep=3)
    entry, _ = book.read()
    assert entry.claim is not None
    assert entry.claim.run == "thief"


def test_a_claim_is_renewed_while_the_run_lasts(book: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "CLAIM_SECONDS", 0.2)
    with book.claim("long", 1) as held:
        began = book.read()[0].claim
        assert began is not None
        deadline = datetime.now(UTC).timestamp() + 10
        while (now := book.read()[0].claim) is not None and now.renewed_at == began.renewed_at:
            assert datetime.now(UTC).timestamp() < deadline
        held.check()


def test_a_file_that_is_no_ledger_is_left_alone(book: Ledger) -> None:
    book.files.put(book.path, b'{"format": 1, "surprise": true}')
    with pytest.raises(TargetFailed, match=r"csv\.json: not a ledger of this version"), book.claim("r", 1):
        pass
    assert book.files.read(book.path) is not None


def test_entries_of_all_ports(book: Ledger) -> None:
    for port in ("csv", "sql"):
        with Ledger(book.files, book.folder, port).claim("r", 5) as held:
            held.record(receipt("r", 5), keep=1)
    assert sorted(ledger.entries(book.files, book.folder)) == ["csv", "sql"]
