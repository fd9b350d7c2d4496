"""One JVM for all tests: a local Spark with the shipped local profile, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyexpose_spark import config as configuration
from polyexpose_spark.config import Config

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory for the session: the local profile keeps everything under .polyexpose/ in it."""
    folder = tmp_path_factory.mktemp("work")
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def config(workdir: Path) -> Config:
    """The shipped local profile, as a user has it."""
    from polyexpose_spark.workspace import address_models

    return configuration.load("local", port_models=address_models())


@pytest.fixture(scope="session")
def spark(config: Config) -> Iterator[SparkSession]:
    """The one Spark session of the test run; Iceberg catalog `lake` on SQLite."""
    from polyexpose_spark.session import build_session

    Path(".polyexpose").mkdir(exist_ok=True)
    session = build_session(config)
    yield session
    session.stop()


@pytest.fixture
def namespace(spark: SparkSession) -> str:
    """A namespace of the catalog that no other test uses; without the catalog's name."""
    name = f"t{uuid.uuid4().hex[:10]}"
    spark.sql(f"CREATE NAMESPACE lake.{name}")
    return name
