"""Hasura v2 over HTTP: the metadata API for what is published, GraphQL to see that it is served.

Modifying requests are one `bulk` (all or nothing) under the resource version that was just exported, so repeating
one after a lost answer is safe: it either has no effect or is refused as a conflict, and the difference is
computed anew. Nothing that is sent or received is logged: bodies may hold secrets of other people.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from polyexpose_spark.clients.hasura_difference import (
    concerns,
    difference,
    root_fields,
    select_limit,
    waiting,
    withdrawal,
)
from polyexpose_spark.clients.hasura_http import ATTEMPTS, Answer, Http, pause_s, said
from polyexpose_spark.clients.hasura_metadata import (
    Command,
    Metadata,
    Publication,
    Relationship,
    SelectPermission,
    Source,
    TableName,
)
from polyexpose_spark.errors import TargetFailed, TargetUnavailable

_log = logging.getLogger(__name__)

START_OVERS = 5
"""Of export, difference, bulk where the metadata changed in between (409)."""

# What a bulk under the right resource version only meets where one Hasura of several lags behind the others.
_LAGGING = frozenset({"already-tracked", "already-exists", "already-untracked", "not-exists", "permission-denied"})
_SESSION_VARIABLE = re.compile(r"x-hasura-(?!role$)", re.IGNORECASE)


@dataclass(frozen=True)
class Applied:
    """What was done at Hasura."""

    changed: bool
    """False: it was as desired before; nothing but reading requests was sent."""
    commands: tuple[Command, ...]
    root_fields: tuple[str, str]
    """For rows and for aggregates; `namespace.field` where the source has a namespace."""
    select_limit: int | None
    """Hasura cuts each answer after so many rows."""
    waiting: tuple[Relationship, ...]
    """Left for later: their other table is not published yet."""
    warnings: tuple[str, ...] = ()


class HasuraError(TargetFailed):
    """Hasura answered with an error; `code` as in its API (`already-tracked`, `conflict`, ...)."""

    def __init__(self, message: str, status: int, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class HasuraClient:
    """One Hasura (or our own engine: the same API).

    Every method raises TargetUnavailable (no connection, no answer in time, 5xx: run again) or TargetFailed (it
    answered, and it did not work), in one line that never holds the secret.
    """

    def __init__(self, endpoint: str, admin_secret: str | None, timeout: float = 60.0) -> None:
        """Keep the address; nothing is contacted, no secret resolved.

        Args:
            endpoint: `https://host[:port][/path]`, without `/v1/...`.
            admin_secret: reference to the admin secret; None: Hasura runs without.
            timeout: seconds for one request, its retries included.

        Raises:
            ConfigError: the endpoint is not such an address.
        """
        self._http = Http(endpoint, admin_secret, timeout)

    def version(self) -> str:
        """Return the version of Hasura, for example `v2.50.3`."""
        body = self._ok(self._http.send("GET", "/v1/version"), "/v1/version")
        return str(body.get("version", "")) if isinstance(body, Mapping) else ""

    def healthy(self) -> bool:
        """Say whether Hasura answers and can serve; asks once, for those who wait."""
        return self._http.probe("/healthz") == 200

    def export(self) -> tuple[Metadata, int]:
        """Return the metadata (never to be logged: other people's secrets) and its resource version."""
        answer = self._command({"type": "export_metadata", "version": 2, "args": {}})
        try:
            return answer["metadata"], int(answer["resource_version"])
        except (KeyError, TypeError, ValueError):
            raise TargetFailed(f"{self._http}: no metadata in the answer to export_metadata") from None

    def difference(self, desired: Publication) -> tuple[Command, ...]:
        """Return what apply() would send, command by command; empty: it is as desired. Changes nothing.

        Raises:
            Refused: something that somebody else made is in the way.
        """
        return difference(self.export()[0], desired)

    def apply(self, desired: Publication, columns_changed: bool = False) -> Applied:
        """Bring the metadata to what is desired and see that each published role can read the table.

        Args:
            desired: what one product publishes.
            columns_changed: the table got other columns since Hasura last read them.

        Raises:
            Refused: something that somebody else made is in the way; nothing was changed.
        """
        before, commands = self._change(lambda metadata: difference(metadata, desired, columns_changed))
        warnings = self._check_consistent(desired)
        rows, aggregates = root_fields(before, desired)
        for permission in desired.permissions:
            self._smoke(rows, desired, permission, fresh=bool(commands))
        if not desired.permissions:
            self._smoke(rows, desired, None, fresh=bool(commands))
        return Applied(
            changed=bool(commands),
            commands=commands,
            root_fields=(rows, aggregates),
            select_limit=select_limit(before, desired),
            waiting=waiting(before, desired),
            warnings=warnings,
        )

    def withdraw(self, product: str, source: Source, table: TableName) -> tuple[Command, ...]:
        """Take away what a product published, and nothing else; return the commands sent, none where it was gone.

        Raises:
            Refused: a relationship that somebody else made leads to the table.
        """
        return self._change(lambda metadata: withdrawal(metadata, product, source, table))[1]

    def _change(self, commands_for: Callable[[Metadata], tuple[Command, ...]]) -> tuple[Metadata, tuple[Command, ...]]:
        """Export, compute, send; start over where the metadata changed meanwhile. Return what was sent last."""
        sent: tuple[Command, ...] = ()
        for start_over in range(1, START_OVERS + 1):
            metadata, resource_version = self.export()
            commands = commands_for(metadata)
            if not commands:  # after a conflict: our own bulk took effect, and only its answer was lost
                return metadata, sent
            sent = commands
            _log.info("%s: %s", self._http, "; ".join(map(str, commands)))
            bulk = {"type": "bulk", "resource_version": resource_version, "args": [each.json for each in commands]}
            try:
                self._command(bulk)
            except HasuraError as error:
                stale = error.status == 409 or error.code == "conflict"
                if not stale and not (error.code in _LAGGING and start_over == 1):
                    raise
                _log.info("%s: %s; starting over", self._http, error.code)
                time.sleep(pause_s(start_over))
            else:
                return metadata, commands
        raise TargetUnavailable(f"{self._http}: others keep changing the metadata; run again")

    def _check_consistent(self, desired: Publication) -> tuple[str, ...]:
        """Return warnings of what others have that is inconsistent.

        Raises:
            TargetFailed: something of ours is; all of it is named, with the reasons.
        """
        found = self._command({"type": "get_inconsistent_metadata", "args": {}})
        objects = found.get("inconsistent_objects") if isinstance(found, Mapping) else None
        ours: list[Mapping[str, Any]] = []
        others: list[Mapping[str, Any]] = []
        for each in objects or ():
            (ours if concerns(each, desired) else others).append(each)
        if ours:
            named = "; ".join(f"{each.get('name')} ({each.get('reason')})" for each in ours)
            raise TargetFailed(f"{self._http}: not served, inconsistent: {self._http.line(named)}")
        # Not the reason: what others wrote may hold addresses with passwords.
        return tuple(
            self._http.line(f"Hasura: inconsistent, not of this product: {each.get('name')}") for each in others
        )

    def _smoke(self, root: str, desired: Publication, permission: SelectPermission | None, fresh: bool) -> None:
        """Ask for one row as the role does, or as admin where no role is published.

        A role whose filter needs session variables is only looked up in its schema: no value would be right.
        """
        role = permission.role if permission else "admin"
        column = next(iter((permission.columns if permission else ()) or desired.table.columns), "__typename")
        tracked = desired.table.columns.get(column)
        field = (tracked.custom_name if tracked else None) or column
        namespace, _, name = root.rpartition(".")
        query = f"query Published {{ {name}(limit: 1) {{ {field} }} }}"
        if namespace:
            query = f"query Published {{ {namespace} {{ {name}(limit: 1) {{ {field} }} }} }}"
        if permission is None or not _needs_session(permission.filter):
            self._graphql(query, role, fresh)
            return
        schema = self._graphql('query Published { __type(name: "query_root") { fields { name } } }', role, fresh)
        fields = (schema.get("__type") or {}).get("fields") or ()  # none: introspection is off for this role
        if fields and (namespace or name) not in {each.get("name") for each in fields}:
            raise TargetFailed(f"{self._http}: role {role} does not see {root}")

    def _graphql(self, query: str, role: str, fresh: bool) -> Mapping[str, Any]:
        """Return `data`; HTTP 200 with `errors` is a failure."""
        attempt = 0
        while True:
            attempt += 1
            answer = self._http.send("POST", "/v1/graphql", {"query": query}, {"x-hasura-role": role})
            body = self._ok(answer, "/v1/graphql")
            if not isinstance(body, Mapping):
                self._not_hasura("/v1/graphql")
            errors = body.get("errors")
            if not errors:
                return body.get("data") or {}
            first = errors[0] if isinstance(errors[0], Mapping) else {}
            code = str((first.get("extensions") or {}).get("code", ""))
            message = str(first.get("message", ""))
            if "admin-secret" in message:
                self._wrong_secret()
            # Each Hasura of several learns of new metadata within a second or so.
            if code == "validation-failed" and fresh and attempt < ATTEMPTS:
                time.sleep(pause_s(attempt))
                continue
            raise TargetFailed(f"{self._http}: role {role} cannot read: {self._http.line(f'{code}: {message}')}")

    def _command(self, command: Mapping[str, Any]) -> Any:
        return self._ok(self._http.send("POST", "/v1/metadata", command), "/v1/metadata")

    def _ok(self, answer: Answer, path: str) -> Any:
        if answer.status == 200 and answer.body is not None:
            return answer.body
        if answer.status == 401:
            self._wrong_secret()
        if answer.status == 200 or not isinstance(answer.body, Mapping) or "error" not in answer.body:
            self._not_hasura(path, answer.status)
        message = f"{self._http}: {self._http.line(said(answer.body))}"
        raise HasuraError(message, answer.status, str(answer.body.get("code", "")))

    def _wrong_secret(self) -> NoReturn:
        if self._http.secret is None:
            raise TargetFailed(f"{self._http}: an admin secret is needed, and no reference to one is configured")
        raise TargetFailed(f"{self._http}: the admin secret is wrong: {self._http.secret}")

    def _not_hasura(self, path: str, status: int = 200) -> NoReturn:
        message = f"answers HTTP {status} to {path}, not as Hasura v2 does; is this its address?"
        raise TargetFailed(f"{self._http}: {message}")


def _needs_session(condition: Any) -> bool:
    """Say whether a permission's filter uses session variables besides the role."""
    if isinstance(condition, Mapping):
        return any(map(_needs_session, condition.values()))
    if isinstance(condition, list):
        return any(map(_needs_session, condition))
    return isinstance(condition, str) and _SESSION_VARIABLE.match(condition) is not None
