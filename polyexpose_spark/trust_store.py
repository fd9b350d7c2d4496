"""Hand the machine's certificate authorities to a Java that does not know them.

An installed Java is looked after by the machine. The Java of a PyPI wheel brings a list of its own, in which
the authority of a company's proxy is missing, so that `pip` reaches its registry and Java does not.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

# Where Debian, Red Hat, SUSE and Alpine keep the bundle; OpenSSL's own setting often names a folder only.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PASSWORD = "changeit"  # noqa: S105 -- Java's own default; it guards nothing, the certificates are public


def bundle() -> Path | None:
    """Return the file with the machine's certificate authorities, SSL_CERT_FILE first; None: no such file."""
    default = ssl.get_default_verify_paths()
    places = (os.environ.get("SSL_CERT_FILE"), default.cafile, default.openssl_cafile, *_BUNDLES)
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def jks(pem: str) -> bytes:
    """Write PEM certificates as a Java key store (format JKS, version 2), which every Java reads.

    Source: sun.security.provider.JavaKeyStore of OpenJDK 17.
    """
    certificates = [ssl.PEM_cert_to_DER_cert(text) for text in _PEM.findall(pem)]
    data = struct.pack(">III", 0xFEEDFEED, 2, len(certificates)) + b"".join(
        part for number, der in enumerate(certificates) for part in _entry(number, der)
    )
    seal = hashlib.sha1(_PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + data)  # noqa: S324 -- the format's
    return data + seal.digest()


def _entry(number: int, der: bytes) -> Iterator[bytes]:
    yield struct.pack(">I", 2)  # a trusted certificate
    for text, after in (
        (f"authority-{number}", struct.pack(">Q", 0)),
        ("X.509", struct.pack(">I", len(der))),
    ):
        yield struct.pack(">H", len(text)) + text.encode("ascii") + after
    yield der
