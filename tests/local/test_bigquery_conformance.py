"""The shared conformance checks, where a checkout of them stands beside this repository."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.bigquery", reason="google-cloud-bigquery is not installed")

from tests.local.bigquery_server import Process

CHECKS = Path(__file__).parents[2].parent / "shared" / "tools" / "bigquery-conformance"
# What no loader and no reader of ours calls.
OUT_OF_SCOPE = re.compile(
    r"CSV|JSON lines|Avro load|ORC load|extract_table|insert_rows_json|IamPolicy|DECLARE|session trans|time travel"
    r"|ALTER TABLE|materialized|hive|_PARTITION|TEMP FUNCTION|wildcard tables|^4 |^5 |partition decorator"
    r"|COLUMN_FIELD_PATHS|EXCEPTION WHEN|SQL functions sample|require_partition_filter enforced|authorized view"
)
# They load from gs://, which needs a server of Cloud Storage: STORAGE_EMULATOR_HOST names one.
FROM_STORAGE = "load_table_from_uri|50 URIs|job id idempotency|extract_table"

pytestmark = pytest.mark.skipif(
    not CHECKS.is_dir(), reason="the shared conformance checks are not beside this repository"
)


def run(script: str, *arguments: str, cwd: Path, **environment: str) -> str:
    command = [sys.executable, str(CHECKS / script), *arguments]
    env = {**os.environ, "PYTHONPATH": str(CHECKS), **environment}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=cwd, env=env)
    return done.stdout


def test_scores(tmp_path: Path) -> None:
    storage = os.environ.get("STORAGE_EMULATOR_HOST")
    # Checks out of scope run as well: others read the tables that they make.
    wanted = "^[1-3]" if storage else f"^(?!.*(?:{FROM_STORAGE}))[1-3]"
    server = Process(tmp_path / "state")
    try:
        out = tmp_path / "out.json"
        run("bq_test.py", server.url, "-", str(out), cwd=tmp_path, ONLY=wanted, GCS=storage or "http://127.0.0.1:9")
        checks = [c for c in json.loads(out.read_text()) if not OUT_OF_SCOPE.search(c["test"])]
        assert len(checks) == (67 if storage else 62)
        missed = [f"{c['test']}: {c['msg']}" for c in checks if c["status"] != "yes"]
        # One asks for data frames, which need db-dtypes.
        assert len(missed) <= (0 if _has_db_dtypes() else 1), missed
        assert "SCORE 22/22" in run("extra.py", server.url, cwd=tmp_path)
        assert "SCORE 40/42" in run("mis.py", server.url, cwd=tmp_path)
    finally:
        server.stop()


def _has_db_dtypes() -> bool:
    from importlib.util import find_spec

    return find_spec("db_dtypes") is not None
