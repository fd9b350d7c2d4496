"""The engine over local-bigquery, a BigQuery server that is not ours, so that we do not only agree with ourselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers

# What asks BigQuery; the rest of the engine's tests never reaches it.
SUITES = ("test_golden.py", "test_queries.py", "test_roles.py", "test_prototype_faults.py")


@pytest.mark.second_opinion
def test_the_answers_are_the_same(tmp_path: Path) -> None:
    suites = [str(Path(__file__).with_name(name)) for name in SUITES]
    with servers.local_bigquery(tmp_path) as address:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *suites],
            cwd=servers.ROOT,
            env=os.environ | {"POLYEXPOSE_TEST_BIGQUERY": address},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-4000:]
