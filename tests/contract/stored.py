"""Clients of a server of Cloud Storage that tests start, and what they are held against."""

from __future__ import annotations

import base64

import google_crc32c

from polyexpose_spark.clients.gcs import Deadlines, GcsFiles
from polyexpose_spark.config import GcsConfig


def gcs_files(address: str, seconds: float = 20.0) -> GcsFiles:
    """Return a client that gives up after these seconds."""
    return GcsFiles(GcsConfig(endpoint=address, credentials="anonymous"), Deadlines(seconds, seconds))


def crc32c(data: bytes) -> str:
    """Return the checksum as Cloud Storage writes it."""
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
