"""The command line: argparse in, rich text or JSON out, an exit code back. The only place that prints.

Imported by `--help` too, so nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyexpose_spark import options, run_log
from polyexpose_spark.errors import ConfigError, ExitCode, PolyexposeError, Problem
from polyexpose_spark.ports import PORTS

if TYPE_CHECKING:
    from polyexpose_spark.ports.base import StepListener
    from polyexpose_spark.workspace import Request


def main(argv: Sequence[str] | None = None, progress: StepListener | None = None) -> int:
    """Run one command and return its exit code; errors are one line each on stderr.

    With `log: json` in the profile, steps, results, errors and warnings are JSON lines on stdout instead.

    Args:
        argv: the arguments; those of the process where None.
        progress: told every step; lines on stderr where None.
    """
    arguments = options.parser().parse_args(argv)
    arguments.json_lines = False
    try:
        options.check(arguments)
        arguments.json_lines = _is_json(arguments)
        # spark-submit puts a job's stderr into stdout, where a program that asked for JSON would find the steps.
        quiet = arguments.json_lines or (arguments.output == "json" and not arguments.verbose)
        arguments.progress = progress or (_silent if quiet else Progress(every=arguments.verbose))
        _configure_logging(arguments.verbose, arguments.json_lines)
        return int(_COMMANDS[options.command(arguments)](arguments))
    except PolyexposeError as error:
        _say_error(str(error), error.exit_code, arguments)
        return int(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.DONE)
    except Exception as error:
        _say_error(f"this is a bug in polyexpose-spark: {type(error).__name__}: {error}", ExitCode.BUG, arguments)
        if arguments.verbose:
            logging.getLogger(__name__).exception("stack")
        return int(ExitCode.BUG)


def _request(arguments: argparse.Namespace) -> Request:
    from polyexpose_spark.workspace import Request

    modes = tuple(PORTS)
    if arguments.mode in PORTS and options.command(arguments) == "run":
        modes = (arguments.mode,)
    elif arguments.ports is not None:
        modes = tuple(each.strip() for each in arguments.ports.split(","))
        unknown = [each for each in modes if each not in PORTS]
        if unknown:
            raise ConfigError([Problem("--ports", 0, "", f"{unknown[0]!r} is not known; allowed: {', '.join(PORTS)}")])
    return Request(
        products=tuple(arguments.product),
        modes=modes,
        profile=arguments.profile,
        conf=tuple(arguments.conf),
        settings=tuple(arguments.set),
        snapshot_id=arguments.snapshot,
        as_of=arguments.as_of,
        from_scratch=arguments.from_scratch,
    )


def _run(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import app

    if arguments.follow:
        every = 1.0 if arguments.every is None else arguments.every
        receipts = app.follow(_request(arguments), _until_told(), every, arguments.progress)
    else:
        work = app.withdraw if arguments.withdraw else app.run
        receipts = work(_request(arguments), arguments.progress)
    if not arguments.json_lines:  # each was told when it was made
        _show("receipts", receipts, arguments.output)
    return app.exit_code(receipts)


def _until_told() -> Callable[[float], bool]:
    """Return a wait of so many seconds that says whether a signal to stop has come."""
    import signal
    import threading

    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    return told.wait


def _plan(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import app

    planned = app.plan(_request(arguments))
    _tell(run_log.planned, "plans", planned, arguments)
    return app.exit_code(planned)


def _status(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import app

    states = app.status(_request(arguments))
    _tell(run_log.status, "statuses", states, arguments)
    return app.exit_code(states)


def _sample(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import sample
    from polyexpose_spark.workspace import Workspace

    _show("samples", sample.load(Workspace(_request(arguments)).clients, arguments.progress), arguments.output)
    return ExitCode.DONE


def _list(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import browse

    _show("listing", browse.listed(_request(arguments)), arguments.output)
    return ExitCode.DONE


def _describe(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import browse

    _show("description", browse.described(_request(arguments), arguments.describe), arguments.output)
    return ExitCode.DONE


def _history(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import browse

    _show("log", browse.history(_request(arguments), arguments.history), arguments.output)
    return ExitCode.DONE


def _query(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import query
    from polyexpose_spark.workspace import Workspace

    text = arguments.query
    if text is None:
        try:
            text = Path(arguments.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([Problem(arguments.file, 0, "", f"cannot be read: {error}")]) from None
    session = Workspace(_request(arguments)).clients.session()
    results = query.run(session, text, allow_writes=arguments.allow_writes, source=arguments.file or "--query")
    query.write(results, arguments.output or "table", arguments.limit, sys.stdout.buffer)
    return ExitCode.DONE


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "plan": _plan,
    "status": _status,
    "sample": _sample,
    "list": _list,
    "describe": _describe,
    "history": _history,
    "query": _query,
}


def _silent(name: str, detail: str) -> None:
    """Tell nobody."""


class Progress:
    """Tells the steps on stderr, with the seconds since the command began."""

    def __init__(self, every: bool = False) -> None:
        """Start the clock.

        Args:
            every: tell every step, not only those that say what was done.
        """
        self._began = time.monotonic()
        self._every = every

    def __call__(self, name: str, detail: str) -> None:
        """Print one step: `   3.2 s  csv.staged        nyc-flights 336,776 rows in 4 parts`."""
        if self._every or name.rpartition(".")[2] not in run_log.IN_BETWEEN:
            print(f"{time.monotonic() - self._began:6.1f} s  {name:16}  {detail}", file=sys.stderr, flush=True)  # noqa: T201


def _tell(say: Callable[[Mapping[str, Any]], None], what: str, value: Any, arguments: argparse.Namespace) -> None:
    """Tell each result in the run's log, or show all as _show() does."""
    if not arguments.json_lines:
        return _show(what, value, arguments.output)
    from polyexpose_spark import show_json

    for each in getattr(show_json, what)(value):
        say(each)
    return None


def _show(what: str, value: Any, output: str | None) -> None:
    """Print a result as text or JSON: `what` names the function in show.py and show_json.py."""
    if output == "json":
        import json

        from polyexpose_spark import show_json

        print(json.dumps(getattr(show_json, what)(value), indent=2, ensure_ascii=False))  # noqa: T201
        return
    from rich.console import Console

    from polyexpose_spark import show

    # A pipe or a driver log has no width: lines are as long as they are.
    Console(width=None if sys.stdout.isatty() else 240, highlight=False).print(getattr(show, what)(value))


def _say_error(text: str, code: ExitCode, arguments: argparse.Namespace) -> None:
    if arguments.json_lines:
        logging.getLogger(__name__).error("%s", text, extra={"fields": {"exitCode": int(code)}})
    else:
        print(f"error: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _is_json(arguments: argparse.Namespace) -> bool:
    """Say whether this command tells what it does as JSON lines: in such a profile, where nothing else is asked for."""
    if options.command(arguments) not in ("run", "plan", "status") or arguments.output is not None:
        return False
    from polyexpose_spark import config
    from polyexpose_spark.workspace import address_models

    return config.load(arguments.profile, arguments.conf, arguments.set, address_models()).log == "json"


def _configure_logging(verbose: bool, json_lines: bool) -> None:
    level = logging.INFO if verbose else logging.WARNING
    if json_lines:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(run_log.JsonFormatter())
        logging.basicConfig(level=level, handlers=[handler], force=True)
    else:
        logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    # For people, the same is told by Progress and shown at the end.
    run_log.logger.setLevel(logging.DEBUG if json_lines else logging.CRITICAL)
    logging.getLogger("py4j").setLevel(logging.ERROR)


if __name__ == "__main__":
    raise SystemExit(main())
