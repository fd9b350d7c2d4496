from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import subprocess
import tomllib
from pathlib import Path

import certifi
import pytest

from polyexpose_spark import runtime, trust_store
from polyexpose_spark.errors import ConfigError, TargetUnavailable
from polyexpose_spark.runtime import Line

ROOT = Path(__file__).parents[2]
JARS = {"small-1.0.jar": b"one", "other-2.0.jar": b"two"}


def a_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").touch(mode=0o755)
    (home / "release").write_text(f'IMPLEMENTOR="Somebody"\nJAVA_VERSION="{version}"\n')
    return home


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "polyexpose-spark"


@pytest.fixture
def line(tmp_path: Path, cache: Path) -> Line:
    """Describe two small jars in a Maven repository on disk: real Ivy, no network."""
    dependencies = ""
    for jar, content in JARS.items():
        name, revision = jar.removesuffix(".jar").split("-")
        folder = tmp_path / "repository" / "org" / "example" / name / revision
        folder.mkdir(parents=True)
        (folder / jar).write_bytes(content)
        dependencies += f'<dependency org="org.example" name="{name}" rev="{revision}" transitive="false"/>'
    root = (tmp_path / "repository").as_uri() + "/"
    shipped = runtime.read_line()
    return Line(
        name="spark-0.0",
        ivy=(
            '<ivy-module version="2.0"><info organisation="example" module="jars"/><configurations>'
            '<conf name="default"/></configurations><dependencies defaultconf="default->default">'
            f"{dependencies}</dependencies></ivy-module>"
        ).encode(),
        settings=shipped.settings.replace(b"<ibiblio ", f'<ibiblio root="{root}" '.encode()),
        sums={jar: hashlib.sha256(content).hexdigest() for jar, content in JARS.items()},
        java=shipped.java,
        jre=shipped.jre,
    )


# --- What is shipped ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "jars").glob("*-*.xml")), ids=lambda file: file.stem)
def test_every_jar_of_a_line_has_a_sum(file: Path) -> None:
    named = re.findall(r'name="([\w.-]+)" rev="([\w.-]+)" transitive="false"', file.read_text())
    assert len(named) == file.read_text().count("<dependency ")
    assert {f"{name}-{revision}.jar" for name, revision in named} == set(runtime.read_line(file.stem).sums)


def test_the_java_wheel_is_pinned_to_one_version_everywhere() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["jre"] == [runtime.read_line("spark-3.5").jre]


def test_an_unknown_line_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"conf/jars/spark-9\.9\.xml: .* there are for: .*spark-3\.5"):
        runtime.jars("spark-9.9")


# --- Java ---------------------------------------------------------------------------------------------------


def test_java_home_is_used_when_it_is_the_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(a_java(tmp_path / "java", "17.0.1")))
    assert runtime.java_home() == tmp_path / "java"


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.20", "21.0.2", "25"])
def test_another_java_is_passed_over(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(a_java(tmp_path / "other", version)))
    right = a_java(tmp_path / "right", "17.0.9")
    monkeypatch.setenv("PATH", str(right / "bin"))
    assert runtime.java_home() == right


def test_a_java_home_that_is_none_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = a_java(tmp_path / "right", "17.0.9")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(right / "bin"))
    assert runtime.java_home() == right


