"""The kinds of catalog, each a real one: SQLite, a PostgreSQL server, Iceberg's own REST server, folders.

Each is known to the one Spark session under a name of its own, by the settings that a user's profile would give.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polyexpose_spark import runtime
from polyexpose_spark.catalog import Catalog
from polyexpose_spark.config import CatalogConfig, Config
from polyexpose_spark.session import build_session
from tests.missing import missing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PASSWORD = "hasta-la-vista-42"  # of a server that lives as long as the tests
KINDS = ("sqlite", "postgresql", "rest", "hadoop")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(answers: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answers()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"{process.args} did not come up:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The JDBC address of a PostgreSQL server of our own; user `lake`, password in $PG_PASSWORD."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(found[-1]) if found else shutil.which("initdb")
    if not initdb:
        missing("PostgreSQL's server programs are not installed (Debian: apt-get install postgresql)")
    folder = Path(tmp_path_factory.mktemp("postgresql"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        folder = Path("/tmp") / f"polyexpose-postgresql-{os.getpid()}"  # pytest's own folders are closed to others
        folder.mkdir(mode=0o700)
        os.chown(folder, account.pw_uid, account.pw_gid)
    log, port = folder / "log", free_port()
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)}
    make = [str(initdb), "-D", str(folder / "data"), "-U", "lake", "-A", "scram-sha-256", f"--pwfile={password}"]
    subprocess.run([*make, "--no-sync"], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, **as_user)
    serve = [str(Path(str(initdb)).with_name("postgres")), "-D", str(folder / "data"), "-p", str(port), "-F"]
    serve += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    with log.open("wb") as output:
        process = subprocess.Popen(serve, cwd=folder, env=environment, stdout=output, stderr=output, **as_user)
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close(), process, log)
        os.environ["PG_PASSWORD"] = PASSWORD
        yield f"jdbc:postgresql://127.0.0.1:{port}/postgres"
    finally:
        stop(process, signal.SIGINT)  # PostgreSQL's "fast": it does not wait for its clients
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Iceberg's own REST catalog server, on loopback."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if sys.platform != "linux" or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        missing("no network namespace can be made here, and the REST server listens on all interfaces")
    (jar,) = runtime.jars("test-iceberg-rest")
    java = runtime.java_home() / "bin" / "java"
    folder = tmp_path_factory.mktemp("rest")
    environment = {
        "PATH": os.environ["PATH"],
        "CATALOG_WAREHOUSE": str(folder / "warehouse"),
        "CATALOG_URI": f"jdbc:sqlite:{folder}/catalog.db",
        "CATALOG_JDBC_SCHEMA__VERSION": "V1",
        "CATALOG_REST_PORT": "8181",
    }
    server = [str(java), "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", str(jar)]
    server += ["org.apache.iceberg.rest.RESTCatalogServer"]
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as output:
        os.set_inheritable(listener.fileno(), True)
        bridge = [sys.executable, str(Path(__file__).with_name("in_namespace.py")), str(listener.fileno()), "8181"]
        process = subprocess.Popen(
            [*unshare, *bridge, *server],
            env=environment,
            stdout=output,
            stderr=output,
            pass_fds=[listener.fileno()],
        )
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        wait_for(lambda: urllib.request.urlopen(f"{address}/v1/config").close(), process, folder / "log")
        yield address
    finally:
        stop(process)


@dataclass(frozen=True)
class Lake:
    """One catalog, as Spark and as this package see it."""

    kind: str
    spark: SparkSession
    catalog: Catalog

    @property
    def config(self) -> CatalogConfig:
        return self.catalog.config

    @property
    def name(self) -> str:
        return self.config.name


def marks(kind: str) -> list[pytest.MarkDecorator]:
    own = {"postgresql": [pytest.mark.postgres], "rest": [pytest.mark.rest]}
    return [pytest.mark.spark, *own.get(kind, [])]


def settings(kind: str, request: pytest.FixtureRequest, warehouse: Path) -> dict[str, object]:
    match kind:
        case "sqlite":
            return {"type": "jdbc", "uri": f"jdbc:sqlite:{warehouse}/catalog.db", "warehouse": str(warehouse)}
        case "postgresql":
            uri = request.getfixturevalue("postgresql")
            known = {"uri": uri, "user": "lake", "password": "env:PG_PASSWORD"}
            return {"type": "jdbc", "warehouse": str(warehouse), **known}
        case "rest":
            return {"type": "rest", "uri": request.getfixturevalue("rest")}
    return {"type": "hadoop", "warehouse": str(warehouse)}


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=marks(kind)) for kind in KINDS])
def lake(
    request: pytest.FixtureRequest, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lake]:
    """A catalog with nothing in it, of each kind in turn."""
    kind: str = request.param
    given = settings(kind, request, tmp_path_factory.mktemp("warehouse"))
    config = CatalogConfig.model_validate({"name": f"{kind}_lake", **given})
    default = spark.conf.get("spark.sql.defaultCatalog", "spark_catalog")
    build_session(Config(catalog=config))
    yield Lake(kind, spark, Catalog(config))
    spark.conf.set("spark.sql.defaultCatalog", str(default))
