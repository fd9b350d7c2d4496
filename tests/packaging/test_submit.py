"""What is shipped, submitted as a user submits it, to workers whose Python has the standard library and pyarrow."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml

from polyexpose_spark import runtime

pytestmark = [pytest.mark.packaging, pytest.mark.spark]

ROOT = Path(__file__).parents[2]
# Notes in the file SEEN every file of an exposure that a worker's Python opens.
RECORD = """
import sys

def record(event, arguments):
    if event == "open" and "/exposed/csv/" in str(arguments[0]):
        with open({seen!r}, "a") as file:
            file.write(f"{{sys.executable}} {{arguments[0]}}\\n")

sys.addaudithook(record)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the working directory of all commands."""
    return tmp_path_factory.mktemp("submit")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with pyarrow and nothing else."""
    folder = tmp_path_factory.mktemp("worker") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    installed = Path(sysconfig.get_path("purelib"))
    packages = next(folder.glob("lib/python*/site-packages"))
    for part in installed.glob("pyarrow*"):
        (packages / part.name).symlink_to(part)
    (packages / "sitecustomize.py").write_text(RECORD.format(seen=str(folder / "seen")))
    return folder


@pytest.fixture(scope="module")
def cluster(place: Path, bare: Path) -> Path:
    """Return a configuration: executors are processes of their own, as on a cluster, and their Python is bare."""
    jars = os.pathsep.join(map(str, runtime.jars()))
    conf = {
        "spark.executor.extraClassPath": jars,
        "spark.pyspark.python": str(bare / "bin" / "python"),
        "spark.pyspark.driver.python": sys.executable,
    }
    file = place / "cluster.yaml"
    file.write_text(yaml.safe_dump({"spark": {"master": "local-cluster[1,1,1024]", "conf": conf}}))
    return file


def submit(
    place: Path, dist: Path, *words: str | Path, files: tuple[Path, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Set up in `place` and hand the built files to spark-submit there."""
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(runtime.spark_home())}
    environment.pop("PYTHONPATH", None)
    conf = [word for file in files for word in ("--conf", str(file))]
    setup = [sys.executable, "-m", "polyexpose_spark.provision", "--properties-file", "spark.properties", *conf]
    done = subprocess.run(setup, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    environment["JAVA_HOME"] = (place / "spark.properties.java-home").read_text().strip()
    environment.setdefault("PYSPARK_PYTHON", sys.executable)
    if files:
        del environment["PYSPARK_PYTHON"]  # it would win over the configuration
    command = [runtime.spark_home() / "bin" / "spark-submit", "--properties-file", "spark.properties"]
    command += ["--py-files", dist / "polyexpose_spark.zip", *words, *conf]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


def test_the_package_comes_to_the_executors(dist: Path, place: Path, cluster: Path, bare: Path) -> None:
    script = place / "where.py"
    script.write_text(
        "import json\n"
        "from pyspark.sql import SparkSession\n"
        "def where(rows):\n"
        "    import importlib.util, sys\n"
        "    from polyexpose_spark.ports import csv_parts\n"
        "    others = ('pydantic', 'pyiceberg', 'pandas', 'numpy', 'yaml')\n"
        "    return [[csv_parts.__file__, sys.executable, *filter(importlib.util.find_spec, others)]]\n"
        "context = SparkSession.builder.getOrCreate().sparkContext\n"
        "print(json.dumps(context.parallelize([1], 1).mapPartitions(where).collect()))\n"
    )
    done = submit(place, dist, script, files=(cluster,))
    assert done.returncode == 0, done.stderr
    ((file, python, *others),) = json.loads(done.stdout)
    assert file.endswith("polyexpose_spark.zip/polyexpose_spark/ports/csv_parts.py")
    assert python == str(bare / "bin" / "python")
    assert others == []


def test_csv_is_exposed_by_executors_without_our_libraries(dist: Path, place: Path, cluster: Path, bare: Path) -> None:
    loaded = submit(place, dist, dist / "main.py", "--mode", "sample")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    contract = ROOT / "conf" / "products" / "airlines.odcs.yaml"
    words = [dist / "main.py", "--mode", "csv", "--product", contract, "--output", "json"]
    done = submit(place, dist, *words, files=(cluster,))
    assert done.returncode == 0, done.stdout + done.stderr
    # spark-submit lets the program's stderr (the steps) out on stdout, before the result.
    (receipt,) = json.loads(done.stdout[done.stdout.index("[\n") :])
    assert receipt["outcome"] == "published"
    assert receipt["rows"] == 16

    package = Path(receipt["address"]) / "datapackage.json"
    resources = json.loads(package.read_text())["resources"]
    rows = [
        row
        for resource in resources
        for row in csv.reader((package.parent / resource["path"]).read_text(encoding="utf-8").splitlines())
    ]
    assert ["AA", "American Airlines Inc."] in rows

    opened = [line.split(" ", 1) for line in (bare / "seen").read_text().splitlines()]
    assert {python for python, _ in opened} == {str(bare / "bin" / "python")}
    assert any(Path(path).name.startswith("part-") for _, path in opened)
