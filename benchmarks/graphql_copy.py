"""What `--mode gql` spends its time on for 336,776 flights, what an increment of 1 % does, staging against Spark's own.

The run is timed from step to step, with this laptop's BigQuery server and engine in processes of their own. The staging
writes the same rows as Spark's own `table(...).write.parquet(...)`, in turn, in one session, after a round of each that
does not count; in pieces of the size that the port takes. The increment is what `copy: incremental` does after an
UPDATE of every hundredth flight, all over the table; its bytes are told as a part of those of the full copy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from polyexpose_spark import app, sample
from polyexpose_spark.ports.graphql_stage import Staging, split_bytes, staged
from polyexpose_spark.receipt import Receipt
from polyexpose_spark.workspace import Request, Workspace

ROUNDS = 7
FLIGHTS = Path(__file__).parents[1] / "conf/products/flights.odcs.yaml"
CHANGED = "UPDATE {table} SET arr_delay = arr_delay + 1, tailnum = reverse(tailnum) WHERE (flight * 7 + day) % 100 = 3"


def measure() -> dict[str, Any]:
    """Return seconds of each part of one run, medians over ROUNDS of both ways to write Parquet, and their ratio."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            with _server("polyexpose_spark.local.bigquery", "--state", "bigquery") as bigquery:
                engine_options = ("--state", "engine", "--bigquery-endpoint", bigquery)
                with _server("polyexpose_spark.engine", *engine_options) as engine:
                    return _measured(bigquery, engine)
        finally:
            os.chdir(before)


def _measured(bigquery: str, engine: str) -> dict[str, Any]:
    _write_contract("full", "nyc")
    settings = {
        "project": "bench",
        "endpoint": bigquery,
        "credentials": "anonymous",
        "staging": f"{Path.cwd()}/staging",
        "hasura.endpoint": engine,
    }
    request = Request(
        products=("flights.odcs.yaml",),
        modes=("gql",),
        settings=tuple(f"ports.gql.{key}={value}" for key, value in settings.items()),
    )
    workspace = Workspace(request)
    sample.load(workspace.clients, lambda *_: None)
    rounds = _rounds(workspace)
    full, told = _exposed(request)
    assert full.rows == 336_776, full.error
    began = time.monotonic()
    [again] = app.run(request)
    nothing = time.monotonic() - began
    assert again.outcome == "unchanged"
    increment = _increment(workspace, request)
    workspace.clients.session().stop()
    parts = {
        "staging": ("staging", "staged"),
        "load": ("staged", "loaded"),
        "flip": ("flipping", "flipped"),
        "tracking": ("tracking", "tracked"),
        "in all": ("claimed", "released"),
    }
    return {
        "rows": full.rows,
        "seconds": _seconds(told, parts),
        "seconds with nothing to do": round(nothing, 2),
        "increment": increment,
        **rounds,
    }


def _write_contract(copy: str, dataset: str) -> None:
    contract = yaml.safe_load(FLIGHTS.read_text())
    port = {"property": "port", "vendor": "polyexpose", "value": {"mode": "gql", "copy": copy}}
    address = {"server": "graphql", "type": "bigquery", "project": "bench", "dataset": dataset}
    contract["servers"] = [
        contract["servers"][0],
        {**address, "roles": [{"role": "analyst"}], "customProperties": [port]},
    ]
    Path("flights.odcs.yaml").write_text(yaml.safe_dump(contract))


def _exposed(request: Request) -> tuple[Receipt, dict[str, float]]:
    """Expose; return the receipt, and when each step was told."""
    told: dict[str, float] = {}

    def listen(name: str, _: str) -> None:
        told.setdefault(name.removeprefix("graphql."), time.monotonic())

    [receipt] = app.run(request, listen)
    return receipt, told


def _seconds(told: dict[str, float], parts: dict[str, tuple[str, str]]) -> dict[str, float]:
    return {part: round(told[to] - told[since], 2) for part, (since, to) in parts.items()}


def _increment(workspace: Workspace, request: Request) -> dict[str, Any]:
    """Change the table and expose the change, after a full copy under the same contract."""
    _write_contract("incremental", "nyc_incremental")
    full, _ = _exposed(request)
    [(product, _)] = workspace.ports
    workspace.clients.session().sql(CHANGED.format(table=workspace.source(product)))
    receipt, told = _exposed(request)
    copied = receipt.details["copy"]
    assert copied["how"] == "incremental", copied
    parts = {
        "changes staged": ("staging", "staged"),
        "changes loaded": ("staged", "sent"),
        "clone and merge": ("sent", "loaded"),
        "in all": ("claimed", "released"),
    }
    return {
        "rows changed": copied["updated"],
        "part of the rows": round(copied["updated"] / 336_776, 4),
        "part of the bytes of a full copy": round(receipt.bytes_written / full.bytes_written, 4),
        "seconds": _seconds(told, parts),
    }


def _rounds(workspace: Workspace) -> dict[str, Any]:
    """Stage and write plainly, in turn."""
    [(product, [port])] = workspace.ports
    prepared, session = workspace.prepare(product), workspace.clients.session()
    exposure, table = prepared.exposure, workspace.source(product)
    served = app.served(workspace, prepared, port)
    staging = Staging(workspace.clients.files(str(Path.cwd())), f"{Path.cwd()}/rounds")

    def stage() -> None:
        staging.write(staged(served.rows(split_bytes(exposure.snapshot)), exposure.columns), "staged")

    def plainly() -> None:
        session.table(table).write.mode("overwrite").option("compression", "snappy").parquet(
            f"{Path.cwd()}/rounds/plain"
        )

    seconds: dict[str, list[float]] = {"staging": [], "plain": []}
    for number in range(ROUNDS + 1):
        for name, write in (("staging", stage), ("plain", plainly)):
            took = _timed(write)
            if number:
                seconds[name].append(took)
    shutil.rmtree("rounds")
    ours, plain = median(seconds["staging"]), median(seconds["plain"])
    return {
        "staging, median": round(ours, 2),
        "Spark's own Parquet write, median": round(plain, 2),
        "ratio": round(median(a / b for a, b in zip(seconds["staging"], seconds["plain"], strict=True)), 2),
    }


def _timed(run: Callable[[], None]) -> float:
    began = time.monotonic()
    run()
    return time.monotonic() - began


@contextmanager
def _server(module: str, *options: str) -> Iterator[str]:
    """Run a server on a free port; yield its address, which is in what it says first."""
    log = Path(f"{module}.log")
    with log.open("wb") as output:
        server = subprocess.Popen([sys.executable, "-m", module, "--port", "0", *options], stdout=output, stderr=output)
    try:
        while not (found := re.search(r"http://\S+", log.read_text())):
            if server.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.05)
        yield found[0]
    finally:
        server.terminate()
        server.wait(timeout=30)
