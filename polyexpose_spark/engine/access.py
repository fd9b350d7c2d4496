"""Who asks: the admin secret, the role and the session variables of a request, by Hasura's headers."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from polyexpose_spark.engine.catalog import ADMIN

_SECRET_HEADERS = ("x-hasura-admin-secret", "x-hasura-access-key")


class AccessDenied(Exception):
    """No secret, or a wrong one."""


@dataclass(frozen=True)
class Session:
    """A role and the session variables (``x-hasura-...`` in lower case) to hold row filters against."""

    role: str
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Access:
    """How requests are let in.

    Args:
        secret: the admin secret; None lets everybody in as whatever role they name.
        unauthorized_role: who comes without a secret gets this role; None turns them away.
    """

    secret: str | None = None
    unauthorized_role: str | None = None

    def session(self, headers: Mapping[str, str]) -> Session:
        """Read the session of a request; ``headers`` have names in lower case.

        Raises:
            AccessDenied: with Hasura's text.
        """
        given = next((headers[name] for name in _SECRET_HEADERS if name in headers), None)
        variables = {
            name: value for name, value in headers.items()
            if name.startswith("x-hasura-") and name not in _SECRET_HEADERS
        }  # fmt: skip
        if self.secret is not None:
            if given is None:
                if self.unauthorized_role is None:
                    raise AccessDenied("x-hasura-admin-secret/x-hasura-access-key required, but not found")
                # Without the secret nothing that the caller says of itself is believed.
                role = self.unauthorized_role
                return Session(role, {"x-hasura-role": role})
            # Compared as bytes: compare_digest takes no text outside ASCII.
            if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.secret.encode()):
                raise AccessDenied("invalid x-hasura-admin-secret/x-hasura-access-key")
        role = variables.setdefault("x-hasura-role", ADMIN)
        return Session(role, variables)
