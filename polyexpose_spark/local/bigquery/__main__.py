"""Start the server alone: ``python -m polyexpose_spark.local.bigquery --port N --state DIR``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

import duckdb

from polyexpose_spark.local.bigquery.server import serve


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.local.bigquery", description=__doc__)
    parser.add_argument("--port", type=int, default=9050, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="folder of the DuckDB file")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        server = serve(arguments.port, arguments.state)
    except (OSError, duckdb.IOException) as error:
        reason = str(error).split("\n")[0]
        sys.stderr.write(f"The BigQuery server cannot start on port {arguments.port}: {reason}\n")
        return 5
    sys.stdout.write(f"BigQuery server ready: {server.url}\n")
    sys.stdout.flush()
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
