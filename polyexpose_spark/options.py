"""The arguments of the command line: what there is, and what goes with what.

Imported by `--help` too, so nothing heavy is imported here.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from polyexpose_spark import __version__
from polyexpose_spark.errors import ConfigError, Problem
from polyexpose_spark.ports import PORTS

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
QUERY_FORMATS = ("table", "csv", "json", "arrow")


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
        help="text (default) or json; with --query: " + ", ".join(QUERY_FORMATS),
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


def command(arguments: argparse.Namespace) -> str:
    """Return what is to be done: run, plan, status, sample, list, describe, history or query."""
    if arguments.mode in ("plan", "status", "sample"):
        return str(arguments.mode)
    for name in ("list", "describe", "history"):
        if getattr(arguments, name):
            return name
    return "query" if arguments.query is not None or arguments.file is not None else "run"


def check(arguments: argparse.Namespace) -> None:
    """Refuse what the parser cannot: options that do not go with the mode. Nothing is silently ignored.

    Raises:
        ConfigError: every problem found.
    """
    chosen, problems = command(arguments), []

    def only(option: str, given: Any, commands: Sequence[str], meaning: str) -> None:
        if given and chosen not in commands:
            problems.append(Problem(option, 0, "", f"goes with {meaning} only"))

    if chosen in ("list", "describe", "history", "query") and arguments.mode != "sql":
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
    if arguments.ports is not None and (chosen not in ("run", "plan", "status") or arguments.mode in PORTS):
        problems.append(Problem("--ports", 0, "", "goes with --mode all, plan or status only"))
    if chosen in ("run", "plan", "status") and not arguments.product:
        problems.append(Problem("--product", 0, "", "is required: a contract file, or a folder of *.odcs.yaml"))
    if arguments.limit is not None and arguments.limit < 0:
        problems.append(Problem("--limit", 0, "", f"{arguments.limit} is not allowed; 0 or more"))
    formats = QUERY_FORMATS if chosen == "query" else ("text", "json")
    if arguments.output is not None and arguments.output not in formats:
        problems.append(
            Problem("--output", 0, "", f"{arguments.output!r} is not allowed here; allowed: {', '.join(formats)}")
        )
    if problems:
        raise ConfigError(problems)
