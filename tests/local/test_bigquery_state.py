from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

pytest.importorskip("google.cloud.bigquery", reason="google-cloud-bigquery is not installed")

from google.api_core import exceptions

from tests.local.bigquery_server import Process, client, load, rows


def test_a_restart_finds_everything(tmp_path: Path) -> None:
    server = Process(tmp_path)
    c = client(server.url)
    c.create_dataset("d")
    load(c, "d.t", pa.table({"a": [1, 2]}), job_id="load_1", destination_table_description="kept")
    rows(c, "CREATE VIEW d.v AS SELECT a FROM d.t")
    etag = c.get_table("d.t").etag
    assert server.ready.startswith("BigQuery server ready: http://127.0.0.1:")
    assert server.stop() == 0
    server = Process(tmp_path)
    try:
        c = client(server.url)
        assert rows(c, "SELECT a FROM d.v ORDER BY a") == [(1,), (2,)]
        table = c.get_table("d.t")
        assert (table.description, table.etag) == ("kept", etag)
        assert c.get_job("load_1").output_rows == 2
        with pytest.raises(exceptions.Conflict):
            load(c, "d.t", pa.table({"a": [3]}), job_id="load_1")
    finally:
        server.stop()


@pytest.mark.parametrize("delay", [0.02, 0.1, 0.3])
def test_kill_during_a_load_leaves_all_or_nothing(tmp_path: Path, delay: float) -> None:
    server = Process(tmp_path)
    c = client(server.url)
    c.create_dataset("d")
    load(c, "d.t", pa.table({"a": [-1]}))
    count = 1_000_000
    data = pa.table({"a": range(count), "b": [str(i) for i in range(count)]})

    def run() -> None:
        try:
            load(c, "d.t", data, job_id="big", write_disposition="WRITE_TRUNCATE")
        except Exception:  # noqa: BLE001 (the connection breaks)
            return

    loading = threading.Thread(target=run, daemon=True)
    loading.start()
    time.sleep(delay)
    server.kill()
    loading.join(30)
    server = Process(tmp_path)
    try:
        c = client(server.url)
        found = rows(c, "SELECT COUNT(*) FROM d.t")[0][0]
        assert found in (1, count)
        if found == count:
            assert c.get_job("big").state == "DONE"
        else:
            with pytest.raises(exceptions.NotFound):
                c.get_job("big", retry=None)
            load(c, "d.t", data, job_id="big", write_disposition="WRITE_TRUNCATE")
            assert rows(c, "SELECT COUNT(*) FROM d.t") == [(count,)]
    finally:
        server.stop()


def test_a_second_server_on_the_same_state_says_so(tmp_path: Path) -> None:
    server = Process(tmp_path)
    try:
        command = [sys.executable, "-m", "polyexpose_spark.local.bigquery", "--port", "0", "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        assert second.returncode == 5
        assert second.stderr.startswith("The BigQuery server cannot start")
        assert second.stderr.count("\n") == 1
    finally:
        server.stop()


def test_nothing_outside_local_imports_it() -> None:
    package = Path(__file__).parents[2] / "polyexpose_spark"
    found = [
        str(f)
        for f in package.rglob("*.py")
        if "local" not in f.relative_to(package).parts[:1] and "polyexpose_spark.local.bigquery" in f.read_text()
    ]
    assert found == []
