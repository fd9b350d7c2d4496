"""Receipt, the record of one exposure: what was served, where, from which snapshot, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from polyexpose_spark.documents import Strict
from polyexpose_spark.errors import ExitCode


class Outcome(StrEnum):
    """How an exposure ended."""

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    """The target already held this plan: nothing was written."""
    WITHDRAWN = "withdrawn"
    FAILED = "failed"


class _Record(Strict):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Check(_Record):
    """One check of the contract and its verdict."""

    name: str
    verdict: str
    """passed, failed, or not checked."""
    detail: str = ""


class Receipt(_Record):
    """What every consumer and operator can rely on. Written to the ledger on success and on failure.

    The JSON form has camelCase keys; its schema is conf/schema/receipt.schema.json.
    """

    format: int = 1
    run: str
    """Id of the run; the same for all ports of one command."""
    product: str
    contract_version: str
    port: str
    """Name of the server in the contract."""
    mode: str
    outcome: Outcome
    exit_code: ExitCode
    error: str | None = None
    table: str
    table_uuid: str | None = None
    snapshot_id: int | None = None
    snapshot_committed_at: datetime | None = None
    tag: str | None = None
    digest: str | None = None
    """Digest of the plan; the same at the target."""
    address: str | None = None
    uris: tuple[str, ...] = ()
    rows: int | None = None
    bytes_written: int = 0
    details: Mapping[str, Any] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    warnings: tuple[str, ...] = ()
    started_at: datetime
    finished_at: datetime
    version: str
    """Version of polyexpose-spark that wrote it."""

    def to_json(self) -> str:
        """Return the JSON text, indented."""
        return self.model_dump_json(by_alias=True, indent=2)


def at(milliseconds: int) -> datetime:
    """Return the UTC time of an Iceberg timestamp in milliseconds."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
