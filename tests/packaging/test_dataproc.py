from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra" / "dataproc"
CHECKER = ROOT.parent / "shared" / "tools" / "check_dataproc.py"
FIELD = re.compile(r"jobs\['(?P<step>[^']+)'\]\.pySparkJob\.args\[(?P<position>\d+)\]")


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "workflow-template.yaml").read_text())


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "job.yaml").read_text())


@pytest.mark.parametrize(("kind", "file"), [("WorkflowTemplate", "workflow-template.yaml"), ("Job", "job.yaml")])
def test_the_request_is_one_the_api_accepts(kind: str, file: str) -> None:
    if not CHECKER.is_file():
        # The checker is a tool of the maintainers' machines; the checks below need nothing.
        pytest.skip(f"{CHECKER.name} is not beside this clone")
    done = subprocess.run([sys.executable, CHECKER, kind, INFRA / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_job_submits_exactly_what_is_built(template: dict[str, Any], job: dict[str, Any]) -> None:
    for pyspark in [job["pysparkJob"], *(step["pysparkJob"] for step in template["jobs"])]:
        assert set(pyspark) == {"mainPythonFileUri", "pythonFileUris", "args"}
        files = [pyspark["mainPythonFileUri"], *pyspark["pythonFileUris"]]
        assert [file.rsplit("/", 1)[1] for file in files] == ["main.py", "polyexpose_spark.zip"]


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


def test_the_command_line_takes_these_arguments(template: dict[str, Any], job: dict[str, Any]) -> None:
    from polyexpose_spark.options import parser

    values = {"PRODUCT": "gs://b/products", "PROFILE": "gcp", "SNAPSHOT": "main"}
    for pyspark in [job["pysparkJob"], *(step["pysparkJob"] for step in template["jobs"])]:
        arguments = parser().parse_args([values.get(argument, argument) for argument in pyspark["args"]])
        assert arguments.profile == "gcp"


def test_the_cluster_gets_every_package_the_driver_imports(template: dict[str, Any]) -> None:
    properties = template["placement"]["managedCluster"]["config"]["softwareConfig"]["properties"]
    installed = dict(package.split("==") for package in properties["dataproc:pip.packages"].split(","))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}  # type: ignore[index]
    assert needed | {"pyarrow"} == set(installed)
