"""From commit to consumer: `--mode events --follow`, ten commits a minute by another engine, a real Kafka broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks import event_tables
from benchmarks.ports import free_port
from polyexpose_spark.local.kafka import Broker

COMMITS = int(os.environ.get("COMMITS", "20"))
SECONDS = 6.0
ROWS = 100
"""Of one commit."""


def measure() -> dict[str, Any]:
    """Return seconds from the end of a commit until a consumer has its last event."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        broker = Broker(free_port(), Path(folder) / "kafka")
        broker.start()
        try:
            return _measured(broker.address, before)
        finally:
            broker.stop()
            os.chdir(before)


def _measured(address: str, root: Path) -> dict[str, Any]:
    settings = [f"ports.events.{each}" for each in ("sink=kafka", f"kafka.bootstrap_servers={address}")]
    settings.append("ports.events.documents=documents")
    workspace = event_tables.workspace(*settings)
    session = workspace.clients.session()
    event_tables.make(session, 1000, 1)
    session.stop()
    command = [sys.executable, "-m", "polyexpose_spark.cli", "--mode", "events", "--product", "orders.odcs.yaml"]
    command += ["--follow", *(word for each in settings for word in ("--set", each))]
    following = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    came: dict[int, float] = {}
    stop = threading.Event()
    reading = threading.Thread(target=_read, args=(address, came, stop))
    reading.start()
    try:
        _wait_for(came, 999)
        seconds = []
        for number in range(COMMITS):
            began = time.monotonic()
            last = 1_000_000 + number * ROWS + ROWS - 1
            _commit(last - ROWS + 1)
            committed = time.monotonic()
            _wait_for(came, last)
            seconds.append(came[last] - committed)
            time.sleep(max(0.0, SECONDS - (time.monotonic() - began)))
    finally:
        following.terminate()
        code = following.wait(60)
        stop.set()
        reading.join()
    seconds.sort()
    at = {"p50": len(seconds) // 2, "p99": -1}
    return {
        "commits": COMMITS,
        **{name: round(seconds[index], 2) for name, index in at.items()},
        "exit code after SIGTERM": code,
    }


def _commit(first: int) -> None:
    from decimal import Decimal

    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    state = Path.cwd() / ".polyexpose"
    catalog = SqlCatalog("lake", uri=f"sqlite:///{state}/catalog.db?timeout=30", warehouse=f"file://{state}/warehouse")
    table = catalog.load_table("bench.orders")
    ids = range(first, first + ROWS)
    rows = [{"id": n, "customer": "c", "amount": Decimal("1.00"), "paid": True} for n in ids]
    table.append(pa.Table.from_pylist(rows, schema=table.schema().as_arrow()))
    catalog.engine.dispose()


def _read(address: str, came: dict[int, float], stop: threading.Event) -> None:
    """Note when the event of each row came."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "bench",
            "auto.offset.reset": "earliest",
            "topic.metadata.refresh.interval.ms": 500,
        }
    )
    consumer.subscribe(["orders"])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and not message.error() and message.value():
            came.setdefault(int(json.loads(message.value())["after"]["id"]), time.monotonic())
    consumer.close()


def _wait_for(came: dict[int, float], row: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while row not in came:
        if time.monotonic() > end:
            raise TimeoutError(f"the event of row {row} did not come within {seconds:.0f} s")
        time.sleep(0.005)