def test_java_reads_the_machines_certificates(tmp_path: Path) -> None:
    pem = Path(certifi.where()).read_text(encoding="utf-8")
    store = tmp_path / "authorities.jks"
    store.write_bytes(trust_store.jks(pem))
    keytool = [runtime.java_home() / "bin" / "java", "-m", "java.base/sun.security.tools.keytool.Main"]
    done = subprocess.run(
        [*keytool, "-list", "-keystore", store, "-storepass", "changeit"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("trustedCertEntry") == pem.count("BEGIN CERTIFICATE")


# --- Jars ---------------------------------------------------------------------------------------------------


def test_jars_are_fetched_once(line: Line, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    jars = runtime.fetched(line)
    assert {path.name: path.read_bytes() for path in jars} == JARS
    assert len(caplog.messages) == 1
    before = [path.stat().st_mtime_ns for path in jars]
    assert runtime.fetched(line) == jars
    assert [path.stat().st_mtime_ns for path in jars] == before
    assert len(caplog.messages) == 1
    assert sorted(path.name for path in (cache / "jars").iterdir() if path.is_dir()) == [line.folder.name]


def test_a_jar_with_another_sum_is_refused_and_not_kept(line: Line, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "repository/org/example/small/1.0/small-1.0.jar").write_bytes(b"changed")
    with pytest.raises(ConfigError, match=r"spark-0\.0\.sha256: small-1\.0\.jar should have sha256 \w{64} but has"):
        runtime.fetched(line)
    assert not any(path.is_dir() for path in (cache / "jars").iterdir())


def test_a_repository_that_lacks_a_jar_is_unavailable(line: Line, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "repository/org/example/other/2.0/other-2.0.jar").unlink()
    with pytest.raises(TargetUnavailable, match=r"spark-0\.0 could not be fetched: .*other;2\.0: not found"):
        runtime.fetched(line)
    assert not any(path.is_dir() for path in (cache / "jars").iterdir())


def test_what_a_killed_fetch_left_does_no_harm(line: Line) -> None:
    partial = line.folder.with_name(line.folder.name + ".partial") / "jars"
    partial.mkdir(parents=True)
    (partial / "small-1.0.jar").write_bytes(b"ha")
    jars = runtime.fetched(line)
    assert {path.name: path.read_bytes() for path in jars} == JARS
    assert not partial.parent.exists()


def test_a_jar_that_was_removed_comes_back(line: Line) -> None:
    jars = runtime.fetched(line)
    jars[0].unlink()
    assert {path.name: path.read_bytes() for path in runtime.fetched(line)} == JARS


def test_two_processes_fetch_at_once(line: Line) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        first, second = pool.map(runtime.fetched, [line, line])
    assert first == second
    assert {path.name: path.read_bytes() for path in first} == JARS


# --- Class-data archive -------------------------------------------------------------------------------------


def test_an_archive_for_other_jars_is_not_used(tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    jar = tmp_path / "a.jar"
    jar.write_bytes(b"one")
    java = a_java(tmp_path / "java", "17.0.9")
    (java / "lib").mkdir()
    (java / "lib" / "modules").write_bytes(b"modules")
    assert runtime.class_data_archive([jar], java) is None
    archive = runtime.archive_path([jar], java)
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert runtime.class_data_archive([jar], java) == archive
    assert caplog.messages == []

    jar.write_bytes(b"another")
    assert runtime.class_data_archive([jar], java) is None
    assert len(caplog.messages) == 1
    assert "is not used" in caplog.messages[0]


def test_an_archive_for_another_java_is_not_used(tmp_path: Path, cache: Path) -> None:
    java = a_java(tmp_path / "java", "17.0.9")
    (java / "lib").mkdir()
    (java / "lib" / "modules").write_bytes(b"modules")
    archive = runtime.archive_path([], java)
    (java / "release").write_text('JAVA_VERSION="17.0.10"\n')
    assert runtime.archive_path([], java) != archive


# --- Settings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "/plain/path.jar",
        "/with blanks/and\\back\\slashes",
        "/equals=colon;hash#bang!",
        " leading",
        '-Da=b -Dc="d e"',
        "/Größe/数据/😀.jar",
    ],
)
def test_spark_reads_the_settings_as_they_were(value: str, tmp_path: Path) -> None:
    file = tmp_path / "spark.properties"
    file.write_text(runtime.properties_text({"spark.driver.extraClassPath": value, "spark.driver.memory": "321m"}))
    # Spark's launcher prints the command it would run, its words ended by NUL.
    launcher = ["-cp", f"{runtime.spark_home()}/jars/*", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8"]
    launcher += ["org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit"]
    done = subprocess.run(
        [runtime.java_home() / "bin" / "java", *launcher, "--properties-file", file, "main.py"],
        capture_output=True,
        env={**os.environ, "SPARK_HOME": str(runtime.spark_home()), "SPARK_SCALA_VERSION": "any"},
    )
    words = done.stdout.decode().split("\0")
    assert "-Xmx321m" in words, done.stderr.decode()
    assert words[words.index("-cp") + 1].startswith(value.strip() + os.pathsep)
