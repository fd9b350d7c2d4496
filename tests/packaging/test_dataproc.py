"""Requests of infra/dataproc: what the API, our own command line and Terraform take, and the commands made of them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.missing import missing

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra" / "dataproc"
CHECKER = ROOT.parent / "shared" / "tools" / "check_dataproc.py"
FIELD = re.compile(r"jobs\['(?P<step>[^']+)'\]\.pySparkJob\.args\[(?P<position>\d+)\]")
KINDS = {"workflow-template": "WorkflowTemplate", "cluster": "Cluster", "job": "Job", "batch": "Batch"}
REQUESTS = sorted(path.stem for path in INFRA.glob("*.yaml"))
LINES = ("2.3", "3.0")


def read(name: str) -> Any:
    return yaml.safe_load((INFRA / f"{name}.yaml").read_text(encoding="utf-8"))


def kind(name: str) -> str:
    return KINDS[re.sub(r"-[\d.]+$", "", name)]


def submitted() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield everything that is run, by the name of its request."""
    for name in REQUESTS:
        request = read(name)
        for step in request.get("jobs", []):
            yield f"{name} {step['stepId']}", step["pysparkJob"]
        for key in ("pysparkJob", "pysparkBatch"):
            if key in request:
                yield name, request[key]


SUBMITTED = list(submitted())


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def printed(*arguments: str) -> str:
    command = [sys.executable, INFRA / "gcloud.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def template() -> Any:
    return read("workflow-template")


def test_there_is_a_request_for_every_image_and_runtime() -> None:
    of_a_line = [f"{kind}-{line}" for kind in ("batch", "cluster", "job") for line in LINES]
    assert [*of_a_line, "workflow-template"] == REQUESTS
    for line in LINES:
        assert read(f"cluster-{line}")["config"]["softwareConfig"]["imageVersion"].startswith(f"{line}-")
        assert read(f"batch-{line}")["runtimeConfig"]["version"] == line
        assert read(f"job-{line}")["placement"]["clusterName"] == read(f"cluster-{line}")["clusterName"]


@pytest.mark.parametrize("name", REQUESTS)
def test_the_request_is_one_the_api_accepts(name: str) -> None:
    if not CHECKER.is_file():
        # The checker is a tool of the maintainers' machines; the checks below need nothing.
        missing(f"{CHECKER.name} is not beside this clone")
    command = [sys.executable, CHECKER, kind(name), INFRA / f"{name}.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "work"), SUBMITTED, ids=[name for name, _ in SUBMITTED])
def test_every_job_submits_exactly_what_is_built(name: str, work: dict[str, Any]) -> None:
    assert set(work) - {"properties", "fileUris"} == {"mainPythonFileUri", "pythonFileUris", "args"}
    files = [work["mainPythonFileUri"], *work["pythonFileUris"]]
    assert files == [f"gs://BUCKET/polyexpose/{file}" for file in ("main.py", "polyexpose_spark.zip")]


@pytest.mark.parametrize(("name", "work"), SUBMITTED, ids=[name for name, _ in SUBMITTED])
def test_the_command_line_takes_these_arguments(name: str, work: dict[str, Any]) -> None:
    from polyexpose_spark import options

    values = {"PRODUCT": "gs://b/products", "PROFILE": "gcp", "SNAPSHOT": "main"}
    arguments = options.parser().parse_args([values.get(argument, argument) for argument in work["args"]])
    options.check(arguments)
    assert arguments.profile == "gcp"
    # What it reads from its working directory is brought there.
    assert arguments.conf == [uri.rsplit("/", 1)[1] for uri in work.get("fileUris", [])]


def test_a_parameter_replaces_the_value_behind_its_flag(template: dict[str, Any]) -> None:
    steps = {step["stepId"]: step["pysparkJob"]["args"] for step in template["jobs"]}
    replaced: dict[str, set[int]] = {step: set() for step in steps}
    flags = {"PRODUCT": "--product", "PROFILE": "--profile", "SNAPSHOT": "--as-of"}
    assert [parameter["name"] for parameter in template["parameters"]] == list(flags)
    for parameter in template["parameters"]:
        for field in parameter["fields"]:
            found = FIELD.fullmatch(field)
            assert found, f"{parameter['name']}: {field} is not an argument"
            position = int(found["position"])
            assert steps[found["step"]][position - 1 : position + 1] == [
                flags[parameter["name"]],
                parameter["name"],
            ]
            replaced[found["step"]].add(position)
    for step, arguments in steps.items():
        placeholders = {position for position, argument in enumerate(arguments) if argument.isupper()}
        assert placeholders == replaced[step], f"{step}: an argument nothing replaces"


def test_the_steps_plan_expose_and_then_tell(template: dict[str, Any]) -> None:
    order = [
        (step["stepId"], step.get("prerequisiteStepIds", []), step["pysparkJob"]["args"][1])
        for step in template["jobs"]
    ]
    assert order == [("plan", [], "plan"), ("expose", ["plan"], "all"), ("status", ["expose"], "status")]


@pytest.mark.parametrize("name", ["workflow-template", *(f"cluster-{line}" for line in LINES)])
def test_the_cluster_gets_what_we_name_in_the_versions_of_the_lock(name: str, template: dict[str, Any]) -> None:
    config = template["placement"]["managedCluster"]["config"] if name == "workflow-template" else read(name)["config"]
    packages = config["softwareConfig"]["properties"]["dataproc:pip.packages"]
    assert packages == printed("--pip-packages"), "as gcloud.py --pip-packages says"
    installed = dict(package.split("==") for package in packages.split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}  # type: ignore[index]
    assert needed | {"pyarrow", "confluent-kafka", "google-cloud-storage", "google-cloud-bigquery"} <= set(installed)
    assert not installed.keys() & {"pyspark", "polyexpose-spark"}


def test_the_lock_fulfils_the_project_and_every_package_has_a_hash() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lock = (INFRA / "requirements.txt").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([\w.-]+)==([^\s\\]+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", lock, re.MULTILINE
    )
    assert len(entries) == len(re.findall(r"^\S", lock, re.MULTILINE)) > 30
    locked = {canonicalize_name(name): version for name, version, _ in entries}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.search(r"^EXTRAS = \((.*)\)", (INFRA / "gcloud.py").read_text(), re.MULTILINE)[1].split(", "))  # type: ignore[index]
    named = [*project["dependencies"], *(r for e in extras for r in project["optional-dependencies"][e.strip('"')])]
    for text in named:
        required = Requirement(text)
        assert locked[canonicalize_name(required.name)] in required.specifier, text
    assert "pyspark" not in locked


def test_terraform_and_the_jobs_bring_the_same_jars(template: dict[str, Any]) -> None:
    of_clusters = template["placement"]["managedCluster"]["config"]["softwareConfig"]["properties"]
    assert (
        read("job-2.3")["pysparkJob"]["properties"]["spark.jars.packages"] == of_clusters["spark:spark.jars.packages"]
    )
    module = (ROOT / "infra" / "terraform" / "modules" / "dataproc" / "main.tf").read_text(encoding="utf-8")
    assert f'"{read("job-3.0")["pysparkJob"]["properties"]["spark.jars.packages"]}"' in module


@pytest.mark.parametrize("name", [f"{kind}-{line}" for kind in ("job", "batch") for line in LINES])
def test_jars_are_of_the_spark_and_scala_that_run_them(name: str) -> None:
    request = read(name)
    properties = request.get("pysparkJob", request.get("runtimeConfig"))["properties"]
    runtime, bundle = properties["spark.jars.packages"].split(",")
    spark = {"job-2.3": "3.5_2.12", "job-3.0": "4.1_2.13", "batch-2.3": "3.5_2.13", "batch-3.0": "4.0_2.13"}[name]
    version = runtime.rpartition(":")[2]
    assert runtime == f"org.apache.iceberg:iceberg-spark-runtime-{spark}:{version}"
    assert bundle == f"org.apache.iceberg:iceberg-gcp-bundle:{version}"


def test_the_readme_has_the_commands_that_the_script_prints() -> None:
    readme = (INFRA / "README.md").read_text(encoding="utf-8")
    before, _, commands = readme.partition("## Commands\n")
    assert "gcloud dataproc" not in before
    assert commands.split("```\n")[1] == f"{printed()}\n"


@pytest.mark.parametrize("name", [each for each in REQUESTS if each != "workflow-template"])
def test_a_command_says_all_that_its_request_says(name: str) -> None:
    title = (INFRA / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
    [block] = [each for each in printed().split("\n\n") if each.startswith(f"{title}\n")]
    # `internalIpOnly: true` is the flag --no-address.
    said = {str(leaf) for leaf in leaves(read(name)) if leaf is not True}
    assert not {leaf for leaf in said if leaf not in block}
    assert ("--no-address" in block) == (kind(name) == "Cluster")


def test_the_image_has_the_lock_and_the_user_that_the_service_wants() -> None:
    image = (INFRA / "Dockerfile").read_text(encoding="utf-8")
    assert "COPY requirements.txt /tmp/requirements.txt\n" in image
    assert "--require-hashes --requirement /tmp/requirements.txt" in image
    assert "groupadd --gid 1099 spark && useradd --uid 1099 --gid 1099" in image
    assert image.rstrip().endswith("USER spark")
    # The lock is resolved for this Python.
    assert re.search(r"^FROM python:3\.11-", image, re.MULTILINE)
