"""The table that is loaded: its fields, and how BigQuery partitions and clusters it."""

from __future__ import annotations

from collections.abc import Mapping

from polyexpose_spark.clients.bigquery_tables import TableName, TableSpec, TimePartition
from polyexpose_spark.errors import ConfigError, Problem
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.ports.graphql_settings import GraphqlSettings
from polyexpose_spark.product import DataProduct


def table_spec(exposure: Exposure, key: str, settings: GraphqlSettings, table: TableName) -> TableSpec:
    """Return the table to be loaded, without labels.

    Args:
        exposure: what is exposed.
        key: where the settings stand in the contract, for messages.
        settings: of the contract.
        table: its name.

    Raises:
        ConfigError: the contract partitions or clusters by a column that is not there, or by one that cannot be.
    """
    product, columns = exposure.product, exposure.columns
    names = graphql_schema.legal_names([column.name for column in columns], "")
    partition, clustering = graphql_schema.partitioning(exposure.partitioning, columns)
    types = {column.name: column.type.kind for column in columns}
    if (asked := settings.partition) is not None:
        _known(product, key, "partition.field", asked.field, names)
        if not graphql_schema.partitionable(types[asked.field], asked.granularity):
            of = f"{asked.granularity} of {asked.field} ({types[asked.field]})"
            raise _wrong(product, key, f"partition: not by {of}; by a timestamp, or by DAY, MONTH, YEAR of a date")
        partition = TimePartition(names[asked.field], asked.granularity)
    if settings.cluster is not None:
        for name in settings.cluster:
            _known(product, key, "cluster", name, names)
            if types[name] not in graphql_schema.CLUSTERABLE:
                raise _wrong(product, key, f"cluster: BigQuery does not cluster by {name} ({types[name]})")
        clustering = tuple(names[name] for name in settings.cluster)
    return TableSpec(
        table=table,
        fields=graphql_schema.table_fields(columns),
        description=product.description,
        partition=partition,
        clustering=clustering,
    )


def in_words(spec: TableSpec) -> str:
    """Return partitioning and clustering in words."""
    said = []
    if isinstance(spec.partition, TimePartition):
        said.append(f"partitioned by {spec.partition.granularity} of {spec.partition.field}")
    if spec.clustering:
        said.append(f"clustered by {', '.join(spec.clustering)}")
    return ", ".join(said)


def _known(product: DataProduct, key: str, setting: str, name: str, names: Mapping[str, str]) -> None:
    if name not in names:
        raise _wrong(product, key, f"{setting}: {name!r} is not a column; columns: {', '.join(names)}")


def _wrong(product: DataProduct, key: str, message: str) -> ConfigError:
    return ConfigError([Problem(product.path, 0, key, message)])
