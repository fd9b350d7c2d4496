"""Set up a laptop for Spark: `python -m polyexpose_spark.provision --properties-file FILE`.

Finds Java, fetches the jars, makes the class-data archive, and writes the settings of `session.spark_conf`
for `spark-submit --properties-file FILE`, with the Java to start it with in `FILE.java-home`. What is there
already stays and is not spoken of.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from polyexpose_spark import config, runtime
from polyexpose_spark.class_data import make_class_data_archive
from polyexpose_spark.errors import PolyexposeError
from polyexpose_spark.session import spark_conf
from polyexpose_spark.workspace import address_models

logger = logging.getLogger(__name__)


def provision(properties: Path, *, profile: str, files: Sequence[str] = (), settings: Sequence[str] = ()) -> None:
    """Make ready what a Spark session of this configuration needs.

    Raises ConfigError (no Java, a wrong jar, a wrong configuration) and TargetUnavailable (no network).
    """
    configuration = config.load(profile, files, settings, address_models())
    java = runtime.java_home()
    class_path = runtime.jars()
    make_class_data_archive(spark_conf(configuration), class_path, java)
    properties.parent.mkdir(parents=True, exist_ok=True)
    _write(properties, runtime.properties_text(spark_conf(configuration)))
    if _write(properties.with_name(properties.name + ".java-home"), f"{java}\n"):
        logger.info("Java: %s", java)


def _write(path: Path, text: str) -> bool:
    """Replace the file in one step unless it holds this text; True where it was replaced."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    partial = path.with_name(path.name + f".{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Run the set-up from the command line; returns the exit code."""
    description, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.provision", description=description)
    parser.add_argument("--properties-file", type=Path, required=True, metavar="FILE")
    parser.add_argument("--profile", default="local")
    parser.add_argument("--conf", action="append", default=[], metavar="FILE")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        provision(given.properties_file, profile=given.profile, files=given.conf, settings=given.settings)
    except PolyexposeError as error:
        logger.error("%s", error)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
