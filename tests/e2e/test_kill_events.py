"""kill -9 of `--mode events` and of its workers, brokers that go away, and the same command again.

Afterwards: 0 lost, order per key kept, repeats only under equal ids. What is committed in between is done by another
engine (pyiceberg), so that only the command under test starts a JVM.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import event_buses
from tests.e2e.conftest import CONTRACT, Laptop
from tests.event_buses import Bus
from tests.event_replica import Replica

pytestmark = pytest.mark.spark

PORT = """\
  - server: events
    type: custom
    customProperties:
      - {property: port, vendor: polyexpose, value: {mode: events, keepSnapshots: 2, partitions: 3}}
"""
NO_PARTITIONS = PORT.replace(", partitions: 3", "")

STEPS = (
    *("claimed", "tagging", "tagged", "sending", "sent", "storing", "stored"),
    *("describing", "described", "recording", "recorded", "released"),
)
KINDS = ("append", "change", "rollback")
# What is rolled back to was exposed before, and has its tag.
EVERY_STEP = [
    (kind, step) for step in STEPS for kind in KINDS if not (kind == "rollback" and step in ("tagging", "tagged"))
]
# Before and after the sends, before and after the position is stored; with those below that kill in the middle, eight.
IN_CI = (("append", "sending"), ("append", "sent"), ("change", "storing"), ("change", "stored"), ("rollback", "sent"))


@dataclass
class Topic:
    """A laptop whose table goes to a topic of a service."""

    laptop: Laptop
    bus: Bus
    rows: int = 100
    repeats: int = 0
    points: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--mode", "events", "--product", "orders_events.odcs.yaml", *self.bus.arguments)

    def table(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        state = self.laptop.folder / ".polyexpose"
        uri = f"sqlite:///{state}/catalog.db?timeout=30"
        return SqlCatalog("lake", uri=uri, warehouse=f"file://{state}/warehouse").load_table("sales.orders")

    def commit(self, kind: str, rows: int = 20) -> None:
        """Change the table in this way; a rollback takes back what was committed and sent since."""
        if kind == "rollback":
            before = self.table().current_snapshot().snapshot_id
            self.commit("change")
            assert self.laptop.run(*self.arguments).code == 0
            self.table().manage_snapshots().rollback_to_snapshot(before).commit()
            return
        if kind == "change":
            there = sorted(self.table().scan(selected_fields=("id",)).to_arrow()["id"].to_pylist())
            self.table().delete(f"id >= {there[-10]} and id < {there[-5]}")
        for _ in range(2):
            self.laptop.append(self.rows, self.rows + rows)
            self.rows += rows

    def expected(self) -> dict[str, Any]:
        rows = self.table().scan().to_arrow().to_pylist()
        said = [{"id": str(each["id"]), "note": each["note"]} for each in rows]
        return {json.dumps({"id": each["id"]}, separators=(",", ":")): each for each in said}

    def assert_same(self, point: str) -> None:
        replica = Replica().apply(self.bus.messages("orders"))
        expected = self.expected()
        lost = expected.keys() - replica.rows.keys()
        assert not lost, f"{point}: {len(lost)} lost"
        assert replica.rows == expected, point
        new, self.repeats = replica.repeats - self.repeats, replica.repeats
        self.points.append(f"{point}: 0 lost, {new} repeated")

    def kill_and_repeat(self, kind: str, step: str) -> None:
        self.commit(kind)
        killed = self.laptop.run(*self.arguments, step=f"events.{step}", what="kill")
        assert killed.code == -signal.SIGKILL, f"{kind} {step} was not reached: {killed.err}"
        again = self.laptop.run(*self.arguments)
        assert again.code == 0, again.err
        self.assert_same(f"{kind}, killed at {step}")
        entry = self.laptop.ledger("events")
        assert entry["claim"] is None
        assert entry["position"]["snapshotId"] == self.table().current_snapshot().snapshot_id


OTHERS = [pytest.param(name, marks=pytest.mark.soak) for name in ("pubsublite", "pubsub")]


ON_EVERY_SERVICE = pytest.mark.parametrize("topic", ["kafka", *OTHERS], indirect=True, scope="module")
# Nothing at a step depends on the service: all of them on one, a choice on the others.
ON_KAFKA = pytest.mark.parametrize("topic", ["kafka"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def topic(request: pytest.FixtureRequest, laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topic]:
    """The first load was killed while it was sending, and repeated."""
    name = str(request.param)
    port = NO_PARTITIONS if name == "pubsub" else PORT
    (laptop.folder / "orders_events.odcs.yaml").write_text(CONTRACT + port)
    with event_buses.running(name, tmp_path_factory.mktemp(name)) as bus:
        bus.prepare("orders")
        made = Topic(laptop, bus)
        # What another service was sent may have left gaps: the next id is beyond them all.
        made.rows = 1 + max(int(each["id"]) for each in made.expected().values())
        for step in ("creating" if name != "pubsub" else "claimed", "sent"):
            killed = laptop.run(*made.arguments, "--from-scratch", step=f"events.{step}", what="kill")
            assert killed.code == -signal.SIGKILL, killed.err
        again = laptop.run(*made.arguments)
        assert again.code == 0, again.err
        made.assert_same("first load, killed at sent")
        yield made
        print("\n" + "\n".join(made.points))


@ON_EVERY_SERVICE
@pytest.mark.parametrize(("kind", "step"), IN_CI)
def test_killed_at_a_step(topic: Topic, kind: str, step: str) -> None:
    topic.kill_and_repeat(kind, step)


@pytest.mark.soak
@ON_KAFKA
@pytest.mark.parametrize(("kind", "step"), EVERY_STEP)
def test_killed_at_every_step(topic: Topic, kind: str, step: str) -> None:
    topic.kill_and_repeat(kind, step)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Return the Python workers of a driver's JVM: children of the daemon, which is a child of Java."""

    def children(of: int) -> list[int]:
        found = []
        for task in Path(f"/proc/{of}/task").glob("*/children"):
            found += [int(each) for each in task.read_text().split()]
        return found

    def is_python(of: int) -> bool:
        return b"pyspark.daemon" in Path(f"/proc/{of}/cmdline").read_bytes()

    every, found = [process.pid], []
    while every:
        of = every.pop()
        for each in children(of):
            every.append(each)
            if is_python(each) and is_python(of):
                found.append(each)
    return found


