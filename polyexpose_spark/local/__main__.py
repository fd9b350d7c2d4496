"""Run what the local profile names: a BigQuery server, a GraphQL engine in front of it, a Pub/Sub Lite server.

With --kafka also a Kafka broker, a real one, which is fetched on first use.

up      start them and stay until Ctrl-C or SIGTERM; with --detach return when they answer
down    stop them
status  say what runs
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from polyexpose_spark import runtime
from polyexpose_spark.errors import ExitCode, PolyexposeError, TargetUnavailable
from polyexpose_spark.local import launcher
from polyexpose_spark.local.launcher import Launcher, Running, Server

_START_SECONDS = 90.0  # of a start by another process


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = _parser().parse_args(argv)
    ports = {name: getattr(given, f"{name}_port") for name in launcher.PORTS}
    # What was started with --kafka is stopped without it.
    asked_for = given.kafka or given.command == "down"
    wanted = launcher.servers({n: p for n, p in ports.items() if asked_for or n not in launcher.ON_REQUEST})
    options: dict[int, str] = {}
    for server in wanted:
        other = options.setdefault(server.port, server.option)
        if other != server.option:
            _parser().error(f"{other} and {server.option} are the same")
    try:
        return _COMMANDS[given.command](given, wanted)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except PolyexposeError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m polyexpose_spark.local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 done, or it runs already; 4 a server ended; 5 a port is taken, nothing answers or runs",
    )
    add = parser.add_argument
    add("command", nargs="?", choices=list(_COMMANDS), default="up")
    add("--detach", action="store_true", help="with up: leave them running")
    add("--kafka", action="store_true", help="with up: the Kafka broker as well")
    add("--state", type=Path, default=Path(".polyexpose/local"), metavar="DIR", help="(default: %(default)s)")
    for name, port in launcher.PORTS.items():
        add(f"--{name}-port", type=_port, default=port, metavar="PORT", help="on 127.0.0.1 (default: %(default)s)")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 1 to 65535")
    return int(text)


def _up(given: argparse.Namespace, wanted: Sequence[Server]) -> int:
    running = launcher.find(given.state, _START_SECONDS)
    if running is not None:
        return _runs_already(running, given.state, wanted)
    if given.kafka:
        runtime.jars("kafka-broker")  # before the clock runs that a start is held against
    if given.detach:
        command = [sys.executable, "-m", "polyexpose_spark.local", "up", "--state", str(given.state)]
        command += [word for server in wanted for word in (server.option, str(server.port))]
        command += ["--kafka"] if given.kafka else []
        code, said = launcher.start_detached(command, given.state)
        if code:
            sys.stderr.write(f"{said}\n")
            return code
        # Whoever started them, this process's launcher or one that was quicker.
        running = launcher.find(given.state, _START_SECONDS)
        if running is None:
            raise TargetUnavailable("they were stopped while they started")
        _say(f"run (process {running.pid})", wanted, given.state)
        return ExitCode.DONE
    started = Launcher(given.state, wanted)
    is_told_to_stop = _listen_to_signals()
    try:
        if started.start(is_told_to_stop):
            _say("run; Ctrl-C stops them", wanted, given.state)
            started.watch(is_told_to_stop)
    finally:
        started.stop()
    sys.stdout.write("stopped\n")
    return ExitCode.DONE


def _listen_to_signals() -> Callable[[float], bool]:
    """Return a wait of so many seconds that says whether a signal to stop has come."""
    # A pipe and no lock: a handler may run at any moment of the very wait it is to end.
    reader, writer = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: os.write(writer, b"."))
    return lambda seconds: bool(select.select([reader], [], [], seconds)[0])


def _runs_already(running: Running, state: Path, wanted: Sequence[Server]) -> int:
    if not running.ready:
        raise TargetUnavailable(f"process {running.pid} starts them and is not done: see {state / 'log'}")
    missing = [server.title for server in wanted if server.name not in running.ports]
    if missing:
        raise TargetUnavailable(f"they run already, without {missing[0]}: stop them first (down --state {state})")
    others = {server.option: port for server in wanted if (port := running.ports[server.name]) != server.port}
    if others:
        said = ", ".join(f"{option} {port}" for option, port in others.items())
        raise TargetUnavailable(f"they run already, with {said}: stop them first (down --state {state})")
    _say(f"run already (process {running.pid})", launcher.servers(running.ports), state)
    return ExitCode.DONE


def _down(given: argparse.Namespace, wanted: Sequence[Server]) -> int:
    ended = launcher.stop(given.state, wanted)
    sys.stdout.write("stopped\n" if ended else f"nothing runs (state: {given.state})\n")
    return ExitCode.DONE


def _status(given: argparse.Namespace, wanted: Sequence[Server]) -> int:
    running = launcher.find(given.state)
    if running is None:
        raise TargetUnavailable(f"nothing runs (state: {given.state})")
    if not running.ready:
        raise TargetUnavailable(f"process {running.pid} is starting them")
    there = launcher.servers(running.ports)
    silent = [server for server in there if not server.is_healthy()]
    if silent:
        raise TargetUnavailable("; ".join(f"{server.title}: no answer at {server.url}" for server in silent))
    _say(f"run (process {running.pid})", there, given.state)
    return ExitCode.DONE


def _say(what: str, there: Sequence[Server], state: Path) -> None:
    *titles, last = [server.title for server in there]
    lines = [f"{', '.join(titles)} and {last} {what}"]
    lines += [f"  {name:13} {server.url}{path}" for server in there for name, path in server.shown]
    lines += [f"  {'state, logs':13} {state}, {state / 'log'}"]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


_COMMANDS = {"up": _up, "down": _down, "status": _status}


if __name__ == "__main__":
    raise SystemExit(main())
