"""Start, find and stop the servers that the local profile names.

One process, the launcher, starts them, watches them and takes them with it when it ends. Everything is in one folder:

    launcher.lock, <server>.lock   held by the process it is about, with its id and address
    <server>/                      what the server keeps
    log/<server>.log               what it said since its last start
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyexpose_spark.errors import TargetFailed, TargetUnavailable
from polyexpose_spark.local.held import Held, holder

HOST = "127.0.0.1"
PORTS = {"bigquery": 19050, "graphql": 19080, "pubsublite": 19060, "kafka": 19092}
"""The servers and the ports that stand in conf/profiles/local.yaml too, which is why they are fixed."""
ON_REQUEST = frozenset({"kafka"})
"""Started only where they are asked for: 0.4 GB of memory, and 43 MB to be fetched first."""
_START_SECONDS = 60.0  # a cold file cache on a busy machine
_STOP_SECONDS = 12.0  # a little more than a server gives itself to end in good order
_ANSWER_SECONDS = 5.0
_SECONDS_BETWEEN = 0.05


@dataclass(frozen=True)
class Server:
    """One server: how it is started, and how it is seen that it can be used."""

    name: str
    title: str
    port: int
    module: str
    arguments: tuple[str, ...]
    health: str | None
    """The path that it answers with 200; None: it takes connections only when it can be used."""
    shown: tuple[tuple[str, str], ...]
    """What a user is told: (what it is, path)."""
    scheme: str = "http://"
    """What clients write before the address."""

    @property
    def option(self) -> str:
        """Return the option that chooses its port."""
        return f"--{self.name}-port"

    @property
    def url(self) -> str:
        """Return the address that clients are given."""
        return f"{self.scheme}{HOST}:{self.port}"

    def is_healthy(self) -> bool:
        """Ask the server; never through a proxy."""
        if self.health is None:
            with socket.socket() as probe:
                probe.settimeout(_ANSWER_SECONDS)
                return probe.connect_ex((HOST, self.port)) == 0
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", self.health)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def servers(ports: Mapping[str, int]) -> tuple[Server, ...]:
    """Return the servers in the order in which they start; each may need those before it.

    Args:
        ports: of each of PORTS; one that is left out is left out of the answer, too, if it is ON_REQUEST.
    """
    bigquery = Server(
        name="bigquery",
        title="BigQuery server",
        port=ports["bigquery"],
        module="polyexpose_spark.local.bigquery",
        arguments=(),
        health="/bigquery/v2/projects/local/datasets?maxResults=1",
        shown=(("BigQuery API", ""),),
    )
    graphql = Server(
        name="graphql",
        title="GraphQL engine",
        port=ports["graphql"],
        module="polyexpose_spark.engine",
        arguments=("--bigquery-endpoint", bigquery.url),
        health="/healthz",
        shown=(("GraphQL", "/v1/graphql"), ("console", "/console")),
    )
    pubsublite = Server(
        name="pubsublite",
        title="Pub/Sub Lite server",
        port=ports["pubsublite"],
        module="polyexpose_spark.local.pubsublite",
        arguments=(),
        health=None,
        shown=(("Pub/Sub Lite", ""),),
    )
    if "kafka" not in ports:
        return bigquery, graphql, pubsublite
    kafka = Server(
        name="kafka",
        title="Kafka broker",
        port=ports["kafka"],
        module="polyexpose_spark.local.kafka",
        arguments=(),
        health=None,
        shown=(("Kafka", ""),),
        scheme="",
    )
    return bigquery, graphql, pubsublite, kafka


class Launcher:
    """The servers of one state folder, as the process that starts them sees them."""

    def __init__(self, state: Path, wanted: Sequence[Server]) -> None:
        """Take the folder.

        Raises:
            TargetUnavailable: another launcher has it.
        """
        self._state = state
        self._wanted = wanted
        self._running: list[tuple[Server, subprocess.Popen[bytes]]] = []
        # A process that only looks who holds the file has it for a moment.
        self._held = Held.take(_launcher_file(state), {"ready": False}, seconds=0.5)

    def start(self, stopped: Callable[[float], bool]) -> bool:
        """Start every server, each when those before it answer; False when `stopped` said so in between.

        Args:
            stopped: waits for at most so many seconds; True when everything is to end.

        Raises:
            TargetUnavailable: a port is taken by another program, or a server does not answer in time.
            TargetFailed: a server ended.
        """
        _end_leftovers(self._state, self._wanted)
        for server in self._wanted:
            _check_port(server)
        for server in self._wanted:
            process = self._spawn(server)
            self._running.append((server, process))
            deadline = time.monotonic() + _START_SECONDS
            while not server.is_healthy():
                self._check()
                if time.monotonic() > deadline:
                    raise TargetUnavailable(
                        f"{server.title}: no answer at {server.url} within {_START_SECONDS:.0f} s; "
                        f"its log: {_log(self._state, server)}"
                    )
                if stopped(_SECONDS_BETWEEN):
                    return False
            self._check()
        self._held.say({"ready": True, "ports": {server.name: server.port for server in self._wanted}})
        return True

    def watch(self, stopped: Callable[[float], bool]) -> None:
        """Return when everything is to end.

        Raises:
            TargetFailed: a server ended by itself.
        """
        while not stopped(0.5):
            self._check()

    def stop(self) -> None:
        """End what was started, the last first."""
        while self._running:
            _, process = self._running.pop()
            # What a server also sees when this process is killed.
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, server: Server) -> subprocess.Popen[bytes]:
        log = _log(self._state, server)
        log.parent.mkdir(parents=True, exist_ok=True)
        tether = [sys.executable, "-m", "polyexpose_spark.local.tethered", str(_lock_file(self._state, server))]
        own = ["--port", str(server.port), "--state", str(self._state / server.name), *server.arguments]
        with log.open("wb") as out:
            # A session of its own: Ctrl-C on the terminal is for the launcher, which ends them in order.
            return subprocess.Popen(
                [*tether, server.module, *own], stdin=subprocess.PIPE, stdout=out, stderr=out, start_new_session=True
            )

    def _check(self) -> None:
        for server, process in self._running:
            if process.poll() is not None:
                log = _log(self._state, server)
                raise TargetFailed(f"{server.title} ended: {_last_line(log)} (its log: {log})")


def start_detached(command: Sequence[str], state: Path) -> tuple[int, str]:
    """Start a launcher that outlives this process; return (0, "") when its servers answer.

    Where it ends instead: its exit code and what it said last.
    """
    log = state / "log" / "launcher.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        while process.poll() is None:
            found = find(state)
            if found and found.ready and found.pid == process.pid:
                return 0, ""
            time.sleep(_SECONDS_BETWEEN)
    except KeyboardInterrupt:
        process.terminate()
        raise
    return process.returncode, _last_line(log)


@dataclass(frozen=True)
class Running:
    """A launcher that another process is."""

    pid: int
    ready: bool
    ports: dict[str, int]


def find(state: Path, seconds: float = 0.0) -> Running | None:
    """Return the launcher that has the folder; None where there is none.

    Args:
        state: the folder.
        seconds: how long to wait until its servers answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = holder(_launcher_file(state))
        if found is None:
            return None
        running = Running(int(found.get("pid", 0)), bool(found.get("ready")), dict(found.get("ports", {})))
        if running.ready or time.monotonic() >= deadline:
            return running
        time.sleep(_SECONDS_BETWEEN)


