"""A GraphQL engine with Hasura v2's interface over BigQuery.

Nothing else in the package imports it: it is reached by its address. ``server.serve(Settings(...))`` runs one inside a
process, ``python -m polyexpose_spark.engine`` as a process of its own.
"""

from __future__ import annotations
