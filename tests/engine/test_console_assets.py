"""The console's files: fetched once, checked, and nothing breaks where they cannot be had."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from polyexpose_spark.engine import console_assets
from polyexpose_spark.engine.console import ASSETS
from polyexpose_spark.errors import TargetUnavailable
from tests.missing import missing

# `npm pack` of a registry whose packages are in the folder PACKED.
NPM = """#!/bin/sh
echo "$@" >> "$PACKED/asked"
cp "$PACKED"/*.tgz . 2>/dev/null || { echo "npm error code ENOTFOUND" >&2; exit 1; }
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment with an npm of its own and an empty cache."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "packed").mkdir()
    npm = tmp_path / "bin" / "npm"
    npm.write_text(NPM)
    npm.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PACKED": str(tmp_path / "packed")}


def fetch(machine: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polyexpose_spark.engine.console_assets", *words]
    return subprocess.run(command, env=machine, capture_output=True, text=True, timeout=60)


def pack(folder: Path, change: str = "") -> None:
    """Pack the files of this machine's set-up as npm packages; `change` names one to damage."""
    try:
        real = console_assets.fetch()
    except TargetUnavailable as error:
        missing(str(error))
    for archive in {asset.archive for asset in console_assets.assets()}:
        with tarfile.open(folder / archive, "w:gz") as packed:
            for asset in console_assets.assets():
                if asset.archive == archive:
                    content = (real / asset.file).read_bytes() + (b" " if asset.file == change else b"")
                    member = tarfile.TarInfo(f"package/{asset.path}")
                    member.size = len(content)
                    packed.addfile(member, io.BytesIO(content))


def kept(machine: dict[str, str]) -> list[str]:
    return sorted(path.name for path in Path(machine["XDG_CACHE_HOME"]).rglob("*") if path.suffix != ".lock")


def test_the_list_has_what_the_page_needs() -> None:
    assert set(ASSETS) <= {asset.file for asset in console_assets.assets()}


def test_fetched_once_and_copied(machine: dict[str, str], tmp_path: Path) -> None:
    pack(tmp_path / "packed")
    assert fetch(machine).returncode == 0
    again = fetch(machine, "--into", str(tmp_path / "wheel" / "assets"))
    assert (again.returncode, again.stderr) == (0, "")
    assert len((tmp_path / "packed" / "asked").read_text().splitlines()) == 1
    names = {asset.file for asset in console_assets.assets()}
    assert {path.name for path in (tmp_path / "wheel" / "assets").iterdir()} == names


def test_a_file_that_is_not_the_expected_one(machine: dict[str, str], tmp_path: Path) -> None:
    pack(tmp_path / "packed", change="react.production.min.js")
    done = fetch(machine)
    assert done.returncode == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith("conf/console.sha256: react@18.3.1/umd/react.production.min.js should have sha256 d949f1c3")
    assert kept(machine) == ["console", "polyexpose-spark"]


def test_no_network(machine: dict[str, str]) -> None:
    done = fetch(machine)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1] == "the console page could not be fetched: npm error code ENOTFOUND"
    assert kept(machine) == ["console", "polyexpose-spark"]
