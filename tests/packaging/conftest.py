from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build(folder: Path, epoch: str = "1750000000") -> Path:
    """Build a copy of the source tree that lies in `folder`; return its dist/."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "build_wheel.sh"):
        shutil.copy2(ROOT / name, folder / name)
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copytree(ROOT / "entrypoints", folder / "entrypoints")
    shutil.copytree(ROOT / "polyexpose_spark", folder / "polyexpose_spark", symlinks=True)
    environment = {**os.environ, "PYTHON": sys.executable, "SOURCE_DATE_EPOCH": epoch}
    done = subprocess.run([folder / "build_wheel.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@pytest.fixture(scope="session")
def builder() -> Callable[[Path], Path]:
    """Return build(folder): builds a copy of the source tree in that folder and returns its dist/."""
    return build


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what `build_wheel.sh` builds: the files that a user submits."""
    return build(tmp_path_factory.mktemp("built"))
