"""BigQuery through its official client, which only this module imports: columns of tables, one query job at a time."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Any, Protocol

import google.auth
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY, DEFAULT_RETRY

logger = logging.getLogger(__name__)

# The client's own defaults go on for ten minutes, with people waiting.
_RETRY = DEFAULT_RETRY.with_timeout(3)
_QUERY_RETRY_SECONDS = 5.0
# Legacy names in schemas (REST) against the names in SQL.
_SQL_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}


@dataclass(frozen=True)
class Column:
    """A column; ``type`` is the SQL name, ``mode`` NULLABLE, REQUIRED or REPEATED."""

    name: str
    type: str
    mode: str = "NULLABLE"
    description: str | None = None


@dataclass(frozen=True)
class Parameter:
    """A query parameter: a scalar, or an array where ``values`` are a list."""

    name: str
    type: str
    value: Any

    def typed(self) -> bigquery.ScalarQueryParameter | bigquery.ArrayQueryParameter:
        """As the client wants it."""
        if isinstance(self.value, list):
            return bigquery.ArrayQueryParameter(self.name, self.type, self.value)
        return bigquery.ScalarQueryParameter(self.name, self.type, self.value)


class Unreachable(Exception):
    """BigQuery did not answer, or refused to; the text is fit for a client."""


class Missing(Exception):
    """No such project, dataset or table."""


class QueryFailed(Exception):
    """BigQuery answered that the query cannot be run."""


class QueryTimeout(Exception):
    """The query took longer than allowed and was given up."""


class Warehouse(Protocol):
    """What the engine needs of BigQuery."""

    def check_dataset(self, project: str, dataset: str) -> None:
        """Raise Missing or Unreachable unless the dataset can be read."""

    def columns(self, project: str, dataset: str, table: str) -> tuple[Column, ...]:
        """The columns of a table or view; raises Missing or Unreachable."""

    def query(
        self, project: str, sql: str, parameters: Sequence[Parameter], seconds: float
    ) -> Iterable[Mapping[str, Any]]:
        """Run one query job; raises QueryFailed, QueryTimeout or Unreachable."""


class BigQuery:
    """BigQuery at ``endpoint`` without credentials, or Google's own with application default credentials.

    Args:
        endpoint: ``http://host:port`` of something that speaks BigQuery's REST; None is Google's.
        connections: how many requests may be under way at once; more wait for their connection.
    """

    def __init__(self, endpoint: str | None, connections: int = 64) -> None:
        if endpoint is None:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/bigquery"])
        else:
            credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
        # The client's own pool of 10 throws connections away as soon as 11 readers ask at once.
        adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=connections)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        self._options = {"api_endpoint": endpoint} if endpoint else None
        self._credentials = credentials
        self._session = session
        self._clients: dict[str, bigquery.Client] = {}

    def check_dataset(self, project: str, dataset: str) -> None:
        """Raise Missing or Unreachable unless the dataset can be read."""
        with _translated(f"dataset {project}.{dataset}"):
            self._client(project).get_dataset(f"{project}.{dataset}", retry=_RETRY, timeout=30)

    def columns(self, project: str, dataset: str, table: str) -> tuple[Column, ...]:
        """The columns of a table or view; raises Missing or Unreachable."""
        with _translated(f"table {project}.{dataset}.{table}"):
            found = self._client(project).get_table(f"{project}.{dataset}.{table}", retry=_RETRY, timeout=30)
        return tuple(
            Column(field.name, _SQL_TYPES.get(field.field_type, field.field_type), field.mode, field.description)
            for field in found.schema
        )

    def query(
        self, project: str, sql: str, parameters: Sequence[Parameter], seconds: float
    ) -> Iterator[Mapping[str, Any]]:
        """Run one query job; raises QueryFailed, QueryTimeout or Unreachable."""
        config = bigquery.QueryJobConfig(
            query_parameters=[parameter.typed() for parameter in parameters],
            use_legacy_sql=False,
            job_timeout_ms=int(seconds * 1000),
        )
        try:
            rows = self._client(project).query_and_wait(
                sql,
                job_config=config,
                api_timeout=seconds,
                wait_timeout=seconds,
                retry=DEFAULT_RETRY.with_timeout(min(seconds, _QUERY_RETRY_SECONDS)),
                job_retry=DEFAULT_JOB_RETRY.with_timeout(min(seconds, _QUERY_RETRY_SECONDS)),
            )
            yield from rows
        except exceptions.RetryError as error:
            if isinstance(error.cause, requests.exceptions.Timeout):
                raise QueryTimeout(f"no answer within {seconds:g} s") from error
            raise Unreachable(f"BigQuery cannot be reached: {type(error.cause).__name__}") from error
        except (FutureTimeout, requests.exceptions.Timeout) as error:
            raise QueryTimeout(f"no answer within {seconds:g} s") from error
        except exceptions.ClientError as error:
            if "timeout" in (error.message or "").lower():
                raise QueryTimeout(f"no answer within {seconds:g} s") from error
            raise QueryFailed(_first_line(error)) from error
        except (exceptions.GoogleAPIError, requests.exceptions.RequestException) as error:
            raise Unreachable(f"BigQuery cannot be reached: {type(error).__name__}") from error

    def _client(self, project: str) -> bigquery.Client:
        if project not in self._clients:
            self._clients[project] = bigquery.Client(
                project=project, credentials=self._credentials, _http=self._session, client_options=self._options
            )
        return self._clients[project]


class _translated:
    """Turn the client's errors into ours."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, exceptions.NotFound):
            raise Missing(f"no such {self._what}") from error
        if isinstance(error, exceptions.ClientError):
            raise Unreachable(f"{self._what}: {_first_line(error)}") from error
        if isinstance(error, exceptions.GoogleAPIError | requests.exceptions.RequestException):
            raise Unreachable(f"{self._what}: BigQuery cannot be reached: {type(error).__name__}") from error


def _first_line(error: exceptions.GoogleAPICallError) -> str:
    # The whole text names the endpoint and repeats the SQL.
    reasons = [str(reason.get("message", "")) for reason in error.errors if isinstance(reason, Mapping)]
    text = next((reason for reason in reasons if reason), error.message or type(error).__name__)
    return text.strip().splitlines()[0]


def utc(value: dt.datetime) -> dt.datetime:
    """The same instant in UTC; a value without a zone is taken as UTC, as BigQuery does."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
