"""conf/base.yaml + conf/profiles/<name>.yaml + --conf + --set -> one frozen Config.

A profile carries what belongs to an environment: addresses, roots, projects, credentials, broker settings. What
it sets wins over the contract. Profiles differ in these files only; nothing in the package asks which one is used.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, Field, model_validator

from polyexpose_spark import documents
from polyexpose_spark.documents import Document, Place, Strict
from polyexpose_spark.errors import ConfigError, Problem


def _local_path(value: str) -> str:
    """Make a path absolute (against the working directory); addresses with a scheme stay as they are."""
    return value if "://" in value else str(Path(value).expanduser().absolute())


def _catalog_uri(value: str) -> str:
    """Make the file of an SQLite catalog absolute, as _local_path does."""
    if not value.startswith("jdbc:sqlite:"):
        return value
    path, question, options = value.removeprefix("jdbc:sqlite:").partition("?")
    return f"jdbc:sqlite:{Path(path).expanduser().absolute()}{question}{options}"


_STORED = re.compile(
    r"(?P<words>projects/)?(?P<project>[a-z0-9]([a-z0-9.:-]*[a-z0-9])?)/(?(words)secrets/)(?P<secret>[\w-]{1,255})"
    r"(?(words)(/versions/(?P<version>[\w-]{1,63}))?)",
    re.ASCII,
)
"""Ids as Secret Manager has them; a version is a number, `latest` or an alias."""


def secret_version(reference: str) -> str:
    """Return what an sm:// reference names, as Secret Manager's API has it: projects/P/secrets/S/versions/V.

    Raises:
        ValueError: it is no such reference; says what one looks like.
    """
    found = _STORED.fullmatch(reference.removeprefix("sm://"))
    if found is None:
        raise ValueError("written as sm://PROJECT/SECRET or sm://projects/PROJECT/secrets/SECRET[/versions/VERSION]")
    return f"projects/{found['project']}/secrets/{found['secret']}/versions/{found['version'] or 'latest'}"


def _secret(value: str) -> str:
    if not value.startswith(("env:", "file:", "sm://")):
        # The value itself may be the secret: it is not repeated in the message.
        raise ValueError("a secret is written as a reference: env:NAME, file:PATH or sm://PROJECT/SECRET")
    if value.startswith("sm://"):
        secret_version(value)
    return value


Location = Annotated[str, AfterValidator(_local_path)]
SecretReference = Annotated[str, AfterValidator(_secret)]


class CatalogConfig(Strict):
    """The Iceberg catalog, seen by Spark and by pyiceberg under the same name."""

    name: str = "lake"
    type: Literal["jdbc", "rest", "hadoop", "hive"]
    """jdbc (SQLite, PostgreSQL), rest, hadoop (folders; no views), hive (metastore)."""
    uri: Annotated[str, AfterValidator(_catalog_uri)] | None = None
    """jdbc:sqlite:FILE, jdbc:postgresql://HOST:PORT/DB, https://..., thrift://...; none for hadoop."""
    warehouse: Location | None = None
    user: str | None = None
    password: SecretReference | None = None
    properties: Mapping[str, str] = {}
    """More Iceberg catalog properties, handed to Spark and pyiceberg; a value may be a secret reference."""

    @model_validator(mode="after")
    def _complete(self) -> CatalogConfig:
        if self.type != "hadoop" and not self.uri:
            raise ValueError(f"a {self.type} catalog needs `uri`")
        if self.type in ("jdbc", "hadoop") and not self.warehouse:
            raise ValueError(f"a {self.type} catalog needs `warehouse`")
        if self.type == "jdbc" and self.uri and not self.uri.startswith(("jdbc:sqlite:", "jdbc:postgresql://")):
            raise ValueError("`uri` of a jdbc catalog starts with jdbc:sqlite: or jdbc:postgresql://")
        return self


class SparkConfig(Strict):
    """How a Spark session is made. On a cluster the platform's own settings stand."""

    master: str | None = None
    """For example local[2]; none: whatever spark-submit or the platform says."""
    provision: bool = False
    """Fetch the jars of conf/jars and use the class-data archive; true on a laptop only."""
    driver_memory: str | None = None
    log_file: Location | None = None
    """Where Spark's own log goes; none: the platform's logging."""
    conf: Mapping[str, str] = {}
    """More Spark settings, handed on as they are."""


class StateConfig(Strict):
    """Where the ledger of exposures is kept."""

    location: Location | None = None


class GcsConfig(Strict):
    """Google Cloud Storage, where a location is a gs:// address."""

    project: str | None = None
    """Pays for the requests (quota project); none: as the credentials say."""
    endpoint: str | None = None
    """Address of another server of its API; none: Google's own."""
    credentials: Literal["application_default", "anonymous"] = "application_default"


