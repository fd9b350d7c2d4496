"""kill -9 at the steps that only `copy: incremental` has, then the same command again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Laptop
from tests.e2e.test_kill_gql import PORT, Served, kill_and_repeat, serving

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def served(laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = PORT.replace("mode: gql,", "mode: gql, copy: incremental,")
    with serving(laptop, tmp_path_factory.mktemp("servers"), port) as made:
        yield made


# With a table of changes; with a clone that nothing was merged into; with one that is not marked as whole.
STEPS = (pytest.param("graphql.sent", marks=pytest.mark.soak), "graphql.cloned", "graphql.merged")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(served: Served, step: str) -> None:
    kill_and_repeat(served, step)
    copied = served.laptop.ledger("graphql")["kept"][0]["details"]["copy"]
    assert copied == {"how": "incremental", "inserted": 100, "updated": 0, "deleted": 0}


def test_a_run_that_died_before_a_commit_leaves_nothing_behind(served: Served) -> None:
    """The copy that it was about to make is of a snapshot that nobody asks for any more."""
    old, _ = served.commit()
    killed = served.laptop.run(*served.arguments, step="graphql.cloned", what="kill")
    assert killed.code < 0, killed.err
    assert served.reader() == (old, old)
    served.commit()
    again = served.laptop.run(*served.arguments)
    assert again.code == 0, again.err + again.out
    served.check_done()
