"""A small BigQuery server on DuckDB: what a loader and a reader of tables call, over BigQuery's REST protocol.

It is driven by Google's own client (``google-cloud-bigquery`` with ``client_options.api_endpoint`` and anonymous
credentials). Datasets, tables, views, load, query and copy jobs work as they do in BigQuery; everything is kept in
one DuckDB file, so that a restart, also after ``kill -9``, finds every finished job and no half of another.

What it cannot do right it refuses with HTTP 400 or 501 and a message that says what: SQL is let through node by node
from lists of what is known to give BigQuery's answer (`sql/allowed.py`). It has no access control, no prices
(``totalBytesProcessed`` is 0) and no partition elimination; partition expiration is kept but takes no rows away.
"""

from __future__ import annotations

from polyexpose_spark.local.bigquery.server import Server, serve

__all__ = ["Server", "serve"]
