"""`python -m polyexpose_spark.local`: what a user of the command line sees, with real servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyexpose_spark.local.held import holder
from tests.servers import free_port

pytest.importorskip("google.cloud.bigquery", reason="google-cloud-bigquery is not installed")
pytest.importorskip("google.cloud.pubsublite", reason="google-cloud-pubsublite is not installed")

NAMES = ("launcher", "bigquery", "graphql", "pubsublite")
TITLES = "BigQuery server, GraphQL engine and Pub/Sub Lite server"


def _heeds_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Local:
    """The command, with a state folder and ports of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.bigquery, self.graphql, self.pubsublite = free_port(), free_port(), free_port()
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *words: str) -> list[str]:
        ports = [word for name in NAMES[1:] for word in (f"--{name}-port", str(getattr(self, name)))]
        return [sys.executable, "-m", "polyexpose_spark.local", *words, "--state", str(self.state), *ports]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=100)

    def foreground(self) -> subprocess.Popen[str]:
        """Start without --detach; return when it says that they run."""
        # Under nohup, as a CI may run this, a child would ignore SIGHUP.
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, text=True, preexec_fn=_heeds_hangup)
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{TITLES} run; Ctrl-C stops them\n"
        return process

    def pids(self) -> dict[str, int]:
        """Process ids, as those who hold the files say."""
        said = {name: holder(self.state / f"{name}.lock") for name in NAMES}
        return {name: each["pid"] for name, each in said.items() if each}

    def answers(self) -> list[bool]:
        return [listens(self.bigquery), listens(self.graphql), listens(self.pubsublite)]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            # Gone, but not waited for: in a container there may be nobody who does.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path / "local")
    yield made
    made.run("down")
    for process in made.started:
        process.kill()
        process.communicate()