@ON_EVERY_SERVICE
@pytest.mark.parametrize("whom", ["driver", "worker"])
def test_killed_while_it_sends(topic: Topic, whom: str, tmp_path: Path) -> None:
    topic.commit("append", 20_000)
    go = tmp_path / "go"
    process = topic.laptop.start(*topic.arguments, step="events.sending", what=str(go))
    while not Path(f"{go}.reached").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    go.touch()
    if whom == "driver":
        time.sleep(1 + random.random())
        process.kill()
    else:
        end = time.monotonic() + 60
        while not (found := workers(process)) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert found, "no worker was seen"
        for each in found:
            os.kill(each, signal.SIGKILL)
    _, err = process.communicate(timeout=180)
    if whom == "worker":
        assert process.returncode != 1, err
    again = topic.laptop.run(*topic.arguments)
    assert again.code == 0, again.err
    topic.assert_same(f"{whom} killed while it sent")


@ON_EVERY_SERVICE
def test_the_service_goes_away_in_the_middle(topic: Topic, tmp_path: Path) -> None:
    topic.commit("append", 5_000)
    go = tmp_path / "go"
    process = topic.laptop.start(*topic.arguments, step="events.sending", what=str(go))
    while not Path(f"{go}.reached").exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    topic.bus.go_away()
    go.touch()
    time.sleep(4)
    topic.bus.come_back()
    _, err = process.communicate(timeout=180)
    assert process.returncode in (0, 5), err
    again = topic.laptop.run(*topic.arguments)
    assert again.code == 0, again.err
    topic.assert_same("the service went away and came back")
