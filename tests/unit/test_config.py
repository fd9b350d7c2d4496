"""What a user sees when a configuration is right, and when it is not."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from polyexpose_spark import config
from polyexpose_spark.errors import ConfigError, ExitCode
from polyexpose_spark.workspace import address_models


def load(*settings: str, files: tuple[str, ...] = (), profile: str = "local") -> config.Config:
    return config.load(profile, files, settings, address_models())


def problems(*settings: str, files: tuple[str, ...] = (), profile: str = "local") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*settings, files=files, profile=profile)
    assert caught.value.exit_code == ExitCode.CONFIG
    return str(caught.value).splitlines()


def test_local_profile_keeps_everything_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = load()
    assert found.catalog.warehouse == str(tmp_path / ".polyexpose/warehouse")
    assert found.state.location == str(tmp_path / ".polyexpose/state")


def test_later_wins_over_earlier(tmp_path: Path) -> None:
    file = tmp_path / "more.yaml"
    file.write_text("spark: {master: 'local[7]', driver_memory: 3g}\n")
    found = load("spark.master=local[9]", files=(str(file),))
    assert (found.spark.master, found.spark.driver_memory) == ("local[9]", "3g")


def test_all_problems_at_once_each_with_file_line_key_and_what_is_allowed(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("catalog:\n  typ: rest\nspark:\n  provision: perhaps\n\nnonsense: 1\n")
    found = problems("catalog.jdbc=1", files=(str(file),))
    assert len(found) == 4
    assert (
        f"{file}:2: catalog.typ: unknown key; known keys: name, password, properties, type, uri, user, warehouse"
        in found
    )
    assert any(line.startswith(f"{file}:4: spark.provision: ") and "perhaps" in line for line in found)
    assert (
        f"{file}:6: nonsense: unknown key; known keys: "
        "catalog, environment, gcs, log, ports, secret_manager, spark, state" in found
    )
    assert any(line.startswith("--set catalog.jdbc: catalog.jdbc: unknown key") for line in found)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("nonsense",), "'nonsense' is not key=value"),
        (("ports.ftp.root=/x",), "unknown port; known ports: csv, events, gql, sql"),
        (("ports.csv.rot=/x",), "unknown key; known keys: root"),
        (("catalog.uri=jdbc:mysql://x",), "starts with jdbc:sqlite: or jdbc:postgresql://"),
        (("catalog.type=oracle",), "'oracle' is not allowed; allowed: jdbc, rest, hadoop or hive"),
        (("catalog.type=rest", "catalog.uri="), "a rest catalog needs `uri`"),
    ],
)
def test_bad_settings_are_one_line(settings: tuple[str, ...], expected: str) -> None:
    assert any(expected in line for line in problems(*settings))


def test_unknown_profile_lists_the_known_ones() -> None:
    assert problems(profile="aws") == ["--profile: 'aws' is not known; allowed: gcp, local"]


def test_a_secret_written_out_is_refused_and_not_repeated() -> None:
    [line] = problems("catalog.password=hunter2")
    assert "hunter2" not in line
    assert "env:NAME, file:PATH or sm://PROJECT/SECRET" in line


@pytest.mark.parametrize(
    "reference", ["sm://acme/db", "sm://projects/acme/secrets/db", "sm://projects/acme/secrets/db/versions/7"]
)
def test_a_secret_may_be_in_secret_manager(reference: str) -> None:
    assert load(f"catalog.password={reference}").catalog.password == reference


def test_a_reference_to_secret_manager_that_names_no_secret() -> None:
    [line] = problems("catalog.password=sm://db")
    assert "catalog.password: " in line
    assert "sm://PROJECT/SECRET or sm://projects/PROJECT/secrets/SECRET[/versions/VERSION]" in line


def test_settings_of_iceberg_and_spark_have_dots_in_their_names() -> None:
    found = load("catalog.properties.header.x-goog-user-project=acme", "spark.conf.spark.ui.enabled=false")
    assert found.catalog.properties["header.x-goog-user-project"] == "acme"
    assert found.spark.conf["spark.ui.enabled"] == "false"
    assert load("spark.conf={spark.ui.port: '4041'}").spark.conf == {"spark.ui.port": "4041"}


def test_the_gcp_profile_wants_only_what_its_head_lists() -> None:
    text = (files("polyexpose_spark") / "conf" / "profiles" / "gcp.yaml").read_text(encoding="utf-8")
    wanted = re.findall(r"^#   ([a-z_.-]+) ", text, re.MULTILINE)
    assert len(wanted) == 9
    values = {"ports.gql.hasura.endpoint": "https://hasura", "ports.gql.hasura.admin_secret": "sm://acme/admin"}
    found = load(*(f"{key}={values.get(key, 'gs://acme/x')}" for key in wanted), profile="gcp")
    assert found.catalog.warehouse == found.state.location == "gs://acme/x"
    events = address_models()["events"].model_validate(found.ports["events"])
    assert (events.sink, events.kafka.sasl_mechanism) == ("kafka", "OAUTHBEARER")  # type: ignore[attr-defined]
    assert events.kafka.security_protocol == "SASL_SSL"  # type: ignore[attr-defined]
    assert found.log == "json"
    # The head leaves nothing out that other files set, and the profile is valid without it.
    assert load(profile="gcp").log == "json"


def test_another_type_replaces_the_block_of_the_first(tmp_path: Path) -> None:
    found = load("catalog.type=rest", "catalog.uri=http://127.0.0.1:1")
    assert found.catalog.uri == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", ":2: a: this key is written twice; keep one"),
        ("- 1\n", ":1: a mapping of keys to values is expected"),
        ("a: [1\n", "not YAML"),
    ],
)
def test_files_that_are_no_mapping(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    assert any(expected in line for line in problems(files=(str(file),)))


def test_a_file_that_is_not_there() -> None:
    [line] = problems(files=("nowhere.yaml",))
    assert line.startswith("nowhere.yaml: cannot be read")
