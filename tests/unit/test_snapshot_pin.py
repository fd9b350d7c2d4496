from __future__ import annotations

from datetime import UTC, datetime

import pytest

from polyexpose_spark.catalog import Ref, Snapshot, Table
from polyexpose_spark.errors import ConfigError, ExitCode, TargetFailed
from polyexpose_spark.snapshot import pin, quoted

NOON = int(datetime(2024, 5, 1, 12, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


def snapshot(id_: int, parent: int | None, hours: int) -> Snapshot:
    return Snapshot(id_, parent, NOON + hours * HOUR, "append", 0, 1, 1, 1, {})


def table(**changed: object) -> Table:
    """Snapshots 1, 2, 3 at 12, 13 and 14 h; at 15 h a rollback to 2; at 16 h snapshot 4 after it."""
    values: dict[str, object] = {
        "identifier": ("db", "t"),
        "uuid": "u",
        "location": "/t",
        "format_version": 2,
        "current_snapshot_id": 4,
        "snapshots": (snapshot(1, None, 0), snapshot(2, 1, 1), snapshot(3, 2, 2), snapshot(4, 2, 4)),
        "refs": {
            "main": Ref("branch", 4),
            "audit": Ref("branch", 3),
            "2024-01-01": Ref("tag", 1),
            "gone": Ref("tag", 9),
        },
        "schemas": {0: ()},
        "current_schema_id": 0,
        "partitioning": (),
        "properties": {},
        "history": ((NOON, 1), (NOON + HOUR, 2), (NOON + 2 * HOUR, 3), (NOON + 3 * HOUR, 2), (NOON + 4 * HOUR, 4)),
    }
    return Table(**(values | changed))  # type: ignore[arg-type]


def test_the_current_snapshot_is_the_default() -> None:
    assert pin(table()).id == 4


def test_a_live_snapshot_by_its_id_even_off_the_main_line() -> None:
    assert pin(table(), snapshot_id=3).id == 3


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        ("audit", 3),
        ("main", 4),
        ("2024-01-01", 1),  # a tag wins over the time that its name could be
        ("2024-05-01T12:00:00Z", 1),  # the very millisecond counts
        ("2024-05-01T12:00:00", 1),  # without zone: UTC
        ("2024-05-01T14:00:00+02:00", 1),
        ("2024-05-01 12:59:59.999", 1),
        ("2024-05-01T13:00:00.000Z", 2),
        ("2024-05-01T14:30:00Z", 3),
        ("2024-05-01T15:30:00Z", 2),  # rolled back: 3 is newer, but was not current
        ("2024-05-02", 4),
    ],
)
def test_as_of_a_ref_or_what_was_current_at_a_time(as_of: str, expected: int) -> None:
    assert pin(table(), as_of=as_of).id == expected


def test_without_a_log_the_ancestors_of_the_current_snapshot_count() -> None:
    without = table(history=())
    assert pin(without, as_of="2024-05-01T14:30:00Z").id == 2
    assert pin(without, as_of="2024-05-01T16:00:00Z").id == 4


def test_a_snapshot_that_is_not_live_names_those_that_are() -> None:
    with pytest.raises(TargetFailed) as told:
        pin(table(), snapshot_id=42)
    assert str(told.value) == (
        "table db.t: snapshot 42 is not there (never was, or expired); live snapshots, newest first: "
        "4 (2024-05-01T16:00:00.000Z), 3 (2024-05-01T14:00:00.000Z), 2 (2024-05-01T13:00:00.000Z), "
        "1 (2024-05-01T12:00:00.000Z)"
    )


def test_of_many_live_snapshots_the_newest_are_named() -> None:
    many = table(snapshots=tuple(snapshot(n, n - 1, n) for n in range(100, 125)))
    with pytest.raises(TargetFailed, match=r"newest first: 124 \(.*, 115 \([^)]*\) and 15 older$"):
        pin(many, snapshot_id=42)


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        ("gone", "tag gone is not there"),
        (
            "2024-05-01T11:59:59Z",
            "had no snapshot as of 2024-05-01T11:59:59Z: its history begins at 2024-05-01T12:00:00",
        ),
    ],
)
def test_a_ref_or_time_without_a_live_snapshot(as_of: str, message: str) -> None:
    with pytest.raises(TargetFailed, match=message) as told:
        pin(table(), as_of=as_of)
    assert told.value.exit_code is ExitCode.FAILED


def test_what_was_current_may_be_expired() -> None:
    expired = table(snapshots=table().snapshots[1:])
    with pytest.raises(TargetFailed, match=r"snapshot 1, the current one as of 2024-05-01T12:30, is not there"):
        pin(expired, as_of="2024-05-01T12:30")


@pytest.mark.parametrize("as_of", ["yesterday", "8089261538993504699", "", "2024-13-01", "v1.0"])
def test_neither_ref_nor_time_lists_the_refs(as_of: str) -> None:
    with pytest.raises(ConfigError) as told:
        pin(table(), as_of=as_of)
    assert told.value.exit_code is ExitCode.CONFIG
    assert str(told.value) == (
        f"--as-of: {as_of!r} is neither a time in ISO 8601 (2026-11-24T10:00:00Z) nor a tag or branch of table db.t "
        "(branch audit, branch main, tag 2024-01-01, tag gone); for a snapshot id: --snapshot"
    )


def test_both_ways_at_once() -> None:
    with pytest.raises(ConfigError, match="either --snapshot or --as-of, not both"):
        pin(table(), snapshot_id=1, as_of="main")


def test_nothing_to_expose_yet() -> None:
    with pytest.raises(TargetFailed, match=r"^table db\.t has no snapshot yet: nothing to expose$"):
        pin(table(snapshots=(), refs={}, current_snapshot_id=None))
    with pytest.raises(TargetFailed, match="has no current snapshot: nothing to expose; live snapshots"):
        pin(table(current_snapshot_id=None))


def test_names_are_quoted_for_spark_sql() -> None:
    assert quoted("lake", ("a.b", "t`x")) == "`lake`.`a.b`.`t``x`"
