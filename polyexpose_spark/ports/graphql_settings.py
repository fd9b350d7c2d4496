"""What a contract (GraphqlSettings) and a profile (GraphqlAddresses) may say about the gql port."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from polyexpose_spark.config import Location, SecretReference
from polyexpose_spark.documents import Strict, StrictCamel
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.ports.base import PortAddresses, PortSettings


class PartitionSettings(StrictCamel):
    """BigQuery's partitioning, where it is not to follow the Iceberg table's."""

    field: str
    granularity: Literal["HOUR", "DAY", "MONTH", "YEAR"] = "DAY"


class GraphqlSettings(PortSettings):
    """What a contract may say about the gql port."""

    copying: Literal["full", "incremental", "none"] = Field(default="full", alias="copy")
    """full: a copy in BigQuery; incremental: the same, made of the copy before and of what changed since, where that
    can be; none: a view over the Lakehouse table itself (Lakehouse catalogs only)."""
    partition: PartitionSettings | None = None
    """Default: from the Iceberg table's partition spec."""
    cluster: tuple[str, ...] | None = Field(default=None, max_length=4)
    """Default: from the Iceberg table's partition spec."""
    integers: Literal["native", "string"] = "native"
    """string: 64-bit integers as text, since Hasura reads integers of a query with 32 bits."""
    aggregations: bool = True
    """Whether the roles of this server may ask for aggregates."""
    row_limit: int | None = Field(default=None, ge=1)
    """Most rows that one query of a role is answered with."""


class HasuraAddresses(Strict):
    """Where Hasura is, and how it reaches BigQuery."""

    endpoint: str
    admin_secret: SecretReference | None = None
    source: str = "polyexpose"
    """Name of the BigQuery source in Hasura; several products may share it."""
    service_account_env: str = "BIGQUERY_SERVICE_ACCOUNT"
    """Environment variable of Hasura that holds the key: the key itself never passes through here."""
    select_limit: int = Field(default=1000, ge=1)
    """Rows that Hasura cuts every answer at."""


class GraphqlAddresses(PortAddresses):
    """Block `ports.gql` of a profile."""

    project: str | None = None
    dataset: str | None = None
    location: str = "US"
    endpoint: str | None = None
    """Of the BigQuery API; none: Google's own."""
    credentials: Literal["application_default", "anonymous"] = "application_default"
    staging: Location | None = None
    """Folder for Parquet on its way: gs:// where BigQuery is Google's, a local folder on a laptop."""
    hasura: HasuraAddresses | None = None
    """None: nothing is tracked; the views are there all the same."""

    @field_validator("dataset")
    @classmethod
    def _legal(cls, value: str | None) -> str | None:
        if value is not None and graphql_schema.legal_name(value) != value:
            raise ValueError("letters, digits and _ only: it is part of every GraphQL name")
        return value
