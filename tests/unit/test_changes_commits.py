"""Which commits lie between two snapshots, from metadata alone."""

from __future__ import annotations

import pytest

from polyexpose_spark.catalog import Snapshot, Table
from polyexpose_spark.changes import Window, commits, net, per_snapshot, refuse_expired
from polyexpose_spark.errors import ExitCode, Refused


def table(*line: tuple[int, int | None, str]) -> Table:
    snapshots = tuple(
        Snapshot(id_, parent, at, operation, 0, 1, 1, 1, {}) for at, (id_, parent, operation) in enumerate(line)
    )
    return Table(("db", "t"), "u", "/t", 2, line[-1][0], snapshots, {}, {0: ()}, 0, (), {})


# 1 - 2 - 3 - 4 - 5, a branch 6 from 2, and 9 whose parent 8 expired.
KNOWN = table(
    (1, None, "append"),
    (2, 1, "overwrite"),
    (3, 2, "replace"),
    (4, 3, "delete"),
    (6, 2, "append"),
    (9, 8, "append"),
    (5, 4, "replace"),
)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (1, 5, [2, 4]),
        (1, 2, [2]),
        (2, 3, []),
        (4, 5, []),
        (5, 5, []),
        (2, 6, [6]),
        (3, 6, None),
        (5, 1, None),
        (1, 9, None),
    ],
)
def test_commits_oldest_first_without_rewrites(since: int, until: int, expected: list[int] | None) -> None:
    found = commits(KNOWN, since, until)
    assert (None if found is None else [each.id for each in found]) == expected


def test_an_expired_snapshot_is_refused_with_what_to_do() -> None:
    told = (
        r"^snapshot 8 of table db\.t expired: what changed since cannot be told; "
        r"run with --from-scratch to send the whole snapshot again$"
    )
    with pytest.raises(Refused, match=told) as raised:
        refuse_expired(KNOWN, 8)
    assert raised.value.exit_code is ExitCode.REFUSED
    with pytest.raises(Refused, match=told):
        commits(KNOWN, 8, 9)
    # A session is not needed to say so.
    for window in (Window(KNOWN, 8, 9, 9), Window(KNOWN, 9, 8, 9)):
        for form in (net, per_snapshot):
            with pytest.raises(Refused, match=told), form(None, "`t`", window, lambda rows: rows, []):  # type: ignore[arg-type]
                pass


def test_commits_off_the_line_cannot_be_told_one_by_one() -> None:
    with (
        pytest.raises(Refused, match=r"^snapshot 6 of table db\.t does not descend from 3 through live snapshots"),
        per_snapshot(None, "`t`", Window(KNOWN, 3, 6, 6), lambda rows: rows, []),  # type: ignore[arg-type]
    ):
        pass


def test_a_session_without_a_jvm_is_refused() -> None:
    with (
        pytest.raises(Refused, match="a Spark Connect session cannot"),
        net(object(), "`t`", Window(KNOWN, 1, 2, 2), lambda rows: rows, []),  # type: ignore[arg-type]
    ):
        pass
