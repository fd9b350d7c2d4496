"""What a machine lacks: a test that needs it is skipped on a laptop, and has to run in CI."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test; in CI, which installs all that the tests need, let it fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    # A laptop without it can still run the rest, and the summary (-rs) names what was left out.
    pytest.skip(what)
