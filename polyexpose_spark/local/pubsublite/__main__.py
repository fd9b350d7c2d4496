"""Start the server alone: ``python -m polyexpose_spark.local.pubsublite --port N --state DIR``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sqlite3
import sys
from pathlib import Path

from polyexpose_spark.local.pubsublite.server import serve


def main() -> int:
    """Serve until SIGTERM or Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.local.pubsublite", description=__doc__)
    parser.add_argument("--port", type=int, default=9060, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--state", type=Path, required=True, help="folder of topics, messages and cursors")
    arguments = parser.parse_args()
    return asyncio.run(_run(arguments.port, arguments.state))


async def _run(port: int, state: Path) -> int:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        server = await serve(port, state)
    except (OSError, sqlite3.Error) as error:
        sys.stderr.write(f"The Pub/Sub Lite server cannot start on port {port}: {error}\n")
        return 5
    sys.stdout.write(f"Pub/Sub Lite server ready: {server.endpoint}\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
