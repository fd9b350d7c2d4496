"""The command line: argparse in, rich text or JSON out, an exit code back. The only place that prints.

Imported by `--help` too, so nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyexpose_spark import __version__
from polyexpose_spark.errors import ConfigError, ExitCode, PolyexposeError, Problem
from polyexpose_spark.ports import PORTS

if TYPE_CHECKING:
    from polyexpose_spark.ports.base import StepListener
    from polyexpose_spark.workspace import Request

_MODES = {
    "all": "expose at every port of the contract, all at one snapshot",
    "sql": "expose as views of the Iceberg catalog; or look into the catalog and query it",
    "csv": "expose as CSV files with a Frictionless data package",
    "gql": "expose in GraphQL: a copy in BigQuery, a view over it, tracked in Hasura",
    "events": "expose as events: every change of a row, in Kafka, Pub/Sub Lite or Pub/Sub",
    "plan": "say what would be done; reads metadata only",
    "status": "say what is exposed and how far behind it is",
    "sample": "load the sample data products into the catalog",
}
_EXIT_CODES = (
    "exit codes: 0 published, planned or already there; 1 a bug; 2 configuration; 3 refused (type, contract, policy); "
    "4 the target failed; 5 the target is unavailable or busy, safe to run again"
)
_QUERY_FORMATS = ("table", "csv", "json", "arrow")


def parser() -> argparse.ArgumentParser:
    """Return the parser of main.py and of the installed `polyexpose`."""
    modes = "\n".join(f"  {name:8}{text}" for name, text in _MODES.items())
    made = argparse.ArgumentParser(
        prog="polyexpose",
        description=f"Expose an Iceberg data product as SQL, CSV, GraphQL, events, at one snapshot.\n\nmodes:\n{modes}",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--version", action="version", version=f"polyexpose-spark {__version__}")
    made.add_argument("--mode", required=True, choices=list(_MODES), metavar="MODE", help="what to do (above)")
    made.add_argument(
        "--output",
        metavar="FORMAT",
        help="text (default) or json; with --query: " + ", ".join(_QUERY_FORMATS),
    )
    made.add_argument("--verbose", action="store_true", help="log more to stderr, with stack traces for bugs")

    environment = made.add_argument_group("environment")
    environment.add_argument("--profile", default="local", help="conf/profiles/<name>.yaml: local (default) or gcp")
    environment.add_argument(
        "--conf",
        action="append",
        default=[],
        metavar="FILE",
        help="a further YAML file; it wins (repeatable)",
    )
    environment.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; it wins (repeatable)"
    )

    what = made.add_argument_group("what to expose (modes all, sql, csv, gql, events, plan, status)")
    what.add_argument(
        "--product",
        action="append",
        default=[],
        metavar="FILE|DIR",
        help="contract file, or a folder of *.odcs.yaml; local or gs:// (repeatable)",
    )
    what.add_argument(
        "--ports", metavar="MODES", help=f"with all, plan, status: only these, for example {','.join(PORTS)}"
    )
    when = what.add_mutually_exclusive_group()
    when.add_argument(
        "--snapshot",
        type=int,
        metavar="ID",
        help="expose this snapshot instead of the current one (also the way back)",
    )
    when.add_argument(
        "--as-of",
        metavar="TIMESTAMP|TAG|BRANCH",
        help="expose the snapshot of a time (UTC), a tag or a branch",
    )

    what.add_argument(
        "--withdraw",
        action="store_true",
        help="take away what the product published at these ports, and nothing else",
    )

    events = made.add_argument_group("events (mode events)")
    how = events.add_mutually_exclusive_group()
    how.add_argument("--once", action="store_true", help="send everything there is, then stop (the default)")
    how.add_argument("--follow", action="store_true", help="go on with every new commit, until SIGTERM or Ctrl-C")
    events.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="with --follow: look at the catalog so often (default 1; needs no Spark)",
    )
    events.add_argument(
        "--from-scratch",
        action="store_true",
        help="begin with the whole snapshot again (op r), under a new epoch",
    )

    sql = made.add_argument_group("look and query (mode sql)")
    ask = sql.add_mutually_exclusive_group()
    ask.add_argument("--list", action="store_true", help="tables and views of the catalog")
    ask.add_argument(
        "--describe",
        metavar="NAME",
        help="columns, partitioning, ports, freshness of a product, table or view",
    )
    ask.add_argument("--history", metavar="NAME", help="snapshots of a product or table")
    ask.add_argument("--query", metavar="SQL", help="run SQL; read-only unless --allow-writes")
    ask.add_argument("--file", metavar="F.sql", help="run the statements of a file; read-only unless --allow-writes")
    sql.add_argument("--limit", type=int, metavar="N", help="rows at most (table: 1000 unless said)")
    sql.add_argument("--allow-writes", action="store_true", help="let --query and --file change things")
    return made


def main(argv: Sequence[str] | None = None, progress: StepListener | None = None) -> int:
    """Run one command and return its exit code; errors are one line each on stderr.

    Args:
        argv: the arguments; those of the process where None.
        progress: told every step; lines on stderr where None.
    """
    arguments = parser().parse_args(argv)
    # spark-submit puts a job's stderr into stdout, where a program that asked for JSON would find the steps.
    quiet = arguments.output == "json" and not arguments.verbose
    arguments.progress = progress or (_silent if quiet else Progress(every=arguments.verbose))
    _configure_logging(arguments.verbose)
    try:
        _check(arguments)
        return int(_COMMANDS[_command(arguments)](arguments))
    except PolyexposeError as error:
        _say_error(str(error))
        return int(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        return int(ExitCode.DONE)
    except Exception as error:
        _say_error(f"this is a bug in polyexpose-spark: {type(error).__name__}: {error}")
        if arguments.verbose:
            logging.getLogger(__name__).exception("stack")
        return int(ExitCode.BUG)


def _command(arguments: argparse.Namespace) -> str:
    if arguments.mode in ("plan", "status", "sample"):
        return str(arguments.mode)
    for name in ("list", "describe", "history"):
        if getattr(arguments, name):
            return name
    return "query" if arguments.query is not None or arguments.file is not None else "run"


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what the parser cannot: options that do not go with the mode. Nothing is silently ignored."""
    command, problems = _command(arguments), []

    def only(option: str, given: Any, commands: Sequence[str], meaning: str) -> None:
        if given and command not in commands:
            problems.append(Problem(option, 0, "", f"goes with {meaning} only"))

    if command in ("list", "describe", "history", "query") and arguments.mode != "sql":
        given = next(
            o for o in ("list", "describe", "history", "query", "file") if getattr(arguments, o) not in (None, False)
        )
        problems.append(Problem(f"--{given}", 0, "", "goes with --mode sql only"))
    only("--withdraw", arguments.withdraw, ["run"], "modes all, sql, csv, gql and events")
    for option in ("once", "follow", "from_scratch"):
        if getattr(arguments, option) and arguments.mode != "events":
            problems.append(Problem(f"--{option.replace('_', '-')}", 0, "", "goes with --mode events only"))
    if arguments.every is not None and not arguments.follow:
        problems.append(Problem("--every", 0, "", "goes with --follow only"))
    if arguments.every is not None and not 0.1 <= arguments.every <= 3600:
        problems.append(Problem("--every", 0, "", f"{arguments.every:g} is not allowed; 0.1 to 3600 seconds"))
    if arguments.follow and (arguments.snapshot is not None or arguments.as_of is not None or arguments.withdraw):
        problems.append(Problem("--follow", 0, "", "takes no --snapshot, no --as-of and no --withdraw"))
    if arguments.withdraw and arguments.from_scratch:
        problems.append(Problem("--withdraw", 0, "", "takes no --from-scratch"))
    if arguments.withdraw and (arguments.snapshot is not None or arguments.as_of is not None):
        problems.append(Problem("--withdraw", 0, "", "takes no --snapshot and no --as-of"))
    only("--limit", arguments.limit is not None, ["query"], "--query and --file")
    only("--allow-writes", arguments.allow_writes, ["query"], "--query and --file")
    only("--snapshot", arguments.snapshot is not None, ["run", "plan"], "exposing and plan")
    only("--as-of", arguments.as_of is not None, ["run", "plan"], "exposing and plan")
    only(
        "--product",
        arguments.product,
        ["run", "plan", "status", "list", "describe", "history"],
        "exposing, plan and status",
    )
    if arguments.ports is not None and (command not in ("run", "plan", "status") or arguments.mode in PORTS):
        problems.append(Problem("--ports", 0, "", "goes with --mode all, plan or status only"))
    if command in ("run", "plan", "status") and not arguments.product:
        problems.append(Problem("--product", 0, "", "is required: a contract file, or a folder of *.odcs.yaml"))
    if arguments.limit is not None and arguments.limit < 0:
        problems.append(Problem("--limit", 0, "", f"{arguments.limit} is not allowed; 0 or more"))
    formats = _QUERY_FORMATS if command == "query" else ("text", "json")
    if arguments.output is not None and arguments.output not in formats:
        problems.append(
            Problem("--output", 0, "", f"{arguments.output!r} is not allowed here; allowed: {', '.join(formats)}")
        )
    if problems:
        raise ConfigError(problems)


def _request(arguments: argparse.Namespace) -> Request:
    from polyexpose_spark.workspace import Request

    modes = tuple(PORTS)
    if arguments.mode in PORTS and _command(arguments) == "run":
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
    _show("plans", planned, arguments.output)
    return app.exit_code(planned)


def _status(arguments: argparse.Namespace) -> int:
    from polyexpose_spark import app

    states = app.status(_request(arguments))
    _show("statuses", states, arguments.output)
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


# Steps that follow at once from the one before, or are of interest to an operator only.
_IN_BETWEEN = frozenset(
    {
        *("claimed", "recording", "recorded", "released", "tagging", "checked", "replacing", "flipping", "tracking"),
        *("sealing", "moving", "moved", "describing", "described", "pointing", "collecting", "collected"),
        *("sending", "storing", "stored"),
    }
)


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
        if self._every or name.rpartition(".")[2] not in _IN_BETWEEN:
            print(f"{time.monotonic() - self._began:6.1f} s  {name:16}  {detail}", file=sys.stderr, flush=True)  # noqa: T201


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


def _say_error(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)  # noqa: T201


def _configure_logging(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("py4j").setLevel(logging.ERROR)


if __name__ == "__main__":
    raise SystemExit(main())