def test_up_status_up_again_down(local: Local) -> None:
    up = local.run("up", "--detach")
    assert (up.returncode, up.stderr) == (0, "")
    pids = local.pids()
    assert up.stdout.splitlines() == [
        f"{TITLES} run (process {pids['launcher']})",
        f"  BigQuery API  http://127.0.0.1:{local.bigquery}",
        f"  GraphQL       http://127.0.0.1:{local.graphql}/v1/graphql",
        f"  console       http://127.0.0.1:{local.graphql}/console",
        f"  Pub/Sub Lite  http://127.0.0.1:{local.pubsublite}",
        f"  state, logs   {local.state}, {local.state / 'log'}",
    ]
    assert local.run("status").stdout == up.stdout
    again = local.run("up", "--detach")
    assert (again.returncode, again.stdout) == (0, up.stdout.replace("server run (", "server run already ("))
    assert local.pids() == pids

    # The engine really asks this BigQuery.
    source = {
        "name": "s",
        "configuration": {"project_id": "p", "datasets": [], "service_account": {"from_env": "X"}},
    }
    body = json.dumps({"type": "bigquery_add_source", "args": source}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{local.graphql}/v1/metadata", body)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.load(answer)["message"] == "success"

    down = local.run("down")
    assert (down.returncode, down.stdout, down.stderr) == (0, "stopped\n", "")
    for pid in pids.values():
        wait_until_gone(pid)
    assert local.answers() == [False, False, False]
    down = local.run("down")
    assert (down.returncode, down.stdout) == (0, f"nothing runs (state: {local.state})\n")
    status = local.run("status")
    assert (status.returncode, status.stderr) == (5, f"nothing runs (state: {local.state})\n")


def test_what_was_published_is_there_after_a_restart(local: Local) -> None:
    process = local.foreground()
    url = f"http://127.0.0.1:{local.bigquery}/bigquery/v2/projects/local/datasets"
    dataset = json.dumps({"datasetReference": {"projectId": "local", "datasetId": "kept"}}).encode()
    urllib.request.urlopen(urllib.request.Request(url, dataset), timeout=10).close()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    local.foreground()
    with urllib.request.urlopen(url, timeout=10) as answer:
        listed = json.load(answer)["datasets"]
    assert [each["datasetReference"]["datasetId"] for each in listed] == ["kept"]


def test_other_ports_than_those_that_run(local: Local) -> None:
    local.foreground()
    ran, local.graphql = local.graphql, free_port()
    up = local.run("up", "--detach")
    said = f"they run already, with --graphql-port {ran}: stop them first (down --state {local.state})\n"
    assert (up.returncode, up.stdout, up.stderr) == (5, "", said)


@pytest.mark.parametrize(
    ("title", "option", "detach"),
    [("BigQuery server", "bigquery", ()), ("Pub/Sub Lite server", "pubsublite", ("--detach",))],
    ids=["first", "last-detached"],
)
def test_a_port_that_somebody_else_has(local: Local, title: str, option: str, detach: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", getattr(local, option)))
        taken.listen()
        up = local.run("up", *detach)
    assert (up.returncode, up.stdout) == (5, "")
    assert up.stderr == (
        f"port {getattr(local, option)} for the {title} is taken by another program (Address already in use): "
        f"stop that one, or choose another port with --{option}-port\n"
    )
    assert local.pids() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(local: Local, number: signal.Signals) -> None:
    process = local.foreground()
    pids = local.pids()
    assert set(pids) == set(NAMES)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest.splitlines()[-1]) == (0, "stopped")
    for pid in pids.values():
        wait_until_gone(pid)


def test_a_signal_while_they_start(local: Local) -> None:
    process = subprocess.Popen(local.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    local.started.append(process)
    end = time.monotonic() + 30
    while "bigquery" not in local.pids() and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) == 0
    assert local.pids() == {}


def test_kill_of_the_launcher_then_up(local: Local) -> None:
    process = local.foreground()
    pids = local.pids()
    process.kill()
    # At once: the servers are still ending, and their ports are still taken.
    up = local.run("up", "--detach")
    assert (up.returncode, up.stderr) == (0, "")
    now = local.pids()
    assert set(now) == set(NAMES)
    assert not set(now.values()) & set(pids.values())
    for name in NAMES[1:]:
        wait_until_gone(pids[name])
    assert local.answers() == [True, True, True]


def test_kill_of_the_launcher_ends_the_servers(local: Local) -> None:
    process = local.foreground()
    pids = local.pids()
    process.kill()
    process.wait()
    for name in NAMES[1:]:
        wait_until_gone(pids[name])
    status = local.run("status")
    assert (status.returncode, status.stderr) == (5, f"nothing runs (state: {local.state})\n")


@pytest.mark.soak
def test_a_server_that_hangs_is_ended_too(local: Local) -> None:
    process = local.foreground()
    pids = local.pids()
    os.kill(pids["graphql"], signal.SIGSTOP)
    process.kill()
    process.wait()
    down = local.run("down")
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    wait_until_gone(pids["graphql"])


def test_a_server_that_dies_takes_the_others_with_it(local: Local) -> None:
    process = subprocess.Popen(local.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    local.started.append(process)
    assert process.stdout is not None
    process.stdout.readline()
    pids = local.pids()
    os.kill(pids["bigquery"], signal.SIGKILL)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 4
    assert error.startswith("BigQuery server ended: ")
    assert error.endswith(f"(its log: {local.state / 'log' / 'bigquery.log'})\n")
    assert error.count("\n") == 1
    for name in ("graphql", "pubsublite"):
        wait_until_gone(pids[name])


def test_a_process_id_in_a_file_that_nobody_holds_is_left_alone(local: Local) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        local.state.mkdir()
        for name in NAMES:
            (local.state / f"{name}.lock").write_text(json.dumps({"pid": bystander.pid, "ready": True}) + "\n")
        assert local.run("down").stdout == f"nothing runs (state: {local.state})\n"
        assert local.run("status").returncode == 5
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bigquery-port", "0"), "'0' is not a port: 1 to 65535"),
        (("--bigquery-port", "19080"), "--bigquery-port and --graphql-port are the same"),
        (("sideways",), "invalid choice: 'sideways'"),
    ],
    ids=["port", "same", "command"],
)
def test_bad_options(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polyexpose_spark.local", *words, "--state", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "none").exists()


def test_kafka_is_started_where_it_is_asked_for(local: Local) -> None:
    port = free_port()
    up = local.run("up", "--detach", "--kafka", "--kafka-port", str(port))
    assert (up.returncode, up.stderr) == (0, "")
    assert f"  Kafka         127.0.0.1:{port}\n" in up.stdout
    assert "Pub/Sub Lite server and Kafka broker run" in up.stdout
    assert listens(port)
    assert local.run("status").stdout == up.stdout
    again = local.run("up", "--detach")
    assert f"127.0.0.1:{port}" in again.stdout
    assert local.run("down").stdout == "stopped\n"
    assert not listens(port)
    assert holder(local.state / "kafka.lock") is None


def test_kafka_is_not_started_beside_those_that_run(local: Local) -> None:
    assert local.run("up", "--detach").returncode == 0
    late = local.run("up", "--detach", "--kafka", "--kafka-port", str(free_port()))
    assert late.returncode == 5
    assert "without Kafka broker: stop them first (down --state" in late.stderr


def test_kill_of_the_launcher_ends_kafka(local: Local) -> None:
    port = free_port()
    assert local.run("up", "--detach", "--kafka", "--kafka-port", str(port)).returncode == 0
    os.kill(local.pids()["launcher"], signal.SIGKILL)
    end = time.monotonic() + 20
    while listens(port) and time.monotonic() < end:
        time.sleep(0.1)
    assert not listens(port)
