"""A real Kafka broker of one node: ``python -m polyexpose_spark.local.kafka --port N --state DIR``.

Kafka 4 without ZooKeeper (KRaft), broker and controller in one Java process on 127.0.0.1. Its jars are those of
`conf/jars/kafka-broker.xml`, fetched on first use. Topics, events and offsets stay in the folder.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from polyexpose_spark import runtime
from polyexpose_spark.errors import PolyexposeError, TargetFailed, TargetUnavailable

HOST = "127.0.0.1"
_START_SECONDS = 60.0  # a cold file cache on a busy machine; otherwise 3 s
_STOP_SECONDS = 9.0  # the launcher waits 12 s
_SECONDS_BETWEEN = 0.05

# The broker ends with the process that started it, however that one ends: the system then closes the pipe that `cat`
# reads. Standard input of a background command is /dev/null, which is why descriptor 3.
_TETHER = 'exec 3<&0; "$@" 3<&- & broker=$!; { cat <&3 >/dev/null; kill $broker 2>/dev/null; } & wait $broker'

_LOGGING = """\
status = error
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss.SSS} %p %c{1}: %m%n%ex
"""


class Broker:
    """A broker as a child process.

    Args:
        port: on 127.0.0.1.
        state: folder of what it keeps; made if it is not there.
        settings: of Kafka's own, over those that are set here (Apache Kafka documentation, "Broker Configs").
    """

    def __init__(self, port: int, state: Path, settings: Mapping[str, str] | None = None) -> None:
        """Keep what is given; nothing is started."""
        self.port = port
        self._state = state.resolve()
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return what clients are given as bootstrap server."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            ConfigError: no Java. TargetFailed: it ended.
            TargetUnavailable: the port is taken, the jars cannot be fetched, or no answer in time.
        """
        self._check_port()
        classes = str(runtime.jars("kafka-broker")[0].parent / "*")
        java = str(runtime.java_home() / "bin" / "java")
        self._state.mkdir(parents=True, exist_ok=True)
        properties, log4j = self._state / "server.properties", self._state / "log4j2.properties"
        properties.write_text(runtime.properties_text(self._properties()), encoding="ascii")
        log4j.write_text(_LOGGING, encoding="ascii")
        tool = [java, f"-Dlog4j2.configurationFile={log4j}", "-cp", classes]
        if not (self._state / "data" / "meta.properties").exists():
            self._format([*tool, "-Xmx128m", "kafka.tools.StorageTool"], properties)
        # SerialGC and the first compiler only: the start counts, and 512 MiB carry what a laptop sends.
        java_options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command = ["/bin/sh", "-c", _TETHER, "kafka", *tool, *java_options, "kafka.Kafka", str(properties)]
        # A session of its own: Ctrl-C on the terminal is for this process, which ends the broker in order.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=2, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.port):
            if self._process.poll() is not None:
                raise TargetFailed(f"the Kafka broker ended (exit code {self._process.returncode}); its log says why")
            if time.monotonic() > deadline:
                self.stop()
                raise TargetUnavailable(f"the Kafka broker does not answer at {self.address} in {_START_SECONDS:.0f} s")
            time.sleep(_SECONDS_BETWEEN)

    def ended(self) -> int | None:
        """Return its exit code; None: it runs."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End it in order; what was acknowledged stays."""
        if self._process is None or self._process.stdin is None:
            return
        self._process.stdin.close()  # what the broker's tether waits for
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # the shell leads the session that Java is in
            self._process.wait()
            self._process = None

    def _check_port(self) -> None:
        # Kafka would start, say so in its log and end.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended a moment ago
            try:
                probe.bind((HOST, self.port))
            except OSError as error:
                raise TargetUnavailable(f"port {self.port} is taken by another program ({error.strerror})") from None

    def _format(self, tool: list[str], properties: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        command = [*tool, "format", f"--cluster-id={cluster}", "--config", str(properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_SECONDS)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
            raise TargetFailed(f"the folder {self._state} could not be made ready for Kafka: {said[-1]}")

    def _properties(self) -> dict[str, str]:
        # The controller is this process's own affair: any free port, another one at every start.
        with socket.create_server((HOST, 0)) as probe:
            controller = f"{HOST}:{probe.getsockname()[1]}"
        ours = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self._state / "data"),
            # As on most clusters that are looked after, Google's included: a topic is made on purpose.
            "auto.create.topics.enable": "false",
            # One node holds one copy of everything.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # A consumer on a laptop need not wait 3 s for others of its group.
            "group.initial.rebalance.delay.ms": "0",
        }
        return {**ours, **self._settings}


def answers(port: int) -> bool:
    """Say whether a Kafka broker answers at this port: the request for the versions of its API (KIP-35)."""
    body = struct.pack(">hhih", 18, 0, 1, -1)  # ApiVersions, version 0, correlation id 1, no client id
    try:
        with socket.create_connection((HOST, port), timeout=5) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(10, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 10 and struct.unpack(">ih", answer[4:]) == (1, 0)


def main() -> int:
    """Run a broker until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.local.kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--state", type=Path, required=True, help="folder of what the broker keeps")
    given = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    broker = Broker(given.port, given.state)
    try:
        broker.start()
        sys.stdout.write(f"Kafka broker ready: {broker.address}\n")
        sys.stdout.flush()
        while not stopped.wait(0.2):
            if (code := broker.ended()) is not None:
                raise TargetFailed(f"the Kafka broker ended (exit code {code}); its log says why")
    except PolyexposeError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    finally:
        broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