class SecretManagerConfig(Strict):
    """Google Secret Manager, where a secret is an sm:// reference; application default credentials."""

    project: str | None = None
    """Pays for the requests (quota project); none: as the credentials say."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/@?#]+/?$")
    """Address of another server of its API, as for Private Service Connect; none: Google's own."""


class Config(Strict):
    """Everything that belongs to an environment; ``ports`` holds one block per mode, checked by the port's model."""

    log: Literal["text", "json"] = "text"
    """What a run says of itself: lines for people, or one JSON object a line on stdout, as Cloud Logging reads them."""
    environment: str | None = None
    """Picks among the contract's servers[]: a server of another environment is left out."""
    catalog: CatalogConfig
    state: StateConfig = StateConfig()
    gcs: GcsConfig = GcsConfig()
    secret_manager: SecretManagerConfig = SecretManagerConfig()
    spark: SparkConfig = SparkConfig()
    ports: Mapping[str, Mapping[str, Any]] = {}


def load(
    profile: str,
    files_: Sequence[str] = (),
    settings: Sequence[str] = (),
    port_models: Mapping[str, type[BaseModel]] | None = None,
) -> Config:
    """Read base, profile, further files and ``key=value`` settings; the later wins.

    Args:
        profile: name of a file in conf/profiles.
        files_: further YAML files (``--conf``).
        settings: dotted ``key=value`` (``--set``); the value is read as YAML.
        port_models: mode -> model of that mode's block under ``ports``.

    Raises:
        ConfigError: every problem found, each with file, line, key and what is allowed.
    """
    merged = Document("configuration", {})
    for document in [*_shipped(profile), *map(_read, files_), *map(_setting, settings)]:
        _merge(merged.data, document.data, ())
        merged.places |= document.places
    config = documents.validate(Config, merged.data, merged)
    problems = config if isinstance(config, list) else []
    problems += _port_problems(merged, port_models or {})
    if problems or isinstance(config, list):
        raise ConfigError(problems)
    return config


def _port_problems(merged: Document, port_models: Mapping[str, type[BaseModel]]) -> list[Problem]:
    blocks = merged.data.get("ports") or {}
    problems: list[Problem] = []
    for mode, block in blocks.items() if isinstance(blocks, dict) else ():
        if mode not in port_models:
            known = ", ".join(sorted(port_models))
            problems.append(merged.problem(("ports", mode), f"unknown port; known ports: {known}"))
        elif isinstance(checked := documents.validate(port_models[mode], block, merged, ("ports", mode)), list):
            problems += checked
    return problems


def _shipped(profile: str) -> list[Document]:
    folder = files("polyexpose_spark") / "conf"
    profiles = folder / "profiles"
    known = sorted(entry.name.removesuffix(".yaml") for entry in profiles.iterdir() if entry.name.endswith(".yaml"))
    if profile not in known:
        raise ConfigError([Problem("--profile", 0, "", f"{profile!r} is not known; allowed: {', '.join(known)}")])
    return [
        documents.parse((folder / "base.yaml").read_text(), "conf/base.yaml"),
        documents.parse((profiles / f"{profile}.yaml").read_text(), f"conf/profiles/{profile}.yaml"),
    ]


def _read(path: str) -> Document:
    try:
        return documents.parse(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, 0, "", f"cannot be read: {error}")]) from None


_FOREIGN = (("catalog", "properties"), ("spark", "conf"))
"""Settings of others below these: their names have dots, their values are text."""


def _setting(text: str) -> Document:
    key, equals, value = text.partition("=")
    where = f"--set {key}"
    if not equals or not key.strip():
        raise ConfigError([Problem("--set", 0, "", f"{text!r} is not key=value (for example spark.master=local[2])")])
    parts = key.strip().split(".")
    data: Any = value
    if tuple(parts[:2]) in _FOREIGN and parts[2:]:
        parts[2:] = [".".join(parts[2:])]
    elif value:
        with contextlib.suppress(yaml.YAMLError):
            data = yaml.safe_load(value)
    for part in reversed(parts):
        data = {part: data}
    places: dict[documents.Path, Place] = {tuple(parts[: end + 1]): Place(where, 0) for end in range(len(parts))}
    return Document(where, data, places)


def _merge(into: dict[str, Any], more: Mapping[str, Any], path: documents.Path) -> None:
    """Merge deeply; a block of another `type` replaces the block, so that no key of the old type stays behind."""
    for key, value in more.items():
        old = into.get(key)
        replaced = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("type", old.get("type")) != old.get("type")
        )
        if isinstance(old, dict) and isinstance(value, dict) and not replaced:
            _merge(old, value, (*path, key))
        else:
            into[key] = _copied(value)


def _copied(value: Any) -> Any:
    return {key: _copied(below) for key, below in value.items()} if isinstance(value, dict) else value
