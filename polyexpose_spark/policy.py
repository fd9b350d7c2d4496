"""Masking and row filters. Not built yet: a contract that has any is refused, so that none is ever ignored."""

from __future__ import annotations

from polyexpose_spark.errors import Refused
from polyexpose_spark.product import DataProduct


def check(product: DataProduct) -> None:
    """Refuse a product whose contract asks for a policy that would not be kept.

    Raises:
        Refused: the contract has masking or row filters; names all of them.
    """
    asked = [f"masking of column {each.name}" for each in product.properties if each.masking]
    asked += [f"row filter {each.id}" for each in product.row_filters]
    if asked:
        raise Refused(f"{product.path}: policies are not built yet, so this is refused: {', '.join(asked)}")
