"""Terraform: every module and example against the provider's argument names, and what it says to polyexpose."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from polyexpose_spark import config
from polyexpose_spark.workspace import address_models
from tests.missing import missing

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
TERRAFORM = INFRA / "terraform"
CHECKER = ROOT.parent / "shared" / "tools" / "terraform-google" / "check"
MODULES = sorted(path for path in (TERRAFORM / "modules").iterdir() if path.is_dir())
EXAMPLES = sorted(path for path in (TERRAFORM / "examples").iterdir() if path.is_dir())


def named(path: Path) -> str:
    return path.name


@pytest.mark.packaging
@pytest.mark.parametrize("folder", [*MODULES, *EXAMPLES], ids=named)
def test_it_is_valid_and_its_own_tests_pass(folder: Path) -> None:
    if not CHECKER.is_file():
        missing("not checked: terraform-google/check is not beside this clone; make infra-check asks the real provider")
    if not (shutil.which("terraform") or shutil.which("tofu")):
        missing("not checked: neither terraform nor tofu is on the PATH")
    if not shutil.which("go"):
        missing("not checked: go, which builds the stand-in for the provider, is not on the PATH")
    done = subprocess.run([CHECKER, folder, INFRA], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # A folder whose tests were not found is validated only, and would pass.
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", said), said


@pytest.mark.parametrize("folder", EXAMPLES, ids=named)
def test_polyexpose_takes_the_configuration_that_an_example_gives(folder: Path) -> None:
    """That an example gives exactly this file is tested by the example's own tests."""
    from polyexpose_spark.clients.event_addresses import KafkaAddress
    from polyexpose_spark.ports.graphql_settings import GraphqlAddresses

    loaded = config.load("gcp", [str(folder / "tests" / "environment.yaml")], port_models=address_models())
    assert loaded.catalog.uri == "https://biglake.googleapis.com/iceberg/v1/restcatalog"
    assert loaded.catalog.warehouse == "gs://acme-data-prod-polyexpose-warehouse"
    assert loaded.catalog.properties["header.x-goog-user-project"] == "acme-data-prod"
    assert loaded.state.location == "gs://acme-data-prod-polyexpose-state/polyexpose"
    if folder.name == "complete":
        # Complete in itself: OAUTHBEARER without TLS, or Hasura without an address, is refused by these models.
        assert KafkaAddress(**loaded.ports["events"]["kafka"]).sasl_mechanism == "OAUTHBEARER"
        gql = GraphqlAddresses(**loaded.ports["gql"])
        assert gql.hasura is not None
        assert gql.hasura.admin_secret == "sm://acme-data-prod/polyexpose-hasura-admin-secret"


def test_hasura_has_its_key_where_polyexpose_tells_it_to_look() -> None:
    from polyexpose_spark.ports.graphql_settings import HasuraAddresses

    variable = HasuraAddresses(endpoint="https://hasura").service_account_env
    assert re.search(rf"^\s*{variable}\s*= var\.secrets\.bigquery_key$", text("hasura/main.tf"), re.MULTILINE)


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_every_role_that_is_granted_is_in_the_table(module: Path) -> None:
    granted = set(re.findall(r'"(roles/[\w.]+)"', text(f"{module.name}/main.tf")))
    table = (INFRA / "README.md").read_text(encoding="utf-8")
    assert {role for role in granted if f"`{role}`" not in table} == set()
    # Nobody is granted what administers, or reaches everything.
    assert not {role for role in granted if re.search(r"[aA]dmin|roles/(owner|editor|viewer)$", role)}


@pytest.mark.parametrize("module", MODULES, ids=named)
def test_a_module_says_what_each_variable_and_output_is(module: Path) -> None:
    for file in ("variables.tf", "outputs.tf"):
        for block in re.split(r"^(?=variable|output)", text(f"{module.name}/{file}"), flags=re.MULTILINE):
            if block.strip():
                assert re.search(r'^  description = ".+\."$', block, re.MULTILINE), block
    assert ">= 7.0, < 8.0" in text(f"{module.name}/versions.tf")
    assert f"`{module.name}`" in (INFRA / "README.md").read_text(encoding="utf-8")


def test_no_value_of_a_secret_reaches_the_state() -> None:
    written = {"google_secret_manager_secret_version", "google_service_account_key", "google_sql_user"}
    for file in TERRAFORM.rglob("*.tf"):
        made = set(re.findall(r'^resource "(\w+)"', file.read_text(encoding="utf-8"), re.MULTILINE))
        assert not made & written, f"{file.relative_to(ROOT)}: values of secrets are put in by hand"


def text(name: str) -> str:
    """Return a file of the modules."""
    return (TERRAFORM / "modules" / name).read_text(encoding="utf-8")
