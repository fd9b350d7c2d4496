"""A BigQuery server in a process of its own, as `python -m polyexpose_spark.local.bigquery` starts it."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

PROJECT = "p1"


class Process:
    """One server process; `url` is its endpoint."""

    def __init__(self, state: Path, environment: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "polyexpose_spark.local.bigquery", "--port", "0", "--state", str(state)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.url = self.ready.rsplit(" ", 1)[-1].strip()

    def stop(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.terminate()
        return self._end()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._end()

    def _end(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(20)


def client(url: str) -> bigquery.Client:
    """Google's own client on the server."""
    return bigquery.Client(
        project=PROJECT, credentials=AnonymousCredentials(), client_options=ClientOptions(api_endpoint=url)
    )


def rows(c: bigquery.Client, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Rows of a query, as tuples; no retries, so that an error is seen at once."""
    config = bigquery.QueryJobConfig(query_parameters=list(parameters))
    job = c.query(sql, job_config=config, retry=None, job_retry=None)
    return [tuple(r.values()) for r in job.result(retry=None)]


def load(c: bigquery.Client, table: str, data: pa.Table, job_id: str | None = None, **config: Any) -> Any:
    """Load a table as the loader does: Parquet by upload."""
    file = io.BytesIO()
    pq.write_table(data, file)
    file.seek(0)
    settings = bigquery.LoadJobConfig(**{"source_format": "PARQUET", **config})
    job = c.load_table_from_file(file, f"{PROJECT}.{table}", job_id=job_id, job_config=settings, num_retries=0)
    return job.result(retry=None)
