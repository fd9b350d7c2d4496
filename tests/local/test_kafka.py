"""The Kafka broker for a laptop: `python -m polyexpose_spark.local.kafka`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from polyexpose_spark.local.kafka import answers
from tests import servers
from tests.event_services import kafka_events


@contextlib.contextmanager
def start(port: int, state: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "polyexpose_spark.local.kafka", "--port", str(port), "--state", str(state)]
    process = subprocess.Popen(command, cwd=servers.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Kafka broker ready: 127.0.0.1:{port}\n"
        yield process
    finally:
        process.kill()
        process.communicate()  # also waits for the broker, which has the other end of its errors


def wait_until_silent(port: int) -> None:
    end = time.monotonic() + 20
    while answers(port):
        assert time.monotonic() < end, "the broker is still there"
        time.sleep(0.1)


def produce(port: int, value: str) -> None:
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "acks": "all"})
    producer.produce("t", value)
    assert producer.flush(20) == 0


def test_what_was_acknowledged_is_there_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    port = servers.free_port()
    with start(port, tmp_path / "state") as process:
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        admin.create_topics([NewTopic("t", 1)])["t"].result(20)
        produce(port, "before the stop")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not answers(port)
    with start(port, tmp_path / "state") as process:
        produce(port, "before the kill")
        process.kill()
    # The broker is another process, and does not stay behind.
    wait_until_silent(port)
    with start(port, tmp_path / "state"):
        assert [each.value for each in kafka_events(f"127.0.0.1:{port}", "t")] == ["before the stop", "before the kill"]


def test_it_listens_on_this_machine_only(tmp_path: Path) -> None:
    port = servers.free_port()
    with start(port, tmp_path / "state"):
        children = subprocess.run(["pgrep", "-f", str(tmp_path / "state")], capture_output=True, text=True).stdout
        inodes = {
            os.readlink(each).removeprefix("socket:[").rstrip("]")
            for pid in children.split()
            for each in Path(f"/proc/{pid}/fd").glob("*")
            if each.is_symlink() and os.readlink(each).startswith("socket:")
        }
        listening = [
            fields[1]
            for table in ("tcp", "tcp6")
            for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if fields[3] == "0A" and fields[9] in inodes
        ]
        assert f":{port:04X}" in "".join(listening)
        loopback = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
        assert {address.partition(":")[0] for address in listening} <= set(loopback)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "polyexpose_spark.local.kafka", "--port", str(port), "--state", str(tmp_path)]
        done = subprocess.run(command, cwd=servers.ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 5
    assert f"port {port} is taken" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
