"""Events to the local Pub/Sub Lite server, against a plain loop with the official high-level client.

1,000,000 events through the port, from the table on; the official client is given messages of
the same size ready made, fewer of them since it is slow, and waits for all of them. In turn.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import event_tables
from benchmarks.ports import free_port

ROWS = 1_000_000
LOOP = 50_000
ROUNDS = int(os.environ.get("ROUNDS", "3"))
CORES = 2
PARTITIONS = 4

# In a process of its own, as an application has it; the only thing patched is that the server speaks without TLS.
_LOOP = """
import sys, time
sys.path.insert(0, sys.argv[1])
import grpc
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.pubsublite.cloudpubsub import PublisherClient
from google.cloud.pubsublite.types import CloudZone, TopicPath
from google.cloud.pubsublite_v1.services.admin_service.transports import AdminServiceGrpcTransport
from google.cloud.pubsublite_v1.services.publisher_service.transports import PublisherServiceGrpcAsyncIOTransport
AdminServiceGrpcTransport.create_channel = staticmethod(lambda host, **_: grpc.insecure_channel(host))
PublisherServiceGrpcAsyncIOTransport.create_channel = staticmethod(lambda host, **_: grpc.aio.insecure_channel(host))
address, count, size = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
topic = TopicPath("bench", CloudZone.parse("us-central1-a"), "orders")
data = b"x" * size
attributes = {f"ce-{n}": "0123456789012345" for n in ("id", "source", "type", "time", "sequence", "partitionkey", "sv")}
options = ClientOptions(api_endpoint=address)
with PublisherClient(credentials=AnonymousCredentials(), client_options=options) as publisher:
    publisher.publish(topic, data, ordering_key="0", **attributes).result(60)
    began = time.monotonic()
    futures = [publisher.publish(topic, data, ordering_key=str(n), **attributes) for n in range(count)]
    for each in futures:
        each.result(600)
    print(time.monotonic() - began)
"""


def measure() -> dict[str, Any]:
    """Return rows a second of both, and the ratio of ours to the loop."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        port = free_port()
        command = [sys.executable, "-m", "polyexpose_spark.local.pubsublite", "--port", str(port), "--state", "state"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(before)})
        try:
            return _measured(f"127.0.0.1:{port}", before)
        finally:
            server.terminate()
            server.wait(30)
            os.chdir(before)


def _measured(address: str, root: Path) -> dict[str, Any]:
    settings = ("sink=pubsublite", f"pubsublite.endpoint=http://{address}", "pubsublite.project=bench")
    more = ("pubsublite.location=us-central1-a", "pubsublite.credentials=anonymous", "documents=documents")
    workspace = event_tables.workspace(*(f"ports.events.{each}" for each in (*settings, *more)), partitions=PARTITIONS)
    session = workspace.clients.session()
    event_tables.make(session, ROWS)
    ours: list[float] = []
    theirs: list[float] = []
    size = 0
    for _ in range(ROUNDS):
        began = time.monotonic()
        published, _prepared = event_tables.published(workspace)
        ours.append(time.monotonic() - began)
        size = published.bytes_written // ROWS
        loop = [sys.executable, "-c", _LOOP, str(root), address, str(LOOP), str(size)]
        theirs.append(float(subprocess.run(loop, capture_output=True, text=True, check=True).stdout))
        event_tables.withdraw(workspace)
    session.stop()
    ratios = [(ROWS / here) / (LOOP / there) for here, there in zip(ours, theirs, strict=True)]
    return {
        "rows": ROWS,
        "bytes of key and value": size,
        "ours, rows/s": round(ROWS / median(ours)),
        "ours, rows/s per core": round(ROWS / median(ours) / CORES),
        "official high-level client in a loop, rows/s": round(LOOP / median(theirs)),
        "ratio": round(median(ratios), 1),
        "rounds": ROUNDS,
    }
