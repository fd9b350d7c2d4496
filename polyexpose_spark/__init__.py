"""Expose one Apache Iceberg data product as SQL, CSV, GraphQL and events, at one snapshot.

Kept free of imports: Spark executors import this package with the standard library and pyarrow only.
"""

__version__ = "0.1.0"
