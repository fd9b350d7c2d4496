"""What a user waits for before anything happens: --help, plan, status, a run with nothing to do, a first query.

The first query is timed as a whole process, from `python` to its end, in two ways in turn: with the jars given by
`spark.jars` as one would do it by hand, and as this package does it (class path, class-data archive).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from polyexpose_spark import config, runtime
from polyexpose_spark.session import spark_conf
from polyexpose_spark.workspace import address_models

ROUNDS = 5

CONTRACT = Path(__file__).parents[1] / "conf/products/airlines.odcs.yaml"

BY_HAND = """
import json, sys
from pyspark.sql import SparkSession
builder = SparkSession.builder.appName("by hand")
for key, value in json.loads(sys.argv[1]).items():
    builder = builder.config(key, value)
print(builder.getOrCreate().sql("SELECT count(*) FROM lake.nyc.airlines").collect())
"""


def measure() -> dict[str, Any]:
    """Return medians in seconds over ROUNDS, and the ratio of the two ways to a first query."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # Without gql: the servers that it needs are no part of what is timed here.
        product = ("--product", str(CONTRACT), "--ports", "sql,csv")
        _cli("--mode", "sample")
        _cli("--mode", "all", *product)
        by_hand, ours = _first_query()
        return {
            "--help": _median("--help"),
            "plan": _median("--mode", "plan", *product),
            "status": _median("--mode", "status", *product),
            "run with nothing to do": _median("--mode", "all", *product),
            "first query, jars by spark.jars": by_hand,
            "first query, as we start": ours,
            "ratio": round(ours / by_hand, 2),
        }


def _first_query() -> tuple[float, float]:
    """Return the medians of both ways, measured in turn."""
    import json

    given = spark_conf(config.load("local", port_models=address_models()))
    plain = {key: value for key, value in given.items() if not key.startswith("spark.driver.extra")}
    plain["spark.jars"] = ",".join(map(str, runtime.jars()))
    environment = os.environ | {"JAVA_HOME": str(runtime.java_home())}
    by_hand, ours = [], []
    for _ in range(ROUNDS):
        began = time.monotonic()
        command = [sys.executable, "-c", BY_HAND, json.dumps(plain)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        by_hand.append(time.monotonic() - began)
        ours.append(_cli("--mode", "sql", "--query", "SELECT count(*) FROM nyc.airlines"))
    return round(median(by_hand), 2), round(median(ours), 2)


def _median(*arguments: str) -> float:
    return round(median(_cli(*arguments) for _ in range(ROUNDS)), 2)


def _cli(*arguments: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "polyexpose_spark.cli", *arguments], check=True, capture_output=True)
    return time.monotonic() - began
