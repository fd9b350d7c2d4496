"""All rules: importing this fills the table in `rules`."""

from __future__ import annotations

from polyexpose_spark.local.bigquery.sql import arrays, casts, comparisons, dates, documents, numbers, texts
from polyexpose_spark.local.bigquery.sql.rules import NAMED, RULES, Context

__all__ = ["NAMED", "RULES", "Context", "arrays", "casts", "comparisons", "dates", "documents", "numbers", "texts"]
