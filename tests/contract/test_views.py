"""What every implementation of clients.Views must keep: a view is put in place whole, and read back as it was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from polyexpose_spark.catalog import Catalog
from polyexpose_spark.clients import View
from polyexpose_spark.clients.views import IcebergViews, create_statement, literal
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.errors import TargetFailed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HOSTILE = 'it\'s "quoted", `ticked`; -- \\N \\ ${env:HOME} $x\nnext line 😀 עברית'


@pytest.fixture
def views(spark: SparkSession, config: Config) -> IcebergViews:
    return IcebergViews(Catalog(config.catalog), lambda: spark)


@pytest.mark.spark
def test_a_view_is_read_back_as_it_was_meant(views: IcebergViews, spark: SparkSession, namespace: str) -> None:
    columns = {"id": HOSTILE, 'od`d, "name"': "", "last one": "the last"}
    view = View(
        identifier=(f"{namespace}_new", "v"),
        sql="SELECT 1 AS id, 'x' AS b, CAST(NULL AS INT) AS c",
        columns=columns,
        comment=HOSTILE,
        properties={"polyexpose.product": HOSTILE, "polyexpose.digest": "d1"},
    )
    assert views.supported
    assert views.load(view.identifier) is None
    views.replace(view)
    found = views.load(view.identifier)
    assert found is not None
    assert (found.identifier, found.sql, dict(found.columns), found.comment) == (
        view.identifier,
        view.sql,
        columns,
        HOSTILE,
    )
    assert {key: found.properties[key] for key in view.properties} == view.properties
    assert spark.table(f"lake.{namespace}_new.v").columns == list(columns)


@pytest.mark.spark
def test_replacing_leaves_nothing_of_the_old_one(views: IcebergViews, namespace: str) -> None:
    name = (namespace, "v")
    views.replace(View(name, "SELECT 1 AS a, 2 AS b", {"a": "one", "b": "two"}, "old", {"polyexpose.digest": "d1"}))
    views.replace(View(name, "SELECT 3 AS b", {"b": ""}, "new", {"polyexpose.digest": "d2"}))
    found = views.load(name)
    assert found is not None
    assert (found.sql, dict(found.columns), found.comment) == ("SELECT 3 AS b", {"b": ""}, "new")
    assert found.properties["polyexpose.digest"] == "d2"


@pytest.mark.spark
def test_dropping_twice_is_no_error(views: IcebergViews, namespace: str) -> None:
    views.replace(View((namespace, "v"), "SELECT 1 AS a", {"a": ""}))
    views.drop((namespace, "v"))
    views.drop((namespace, "v"))
    assert views.load((namespace, "v")) is None


@pytest.mark.spark
def test_a_table_is_not_replaced_by_a_view(views: IcebergViews, spark: SparkSession, namespace: str) -> None:
    spark.sql(f"CREATE TABLE lake.{namespace}.t USING iceberg AS SELECT 7 AS a")
    with pytest.raises(TargetFailed, match=rf"^lake\.{namespace}\.t: a table has this name; rename it"):
        views.replace(View((namespace, "t"), "SELECT 1 AS a", {"a": ""}))
    assert spark.table(f"lake.{namespace}.t").first() == (7,)


def test_a_catalog_of_folders_has_no_views(tmp_path: Any) -> None:
    def no_session() -> Any:
        raise AssertionError("no session is needed here")

    views = IcebergViews(Catalog(CatalogConfig(type="hadoop", warehouse=str(tmp_path))), no_session)
    assert not views.supported
    assert views.load(("db", "v")) is None


def test_one_statement_puts_everything_in_place() -> None:
    view = View(("db", "v`w"), "SELECT 1 AS a", {"a": "it's", "b`": ""}, "a view", {"k": "v"})
    assert create_statement("lake", view) == (
        "CREATE OR REPLACE VIEW `lake`.`db`.`v``w` (`a` COMMENT 'it\\'s', `b```)\n"
        "COMMENT 'a view'\n"
        "TBLPROPERTIES ('k' = 'v')\n"
        "AS SELECT 1 AS a"
    )


def test_a_literal_keeps_dollars_from_being_replaced() -> None:
    assert literal("${env:HOME} \\'") == "'\\u0024{env:HOME} \\\\\\''"
