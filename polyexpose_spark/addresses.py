"""Addresses as they may be shown, logged and written down: without user, password, token or options."""

from __future__ import annotations

import re

# user:password@ of any scheme; jdbc: before the scheme does not matter.
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
# password=..., "token": "...", Authorization: Bearer ...; up to what ends a value in an address or message.
_SECRET = re.compile(
    r"(?i)\b((?:[\w.-]*(?:password|passwd|pwd|secret|token|credential|api[_-]?key|signature))"
    r"(?:[\"']?\s*=\s*|[\"']\s*:\s*)|bearer\s+)"
    r"(\"[^\"]*\"|'[^']*'|[^\s,;&\"']+)"
)


def without_credentials(address: str) -> str:
    """Return an address without user, password and options: `jdbc:postgresql://db:5432/lake`."""
    return _USER_INFO.sub("", address).partition("?")[0]


def redacted(message: str) -> str:
    """Return a foreign message with whatever looks like a credential taken out."""
    return _SECRET.sub(r"\1***", _USER_INFO.sub("", message))
