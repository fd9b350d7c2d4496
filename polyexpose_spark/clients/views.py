"""The views of the Iceberg catalog: read without a JVM (pyiceberg's side), written by Spark DDL.

Only Spark can write a view that Spark reads back in full (query column names, current catalog and namespace).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from polyexpose_spark.clients import Identifier, View
from polyexpose_spark.errors import TargetFailed
from polyexpose_spark.snapshot import quoted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from polyexpose_spark.catalog import Catalog


class IcebergViews:
    """Implements clients.Views for every kind of catalog that has views."""

    def __init__(self, catalog: Catalog, session: Callable[[], SparkSession]) -> None:
        """Keep the catalog and the way to a session; nothing is contacted yet."""
        self._catalog = catalog
        self._session = session

    @property
    def supported(self) -> bool:
        """Say whether this kind of catalog has views."""
        return self._catalog.has_views

    def load(self, identifier: Identifier) -> View | None:
        """Return the view without a Spark session, or None."""
        return self._catalog.view(identifier) if self.supported else None

    def replace(self, view: View) -> None:
        """Create the namespace where it is missing, and create or replace the view in one step.

        Properties that `view` does not name keep what they had.

        Raises:
            TargetFailed: a table has this name.
        """
        session, catalog = self._session(), self._catalog.config.name
        session.sql(f"CREATE NAMESPACE IF NOT EXISTS {quoted(catalog, view.identifier[:-1])}")
        try:
            session.sql(create_statement(catalog, view))
        except Exception as error:
            # A Py4JJavaError or one of PySpark's own: Java's exception is an attribute of both.
            java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
            if "AlreadyExists" not in str(java):
                raise
            name = ".".join((catalog, *view.identifier))
            message = "a table has this name; rename it, or expose into another namespace"
            raise TargetFailed(f"{name}: {message}") from None

    def drop(self, identifier: Identifier) -> None:
        """Drop the view if it is there."""
        self._session().sql(f"DROP VIEW IF EXISTS {quoted(self._catalog.config.name, identifier)}")


def create_statement(catalog: str, view: View) -> str:
    """Return the one statement that puts text, columns, comments and properties of a view in place.

    Args:
        catalog: name of the catalog in Spark.
        view: its `columns` are in the order of what its `sql` selects.
    """
    columns = ", ".join(
        quoted(name, ()) + (f" COMMENT {literal(comment)}" if comment else "") for name, comment in view.columns.items()
    )
    properties = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in view.properties.items())
    return "\n".join(
        [
            f"CREATE OR REPLACE VIEW {quoted(catalog, view.identifier)} ({columns})",
            *([f"COMMENT {literal(view.comment)}"] if view.comment else ()),
            *([f"TBLPROPERTIES ({properties})"] if properties else ()),
            f"AS {view.sql}",
        ]
    )


def literal(text: str) -> str:
    """Return the text as a Spark SQL string literal.

    A `$` is written as its code: Spark replaces ${...} before it parses a statement, within strings too.
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\u0024")
    return f"'{escaped}'"
