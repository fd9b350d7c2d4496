"""Answer GraphQL over BigQuery as Hasura v2 does, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

from polyexpose_spark.clients.secrets import resolve
from polyexpose_spark.engine import console_assets
from polyexpose_spark.engine.access import Access
from polyexpose_spark.engine.limits import Limits
from polyexpose_spark.engine.server import Settings, serve
from polyexpose_spark.errors import ExitCode, PolyexposeError

logger = logging.getLogger("polyexpose_spark.engine")


def main() -> int:
    """Parse the command line, serve, give the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        engine = serve(_settings())
    except PolyexposeError as error:
        logger.error("%s", error)
        return int(error.exit_code)
    signals = {signal.SIGTERM, signal.SIGINT}
    logger.info("listening on %s", engine.url)
    signal.sigwait(signals)
    engine.stop()
    return int(ExitCode.DONE)


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.engine", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    add("--host", default="127.0.0.1", help="anything else needs an admin secret (default: %(default)s)")
    add("--state", type=Path, required=True, metavar="DIR", help="where the metadata is kept")
    add(
        "--bigquery-endpoint",
        metavar="URL",
        help="something that speaks BigQuery's REST, used without credentials; "
        "otherwise Google's, with application default credentials",
    )
    add(
        "--admin-secret-reference",
        metavar="REFERENCE",
        help="of the admin secret: env:NAME, file:PATH, sm://PROJECT/SECRET",
    )
    add("--unauthorized-role", metavar="ROLE", help="the role of requests without the secret")
    add("--string-numeric-input", action="store_true", help="as Hasura's bigquery_string_numeric_input")
    add("--cors-origin", action="append", default=[], metavar="ORIGIN", help="browsers may call from it; repeatable")
    add(
        "--console-assets",
        type=Path,
        metavar="DIR",
        help="the files of the page at /console (default: what the wheel or the set-up brought)",
    )
    add("--timeout", type=float, default=Limits.seconds, metavar="SECONDS", help="of one operation (%(default)g)")
    args = parser.parse_args()
    # From here on the signals wait for sigwait(), whichever thread they would have gone to.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    reference = args.admin_secret_reference
    return Settings(
        state=args.state,
        port=args.port,
        host=args.host,
        bigquery_endpoint=args.bigquery_endpoint,
        access=Access(resolve(reference) if reference else None, args.unauthorized_role),
        limits=replace(Limits(), seconds=args.timeout),
        string_numeric_input=args.string_numeric_input,
        cors_origins=tuple(args.cors_origin),
        console_assets=args.console_assets or console_assets.installed(),
    )


if __name__ == "__main__":
    sys.exit(main())