def stop(state: Path, known: Sequence[Server]) -> bool:
    """End the launcher that has the folder, with its servers; False where nothing ran.

    Raises:
        TargetFailed: something does not end.
    """
    found = _end(_launcher_file(state), _STOP_SECONDS * len(known))
    return _end_leftovers(state, known) or found


def _end_leftovers(state: Path, known: Sequence[Server]) -> bool:
    """End servers whose launcher was killed; they end by themselves, which is waited for."""
    left = [server for server in known if holder(_lock_file(state, server)) is not None]
    for server in left:
        file = _lock_file(state, server)
        if not _is_free(file, _STOP_SECONDS):
            _end(file, 0)
    return bool(left)


def _end(file: Path, seconds: float) -> bool:
    """End the process that holds the file: SIGTERM, and SIGKILL after so many seconds; False where nobody holds it."""
    for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, _STOP_SECONDS)):
        found = holder(file)
        if found is None:
            return number == signal.SIGKILL
        # The file is held, so this is the holder's id and not by now that of another program.
        if "pid" in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found["pid"], number)
        if _is_free(file, wait):
            return True
    raise TargetFailed(f"the process that holds {file} does not end")


def _is_free(file: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while holder(file) is not None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_SECONDS_BETWEEN)
    return True


def _check_port(server: Server) -> None:
    with socket.socket() as probe:
        # As the servers do: connections that ended a moment ago do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, server.port))
        except OSError as error:
            raise TargetUnavailable(
                f"port {server.port} for the {server.title} is taken by another program ({error.strerror}): "
                f"stop that one, or choose another port with {server.option}"
            ) from None


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _launcher_file(state: Path) -> Path:
    return state / "launcher.lock"


def _lock_file(state: Path, server: Server) -> Path:
    return state / f"{server.name}.lock"


def _log(state: Path, server: Server) -> Path:
    return state / "log" / f"{server.name}.log"
