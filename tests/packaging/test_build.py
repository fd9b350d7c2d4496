from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from polyexpose_spark.engine import console_assets
from tests.missing import missing

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.packaging


def sums(dist: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}


def run(dist: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the built main.py with the built zip, from a folder where no source lies."""
    environment = {**os.environ, "PYTHONPATH": str(dist / "polyexpose_spark.zip")}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_two_builds_are_the_same_bytes(dist: Path, tmp_path: Path, builder: Callable[[Path], Path]) -> None:
    old = os.umask(0o077)
    try:
        again = builder(tmp_path)
    finally:
        os.umask(old)
    assert sums(again) == sums(dist)


def test_the_zip_is_the_wheel(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert (dist / "polyexpose_spark.zip").read_bytes() == wheel.read_bytes()
    assert (dist / "main.py").read_bytes() == (ROOT / "entrypoints" / "main.py").read_bytes()


def test_the_sums_are_those_of_the_files(dist: Path) -> None:
    listed = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text().splitlines())
    assert listed == {name: digest for name, digest in sums(dist).items() if name != "SHA256SUMS"}
    assert set(listed) >= {"main.py", "polyexpose_spark.zip"}


def test_everything_of_the_package_is_in_it(dist: Path) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for folder, suffix in (("polyexpose_spark", "*.py"), ("conf", "*.*"))
        for path in (ROOT / folder).rglob(suffix)
        if path.is_file()
    }
    expected = {f"polyexpose_spark/{name}" if name.startswith("conf/") else name for name in package}
    expected.add("polyexpose_spark/py.typed")
    if console_assets.installed():
        expected |= {f"polyexpose_spark/engine/assets/{asset.file}" for asset in console_assets.assets()}
    with zipfile.ZipFile(dist / "polyexpose_spark.zip") as file:
        assert {name for name in file.namelist() if ".dist-info/" not in name} == expected


def test_settings_and_jar_lists_are_read_from_the_zip(dist: Path, tmp_path: Path) -> None:
    script = (
        "from polyexpose_spark import config, runtime, workspace\n"
        "assert '.zip' in config.__file__, config.__file__\n"
        "print(config.load('local', port_models=workspace.address_models()).catalog.name)\n"
        "print(*runtime.read_line('spark-3.5').sums)\n"
    )
    done = run(dist, "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lake\niceberg-spark-runtime-3.5_2.12-")


def test_help_needs_no_spark(dist: Path, tmp_path: Path) -> None:
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['main.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(dist / 'main.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('imported:', *sorted(sys.modules), file=sys.stderr)\n"
    )
    done = run(dist, "-c", script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--mode" in done.stdout
    imported = set(done.stderr.split("imported:")[1].split())
    assert "polyexpose_spark.cli" in imported
    assert not imported & {"pyspark", "py4j", "pyiceberg", "pyarrow", "pandas"}


def test_help_is_there_at_once(dist: Path, tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert run(dist, str(dist / "main.py"), "--help", cwd=tmp_path).returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3, f"{statistics.median(seconds):.2f} s"


def test_the_installed_command_is_the_same_program(dist: Path, tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("polyexpose")
    if not command.exists():
        missing("the package is not installed here: `make setup` does it")
    installed = subprocess.run([command, "--help"], cwd=tmp_path, capture_output=True, text=True)
    built = run(dist, str(dist / "main.py"), "--help", cwd=tmp_path)
    assert installed.returncode == built.returncode == 0
    assert installed.stdout == built.stdout
