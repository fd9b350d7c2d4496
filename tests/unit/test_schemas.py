"""The published JSON Schemas are those of the models."""

from __future__ import annotations

from importlib.resources import files

import pytest

from polyexpose_spark import schemas


@pytest.mark.parametrize("name", sorted(schemas.schemas()))
def test_the_committed_schema_is_that_of_the_models(name: str) -> None:
    committed = files("polyexpose_spark") / "conf" / "schema" / name
    assert committed.read_text(encoding="utf-8") == schemas.schemas()[name], (
        "run: python -m polyexpose_spark.schemas conf/schema"
    )
