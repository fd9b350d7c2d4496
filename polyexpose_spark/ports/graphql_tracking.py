"""What Hasura shall have of an exposure: source, tracked view, select permissions, relationships both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from polyexpose_spark.clients.bigquery_tables import TableName
from polyexpose_spark.clients.hasura_metadata import (
    Publication,
    Relationship,
    SelectPermission,
    Source,
    TrackedColumn,
    TrackedTable,
)
from polyexpose_spark.clients.hasura_metadata import TableName as TrackedName
from polyexpose_spark.ports import graphql_schema
from polyexpose_spark.ports.base import Exposure
from polyexpose_spark.product import PortSpec

if TYPE_CHECKING:
    from polyexpose_spark.ports.graphql_settings import GraphqlAddresses, GraphqlSettings, HasuraAddresses


def publication(
    exposure: Exposure, spec: PortSpec, settings: GraphqlSettings, addresses: GraphqlAddresses, view: TableName
) -> Publication:
    """Return what one product wants at the Hasura of the profile."""
    assert addresses.hasura is not None  # noqa: S101 - the port asks only where there is one
    hasura, product = addresses.hasura, exposure.product
    project = addresses.project or str(spec.address.get("project") or "")
    columns = graphql_schema.view_columns(exposure.columns, settings.integers == "string")
    return Publication(
        product=product.id,
        source=source_of(hasura, project, view.dataset),
        table=TrackedTable(
            dataset=view.dataset,
            name=view.name,
            comment=product.description,
            columns={each.name: TrackedColumn(comment=each.description) for each in columns if each.description},
        ),
        permissions=tuple(
            SelectPermission(
                role=role,
                columns=tuple(each.name for each in columns),
                limit=settings.row_limit,
                allow_aggregations=settings.aggregations,
            )
            for role in spec.roles
        ),
        relationships=tuple(_relationships(exposure, view, {each.name for each in columns})),
    )


def source_of(hasura: HasuraAddresses, project: str, dataset: str) -> Source:
    """Return the BigQuery source that a product is tracked in."""
    return Source(hasura.source, project, (dataset,), hasura.service_account_env, hasura.select_limit)


def _relationships(exposure: Exposure, view: TableName, taken: set[str]) -> Iterator[Relationship]:
    """Yield each foreign key as an object relationship here and an array relationship on the other product's view.

    The object relationship is called like the other product, the array relationship like this one; where several lead
    to the same product, or back to this one, the columns are part of the name (`origin_airports`).
    """
    product = exposure.product
    names = graphql_schema.legal_names([column.name for column in exposure.columns], "")
    here = TrackedName(view.dataset, view.name)
    to_same = Counter(each.to for each in product.relationships)
    for each in product.relationships:
        other = graphql_schema.legal_name(each.to)
        remote = TrackedName(view.dataset, other)
        through = "_".join(names[column] for column in each.columns)
        several = to_same[each.to] > 1 or remote == here
        mapping = {
            names[column]: graphql_schema.legal_name(target)
            for column, target in zip(each.columns, each.to_columns, strict=True)
        }
        name = f"{through}_{other}" if several else other
        name = f"{name}_" if name in taken else name
        yield Relationship(product.id, here, name, "object", remote, mapping)
        back = f"{view.name}_by_{through}" if several else view.name
        reverse = {target: column for column, target in mapping.items()}
        yield Relationship(product.id, remote, back, "array", here, reverse)
