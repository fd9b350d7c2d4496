"""kill -9 at every named step of `--mode all`, then the same command again."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Laptop

ALL = ("--mode", "all", "--product", "orders.odcs.yaml")

# The steps before and after which a reader sees something else, and those that leave something behind.
IN_CI = (
    "sql.tagged",
    "sql.replaced",
    "csv.claimed",
    "csv.staged",
    "csv.moved",
    "csv.pointed",
    "csv.recorded",
    "csv.collected",
)


@dataclass
class Prepared:
    """Exposed at an old snapshot three times over, and the table has moved on; with what a quiet run makes of it."""

    laptop: Laptop
    backup: Path
    steps: list[str]
    files: dict[str, str]
    tags: set[str]
    old: int
    new: int

    def restore(self) -> None:
        """Put everything back as it was before the last run; in place, for Iceberg knows absolute paths."""
        state = self.laptop.folder / ".polyexpose"
        shutil.rmtree(state)
        shutil.copytree(self.backup, state, symlinks=True)


@pytest.fixture(scope="module")
def prepared(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Two snapshots are exposed and kept, so that the third run has old ones to collect."""
    for first in (100, 200):
        assert laptop.run(*ALL).code == 0
        laptop.append(first, first + 100)
    backup = tmp_path_factory.mktemp("backup") / "state"
    shutil.copytree(laptop.folder / ".polyexpose", backup, symlinks=True)
    old, _ = laptop.csv_reader()
    quiet = laptop.run(*ALL)
    assert quiet.code == 0, quiet.err
    steps = [line.removeprefix("step ") for line in quiet.out.splitlines() if line.startswith("step ")]
    new, rows = laptop.csv_reader()
    assert rows == 300
    return Prepared(laptop, backup, steps, laptop.exposed_files(), laptop.tags(), old, new)


def kill_and_repeat(prepared: Prepared, step: str) -> None:
    laptop = prepared.laptop
    prepared.restore()
    killed = laptop.run(*ALL, step=step, what="kill")
    assert killed.code == -signal.SIGKILL, f"{step} was not reached: {killed.err}"
    # A consumer in between sees a whole old or a whole new state.
    assert laptop.csv_reader() in {(prepared.old, 200), (prepared.new, 300)}
    assert laptop.sql_reader() in {prepared.old, prepared.new}
    again = laptop.run(*ALL)
    assert again.code == 0, again.err
    assert laptop.csv_reader() == (prepared.new, 300)
    assert laptop.sql_reader() == prepared.new
    assert laptop.exposed_files() == prepared.files
    assert laptop.tags() == prepared.tags
    for port in ("sql", "csv"):
        entry = laptop.ledger(port)
        assert entry["claim"] is None
        assert [each["snapshotId"] for each in entry["kept"]] == [prepared.new, prepared.old]
    leftovers = [
        path for path in (laptop.folder / ".polyexpose/state").rglob("*") if path.is_file() and path.suffix != ".json"
    ]
    assert leftovers == []


@pytest.mark.spark
@pytest.mark.parametrize("step", IN_CI)
def test_killed_at_a_step(prepared: Prepared, step: str) -> None:
    kill_and_repeat(prepared, step)


@pytest.mark.soak
@pytest.mark.spark
def test_killed_at_every_step(prepared: Prepared) -> None:
    assert len(prepared.steps) >= 20, prepared.steps
    for step in dict.fromkeys(prepared.steps):
        kill_and_repeat(prepared, step)


@pytest.mark.spark
def test_of_two_runs_at_once_one_wins_and_the_other_says_so(prepared: Prepared, tmp_path: Path) -> None:
    laptop = prepared.laptop
    prepared.restore()
    go = tmp_path / "go"
    first = laptop.start(*ALL, step="csv.staged", what=str(go))
    while not Path(f"{go}.reached").exists():
        assert first.poll() is None, first.communicate()[1]
    second = laptop.cli("--mode", "csv", "--product", "orders.odcs.yaml", "--output", "json")
    assert second.code == 5
    [receipt] = second.json()
    assert receipt["outcome"] == "failed"
    assert "is publishing this port; nothing was changed" in receipt["error"]
    assert laptop.csv_reader() == (prepared.old, 200)
    go.touch()
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert laptop.csv_reader() == (prepared.new, 300)
    assert laptop.exposed_files() == prepared.files
