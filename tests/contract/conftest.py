"""Servers that speak BigQuery's API: ours, and one of other people, so that we do not only agree with ourselves."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyexpose_spark.clients.bigquery import BigQueryClient, Deadlines
from tests.http_faults import Proxy, proxy

ROOT = Path(__file__).parents[2]
LOCAL_BIGQUERY = ROOT.parent / "shared" / "tools" / "local-bigquery" / "start"
LOCAL_BIGQUERY_HOME = Path.home() / ".cache" / "polyexpose" / "local-bigquery"

# Long enough for a busy machine, short enough to wait for.
DEADLINES = Deadlines(metadata=6.0, query=20.0, load=30.0)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "second_opinion: against local-bigquery, independent code; CI runs it")


@pytest.fixture(scope="session", params=["stand-in", pytest.param("local-bigquery", marks=pytest.mark.second_opinion)])
def bigquery(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running server."""
    folder, port = tmp_path_factory.mktemp("bigquery"), free_port()
    if request.param == "stand-in":
        command = [sys.executable, "-m", "polyexpose_spark.local.bigquery", "--port", str(port), "--state", str(folder)]
    else:
        command = [str(_local_bigquery()), str(LOCAL_BIGQUERY_HOME), str(port), str(free_port()), str(folder)]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, server, log, seconds=300)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
def faulty(bigquery: str) -> Iterator[Proxy]:
    """The server behind a proxy that can go wrong."""
    with proxy(bigquery) as running:
        yield running


@pytest.fixture
def client(faulty: Proxy) -> BigQueryClient:
    """A client whose requests go through the proxy."""
    return BigQueryClient("test-project", "EU", faulty.address, "anonymous", DEADLINES)


@pytest.fixture
def dataset(bigquery: str) -> str:
    """Name of a dataset of this test, made together with `<name>__versions`."""
    name = f"d{uuid.uuid4().hex[:10]}"
    direct = BigQueryClient("test-project", "EU", bigquery, "anonymous", DEADLINES)
    direct.ensure_dataset(name)
    direct.ensure_dataset(f"{name}__versions")
    return name


def _local_bigquery() -> Path:
    if not LOCAL_BIGQUERY.exists():
        pytest.skip("local-bigquery is not beside this checkout")
    if shutil.which(os.environ.get("PYTHON", "python3.11")) is None:
        pytest.skip("local-bigquery needs python3.11")
    if not (LOCAL_BIGQUERY_HOME / "ready").exists() and not os.environ.get("CI"):
        pytest.skip("local-bigquery is not installed; CI=1 installs it (90 s, 850 MB in ~/.cache/polyexpose)")
    return LOCAL_BIGQUERY


def _wait(address: str, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/bigquery/v2/projects/test-project/datasets", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
