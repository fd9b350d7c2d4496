"""When a stream is exact, where it starts, and which checkpoints are still of use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from polyexpose_spark import appends
from polyexpose_spark.appends import Checkpoint
from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.clients.files import LocalFiles

FILES = LocalFiles()


def table(operations: str = "aaaaa", times: tuple[int, ...] = (), **changed: object) -> Table:
    """Snapshots 1, 2, ... each the parent of the next, a second apart; a append, r replace, o overwrite, d delete."""
    names = {"a": "append", "r": "replace", "o": "overwrite", "d": "delete"}
    snapshots = tuple(
        Snapshot(n, n - 1 or None, times[n - 1] if times else n * 1000, names[each], 0, 1, 1, 1, {})
        for n, each in enumerate(operations, 1)
    )
    given: dict[str, object] = {
        "identifier": ("db", "t"),
        "uuid": "u",
        "location": "/t",
        "format_version": 2,
        "current_snapshot_id": len(operations),
        "snapshots": snapshots,
        "refs": {},
        "schemas": {0: ()},
        "current_schema_id": 0,
        "partitioning": (),
        "properties": {},
    }
    return Table(**(given | changed))  # type: ignore[arg-type]


def checkpoint(folder: Path, since: int, committed: tuple[int, ...], planned: int | None = None) -> None:
    """Leave the files of a stream: a batch per snapshot committed, and one that was planned only."""
    for part in ("offsets", "commits"):
        (folder / str(since) / part).mkdir(parents=True)
    for number, end in enumerate((*committed, *([planned] if planned else ()))):
        text = "\n".join(["v1", "{}", json.dumps({"version": 1, "snapshot_id": end, "position": 1})])
        (folder / str(since) / "offsets" / str(number)).write_text(text)
        if number < len(committed):
            (folder / str(since) / "commits" / str(number)).write_text("v1\n{}")


def start(of: Table, since: int, until: int, folder: Path) -> Checkpoint | str:
    return appends.start(of, since, until, FILES, str(folder))


def test_a_table_that_was_only_appended_to_and_compacted_is_streamed(tmp_path: Path) -> None:
    found = start(table("aaraa"), 2, 5, tmp_path)
    assert isinstance(found, Checkpoint)
    assert (found.since, found.folder) == (2, f"{tmp_path}/2")


@pytest.mark.parametrize(
    ("of", "since", "until", "reason"),
    [
        (table("aaoaa"), 2, 5, "snapshot 3 is overwrite"),
        (table("aadaa"), 2, 5, "snapshot 3 is delete"),
        # Committed after the exposed snapshot, but a stream would run into it.
        (table("aaaad"), 2, 4, "snapshot 5 is delete"),
        (table(current_snapshot_id=4), 2, 5, "snapshot 5 is not on the line"),
        (table(current_schema_id=1), 2, 5, "columns were changed"),
        (table(times=(1000, 2000, 2000, 4000, 5000)), 2, 5, "snapshot 3 is not later than its ancestor 2"),
        (table(times=(1000, 2000, 3000, 1500, 5000)), 2, 5, "snapshot 4 is not later than its ancestor 2"),
        (table(times=(3000, 2000, 4000, 5000, 6000)), 2, 5, "snapshot 1 is later than its descendant 2"),
    ],
)
def test_why_it_is_not(of: Table, since: int, until: int, reason: str, tmp_path: Path) -> None:
    found = start(of, since, until, tmp_path)
    assert isinstance(found, str)
    assert reason in found


def test_a_delete_before_the_position_is_no_hindrance(tmp_path: Path) -> None:
    assert isinstance(start(table("adaaa"), 2, 5, tmp_path), Checkpoint)


def test_a_stream_goes_on_from_its_checkpoint_even_where_it_could_not_start_by_time(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, (2,))
    found = start(table(times=(1000, 2000, 2000, 4000, 5000)), 2, 5, tmp_path)
    assert isinstance(found, Checkpoint)
    assert (found.since, found.read_to()) == (1, 2)


def test_a_batch_that_was_planned_and_not_committed_does_not_count(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, (2,), planned=4)
    found = start(table(), 2, 5, tmp_path)
    assert isinstance(found, Checkpoint)
    assert (found.read_to(), found.end_of(-1), found.end_of(0), found.end_of(1)) == (2, 1, 2, 4)


def test_a_checkpoint_behind_the_position_is_used_if_all_between_was_appended(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, (2,))
    found = start(table(), 4, 5, tmp_path)
    assert isinstance(found, Checkpoint)
    assert found.since == 1


@pytest.mark.parametrize(
    ("of", "committed", "since"),
    [
        (table(), (2, 4), 3),  # ahead of the position: rows would be left out
        (table("aadaa"), (2,), 3),  # before a delete: it would die of it
        (replace(table(), snapshots=table().snapshots[2:]), (2,), 3),  # its place expired: it could never start
    ],
)
def test_a_checkpoint_of_no_use_is_removed_and_another_begun(
    of: Table, committed: tuple[int, ...], since: int, tmp_path: Path
) -> None:
    checkpoint(tmp_path, 1, committed)
    found = start(of, since, 5, tmp_path)
    assert isinstance(found, Checkpoint)
    assert found.since == since
    assert not (tmp_path / "1").exists()


def test_where_nothing_is_streamed_no_checkpoint_is_kept(tmp_path: Path) -> None:
    checkpoint(tmp_path, 1, (2,))
    assert isinstance(start(table("aaaad"), 4, 5, tmp_path), str)
    assert not (tmp_path / "1").exists()
